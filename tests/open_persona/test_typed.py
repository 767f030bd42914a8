"""Lines from standard input: from a pipe and from a file, and an end to the wait."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from open_persona.typed import typed_lines


async def collected() -> list[str]:
    async with asyncio.timeout(10):
        return [line async for line in typed_lines("> ")]


async def test_lines_from_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, "one\ntwo\r\nhälf".encode())
    os.close(writing)
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert await collected() == ["one", "two", "hälf"]


async def test_lines_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("one\ntwo\n")
    with (tmp_path / "words").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert await collected() == ["one", "two"]


async def test_the_wait_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                async for _ in typed_lines(""):
                    pass
