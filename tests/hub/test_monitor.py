"""The monitor: one task per integration, none waiting for another, one path for every check."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from hub.board import Board
from hub.catalog import Catalog, Integration
from hub.errors import HistoryError, NotProbedError, UnknownIntegrationError
from hub.history import History
from hub.manifest import Manifest
from hub.manifest_file import Fault
from hub.monitor import Monitor
from hub.probe import Prober, utc_now
from hub.state import Standing
from hub.wire import ProbeResult
from tests.fakes.asgi_server import serve_app
from tests.hub.servers import Gated, free_address, good_app, manifest_at, silent_server

FAST = {"interval_s": 0.2, "timeout_s": 2, "failures_before_down": 2}


def catalog_of(*manifests: Manifest) -> Catalog:
    return Catalog(tuple(Integration(manifest.name, manifest) for manifest in manifests))


class Run:
    """A started monitor with its board."""

    def __init__(self, board: Board, monitor: Monitor, results: list[ProbeResult]) -> None:
        self.board = board
        self.monitor = monitor
        self.results = results

    async def until(self, met: Callable[[Board], bool], limit_s: float = 5.0) -> None:
        async with asyncio.timeout(limit_s):
            while not met(self.board):
                await self.board.changed_since(self.board.revision)


@asynccontextmanager
async def running(
    prober: Prober, home: Path, manifests: Sequence[Manifest], disabled: frozenset[str] = frozenset()
) -> AsyncIterator[Run]:
    board = Board(catalog_of(*manifests), "boot", disabled=disabled, mcp_host="127.0.0.1")
    history, results = History(home / "hub.db"), list[ProbeResult]()
    monitor = Monitor(board, history, prober, mcp_host="127.0.0.1", observe=results.append)
    async with AsyncExitStack() as stack:
        await history.open()
        stack.push_async_callback(history.close)
        stack.push_async_callback(monitor.close)
        await monitor.start()
        yield Run(board, monitor, results)


@pytest.mark.requirement("hub:monitor-isolation")
async def test_a_hanging_and_a_dead_one_delay_no_other(prober: Prober, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        hanging = await stack.enter_async_context(silent_server())
        good = await stack.enter_async_context(serve_app(good_app()))
        manifests = [
            *(manifest_at(hanging, name=f"hanging{n}", probe={**FAST, "timeout_s": 30}) for n in range(20)),
            manifest_at(await free_address(), name="dead", probe=FAST),
            manifest_at(good, name="good", probe=FAST),
        ]
        started = time.monotonic()
        run = await stack.enter_async_context(running(prober, tmp_path, manifests))
        await run.until(lambda board: board.view("good").health == "healthy")
        await run.until(lambda board: board.view("dead").health == "down")
        assert time.monotonic() - started < 4
        assert run.board.view("hanging0").health == "starting"
        assert run.monitor.unchecked() == sorted(f"hanging{n}" for n in range(20))


@pytest.mark.requirement("hub:monitor-recovers")
async def test_one_line_when_it_goes_and_one_when_it_returns(
    prober: Prober, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="hub.monitor")
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        url = await first.enter_async_context(serve_app(good_app()))
        run = await stack.enter_async_context(running(prober, tmp_path, [manifest_at(url, probe=FAST)]))
        await run.until(lambda board: board.view("demo").health == "healthy")
        await first.aclose()
        await run.until(lambda board: board.view("demo").health == "down")
        view = run.board.view("demo")
        assert (view.reason, view.answers, view.last_ok_at is not None) == ("refused", False, True)
        port = int(url.rsplit(":", 1)[1])
        await stack.enter_async_context(serve_app(good_app(), port=port))
        await run.until(lambda board: board.view("demo").health == "healthy")
    lines = [record.getMessage() for record in caplog.records]
    assert [line[:12] for line in lines] == ["demo is down", "demo is back"]


async def test_changed_tools_are_logged_and_stay_usable(
    prober: Prober, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        url = await first.enter_async_context(serve_app(good_app()))
        manifest = manifest_at(url, tools={"echo": "read", "two": "read"}, probe=FAST, pin=False)
        run = await stack.enter_async_context(running(prober, tmp_path, [manifest]))
        await run.until(lambda board: board.view("demo").health == "degraded")
        await first.aclose()
        again = serve_app(good_app(tools=("echo", "two")), port=int(url.rsplit(":", 1)[1]))
        await stack.enter_async_context(again)
        await run.until(lambda board: board.view("demo").health == "healthy")
        view = run.board.view("demo")
    assert (view.changed_tools, view.answers) == (("two",), True)
    assert any("demo changed its tools: two" in record.getMessage() for record in caplog.records)


@pytest.mark.requirement("hub:check-now")
async def test_check_now_is_the_same_path_and_single_flight(prober: Prober, tmp_path: Path) -> None:
    server = Gated()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serve_app(server))
        manifests = [manifest_at(url, probe={"interval_s": 60})]
        run = await stack.enter_async_context(running(prober, tmp_path, manifests))
        async with asyncio.timeout(5):
            await server.asked.wait()
            waiting = [asyncio.create_task(run.monitor.check_now("demo")) for _ in range(5)]
            leaving = asyncio.create_task(run.monitor.check_now("demo"))
            await asyncio.sleep(0)
            leaving.cancel()
            server.release.set()
            results = await asyncio.gather(*waiting)
        assert {id(result) for result in results} == {id(run.results[0])}
        assert (len(run.results), run.results[0].ok) == (1, True)
        await run.monitor.check_now("demo")
        assert len(run.results) == 2


async def test_disabled_and_unknown_ones_are_not_probed(prober: Prober, tmp_path: Path) -> None:
    manifests = [manifest_at("http://127.0.0.1:1", name="off")]
    async with running(prober, tmp_path, manifests, frozenset({"off"})) as run:
        assert run.monitor.unchecked() == []
        with pytest.raises(NotProbedError, match="disabled"):
            await run.monitor.check_now("off")
        with pytest.raises(UnknownIntegrationError):
            await run.monitor.check_now("none")
        view = run.board.view("off")
        assert (view.admin_state, view.reason, view.answers) == ("disabled", "disabled", False)
        assert "OPEN_PERSONA_HUB_DISABLED" in view.action


@pytest.mark.requirement("hub:history-survives")
async def test_a_restart_keeps_the_last_state_but_not_an_old_one(prober: Prober, tmp_path: Path) -> None:
    async with silent_server() as url:
        manifests = [manifest_at(url, name=name, probe={"timeout_s": 30}) for name in ("fresh", "stale")]
        history = History(tmp_path / "hub.db")
        await history.open()
        for name, age in (("fresh", 30), ("stale", 3600)):
            at = utc_now() - timedelta(seconds=age)
            result = ProbeResult(name=name, at=at, ok=True, stage="done", latency_ms=3)
            await history.record(result, Standing(health="healthy", last_ok_at=at, tools=()))
        await history.close()
        async with running(prober, tmp_path, manifests) as run:
            views = {view.name: view for view in run.board.views()}
    assert (views["fresh"].health, views["stale"].health) == ("healthy", "starting")
    assert all(view.last_ok_at and view.uptime_24h == 1.0 for view in views.values())


async def test_closing_ends_every_task(prober: Prober, tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with silent_server() as url:
        manifests = [manifest_at(url, name=f"h{n}", probe={"timeout_s": 60}) for n in range(5)]
        async with running(prober, tmp_path, manifests):
            await asyncio.sleep(0)
        assert {task.get_name() for task in asyncio.all_tasks() - before if "watch" in task.get_name()} == set()


async def test_a_fault_of_the_hubs_own_is_a_result_too(
    prober: Prober, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr("hub.mcp_session.McpSession.discover", broken)
    async with silent_server() as url, running(prober, tmp_path, [manifest_at(url, probe=FAST)]) as run:
        await run.until(lambda board: board.view("demo").health == "down")
        assert run.board.view("demo").reason == "internal"


@pytest.mark.requirement("hub:follow-isolation")
async def test_a_changed_one_is_checked_anew_and_no_other(prober: Prober, tmp_path: Path) -> None:
    slow = Gated()
    async with AsyncExitStack() as stack:
        good = await stack.enter_async_context(serve_app(good_app()))
        gated = manifest_at(await stack.enter_async_context(serve_app(slow)), name="gated", probe={"timeout_s": 30})
        first = manifest_at(good, probe={"interval_s": 60})
        run = await stack.enter_async_context(running(prober, tmp_path, [first, gated]))
        await run.until(lambda board: board.view("demo").health == "healthy")
        known = run.board.standing("demo")
        async with asyncio.timeout(5):
            await slow.asked.wait()
            waiting = asyncio.create_task(run.monitor.check_now("gated"))
            await asyncio.sleep(0)
            changed = manifest_at(good, title="Changed", tools={"echo": "read", "two": "read"})
            await run.monitor.follow(catalog_of(changed, gated))
            assert run.board.standing("demo") is known
            assert run.board.view("demo").title == "Changed"
            await run.until(lambda board: board.view("demo").reason == "tools_mismatch")
            assert [result.name for result in run.results] == ["demo", "demo"]
            assert run.board.view("demo").uptime_24h == 1.0
            slow.release.set()
            assert (await waiting).ok
        assert len(run.results) == 3


async def test_who_waits_for_a_check_gets_that_of_the_new_manifest(prober: Prober, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(10))
        silent = await stack.enter_async_context(silent_server())
        good = await stack.enter_async_context(serve_app(good_app()))
        old = manifest_at(silent, probe={"timeout_s": 60})
        run = await stack.enter_async_context(running(prober, tmp_path, [old]))
        waiting = asyncio.create_task(run.monitor.check_now("demo"))
        await asyncio.sleep(0)
        await run.monitor.follow(catalog_of(manifest_at(good)))
        assert (await waiting).ok
        await run.monitor.follow(catalog_of(old))
        waiting = asyncio.create_task(run.monitor.check_now("demo"))
        await asyncio.sleep(0)
        await run.monitor.follow(catalog_of())
        with pytest.raises(UnknownIntegrationError):
            await waiting


async def test_one_that_comes_back_is_known_by_its_history(prober: Prober, tmp_path: Path) -> None:
    async with serve_app(good_app()) as url:
        manifest = manifest_at(url, probe={"interval_s": 60})
        async with running(prober, tmp_path, [manifest]) as run:
            await run.until(lambda board: board.view("demo").health == "healthy")
            await run.monitor.follow(catalog_of())
            assert run.board.views() == ()
            assert run.monitor.unchecked() == []
            await run.monitor.follow(catalog_of(manifest))
            view = run.board.view("demo")
            assert (view.health, view.uptime_24h, view.tool_fingerprint != "") == ("healthy", 1.0, True)
            # Readiness is about the hub's start alone.
            assert run.monitor.unchecked() == []


@pytest.mark.requirement("hub:pin-withholds")
async def test_a_history_that_can_not_be_read_holds_up_nothing(
    prober: Prober, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve_app(good_app()) as url, running(prober, tmp_path, []) as run:

        async def broken(*_: object) -> dict[str, object]:
            raise HistoryError("hub.db can't be read.")

        monkeypatch.setattr(History, "past", broken)
        await run.monitor.follow(catalog_of(manifest_at(url), manifest_at(url, name="free", pin=False)))
        await run.until(lambda board: board.view("free").health == "healthy")
        await run.until(lambda board: board.view("demo").health == "degraded")
        # Nobody knows what was approved of it.
        assert [tool.state for tool in run.board.view("demo").tools] == ["withheld"]
        assert [tool.state for tool in run.board.view("free").tools] == ["approved"]
    assert "what was known of demo, free is not shown: hub.db can't be read." in caplog.text


def test_the_revision_is_of_what_is_there_whatever_came_first() -> None:
    alpha, beta = (manifest_at("http://x", name=name) for name in ("alpha", "beta"))
    fresh = Board(catalog_of(alpha, beta), "boot", disabled=frozenset(), mcp_host="h")
    grown = Board(catalog_of(beta), "boot", disabled=frozenset(), mcp_host="h")
    before = grown.revision
    grown.replace(catalog_of(beta, alpha))
    assert grown.revision == fresh.revision != before
    assert [view.name for view in grown.views()] == ["alpha", "beta"]
    grown.replace(catalog_of(beta))
    assert grown.revision == before


async def test_an_old_health_is_not_believed_once_a_manifest_is_good_again(prober: Prober, tmp_path: Path) -> None:
    async with silent_server() as url:
        fault = Integration("demo", None, (Fault("demo/manifest.yaml", 1, "bad"),))
        board = Board(Catalog((fault,)), "boot", disabled=frozenset(), mcp_host="h")
        board.restore("demo", Standing(health="healthy", tools=()), [])
        board.replace(catalog_of(manifest_at(url)))
        assert board.view("demo").health == "starting"
        assert board.standing("demo").tools == ()
