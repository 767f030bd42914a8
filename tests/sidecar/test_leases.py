"""A turn's lease over a real socket: however the turn ends, the hub is told."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub.manifest import Setting
from hub.wire import Lease
from sidecar.hub_client import HubClient
from sidecar.leases import held, make_lease
from sidecar.personas import Persona, read_meta
from tests.fakes.asgi_server import serve_app
from tests.sidecar.builders import catalog, integration

LEASE = Lease(runner="0" * 64, user="u", persona="p")


class Noting:
    """A hub that notes what is put and deleted. With ``status`` 0 it answers a put only after ``go_on``."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.seen: list[tuple[str, str]] = []
        self.put = asyncio.Event()
        self.go_on = asyncio.Event()
        self.app = Starlette(routes=[Route("/api/v1/leases/{id}", self._handle, methods=["PUT", "DELETE"])])

    async def _handle(self, request: Request) -> Response:
        self.seen.append((request.method, request.path_params["id"]))
        if request.method == "DELETE":
            return Response(status_code=204)
        self.put.set()
        if not self.status:
            await self.go_on.wait()
        return JSONResponse({"expires_in_s": 30.0, "boot_id": "b"}, self.status or 200)


@pytest.mark.parametrize(("status", "reachable"), [(200, True), (503, False)])
@pytest.mark.requirement("leases:deleted")
async def test_a_lease_is_deleted_at_the_end_also_where_its_put_failed(status: int, reachable: bool) -> None:
    hub = Noting(status)
    async with serve_app(hub.app) as url, aiohttp.ClientSession() as http:
        async with held(HubClient(url, SecretStr("k"), http), LEASE) as given:
            assert given is reachable
        (put, put_id), (delete, deleted_id) = hub.seen
    assert (put, delete, put_id) == ("PUT", "DELETE", deleted_id)


@pytest.mark.requirement("leases:deleted")
async def test_a_turn_that_is_stopped_while_its_lease_is_put_leaves_none() -> None:
    hub = Noting(0)
    async with serve_app(hub.app) as url, aiohttp.ClientSession() as http:

        async def turn() -> None:
            async with held(HubClient(url, SecretStr("k"), http), LEASE):
                raise AssertionError("the put was not answered")

        running = asyncio.create_task(turn())
        await asyncio.wait_for(hub.put.wait(), 5)
        running.cancel()
        await asyncio.wait((running,), timeout=5)
        hub.go_on.set()
        assert [method for method, _ in hub.seen] == ["PUT", "DELETE"]


@pytest.mark.requirement("leases:users-settings")
def test_only_the_settings_that_a_manifest_leaves_to_users_are_in_it() -> None:
    declared = (Setting(key="api_key", title="Key"), Setting(key="base_url", title="Address", scope="deployment"))
    view = integration("alpha", {"search": "read"}).model_copy(update={"settings": declared})
    given = {name: SecretStr("x") for name in ("api_key", "base_url", "unheard_of")}
    lease = make_lease(
        persona=Persona("p", "P", "m", meta=read_meta({"integrations": {"alpha": {"enabled": True}}})),
        catalog=catalog(view),
        user="u",
        token=SecretStr("t"),
        settings={"alpha": given},
    )
    assert lease is not None
    assert [set(grant.settings) for grant in lease.grants] == [{"api_key"}]
