"""The hub follows its folder while it runs: a real folder, real MCP servers, everything asked over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from hub.board import Board
from hub.catalog import NOTHING
from hub.folder import Folder
from hub.follow import Follower, in_thread
from hub.history import History
from hub.manifest_file import ManifestFile
from hub.monitor import Monitor
from hub.probe import Prober
from hub.wire import CatalogView, IntegrationView, StatusView
from tests.fakes.asgi_server import serve_app
from tests.hub.runners import SERVICE, TOOLS, ToolServer, World, add, manifest_text, world

QUICK_S = 0.05


class Place(World):
    """A world whose folder changes."""

    async def catalog(self) -> dict[str, IntegrationView]:
        async with self.http.get(f"{self.url}/api/v1/integrations") as answer:
            view = CatalogView.model_validate_json(await answer.read())
        assert answer.headers["ETag"] == f'"{view.revision}"'
        return {one.name: one for one in view.integrations}

    async def text(self, path: str) -> str:
        async with self.http.get(self.url + path) as answer:
            return await answer.text()

    async def sees(self, condition: Callable[[dict[str, IntegrationView]], bool]) -> dict[str, IntegrationView]:
        """The catalog once it is so, which every change of the revision can make it; bounded."""
        async with asyncio.timeout(10):
            while True:
                revision = self.hub.board.revision
                views = await self.catalog()
                if condition(views):
                    return views
                await self.hub.board.changed_since(revision)


@pytest.fixture
async def place(client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path) -> AsyncIterator[Place]:
    """A hub that looks often, and at nothing yet."""
    async with world(client, tmp_path, servers_dir, rescan_s=QUICK_S) as made:
        yield Place(**vars(made))


def rewrite(servers: Path, name: str, text: str) -> None:
    (servers / name / "manifest.yaml").write_text(text, "utf-8")


def healthy(*names: str) -> Callable[[dict[str, IntegrationView]], bool]:
    return lambda views: sorted(views) == sorted(names) and all(views[name].health == "healthy" for name in names)


@pytest.mark.requirement("hub:follows-folder")
async def test_a_new_folder_is_everywhere_within_three_seconds(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    async with serve_app(ToolServer().app) as url, world(client, tmp_path, servers_dir) as made:
        place = Place(**vars(made))
        await place.lease({"tools": ["echo"]})
        assert (await place.call("tools", "echo", {"text": "hi"})).status == 404
        async with client.get(f"{place.url}/api/v1/events") as stream:
            assert (await _event(stream))["revision"] == place.hub.board.revision
            begun = time.monotonic()
            add(servers_dir, "tools", manifest_text(url, "tools"))
            await place.sees(healthy("tools"))
            assert (await place.call("tools", "echo", {"text": "hi"})).text == "hi"
            took = time.monotonic() - begun
            assert (await _event(stream))["boot_id"] == place.hub.board.boot_id
        assert took < 3
        assert [one.name for one in StatusView.model_validate_json(await place.text("/status")).integrations] == [
            "tools"
        ]
        assert 'id="i-tools"' in await place.text("/")
        assert 'open_persona_hub_health{health="healthy",integration="tools"} 1.0' in await place.text("/metrics")
        assert (await place.text("/readyz")) == '{"status":"ready","waiting_for":[]}'


async def _event(stream: aiohttp.ClientResponse) -> dict[str, str]:
    async with asyncio.timeout(10):
        while not (line := await stream.content.readline()).startswith(b"data: "):
            pass
    data: dict[str, str] = json.loads(line[6:])
    return data


@pytest.mark.requirement("hub:follow-isolation")
async def test_a_change_replaces_that_integration_alone(place: Place, servers_dir: Path) -> None:
    server, other = ToolServer(), ToolServer()
    async with serve_app(server.app) as url, serve_app(other.app) as beside:
        add(servers_dir, "tools", manifest_text(url, "tools", tools={"echo": "read"}))
        add(servers_dir, "other", manifest_text(beside, "other"))
        before = await place.sees(lambda views: len(views) == 2 and all(view.answers for view in views.values()))
        await place.lease({"tools": ["echo", "fill"], "other": ["wait", "echo"]})
        running = asyncio.create_task(place.call("other", "wait"))
        async with asyncio.timeout(5):
            await other.waiting.wait()
        standing = place.hub.board.standing("other")
        assert (await place.call("tools", "fill", {"size": 3})).messages[0]["error"]["message"] == "Unknown tool"

        changed = manifest_text(url, "tools", limits="{calls_per_minute: 2}").replace("title: Tools", "title: New")
        rewrite(servers_dir, "tools", changed)
        now = await place.sees(lambda views: views["tools"].health == "healthy")
        assert (now["tools"].title, now["tools"].limits.calls_per_minute) == ("New", 2)
        assert [tool.state for tool in now["tools"].tools] == ["approved"] * len(TOOLS)
        # What is known of it stays, and nothing of the other has moved.
        assert now["tools"].tool_fingerprint == before["tools"].tool_fingerprint
        assert now["tools"].tools_changed_at is None
        history = json.loads(await place.text("/api/v1/integrations/tools/history"))["entries"]
        assert len(history) == 2
        assert place.hub.board.standing("other") is standing
        assert (await place.call("tools", "fill", {"size": 3})).text == "xxx"
        assert not running.done()
        running.cancel()


@pytest.mark.requirement("hub:follows-folder")
async def test_a_removed_folder_goes_and_its_calls_end(place: Place, servers_dir: Path) -> None:
    server = ToolServer()
    async with serve_app(server.app) as url:
        add(servers_dir, "tools", manifest_text(url, "tools"))
        await place.sees(healthy("tools"))
        await place.lease({"tools": ["wait", "echo"]})
        assert (await place.call("tools", "echo", {"text": "x"})).text == "x"
        running = asyncio.create_task(place.call("tools", "wait"))
        async with asyncio.timeout(10):
            await server.waiting.wait()
            shutil.rmtree(servers_dir / "tools")
            ended = await running
            await server.cancelled.wait()
        assert "was removed" in ended.text
        assert ended.result["isError"] is True
        assert place.lines[-1]["outcome"] == "unavailable"
        assert await place.catalog() == {}
        gone = await place.call("tools", "echo", {"text": "x"})
        assert (gone.status, gone.body) == (404, (await place.call("never", "echo", {})).body)
        for path in ("", "/history"):
            assert '"unknown_integration"' in await place.text(f"/api/v1/integrations/tools{path}")
        async with place.http.post(f"{place.url}/api/v1/integrations/tools/probe", headers=SERVICE) as answer:
            assert answer.status == 404
        assert 'id="i-tools"' not in await place.text("/")
        assert '"tools"' not in await place.text("/metrics")
        assert await place.hub.history.entries("tools", 10) != ()


@pytest.mark.requirement("hub:last-good-serves")
async def test_a_broken_edit_leaves_the_last_good_version_and_shows_the_fault(place: Place, servers_dir: Path) -> None:
    async with serve_app(ToolServer().app) as url:
        good = manifest_text(url, "tools")
        add(servers_dir, "tools", good)
        before = (await place.sees(healthy("tools")))["tools"]
        await place.lease({"tools": ["echo"]})
        checks = place.hub.board.standing("tools").successes

        rewrite(servers_dir, "tools", good.replace("title: Tools", "titel: Tools"))
        view = (await place.sees(lambda views: bool(views["tools"].faults)))["tools"]
        assert view.faults == (
            "tools/manifest.yaml:1: title: this key is missing",
            "tools/manifest.yaml:3: titel: this key is not known",
        )
        assert (view.health, view.reason, view.title, view.tools) == ("healthy", None, "Tools", before.tools)
        assert "tools/manifest.yaml:1: title: this key is missing (and 1 more)" in view.action
        assert place.hub.board.standing("tools").successes == checks
        assert (await place.call("tools", "echo", {"text": "still"})).text == "still"
        (entry,) = StatusView.model_validate_json(await place.text("/status")).integrations
        assert (entry.health, entry.action) == ("healthy", view.action)
        page = await place.text("/")
        assert "1 of 1 integrations needs attention" in page
        assert "tools/manifest.yaml:3: titel: this key is not known" in page
        assert 'open_persona_hub_manifest_faults{integration="tools"} 2.0' in await place.text("/metrics")

        rewrite(servers_dir, "tools", good)
        mended = (await place.sees(lambda views: not views["tools"].faults))["tools"]
        assert (mended.action, place.hub.board.standing("tools").successes) == ("", checks)


@pytest.mark.requirement("hub:half-written")
async def test_one_that_was_never_good_is_invalid_until_it_is_mended(place: Place, servers_dir: Path) -> None:
    async with serve_app(ToolServer().app) as url:
        add(servers_dir, "tools", "name: [")
        views = await place.sees(lambda views: "tools" in views)
        assert (views["tools"].health, len(views["tools"].faults)) == ("invalid", 1)
        rewrite(servers_dir, "tools", manifest_text(url, "tools"))
        await place.sees(healthy("tools"))


@pytest.mark.requirement("hub:first-claim")
async def test_a_new_folder_takes_nothing_from_one_that_serves(place: Place, servers_dir: Path) -> None:
    async with serve_app(ToolServer().app) as url:
        add(servers_dir, "tools_two", manifest_text(url, "tools_two"))
        await place.sees(healthy("tools_two"))
        add(servers_dir, "tools", manifest_text(url, "tools"))
        views = await place.sees(lambda views: len(views) == 2)
        assert (views["tools"].health, views["tools_two"].health) == ("invalid", "healthy")
        assert "'tools' and 'tools_two' clash" in views["tools"].faults[0]
        assert views["tools_two"].faults == ()


@pytest.mark.requirement("hub:unreadable-folder")
async def test_a_folder_that_can_not_be_read_is_told_once_and_changes_nothing(
    place: Place, servers_dir: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "hub.follow")
    looks = counted_looks(monkeypatch)
    async with serve_app(ToolServer().app) as url:
        add(servers_dir, "tools", manifest_text(url, "tools"))
        await place.sees(healthy("tools"))
        revision = place.hub.board.revision
        servers_dir.rename(servers_dir.with_name("away"))
        await place.until(lambda: "can't be read: No such file" in caplog.text)
        told_at = len(looks)
        await place.until(lambda: len(looks) > told_at + 3)
        assert place.hub.board.revision == revision
        servers_dir.with_name("away").rename(servers_dir)
        await place.until(lambda: "the folder is read again" in caplog.text)
        rewrite(servers_dir, "tools", manifest_text(url, "tools").replace("title: Tools", "title: Later"))
        await place.sees(lambda views: views["tools"].title == "Later")
    assert len([record for record in caplog.records if record.name == "hub.follow"]) == 2


def counted_looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows with each time that a follower waits for a look."""
    looks: list[None] = []
    look = Follower._look

    async def counted(self: Follower) -> tuple[ManifestFile, ...]:
        looks.append(None)
        return await look(self)

    monkeypatch.setattr(Follower, "_look", counted)
    return looks


class Stuck(Folder):
    """A folder whose disk does not answer until ``release``; counts who waits."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.release = threading.Event()
        self.looks = 0

    def look(self) -> tuple[ManifestFile, ...]:
        self.looks += 1
        assert self.release.wait(20)
        return super().look()


async def following(folder: Folder, tmp_path: Path, prober: Prober, use: Callable[[Board], Awaitable[None]]) -> None:
    board, history = Board(NOTHING, "boot", disabled=frozenset(), mcp_host="h"), History(tmp_path / "hub.db")
    await history.open()
    monitor = Monitor(board, history, prober, mcp_host="h", observe=lambda _: None)
    follower = Follower(folder, board, monitor, lambda _: None, rescan_s=0.01, look_s=0.05)
    follower.start()
    try:
        await use(board)
    finally:
        await follower.close()
        await monitor.close()
        await history.close()


@pytest.mark.requirement("hub:unreadable-folder")
async def test_a_disk_that_hangs_has_one_reader_and_holds_up_nothing(
    tmp_path: Path,
    servers_dir: Path,
    prober: Prober,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add(servers_dir, "broken", "name: [")
    waits = counted_looks(monkeypatch)
    folder = Stuck(servers_dir)

    async def use(board: Board) -> None:
        async with asyncio.timeout(10):
            while len(waits) < 4:
                await asyncio.sleep(0.01)
            assert (folder.looks, board.views()) == (1, ())
            folder.release.set()
            await board.changed_since(board.revision)
            assert [view.name for view in board.views()] == ["broken"]

    await following(folder, tmp_path, prober, use)
    assert caplog.text.count("does not answer") == 1

    held = Stuck(servers_dir)

    async def leave(_: Board) -> None:
        async with asyncio.timeout(10):
            while not held.looks:
                await asyncio.sleep(0.01)

    begun = time.monotonic()
    await following(held, tmp_path, prober, leave)
    assert time.monotonic() - begun < 5
    held.release.set()


async def test_a_failure_in_the_thread_is_the_waiters() -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        await in_thread(fail)
    assert await in_thread(lambda: 7) == 7
