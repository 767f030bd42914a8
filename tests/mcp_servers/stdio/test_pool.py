"""Programs by settings: one for each user, started once, ended when idle, no more than allowed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mcp_servers.stdio.pool import Bounds
from tests.mcp_servers.eventually import eventually
from tests.mcp_servers.mcp_session import failure_of
from tests.mcp_servers.stdio.bridged import FOLDER, TOKEN, bridged, write_command
from tests.mcp_servers.test_child import alive


@pytest.mark.requirement("stdio:one-per-user")
async def test_each_users_settings_have_one_program(tmp_path: Path) -> None:
    async with bridged(write_command(tmp_path, [TOKEN])) as it:
        asked = [it.said("whoami", token=token) for token in ("ann-1", "bob-2") * 4]
        seen = await asyncio.gather(*asked)
        by_token: dict[str, set[int]] = {}
        for answer in seen:
            by_token.setdefault(answer["env"]["STRANGER_TOKEN"], set()).add(answer["pid"])
        assert sorted(by_token) == ["ann-1", "bob-2"]
        assert [len(pids) for pids in by_token.values()] == [1, 1]
        assert len({seen[0]["env"]["HOME"], seen[1]["env"]["HOME"]}) == 2
        assert it.programs == 2
        assert [answer["env"]["STRANGER_TOKEN"] for answer in seen] == ["ann-1", "bob-2"] * 4


async def test_what_identifies_a_program_tells_nothing_of_the_settings(tmp_path: Path) -> None:
    keys = set()
    for _ in range(2):
        async with bridged(write_command(tmp_path, [TOKEN])) as it:
            await it.said("whoami", token="ann-1")
            [(key, slot)] = it.bridge._pool._slots.items()  # type: ignore[union-attr]
            assert "ann-1" not in repr(slot)
            keys.add(key)
    assert len(keys) == 2


@pytest.mark.requirement("stdio:idle")
async def test_a_program_that_nobody_uses_ends_and_one_in_use_stays(tmp_path: Path) -> None:
    async with bridged(write_command(tmp_path, [TOKEN]), Bounds(idle_s=0.5)) as it:
        waiting = asyncio.create_task(it.call("wait", token="ann-1"))
        pid = (await it.said("whoami", token="bob-2"))["pid"]
        await eventually(lambda: not alive(pid) and it.programs == 1)
        busy = (await it.said("whoami", token="ann-1"))["pid"]
        assert alive(busy)
        again = (await it.said("whoami", token="bob-2"))["pid"]
        assert again != pid
        waiting.cancel()
        await eventually(lambda: it.programs == 0)


@pytest.mark.requirement("stdio:cap")
async def test_no_more_run_than_are_allowed(tmp_path: Path) -> None:
    async with bridged(write_command(tmp_path, [TOKEN]), Bounds(most=2)) as it:
        first = (await it.said("whoami", token="user-1"))["pid"]
        second = (await it.said("whoami", token="user-2"))["pid"]
        await it.said("whoami", token="user-1")
        third = (await it.said("whoami", token="user-3"))["pid"]
        await eventually(lambda: not alive(second), what="the longest idle one made room")
        assert alive(first)
        busy = [asyncio.create_task(it.call("wait", token=f"user-{number}")) for number in (1, 3)]
        slots = it.bridge._pool._slots  # type: ignore[union-attr]
        await eventually(lambda: all(slot.users == 1 for slot in slots.values()))
        code, text = failure_of(await it.call("whoami", token="user-4"))
        assert (code, "is used by 2 people" in text) == ("upstream_unavailable", True)
        assert alive(third)
        for task in busy:
            task.cancel()


@pytest.mark.requirement("stdio:listing")
async def test_tools_are_listed_without_any_users_settings(tmp_path: Path) -> None:
    folder = write_command(tmp_path, [FOLDER, TOKEN], "{folder}")
    async with bridged(folder) as it, it.client() as client:
        for _ in range(2):
            assert len((await client.list_tools()).tools) == 12
        assert it.programs == 0, "the program that was asked has ended"
        await it.said("whoami", token="ann-1")
        assert it.programs == 1


@pytest.mark.requirement("stdio:listing")
async def test_the_program_that_is_asked_has_the_operators_values_or_examples(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    folder = write_command(tmp_path, [FOLDER, {**TOKEN, "example": "shown"}], "{folder}")
    for environ in ({}, {"OPEN_PERSONA_STRANGE_TOKEN": "of-the-operator"}):
        async with bridged(folder, environ=environ) as it:
            values = it.bridge._listing._values  # type: ignore[union-attr]
            seen.append([values[key].get_secret_value() for key in ("folder", "token")])
    assert seen == [[".", "shown"], [".", "of-the-operator"]]


async def test_a_program_that_needs_settings_to_list_says_so(tmp_path: Path) -> None:
    way = {"key": "way", "title": "Way", "env": "STRANGER", "example": "crash"}
    async with bridged(write_command(tmp_path, [way])) as it, it.client() as client:
        with pytest.raises(Exception, match="give them an `example`"):
            await client.list_tools()
