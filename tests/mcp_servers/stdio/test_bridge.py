"""A stranger's program behind HTTP: lists, calls, progress, cancellation, settings, log, misbehaviour."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from mcp.shared.exceptions import MCPError

from mcp_servers.stdio import program as program_module
from mcp_servers.stdio.pool import Bounds
from tests.mcp_servers.eventually import eventually
from tests.mcp_servers.mcp_session import ERAS, failure_of, text_of
from tests.mcp_servers.stdio.bridged import FOLDER, TEAM, TOKEN, bridged, logged, write_command
from tests.mcp_servers.test_child import alive


@pytest.mark.requirement("stdio:both-eras")
@pytest.mark.parametrize("mode", ERAS)
async def test_it_is_listed_and_called_with_progress(tmp_path: Path, mode: str) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    async with bridged(write_command(tmp_path)) as it, it.client(mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools][:3] == ["whoami", "count", "wait"]
        assert client.server_capabilities.resources is None
        assert text_of(await client.call_tool("count", {}, progress_callback=progress)) == "true"
        assert seen == [(1, 3, "at 1"), (2, 3, "at 2"), (3, 3, "at 3")]
        with pytest.raises(MCPError, match="no such tool"):
            await client.call_tool("error", {})


@pytest.mark.requirement("stdio:both-eras")
async def test_a_program_of_the_modern_era_alone_works_too(tmp_path: Path) -> None:
    mode = {"key": "mode", "title": "Mode", "scope": "deployment", "env": "STRANGER"}
    async with bridged(write_command(tmp_path, [mode]), environ={"OPEN_PERSONA_STRANGE_MODE": "modern"}) as it:
        assert (await it.said("whoami"))["env"]["STRANGER"] == "modern"


@pytest.mark.requirement("stdio:cancel")
async def test_hanging_up_cancels_the_call_and_no_other(tmp_path: Path) -> None:
    async with bridged(write_command(tmp_path)) as it, it.client() as client:
        calls = [asyncio.create_task(client.call_tool("wait", {})) for _ in range(2)]
        async with asyncio.timeout(10):
            while not await it.said("cancelled"):
                await asyncio.sleep(0.05)
                calls[0].cancel()
        assert len(await it.said("cancelled")) == 1
        assert not calls[1].done()
        calls[1].cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_many_calls_at_once_get_their_own_answers(tmp_path: Path) -> None:
    async with bridged(write_command(tmp_path)) as it, it.client() as client:
        sizes = [7, 100_000, 1, 2_000_000, 30]
        answers = await asyncio.gather(*(client.call_tool("big", {"size": size}) for size in sizes))
        assert [len(json.loads(text_of(answer))) for answer in answers] == sizes


async def test_its_own_requests_are_answered_and_grant_nothing(tmp_path: Path) -> None:
    async with bridged(write_command(tmp_path)) as it:
        assert await it.said("asked", {"method": "ping"}) == {"result": {}}
        refused = await it.said("asked", {"method": "sampling/createMessage"})
        assert refused["error"]["code"] == -32601


@pytest.mark.requirement("stdio:environment")
async def test_it_gets_its_settings_and_little_else(tmp_path: Path) -> None:
    folder = write_command(tmp_path, [FOLDER, TOKEN, TEAM], "--root={folder}", "{folder}", '{"a": {"b": 1}}')
    environ = {
        "OPEN_PERSONA_STRANGE_TEAM": "blue-team",
        "OPEN_PERSONA_MCP_ALLOWED_HOSTS": "box",
        "AWS_PROFILE": "mine",
        "HOME": "/home/operator",
    }
    async with bridged(folder, environ=environ) as it:
        seen = await it.said("whoami", folder="/srv/a b", token="tok-12345")
        assert seen["argv"] == ["--root=/srv/a b", "/srv/a b", '{"a": {"b": 1}}']
        env = seen["env"]
        assert (env["STRANGER_TOKEN"], env["STRANGER_TEAM"]) == ("tok-12345", "blue-team")
        allowed = {"PATH", "LANG", "HOME", "TMPDIR", "npm_config_cache", "UV_CACHE_DIR", "LC_CTYPE"}
        assert set(env) - allowed == {"STRANGER_TOKEN", "STRANGER_TEAM"}
        assert env["HOME"] == seen["cwd"]
        assert env["npm_config_cache"] == "/home/operator/.npm"
        assert Path(env["HOME"]).is_dir()
        assert (await it.said("whoami", token="tok-12345"))["argv"] == ['{"a": {"b": 1}}'], "no value, no argument"
    assert not Path(env["HOME"]).exists()


@pytest.mark.requirement("stdio:missing-setting")
async def test_a_missing_setting_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    team = {**TEAM, "required": True}
    async with bridged(write_command(tmp_path, [FOLDER, TOKEN, team])) as it:
        code, text = failure_of(await it.call("whoami", folder="/srv"))
        assert code == "missing_credentials"
        assert "“Token” is not set" in text
        assert "“Open Persona: Strange”" in text
        assert "OPEN_PERSONA_STRANGE_TEAM" in failure_of(await it.call("whoami", token="tok-1"))[1]
        assert it.programs == 0


@pytest.mark.requirement("stdio:no-secret-in-arguments")
async def test_a_value_can_be_no_option(tmp_path: Path) -> None:
    async with bridged(write_command(tmp_path, [FOLDER], "{folder}", "--root={folder}")) as it:
        code, text = failure_of(await it.call("whoami", folder="--inspect"))
        assert (code, "'folder' begins with '-'" in text, "--inspect" in text) == ("missing_credentials", True, False)


@pytest.mark.requirement("stdio:redaction")
async def test_its_log_holds_no_setting(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_command(tmp_path, [FOLDER, TOKEN, TEAM], "{folder}")
    secret = 'tok/"é'.encode("ascii", "ignore").decode() + "12"
    words = f"{secret} {json.dumps(secret)} tok%2F%2212 blue-team /srv/ann {'y' * 20_000} end"
    async with bridged(folder, environ={"OPEN_PERSONA_STRANGE_TEAM": "blue-team"}) as it:
        await it.said("shout", {"words": "short " + words[:60]}, token=secret, folder="/srv/ann")
        await it.said("shout", {"words": words}, token=secret, folder="/srv/ann")
        pid = (await it.said("whoami", token=secret, folder="/srv/ann"))["pid"]
    seen = logged(capfd)
    assert f'{pid}: short [token] "[token]" [token] [team] [folder]' in seen
    assert f"{pid}: no JSON at all short [token]" in seen
    assert "is left out" in seen
    assert not any(value in seen for value in (secret, "tok%2F", "blue-team", "/srv/ann"))


@pytest.mark.requirement("stdio:restart")
async def test_a_crash_ends_its_calls_and_the_next_one_has_a_new_program(tmp_path: Path) -> None:
    async with bridged(write_command(tmp_path)) as it:
        first = (await it.said("whoami"))["pid"]
        waiting = asyncio.create_task(it.call("wait"))
        code, text = failure_of(await it.call("crash"))
        assert (code, "ended while it worked" in text) == ("upstream_unavailable", True)
        assert failure_of(await waiting)[0] == "upstream_unavailable"
        async with asyncio.timeout(10):
            while (answer := await it.call("whoami")).is_error:
                said = text_of(answer)
                assert "is not running: its program ended with status 3" in said or "ended while it worked" in said
                await asyncio.sleep(0.05)
        assert json.loads(text_of(answer))["pid"] != first


@pytest.mark.requirement("stdio:restart")
async def test_the_program_for_all_runs_before_and_after_a_kill(tmp_path: Path) -> None:
    async with bridged(write_command(tmp_path)) as it:
        await eventually(lambda: it.programs == 1)
        pid = (await it.said("whoami"))["pid"]
        os.kill(pid, signal.SIGKILL)
        slot = next(iter(it.bridge._pool._slots.values()))  # type: ignore[union-attr]
        await eventually(lambda: slot.program is not None and slot.program.pid != pid, what="started unasked")


@pytest.mark.requirement("stdio:start-deadline")
@pytest.mark.parametrize(("mode", "words"), [("crash", "ended with status 1"), ("silent", "is still starting")])
async def test_a_program_that_does_not_come_up_is_told_of_in_time(tmp_path: Path, mode: str, words: str) -> None:
    setting = {"key": "way", "title": "Way", "env": "STRANGER"}
    folder = write_command(tmp_path, [setting])
    async with bridged(folder, Bounds(wait_s=0.5, first_delay_s=30)) as it:
        for _ in range(2):
            code, text = failure_of(await it.call("whoami", way=mode))
            assert (code, words in text) == ("upstream_unavailable", mode == "crash" or words in text)
        assert "traceback" not in text
        assert (await it.said("whoami", way="fine"))["pid"], "others are not held up"


@pytest.mark.requirement("stdio:start-deadline")
async def test_a_start_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_module, "START_S", 0.3)
    setting = {"key": "way", "title": "Way", "env": "STRANGER"}
    async with bridged(write_command(tmp_path, [setting])) as it:
        assert "did not answer within 0.3 s" in failure_of(await it.call("whoami", way="silent"))[1]


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = write_command(tmp_path)
    text = (folder / "manifest.yaml").read_text()
    (folder / "manifest.yaml").write_text(text.replace(f"- {sys.executable}\n", "- no-such-program\n"))
    async with bridged(folder) as it:
        assert "cannot be started: No such file" in failure_of(await it.call("whoami"))[1]
        async with it.client() as client:
            with pytest.raises(MCPError, match="No such file"):
                await client.list_tools()


async def test_a_result_that_is_none_is_a_tool_error(tmp_path: Path) -> None:
    async with bridged(write_command(tmp_path)) as it:
        assert "no result of a tool" in failure_of(await it.call("odd"))[1]


async def test_a_message_without_end_costs_the_program_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_module, "MAX_LINE", 100_000)
    async with bridged(write_command(tmp_path)) as it:
        assert failure_of(await it.call("big", {"size": 900_000}))[0] == "upstream_unavailable"


@pytest.mark.requirement("stdio:no-orphans")
async def test_the_end_of_the_bridge_is_the_end_of_its_programs(tmp_path: Path) -> None:
    async with bridged(write_command(tmp_path)) as it:
        family = await it.said("family")
        assert all(map(alive, family))
    assert not any(map(alive, family))


async def test_a_program_that_asks_and_never_reads_is_ended(tmp_path: Path) -> None:
    async with bridged(write_command(tmp_path)) as it, it.client() as client:
        pid = (await it.said("whoami"))["pid"]
        code, _ = failure_of(await client.call_tool("pester", {}))
        assert code == "upstream_unavailable"
        await eventually(lambda: not alive(pid))


@pytest.mark.requirement("stdio:listing")
async def test_a_program_that_does_one_thing_at_a_time_is_listed_while_it_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with bridged(write_command(tmp_path)) as it, it.client() as client:
        known = (await client.list_tools()).tools
        working = asyncio.create_task(client.call_tool("sleep", {"seconds": 3}))
        await eventually(lambda: "sleeping" in logged(capfd))
        async with asyncio.timeout(1.5), it.client() as other:
            assert (await other.list_tools()).tools == known
        assert not working.done()
        assert text_of(await working) == '"slept"'
