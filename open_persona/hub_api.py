"""The hub as the command sees it: the catalog, and "check now"."""

from __future__ import annotations

from typing import TypeVar

import httpx
from pydantic import SecretStr, ValidationError

from hub.wire import CatalogView, ProbeResult
from open_persona.errors import ServiceUnreachable

Shape = TypeVar("Shape", CatalogView, ProbeResult)


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

    async def _call(self, method: str, path: str) -> bytes:
        headers = {"Authorization": f"Bearer {self._service_key.get_secret_value()}"} if self._service_key else {}
        try:
            response = await self._http.request(method, f"{self._url}{path}", headers=headers)
        except httpx.HTTPError as error:
            raise ServiceUnreachable(
                f"The hub does not answer at {self._url} ({type(error).__name__}). "
                "Start it with 'open-persona up', or set OPEN_PERSONA_HUB_URL."
            ) from None
        if response.status_code != httpx.codes.OK:
            raise ServiceUnreachable(f"The hub at {self._url} answered {response.status_code} to {method} {path}.")
        return response.content


def _read(shape: type[Shape], body: bytes) -> Shape:
    try:
        return shape.model_validate_json(body)
    except ValidationError:
        raise ServiceUnreachable(
            "The hub's answer is not of this version's shape. Is another program on its port?"
        ) from None
