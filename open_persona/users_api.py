"""The sidecar's routes of users, and Open WebUI's list of whom it knows."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NoReturn

import httpx
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from open_persona.errors import BadArgument, ServiceUnreachable, UsersRefused

COUNTING_S = 300.0
"""Everybody's files are counted for the list, and removed or handed over by the others."""
WEBUI_S = 10.0


class UserEntry(BaseModel):
    """One row of ``GET /v1/open-persona/users``. ``whole``: all files could be counted; ``last_used`` None: unknown."""

    model_config = ConfigDict(extra="ignore")

    user: str
    bytes: int
    whole: bool
    last_used: datetime | None
    live: bool
    calls: int
    input_tokens: int
    output_tokens: int


class UserList(BaseModel):
    """The answer of that route."""

    model_config = ConfigDict(extra="ignore")

    unused_days: int
    users: tuple[UserEntry, ...]


class KnownUsers(BaseModel):
    """The answer of Open WebUI's ``GET /open-persona/users``: hashes."""

    model_config = ConfigDict(extra="ignore")

    users: frozenset[str]


class UsersApi:
    """``sidecar`` and ``webui`` are addresses; ``http`` is shared and stays the caller's."""

    def __init__(self, sidecar: str, webui: str, http: httpx.AsyncClient, api_key: SecretStr) -> None:
        self._url = f"{sidecar}/v1/open-persona/users"
        self._sidecar = sidecar
        self._webui = webui
        self._http = http
        self._headers = {"Authorization": f"Bearer {api_key.get_secret_value()}"}

    async def users(self) -> UserList:
        """Everybody of whom something is kept. Raises ``ServiceUnreachable`` and ``UsersRefused``."""
        try:
            answer = await self._http.get(self._url, headers=self._headers, timeout=COUNTING_S)
        except httpx.HTTPError as error:
            self._absent(error)
        if answer.status_code != httpx.codes.OK:
            raise UsersRefused(_words(answer.status_code, answer.content))
        return UserList.model_validate_json(answer.content)

    async def known(self) -> frozenset[str] | None:
        """The hashes of Open WebUI's users; None where it can't tell: it is down, another version, or has nobody."""
        try:
            answer = await self._http.get(f"{self._webui}/open-persona/users", headers=self._headers, timeout=WEBUI_S)
            found = KnownUsers.model_validate_json(answer.content) if answer.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, ValidationError):
            return None
        return found.users if found and found.users else None

    async def remove(self, user: str) -> None:
        """Raises ``ServiceUnreachable`` and ``UsersRefused``: a turn runs, or it is not known."""
        try:
            answer = await self._http.delete(f"{self._url}/{user}", headers=self._headers, timeout=COUNTING_S)
        except httpx.HTTPError as error:
            self._absent(error)
        if answer.status_code != httpx.codes.OK:
            raise UsersRefused(f"{user}: {_words(answer.status_code, answer.content)}")

    async def export(self, user: str, target: Path) -> int:
        """Writes the archive to ``target``, whole or not at all, mode 0600; returns its bytes.

        Raises ``BadArgument`` where ``target`` is there, ``OSError``, ``ServiceUnreachable`` and ``UsersRefused``.
        """
        url = f"{self._url}/{user}/export"
        try:
            with _new_file(target) as file:
                async with self._http.stream("GET", url, headers=self._headers, timeout=COUNTING_S) as answer:
                    if answer.status_code != httpx.codes.OK:
                        raise UsersRefused(f"{user}: {_words(answer.status_code, await answer.aread())}")
                    async for block in answer.aiter_raw():
                        file.write(block)
                return file.tell()
        except httpx.HTTPError as error:
            self._absent(error)

    def _absent(self, error: httpx.HTTPError) -> NoReturn:
        raise ServiceUnreachable(
            f"The sidecar at {self._sidecar} does not answer, or not to its end ({type(error).__name__}). Its log says "
            "why; 'open-persona up' starts it."
        ) from None


@contextlib.contextmanager
def _new_file(target: Path) -> Iterator[BinaryIO]:
    """A file for its owner alone, which gets its name when all is written. Raises ``BadArgument``."""
    if os.path.lexists(target):
        raise _in_the_way(target)
    handle, scratch = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(scratch, target)
    except FileExistsError:
        raise _in_the_way(target) from None
    finally:
        Path(scratch).unlink(missing_ok=True)


def _in_the_way(target: Path) -> BadArgument:
    return BadArgument(f"{target} is there already, and nothing is overwritten. Name another file.")


def _words(status: int, body: bytes) -> str:
    try:
        return str(httpx.Response(status, content=body).json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The sidecar answered {status}."
