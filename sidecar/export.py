"""All that is kept of one user, as a ``tar.gz`` that is made while it is read.

``workspace/`` their files, ``memory.json`` the places of their answers, ``personas.json``, ``usage.json``,
``forgotten.json``, ``sessions-<n>.db`` opencode's own database, ``not-exported.txt`` what could not be read. No config,
no token and no key is in it. Links are handed over as links; nothing that an agent can do meanwhile leads out.
"""

from __future__ import annotations

import io
import json
import os
import queue
import stat
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from sidecar.holes import refuse_holes
from sidecar.opencode_copy import copy_database
from sidecar.store_users import Row
from sidecar.user_files import folders_of

BLOCK: Final = 256 * 1024
AHEAD: Final = 16
"""Blocks that wait to be read."""
DEEPEST: Final = 100
"""Folders below that are left out and named: Python's walk goes no deeper than its stack."""
NAMES: Final = {"answers": "memory.json"}


def export(home: Path, user: str, rows: Mapping[str, Sequence[Row]]) -> Generator[bytes, None, None]:
    """The bytes of the archive. It is written by a thread of its own, which ends when the reader leaves.

    Raises ``OSError`` in the middle where it can't be ended: the archive is broken then, and must not pass for whole.
    """
    pipe = _Pipe()

    def write() -> None:
        try:
            with tarfile.open(fileobj=pipe, mode="w|gz", bufsize=BLOCK) as tar:
                _Export(home, user, tar).add_all(rows)
            pipe.end(None)
        except _ReaderGoneError:
            pass
        except Exception as error:  # noqa: BLE001 - the reader is told
            pipe.end(error)

    writer = threading.Thread(target=write, name=f"export-{user}", daemon=True)
    writer.start()
    try:
        yield from pipe.blocks()
    finally:
        pipe.leave()
        writer.join(timeout=10)


class _ReaderGoneError(Exception):
    """Nobody reads the archive any more."""


class _Pipe(io.RawIOBase):
    """What the archive is written to: a bounded queue of blocks."""

    def __init__(self) -> None:
        self._blocks: queue.Queue[bytes | Exception | None] = queue.Queue(AHEAD)
        self._left = threading.Event()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._put(bytes(data))
        return len(data)

    def end(self, fault: Exception | None) -> None:
        self._put(fault)

    def _put(self, item: bytes | Exception | None) -> None:
        while not self._left.is_set():
            try:
                self._blocks.put(item, timeout=0.2)
            except queue.Full:
                continue
            return
        raise _ReaderGoneError

    def blocks(self) -> Iterator[bytes]:
        while (item := self._blocks.get()) is not None:
            if isinstance(item, Exception):
                raise OSError("the archive could not be ended") from item
            yield item

    def leave(self) -> None:
        self._left.set()


class _Export:
    def __init__(self, home: Path, user: str, tar: tarfile.TarFile) -> None:
        self._workspace, self._private = folders_of(home, user)
        self._home = home
        self._tar = tar
        self._left_out: list[str] = []

    def add_all(self, rows: Mapping[str, Sequence[Row]]) -> None:
        for table, held in sorted(rows.items()):
            self._add_text(NAMES.get(table, f"{table}.json"), json.dumps(list(held), indent=1))
        if self._workspace.is_dir():
            self._add_workspace()
        self._add_sessions()
        if self._left_out:
            self._add_text("not-exported.txt", "".join(f"{line}\n" for line in self._left_out))

    def _add_text(self, name: str, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = len(data), int(time.time()), 0o600
        self._tar.addfile(info, io.BytesIO(data))

    def _add_sessions(self) -> None:
        found = sorted(self._private.glob("*/data")) if self._private.is_dir() else []
        for number, data in enumerate(found, 1):
            with tempfile.TemporaryDirectory(prefix=".export-", dir=self._home) as scratch:
                copy = Path(scratch) / "opencode.db"
                try:
                    if not copy_database(data, copy):
                        continue
                except OSError as error:
                    self._left_out.append(f"sessions: {error}")
                    continue
                with copy.open("rb") as file:
                    self._add_file(f"sessions-{number}.db", file)

    def _add_workspace(self) -> None:
        def fault(error: OSError) -> None:
            self._left_out.append(f"{error.filename}: {error.strerror}")

        for place, folders, files, descriptor in os.fwalk(self._workspace, follow_symlinks=False, onerror=fault):
            below = Path(place).relative_to(self._workspace)
            if len(below.parts) >= DEEPEST and folders:
                self._left_out += [f"{below / name}: nested too deep" for name in folders]
                folders.clear()
            for name in (*folders, *files):
                self._guarded(f"workspace/{below / name}", name, descriptor, self._add_entry)

    def _guarded(self, shown: str, name: str, folder: int, add: Callable[[str, str, int], None]) -> None:
        try:
            add(shown, name, folder)
        except OSError as error:
            self._left_out.append(f"{shown}: {error.strerror or error}")

    def _add_entry(self, shown: str, name: str, folder: int) -> None:
        """One entry as it is now; a file is opened without following a link, whatever it was a moment ago."""
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb") as file:
                self._add_file(shown, file)
            return
        info = tarfile.TarInfo(shown)
        info.mtime, info.mode = int(status.st_mtime), stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(status.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=folder)
        else:
            self._left_out.append(f"{shown}: neither a file nor a folder")
            return
        self._tar.addfile(info)

    def _add_file(self, shown: str, file: BinaryIO) -> None:
        refuse_holes(file.fileno())
        status = os.fstat(file.fileno())
        info = tarfile.TarInfo(shown)
        info.size, info.mtime, info.mode = status.st_size, int(status.st_mtime), stat.S_IMODE(status.st_mode)
        self._tar.addfile(info, _Exactly(file, status.st_size))


class _Exactly(io.RawIOBase):
    """A file as long as it was when it was opened: one that shrinks meanwhile ends in zeros."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._rest = size

    def read(self, size: int = -1) -> bytes:
        wanted = self._rest if size < 0 else min(size, self._rest)
        data = self._file.read(wanted)
        self._rest -= wanted
        return data.ljust(wanted, b"\0")
