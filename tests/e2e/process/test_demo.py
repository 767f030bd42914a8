"""``open-persona demo``, as a person runs it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
DEADLINE_S = 120


@pytest.mark.requirement("demo:one-command")
async def test_the_demo_shows_both_turns_and_ends_well(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLUMNS": "100"}
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("open-persona")), "demo"),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    text = output.decode()
    assert process.returncode == 0, text
    for name in ("grants_gov", "instrumentl"):
        (row,) = [line for line in text.splitlines() if line.startswith(name)]
        assert "healthy" in row
    on, off = text.split("with grants_gov off")
    assert "Grants.gov: search opportunities: done" in on
    assert "Tools that it called: grants_gov_search_opportunities" in on
    assert "opportunity number" in on
    assert "Tools that the model was offered: none" in off
    assert "Tools that it called: none" in off
