"""The hub as the command sees it: the catalog, one integration, "check now" and approving changed tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote

import httpx
from pydantic import SecretStr, ValidationError

from hub.text import clean
from hub.wire import Approval, CatalogView, IntegrationDetail, ProbeResult
from open_persona.errors import HubRefused, ServiceUnreachable

Shape = TypeVar("Shape", Approval, CatalogView, IntegrationDetail, ProbeResult)


class HubApi:
    """``http`` is shared and stays the caller's. Without ``service_key`` only reading works, on loopback alone."""

    def __init__(self, url: str, http: httpx.AsyncClient, service_key: SecretStr | None = None) -> None:
        self._url = url
        self._http = http
        self._service_key = service_key

    async def catalog(self) -> CatalogView:
        """All integrations and how they do. Raises ``ServiceUnreachable``."""
        return _read(CatalogView, await self._call("GET", "/api/v1/integrations"))

    async def probe(self, name: str) -> ProbeResult:
        """Checks one integration now, as the monitor would. Raises ``ServiceUnreachable``."""
        return _read(ProbeResult, await self._call("POST", f"/api/v1/integrations/{name}/probe"))

    async def integration(self, name: str) -> IntegrationDetail:
        """One integration with how its tools differ. Raises ``ServiceUnreachable``, ``HubRefused``."""
        return _read(IntegrationDetail, await self._call("GET", f"/api/v1/integrations/{quote(name, safe='')}"))

    async def approve(self, name: str, tool_fingerprint: str) -> Approval:
        """Accepts the tools with this fingerprint. Raises ``ServiceUnreachable``, ``HubRefused``."""
        path = f"/api/v1/integrations/{quote(name, safe='')}/approve"
        return _read(Approval, await self._call("POST", path, {"tool_fingerprint": tool_fingerprint}))

    async def _call(self, method: str, path: str, body: Mapping[str, str] | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {self._service_key.get_secret_value()}"} if self._service_key else {}
        try:
            response = await self._http.request(method, f"{self._url}{path}", headers=headers, json=body)
        except httpx.HTTPError as error:
            raise ServiceUnreachable(
                f"The hub does not answer at {self._url} ({type(error).__name__}). "
                "Start it with 'open-persona up', or set OPEN_PERSONA_HUB_URL."
            ) from None
        if response.status_code != httpx.codes.OK:
            if reason := _reason(response):
                raise HubRefused(reason)
            raise ServiceUnreachable(f"The hub at {self._url} answered {response.status_code} to {method} {path}.")
        return response.content


def _reason(response: httpx.Response) -> str:
    """The hub's own words for a refusal; empty where the answer is not the hub's."""
    try:
        error = response.json()["error"]
        return clean(f"{error['message']} {error['action']}", 600)
    except (ValueError, TypeError, KeyError):
        return ""


def _read(shape: type[Shape], body: bytes) -> Shape:
    try:
        return shape.model_validate_json(body)
    except ValidationError:
        raise ServiceUnreachable(
            "The hub's answer is not of this version's shape. Is another program on its port?"
        ) from None
