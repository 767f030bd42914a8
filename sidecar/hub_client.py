"""The hub as the sidecar sees it: the catalog as it is pushed, the last good one while the hub is away, and leases."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time

import aiohttp
from pydantic import SecretStr, ValidationError

from hub.wire import CatalogView, Lease, LeaseAnswer
from sidecar.errors import HubError

log = logging.getLogger(__name__)
TIMEOUT_S = 2.0
LEASE_TIMEOUT_S = 1.0
RECONNECT_S = 0.5
SILENCE_S = 30.0
"""The hub's event stream carries a comment every 10 s."""


class HubClient:
    """Follows the hub's event stream, so that ``catalog`` answers at once. ``http`` stays the caller's."""

    def __init__(self, url: str, service_key: SecretStr, http: aiohttp.ClientSession) -> None:
        self._url = url.rstrip("/")
        self._key = service_key
        self._http = http
        self._catalog: CatalogView | None = None
        self._asked_at = float("-inf")
        self._following = False
        self._booted = asyncio.Condition()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.boot_id = ""

    def start(self) -> None:
        self._task = asyncio.create_task(self._follow_forever())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def catalog(self) -> CatalogView | None:
        """The catalog as it is now, the last good one when the hub is away, None when it was never there.

        Waits only for the first one.
        """
        if self._catalog is None:
            async with self._lock:
                if self._catalog is None and time.monotonic() - self._asked_at > RECONNECT_S:
                    await self._refresh()
        return self._catalog

    async def restarted(self, boot_id: str) -> None:
        """Returns once the hub answers with another boot id than ``boot_id``."""
        async with self._booted:
            await self._booted.wait_for(lambda: self.boot_id not in ("", boot_id))

    async def put_lease(self, lease_id: str, lease: Lease) -> LeaseAnswer:
        """Puts or renews a lease. Raises ``HubError``; the settings in it are sent to the hub alone."""
        body = lease.model_dump(mode="json")
        body["grants"] = [
            {**given, "settings": {key: value.get_secret_value() for key, value in grant.settings.items()}}
            for given, grant in zip(body["grants"], lease.grants, strict=True)
        ]
        try:
            async with self._call("PUT", f"/api/v1/leases/{lease_id}", json=body) as response:
                if response.status != 200:
                    raise HubError("The hub refused a lease.", detail=f"PUT lease: HTTP {response.status}")
                return LeaseAnswer.model_validate_json(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, ValidationError) as error:
            raise HubError("The hub does not answer.", detail=f"PUT lease: {type(error).__name__}") from None

    async def delete_lease(self, lease_id: str) -> None:
        """Ends a lease; when the hub is away it expires by itself."""
        try:
            async with self._call("DELETE", f"/api/v1/leases/{lease_id}"):
                pass
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.info("a lease is left to expire: %s", type(error).__name__)

    def _call(self, method: str, path: str, json: object = None) -> aiohttp.client._RequestContextManager:
        headers = {"Authorization": f"Bearer {self._key.get_secret_value()}"}
        timeout = aiohttp.ClientTimeout(total=LEASE_TIMEOUT_S)
        return self._http.request(method, self._url + path, json=json, headers=headers, timeout=timeout)

    async def _follow_forever(self) -> None:
        while True:
            try:
                await self._follow()
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
                if self._following or self._asked_at == float("-inf"):
                    log.warning("the hub at %s does not answer (%s)", self._url, type(error).__name__)
            self._following = False
            await asyncio.sleep(RECONNECT_S)

    async def _follow(self) -> None:
        """One connection to the event stream; every event names the revision and the boot id."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=SILENCE_S)
        async with self._http.get(f"{self._url}/api/v1/events", timeout=timeout) as response:
            response.raise_for_status()
            async for line in response.content:
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    async with self._lock:
                        if self._catalog is None or self._catalog.revision != event["revision"] or not self._following:
                            self._following = await self._refresh()
                    await self._note_boot(str(event["boot_id"]))

    async def _note_boot(self, boot_id: str) -> None:
        if boot_id != self.boot_id:
            log.info("the hub at %s answers (boot %s)", self._url, boot_id)
            async with self._booted:
                self.boot_id = boot_id
                self._booted.notify_all()

    async def _refresh(self) -> bool:
        """Asks for the catalog; whether it came."""
        self._asked_at = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with self._http.get(f"{self._url}/api/v1/integrations", timeout=timeout) as response:
                response.raise_for_status()
                self._catalog = CatalogView.model_validate_json(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, ValidationError) as error:
            log.info("no catalog from the hub: %s", type(error).__name__)
            return False
        return True
