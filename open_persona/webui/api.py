"""Open WebUI as the command sees it: its version, whether anybody has an account, and what our package in it says."""

from __future__ import annotations

from typing import Literal

import httpx
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

STATUS_PATH = "/open-persona/status"


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SeedState(_Wire):
    """What the seeder last did. ``revision``: of the hub's catalog that is seeded."""

    state: Literal["seeded", "waiting", "failed"]
    at: str | float | None = None
    revision: str | int | None = None
    problem: str | None = None


class UserKeys(_Wire):
    """The providers that one user has set a key for."""

    user: str
    set: tuple[str, ...] = ()


class KeyState(_Wire):
    """Providers with a key, by who gave it; never a key."""

    users: tuple[UserKeys, ...] = ()
    defaults: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()


class WebuiStatus(_Wire):
    """``GET /open-persona/status``. ``tools`` and ``models``: the ids that are there."""

    webui_version: str
    patched: bool
    seed: SeedState
    tools: tuple[str, ...]
    models: tuple[str, ...] = ()
    keys: KeyState


class _Version(_Wire):
    version: str


class _Config(_Wire):
    onboarding: bool = False


Refusal = Literal["unreachable", "unpatched", "wrong_key", "error", "bad_shape"]
"""Why there is no status. ``unpatched``: Open WebUI's own answer to a path that it does not know."""


class WebuiApi:
    """``http`` is shared and stays the caller's."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._url = url
        self._http = http

    async def healthy(self) -> bool:
        """Whether something answers 200 to ``/health`` there."""
        answer = await self._get("/health")
        return answer is not None and answer.status_code == httpx.codes.OK

    async def version(self) -> str | None:
        """Open WebUI's version, ``None`` where what answers is no Open WebUI."""
        answer = await self._get("/api/version")
        try:
            return _Version.model_validate_json(answer.content).version if answer is not None else None
        except ValidationError:
            return None

    async def needs_first_user(self) -> bool:
        """Whether nobody has an account there; ``False`` also where that can't be told."""
        answer = await self._get("/api/config")
        try:
            return answer is not None and _Config.model_validate_json(answer.content).onboarding
        except ValidationError:
            return False

    async def status(self, key: SecretStr) -> WebuiStatus | Refusal:
        """What our package in it says, or why it says nothing."""
        answer = await self._get(STATUS_PATH, {"Authorization": f"Bearer {key.get_secret_value()}"})
        if answer is None:
            return "unreachable"
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return "wrong_key"
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        if answer.status_code == httpx.codes.NOT_FOUND or (answer.status_code == httpx.codes.OK and not is_json):
            return "unpatched"
        if answer.status_code != httpx.codes.OK:
            return "error"
        try:
            return WebuiStatus.model_validate_json(answer.content)
        except ValidationError:
            return "bad_shape"

    async def _get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response | None:
        try:
            return await self._http.get(f"{self._url}{path}", headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None
