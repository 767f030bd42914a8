"""The start of a runner, and the proof that its own folders are mounted in it.

Docker mounts when it starts, some time after the folders were looked at, and a link can be put in a folder's place for
that moment alone. So what is mounted is asked inside the container, of a program of the image, and compared.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from spawner import names
from spawner.answers import Json
from spawner.container_body import sources
from spawner.engine import Answer, Engine
from spawner.errors import CallError, EngineError, Refused
from spawner.folders import Identity, identities

log = logging.getLogger("spawner")
START_S: Final = 60.0
STAT: Final = ("/usr/bin/stat", "-c", "%d %i", "--")
FRAME_HEAD: Final = 8


class Starting:
    def __init__(self, engine: Engine, data: Path) -> None:
        self._engine = engine
        self._data = data

    async def folders(self, workspace: str, key_sig: str) -> dict[str, Identity]:
        """The runner's folders as they are now, by mount target. Raises ``CallError``."""
        return await asyncio.to_thread(identities, self._data, sources(self._data, workspace, key_sig))

    async def start(self, container: Json, path: str) -> Answer:
        """Docker's answer to a start of ``container``, one of ours.

        Raises ``CallError`` where other folders are mounted than its own, or it can't be told; it is removed then.
        """
        labels = container["Config"]["Labels"]
        owner = (labels.get(names.WORKSPACE, ""), labels.get(names.KEYSIG, ""))
        await self.folders(*owner)
        try:
            answer = await self._engine.call("POST", path, deadline_s=START_S)
            if not answer.ok:
                return answer
            mounted = await self._mounted(container["Id"], list(sources(self._data, *owner)))
            if mounted is not None and mounted != await self.folders(*owner):
                raise Refused("A folder of the runner was exchanged while it started.")
        except BaseException:
            await asyncio.shield(self._remove(container))
            raise
        return answer

    async def _mounted(self, container: str, targets: list[str]) -> Mapping[str, Identity] | None:
        """What is mounted at each target; None where nothing runs any more. Asked as root: no runner can forge it."""
        asked = {"AttachStdout": True, "User": "0:0", "Cmd": [*STAT, *targets]}
        made = await self._engine.call("POST", f"/containers/{container}/exec", body=asked)
        told = Answer(500)
        if made.ok:
            began = {"Detach": False, "Tty": False}
            told = await self._engine.call("POST", f"/exec/{made.json()['Id']}/start", body=began)
        found = re.findall(r"([0-9]+) ([0-9]+)\n", _stdout(told.body)) if told.ok else []
        if len(found) == len(targets):
            pairs = ((int(device), int(inode)) for device, inode in found)
            return dict(zip(targets, pairs, strict=True))
        now = await self._engine.call("GET", f"/containers/{container}/json")
        if now.ok and not now.json()["State"]["Running"]:
            return None
        raise EngineError(f"It can't be told what is mounted in the runner; its image has to hold {STAT[0]}.")

    async def _remove(self, container: Json) -> None:
        log.warning("removing %s: its start could not be proved right", container["Name"].lstrip("/"))
        try:
            await self._engine.call("DELETE", f"/containers/{container['Id']}", query={"force": "1"})
        except CallError as error:
            log.error("%s could not be removed: %s", container["Name"].lstrip("/"), error)


def _stdout(stream: bytes) -> str:
    """The text in Docker's frames: one byte that names the stream, three of nothing, four of length, the piece."""
    text, at = b"", 0
    while at + FRAME_HEAD <= len(stream):
        length = int.from_bytes(stream[at + 4 : at + FRAME_HEAD], "big")
        text += stream[at + FRAME_HEAD : at + FRAME_HEAD + length]
        at += FRAME_HEAD + length
    return text.decode("ascii", "replace")
