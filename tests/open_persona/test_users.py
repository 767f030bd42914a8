"""``open-persona users`` against the real sidecar, and a server that speaks Open WebUI's list."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from open_persona.errors import BadArgument, ServiceUnreachable, UsersRefused
from open_persona.users import Wanted, export, named, remove, show, user_hash
from open_persona.users_api import UsersApi
from sidecar.app import create_app
from sidecar.settings import Settings
from tests.fakes.asgi_server import serve_app

KEY = "api-key"
ANN, BOB, CLI = user_hash("ann"), user_hash("bob"), user_hash("local")
OLD = time.time() - 91 * 86400


@dataclass
class Webui:
    """Whom Open WebUI knows; None: it answers with its page, as without our package."""

    users: list[str] | None = field(default_factory=lambda: [ANN])

    async def answer(self, request: Request) -> Response:
        if self.users is None:
            return HTMLResponse("<html>")
        assert request.headers["authorization"] == f"Bearer {KEY}"
        return JSONResponse({"users": self.users})


@dataclass
class World:
    home: Path
    api: UsersApi
    webui: Webui
    out: Console

    @property
    def printed(self) -> str:
        assert isinstance(self.out.file, io.StringIO)
        return self.out.file.getvalue()

    def here(self) -> list[str]:
        return sorted(path.name for path in (self.home / "workspaces").iterdir())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    home = tmp_path / "home"
    for user in (ANN, BOB, CLI):
        (home / "workspaces" / user).mkdir(parents=True)
        (home / "workspaces" / user / "plan.txt").write_text("plan")
        os.utime(home / "workspaces" / user, (OLD, OLD) if user == BOB else None)
    secrets = {name: SecretStr(KEY) for name in ("sidecar_api_key", "service_key", "token_key")}
    settings = Settings(home=home, hub_url="http://127.0.0.1:9", **secrets)  # type: ignore[arg-type]
    webui = Webui()
    pages = Starlette(routes=[Route("/open-persona/users", webui.answer)])
    async with (
        serve_app(create_app(settings)) as url,
        serve_app(pages) as webui_url,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        api = UsersApi(url, webui_url, http, SecretStr(KEY))
        yield World(home, api, webui, Console(file=io.StringIO(), width=200))


def typing(answer: str, before: Callable[[], None] = lambda: None) -> Callable[[str], AsyncGenerator[str, None]]:
    async def typed(_prompt: str) -> AsyncGenerator[str, None]:
        before()
        yield answer

    return typed


@pytest.mark.requirement("users:command")
async def test_everybody_is_shown_with_what_is_said_of_them(world: World) -> None:
    assert await show(world.api, CLI, world.out, as_json=False) == 0
    lines = {line.split()[0]: line for line in world.printed.splitlines() if line}
    assert lines[BOB].rstrip().endswith("gone, unused")
    assert "KiB" in lines[ANN]
    assert "gone" not in lines[ANN] + lines[CLI]
    assert "unused" not in lines[ANN] + lines[CLI]


@pytest.mark.requirement("users:command")
@pytest.mark.parametrize("users", [None, []])
async def test_nobody_is_called_gone_where_open_webui_cant_tell(world: World, users: list[str] | None) -> None:
    world.webui.users = users
    await show(world.api, CLI, world.out, as_json=True)
    shown = json.loads(world.printed)
    assert shown["webui_asked"] is False
    assert {one["user"]: one["marks"] for one in shown["users"]} == {ANN: [], BOB: ["unused"], CLI: []}
    with pytest.raises(BadArgument, match=r"can't be asked.*Nothing was removed"):
        await remove(world.api, Wanted(gone=True), CLI, world.out, typed=None, sure=True)
    assert len(world.here()) == 3


@pytest.mark.requirement("users:command")
async def test_an_open_webui_that_knows_none_of_them_is_the_wrong_one(world: World) -> None:
    world.webui.users = ["0" * 16]
    with pytest.raises(BadArgument, match="knows none of the users here"):
        await remove(world.api, Wanted(gone=True), CLI, world.out, typed=None, sure=True)
    await show(world.api, CLI, world.out, as_json=False)
    assert "gone" not in world.printed


@pytest.mark.requirement("users:command")
async def test_those_who_are_gone_are_removed_after_a_yes_alone(world: World) -> None:
    for wanted in (Wanted(gone=True), Wanted(unused=True), Wanted(users=(BOB,))):
        with pytest.raises(BadArgument, match="give --yes"):
            await remove(world.api, wanted, CLI, world.out, typed=None, sure=False)
        assert await remove(world.api, wanted, CLI, world.out, typed=typing("no"), sure=False) == 1
    assert len(world.here()) == 3
    assert await remove(world.api, Wanted(gone=True), CLI, world.out, typed=typing("y"), sure=False) == 0
    assert world.here() == sorted([ANN, CLI])
    assert f"Removed {BOB}." in world.printed
    assert await remove(world.api, Wanted(unused=True), CLI, world.out, typed=None, sure=True) == 0
    assert world.here() == sorted([ANN, CLI])


@pytest.mark.requirement("users:command")
async def test_who_comes_back_while_it_asks_stays(world: World) -> None:
    def back() -> None:
        os.utime(world.home / "workspaces" / BOB)

    assert await remove(world.api, Wanted(unused=True), CLI, world.out, typed=typing("y", back), sure=False) == 1
    assert BOB in world.here()
    assert f"Left: {BOB}: used again meanwhile." in world.printed


@pytest.mark.requirement("users:command")
@pytest.mark.parametrize(
    "wanted", [Wanted(), Wanted(gone=True, unused=True), Wanted(users=(ANN,), gone=True), Wanted(users=("0" * 16,))]
)
async def test_what_is_not_clear_removes_nothing(world: World, wanted: Wanted) -> None:
    with pytest.raises(BadArgument, match=r"Say who|Nothing is kept of 0000"):
        await remove(world.api, wanted, CLI, world.out, typed=None, sure=True)
    assert len(world.here()) == 3


def test_users_are_named_by_hash_or_by_id() -> None:
    assert named([ANN], ["bob"]) == (ANN, BOB)
    with pytest.raises(BadArgument, match="'ann' is no hash"):
        named(["ann"], [])


@pytest.mark.requirement("users:export")
async def test_an_export_is_its_owners_alone_and_never_over_another(world: World, tmp_path: Path) -> None:
    target = tmp_path / "ann.tar.gz"
    assert await export(world.api, ANN, target, world.out) == 0
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as tar:
        assert "workspace/plan.txt" in tar.getnames()
    whole = target.read_bytes()
    with pytest.raises(BadArgument, match="nothing is overwritten"):
        await export(world.api, BOB, target, world.out)
    with pytest.raises(UsersRefused, match="Nothing is kept"):
        await export(world.api, "0" * 16, tmp_path / "none.tar.gz", world.out)
    assert target.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["ann.tar.gz"]


@pytest.mark.requirement("users:export")
async def test_an_export_that_is_cut_leaves_no_file(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    (world.home / "workspaces" / ANN / "big").write_bytes(os.urandom(3 * 2**20))
    monkeypatch.setattr("sidecar.export._Export._add_sessions", broken)
    with pytest.raises(ServiceUnreachable, match="not to its end"):
        await export(world.api, ANN, tmp_path / "ann.tar.gz", world.out)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


@asynccontextmanager
async def nowhere() -> AsyncIterator[UsersApi]:
    async with httpx.AsyncClient(trust_env=False) as http:
        yield UsersApi("http://127.0.0.1:9", "http://127.0.0.1:9", http, SecretStr(KEY))


async def test_a_sidecar_that_is_down_is_named() -> None:
    async with nowhere() as api:
        with pytest.raises(ServiceUnreachable, match="does not answer"):
            await api.users()
        assert await api.known() is None
