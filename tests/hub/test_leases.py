"""Leases alone, with a clock of the test's, and their routes over HTTP."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from hub.errors import BadLeaseError, TooManyLeasesError
from hub.leases import EXPIRY_S, MAX_LEASES, Leases, digest_of, read_lease
from hub.rates import MAX_BUCKETS, Rates
from hub.wire import Lease, LeaseAnswer
from tests.fakes.asgi_server import serve_app
from tests.hub.runners import SERVICE, TOKEN, ToolServer, World, add, manifest_text, world

RUNNER = digest_of(TOKEN)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class RecordedCall:
    def __init__(self, tool: str = "echo") -> None:
        self.integration = "tools"
        self.tool = tool
        self.ended = False

    def end(self) -> None:
        self.ended = True


def lease(*tools: str, runner: str = RUNNER, settings: dict[str, str] | None = None) -> Lease:
    grant = {"integration": "tools", "tools": tools, "settings": settings or {}}
    return Lease.model_validate({"runner": runner, "user": "u", "persona": "p", "grants": [grant]})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def leases(clock: Clock) -> Leases:
    return Leases(clock)


@pytest.mark.requirement("leases:expire")
def test_a_lease_expires_after_its_last_put_and_ends_its_calls(leases: Leases, clock: Clock) -> None:
    assert leases.put("a", lease("echo")) == EXPIRY_S == 30.0
    call = RecordedCall()
    leases.of_runner(RUNNER)[0].calls.add(call)
    clock.now += 29.9
    leases.put("a", lease("echo"))
    clock.now += 29.9
    leases.expire()
    assert (len(leases), call.ended) == (1, False)
    clock.now += 0.1
    assert leases.of_runner(RUNNER) == []
    leases.expire()
    assert (len(leases), call.ended) == (0, True)


@pytest.mark.requirement("leases:own-calls")
def test_a_deleted_lease_ends_its_own_calls_alone(leases: Leases) -> None:
    leases.put("a", lease("echo"))
    leases.put("b", lease("echo"))
    newest, older = leases.of_runner(RUNNER)
    mine, other = RecordedCall(), RecordedCall()
    newest.calls.add(mine)
    older.calls.add(other)
    leases.delete("b")
    leases.delete("never there")
    assert (mine.ended, other.ended) == (True, False)
    assert [held.id for held in leases.of_runner(RUNNER)] == ["a"]


def test_a_renewal_replaces_in_full_and_ends_what_it_no_longer_allows(leases: Leases) -> None:
    leases.put("a", lease("echo", "fill"))
    leases.put("b", lease("echo"))
    kept, gone = RecordedCall("echo"), RecordedCall("fill")
    held = leases.of_runner(RUNNER)[1]
    held.calls |= {kept, gone}
    leases.put("a", lease("echo"))
    assert (kept.ended, gone.ended) == (False, True)
    assert [one.id for one in leases.of_runner(RUNNER)] == ["b", "a"], "a renewal does not make a lease newer"
    assert not held.allows("tools", "fill")
    leases.put("a", lease("echo", runner=digest_of("other")))
    assert kept.ended
    assert [one.id for one in leases.of_runner(RUNNER)] == ["b"]


def test_leases_are_bounded_in_number(leases: Leases, clock: Clock) -> None:
    for number in range(MAX_LEASES):
        leases.put(str(number), lease("echo"))
    with pytest.raises(TooManyLeasesError):
        leases.put("more", lease("echo"))
    leases.put("7", lease("echo"))
    clock.now += EXPIRY_S
    leases.put("more", lease("echo"))
    assert len(leases) == 1


def wrong(**fields: Any) -> bytes:
    grant = {"integration": "tools", "tools": ["echo"], "settings": {"key": "v"}}
    return json.dumps({"runner": RUNNER, "user": "u", "persona": "p", "grants": [grant], **fields}).encode()


@pytest.mark.requirement("leases:bad-body")
@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{CANARY", "the body is not JSON"),
        (b"[]", "the body"),
        (wrong(runner="CANARY"), "runner"),
        (wrong(user="CANARY" * 20), "user"),
        (wrong(grants=[{"integration": "tools", "tools": "CANARY"}]), "grants.0.tools"),
        (wrong(grants=[{"integration": "t", "tools": [], "settings": {"CANARY": ["CANARY"]}}]), "grants.0.settings "),
        (wrong(grants=[{"integration": "t", "tools": [], "settings": {"CANARY": "x"}}]), "grants.0.settings has a key"),
        (wrong(grants=[{"integration": "t", "tools": [], "settings": {"a": "CANARY\r\nX: 1"}}]), "grants.0.settings.a"),
        (wrong(grants=[{"integration": "t", "tools": [], "settings": {"a": "CANARY" * 999}}]), "grants.0.settings.a"),
        (wrong(grants=[{"integration": "t", "tools": []}] * 2), "grants.1.integration"),
    ],
)
def test_a_bad_body_names_the_field_and_no_value(body: bytes, named: str) -> None:
    with pytest.raises(BadLeaseError) as caught:
        read_lease(body)
    assert named in caught.value.message
    assert "CANARY" not in repr((caught.value, caught.value.message, caught.value.action, caught.value.__cause__))


def test_settings_are_in_no_repr(leases: Leases) -> None:
    leases.put("a", lease("echo", settings={"key": "CANARY"}))
    held = leases.of_runner(RUNNER)[0]
    assert held.grants["tools"].settings["key"] == SecretStr("CANARY")
    assert "CANARY" not in repr(held)
    assert "CANARY" not in repr(leases.__dict__)


@pytest.mark.requirement("gateway:rate-limit")
def test_a_bucket_is_of_one_user_and_integration_and_fills_evenly(clock: Clock) -> None:
    rates = Rates(clock)
    assert [rates.take("u", "a", 2) for _ in range(2)] == [0, 0]
    assert rates.take("u", "a", 2) == pytest.approx(30)
    assert rates.take("v", "a", 2) == rates.take("u", "b", 2) == 0
    clock.now += 30
    assert rates.take("u", "a", 2) == 0
    assert rates.take("u", "a", 2) == pytest.approx(30)
    for number in range(MAX_BUCKETS + 5):
        rates.take(str(number), "a", 1)
    assert len(rates._buckets) == MAX_BUCKETS


@pytest.fixture
def server() -> ToolServer:
    return ToolServer()


@pytest.fixture
async def here(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, server: ToolServer
) -> AsyncIterator[World]:
    async with serve_app(server.app) as url:
        add(servers_dir, "tools", manifest_text(url, "tools"))
        async with world(client, tmp_path, servers_dir) as made:
            yield made


async def put(here: World, lease_id: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    url = f"{here.url}/api/v1/leases/{lease_id}"
    async with here.http.put(url, data=body, headers=headers) as answer:
        return answer.status, await answer.text()


@pytest.mark.requirement("leases:deleted")
def test_a_put_that_comes_after_the_delete_brings_nothing_back(leases: Leases, clock: Clock) -> None:
    leases.put("a", lease("echo"))
    leases.delete("a")
    leases.delete("b")  # its put is still on the way
    for one in ("a", "b"):
        with pytest.raises(BadLeaseError, match="deleted"):
            leases.put(one, lease("echo"))
    assert len(leases) == 0
    clock.now += EXPIRY_S
    assert leases.put("a", lease("echo")) == EXPIRY_S


def test_only_so_many_runners_are_remembered(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.leases.MAX_KNOWN", 2)
    for number in range(3):
        leases.put(str(number), lease("echo", runner=f"{number:064x}"))
        leases.delete(str(number))
    assert [leases.knows_runner(f"{number:064x}") for number in range(4)] == [False, True, True, False]


@pytest.mark.requirement("leases:routes")
async def test_the_routes_want_the_key_a_host_and_a_body_of_some_size(here: World) -> None:
    lease_id = uuid.uuid4().hex
    status, text = await put(here, lease_id, wrong(), SERVICE)
    answer = LeaseAnswer.model_validate_json(text)
    assert (status, answer.expires_in_s, answer.boot_id) == (200, 30.0, here.hub.board.boot_id)
    for headers, refused in (
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({**SERVICE, "Origin": "http://evil.example"}, 403),
        ({**SERVICE, "Host": "evil.example"}, 421),
    ):
        assert (await put(here, lease_id, wrong(), headers))[0] == refused
    assert (await put(here, lease_id, b" " * (256 * 1024 + 1), SERVICE))[0] == 413
    assert (await put(here, lease_id, b"{}", SERVICE))[0] == 422
    for bad in ("x", "A" * 32, "0" * 31, lease_id + "0"):
        assert (await put(here, bad, wrong(), SERVICE))[0] == 422
    assert (await here.drop(lease_id), await here.drop(lease_id)) == (204, 204)
    url = f"{here.url}/api/v1/leases/{lease_id}"
    async with here.http.delete(url) as unkeyed:
        assert unkeyed.status == 401


@pytest.mark.requirement("leases:end-at-once")
async def test_with_its_lease_a_call_ends_and_the_door_shuts(here: World, server: ToolServer) -> None:
    lease_id = await here.lease({"tools": ["wait", "echo"]})
    other = await here.lease({"tools": ["echo"]})
    calling = asyncio.create_task(here.call("tools", "wait"))
    await asyncio.wait_for(server.waiting.wait(), 5)
    assert await here.drop(lease_id) == 204
    answer = await asyncio.wait_for(calling, 5)
    assert "turn that made this call has ended" in answer.text
    await asyncio.wait_for(server.cancelled.wait(), 5)
    assert (await here.call("tools", "echo", {"text": "a"})).text == "a", "the other turn's lease still holds it"
    assert await here.drop(other) == 204
    assert (await here.call("tools", "echo", {"text": "a"})).status == 404
    assert [line["outcome"] for line in here.lines] == ["lease_ended", "ok", "unknown_token"]


@pytest.mark.requirement("leases:expire")
async def test_an_expired_lease_ends_its_calls_by_itself(here: World, server: ToolServer) -> None:
    await here.lease({"tools": ["wait"]})
    calling = asyncio.create_task(here.call("tools", "wait"))
    await asyncio.wait_for(server.waiting.wait(), 5)
    for held in here.hub.leases.of_runner(RUNNER):
        held.expires_at = 0.0
    answer = await asyncio.wait_for(calling, 5)
    assert (answer.result["isError"], here.lines[-1]["outcome"]) == (True, "lease_ended")
