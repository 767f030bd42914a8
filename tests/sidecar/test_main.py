"""``python -m sidecar`` as a process: what keeps it from starting is one line, and a stop is no crash."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from open_persona.ports import free_ports
from sidecar.settings import SettingsError, load_settings

KEYS = {f"OPEN_PERSONA_{name}": "k" for name in ("SIDECAR_API_KEY", "SERVICE_KEY", "TOKEN_KEY")}
ROOT = Path(__file__).parents[2]


async def start(home: Path, **more: str) -> asyncio.subprocess.Process:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPEN_PERSONA_")}
    variables = {**kept, **KEYS, "OPEN_PERSONA_HOME": str(home), "OPEN_PERSONA_SIDECAR_PORT": "0", **more}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", env=variables, stderr=asyncio.subprocess.PIPE, cwd=ROOT
    )


async def refusal(home: Path, **more: str) -> str:
    """The last line of a sidecar that does not start; without a traceback, and with exit code 2."""
    process = await start(home, OPEN_PERSONA_LOG_LEVEL=more.pop("OPEN_PERSONA_LOG_LEVEL", "ERROR"), **more)
    async with asyncio.timeout(20):
        _, errors = await process.communicate()
    [line] = errors.decode().splitlines()
    assert (process.returncode, line.startswith("sidecar: ")) == (2, True)
    return line


@pytest.mark.real
@pytest.mark.requirement("sidecar:start-errors")
async def test_a_database_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sidecar.db").mkdir()
    assert "sidecar.db cannot be opened" in await refusal(tmp_path)


@pytest.mark.real
@pytest.mark.requirement("sidecar:start-errors")
async def test_a_bad_template_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.md").write_text("no front matter")
    assert "bad.md:1: front matter" in await refusal(tmp_path, OPEN_PERSONA_PERSONAS_DIR=str(tmp_path))


@pytest.mark.real
@pytest.mark.requirement("sidecar:start-errors")
async def test_a_log_level_that_is_none_is_one_line(tmp_path: Path) -> None:
    assert "OPEN_PERSONA_LOG_LEVEL" in await refusal(tmp_path, OPEN_PERSONA_LOG_LEVEL="loud")


@pytest.mark.real
@pytest.mark.requirement("sidecar:start-errors")
async def test_a_stop_ends_with_status_0(tmp_path: Path) -> None:
    [port] = free_ports(1)
    process = await start(tmp_path, OPEN_PERSONA_SIDECAR_PORT=str(port))
    try:
        async with asyncio.timeout(20), aiohttp.ClientSession() as client:
            while not await _answers(client, f"http://127.0.0.1:{port}/healthz"):
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            _, errors = await process.communicate()
        assert (process.returncode, b"Traceback" in errors) == (0, False)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.requirement("sidecar:start-errors")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "is not a JSON object"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"sidecar_api_key": null}', "restore"),
        ('{"sidecar_api_key": "k"}', "No token_key"),
    ],
)
def test_secrets_that_are_none_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: str
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPEN_PERSONA_HOME", str(tmp_path))
    (tmp_path / "secrets.json").write_text(content)
    with pytest.raises(SettingsError, match=words) as caught:
        load_settings()
    assert "secrets.json" in caught.value.message


async def _answers(client: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with client.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
