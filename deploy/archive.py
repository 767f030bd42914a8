"""The archive of a state folder: ``FORMAT``, ``env``, ``state/…``, and last ``MANIFEST.json`` with the checksums.

A SQLite database of a service is taken with its own online backup, so that it is whole while the service writes; the
files beside it (``-wal``, ``-shm``) are then part of it. What agents can write to is read as ``user_folders`` says.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from deploy.state import USER_FOLDERS, Refused
from deploy.user_folders import OPENCODE_DATABASE, copied_database, opened, walked

FORMAT = 1
FORMAT_NAME, MANIFEST, ENV, STATE = "FORMAT", "MANIFEST.json", "env", "state"
SQLITE = b"SQLite format 3\0"
BESIDE = ("-wal", "-shm", "-journal")
BUSY_S = 60.0
CHUNK = 1 << 20


class Writer:
    """Writes one archive; ``close`` puts the manifest in. ``left_out`` says what of users could not be read."""

    def __init__(self, target: IO[bytes], made_at: str) -> None:
        self._tar = tarfile.open(fileobj=target, mode="w:gz", compresslevel=6)  # noqa: SIM115 - closed in close()
        self._made_at = made_at
        self._sums: dict[str, str] = {}
        self.left_out: list[str] = []
        self._bytes(FORMAT_NAME, f"{FORMAT}\n".encode())

    def env(self, file: Path) -> None:
        self._bytes(ENV, file.read_bytes())

    def state(self, state: Path) -> None:
        """All files and folders below ``state``; sockets and the like are left out, links stay links."""
        self._tar.add(state, STATE, recursive=False)
        users = [state / name for name in USER_FOLDERS]
        for path in _below(state, users):
            self._add(path, f"{STATE}/{path.relative_to(state)}")
        for folder in users:
            if folder.is_dir():
                self._users(folder, f"{STATE}/{folder.relative_to(state)}")

    def close(self) -> int:
        """Gives the number of files."""
        manifest = {"format": FORMAT, "made_at": self._made_at, "sha256": self._sums}
        data = json.dumps(manifest, indent=1).encode()
        self._tar.addfile(_member(MANIFEST, len(data)), io.BytesIO(data))
        self._tar.close()
        return len(self._sums)

    def _add(self, path: Path, name: str) -> None:
        try:
            if path.is_symlink() or path.is_dir():
                self._tar.add(path, name, recursive=False)
            elif is_database(path):
                self._database(path, name)
            else:
                self._file(path, self._tar.gettarinfo(path, name))
        except FileNotFoundError:
            return  # a file of a moment, gone since it was listed

    def _database(self, path: Path, name: str) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "copy.db"
            backup_database(path, copy)
            member = self._tar.gettarinfo(path, name)
            member.size = copy.stat().st_size
            self._file(copy, member)

    def _users(self, top: Path, shown: str) -> None:
        for folder, below, names in walked(top, self.left_out):
            whole: set[str] = set()
            for name in names:
                if not any(name == f"{database}{end}" for database in whole for end in BESIDE):
                    self._guarded(folder, name, "/".join(part for part in (shown, below, name) if part), whole)

    def _guarded(self, folder: int, name: str, shown: str, whole: set[str]) -> None:
        try:
            if name == OPENCODE_DATABASE and self._opencode(folder, name, shown):
                whole.add(name)
            else:
                self._entry(folder, name, shown)
        except FileNotFoundError:
            return
        except OSError as error:
            self.left_out.append(f"{shown}: {error.strerror or error}")

    def _entry(self, folder: int, name: str, shown: str) -> None:
        """One entry as it is now; what is no file, folder or link is none of a backup's."""
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        member = _described(shown, status)
        if stat.S_ISREG(status.st_mode):
            with opened(folder, name) as file:
                self._packed(file, _described(shown, os.fstat(file.fileno())))
        elif stat.S_ISDIR(status.st_mode):
            member.type, member.size = tarfile.DIRTYPE, 0
            self._tar.addfile(member)
        elif stat.S_ISLNK(status.st_mode):
            member.type, member.size, member.linkname = tarfile.SYMTYPE, 0, os.readlink(name, dir_fd=folder)
            self._tar.addfile(member)

    def _opencode(self, folder: int, name: str, shown: str) -> bool:
        """Whether it could be packed whole; else it is taken as any file."""
        with opened(folder, name) as file:
            member = _described(shown, os.fstat(file.fileno()))
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "copy.db"
            if not copied_database(folder, name, copy):
                return False
            member.size = copy.stat().st_size
            self._file(copy, member)
        return True

    def _file(self, path: Path, member: tarfile.TarInfo) -> None:
        with path.open("rb") as file:
            self._packed(file, member)

    def _packed(self, file: IO[bytes], member: tarfile.TarInfo) -> None:
        summed = _Summed(file, member.size)
        self._tar.addfile(member, summed)
        self._sums[member.name] = summed.digest.hexdigest()

    def _bytes(self, name: str, data: bytes) -> None:
        self._tar.addfile(_member(name, len(data)), io.BytesIO(data))
        self._sums[name] = hashlib.sha256(data).hexdigest()


def is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE


def backup_database(source: Path, target: Path) -> None:
    """A whole copy of a database that may be in use. Raises ``Refused`` when it can't be read.

    Run as root, SQLite gives what it makes beside the database to the database's owner.
    """
    try:
        origin = sqlite3.connect(source, timeout=BUSY_S)
        copy = sqlite3.connect(target)
        try:
            origin.backup(copy, pages=-1)
        finally:
            copy.close()
            origin.close()
    except sqlite3.Error as error:
        raise Refused(f"{source} can't be read: {error}. Stop the services and try again.") from None


def read_format(archive: tarfile.TarFile, name: Path) -> None:
    """Raises ``Refused`` unless the archive is one of ours, of a format that is known here."""
    first = archive.next()
    file = archive.extractfile(first) if first is not None and first.name == FORMAT_NAME and first.isfile() else None
    said = file.read(20).decode("ascii", "replace").strip() if file else ""
    if not said.isdigit():
        raise Refused(f"{name} is no backup of Open Persona.")
    if int(said) > FORMAT:
        raise Refused(
            f"{name} has format {said}, and this version knows up to {FORMAT}. Restore it with the version it is of, "
            "or a newer one."
        )


def after_format(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members after the first, each one that a backup can hold. Raises ``Refused``."""
    for member in archive:
        if member.name != FORMAT_NAME:
            check_name(member)
            yield member


def verify(name: Path) -> dict[str, str]:
    """Reads all of an archive, compares the checksums, and gives them. Raises ``Refused``."""
    found: dict[str, str] = {}
    manifest: dict[str, str] | None = None
    try:
        with tarfile.open(name, "r|gz") as archive:
            read_format(archive, name)
            found[FORMAT_NAME] = hashlib.sha256(f"{FORMAT}\n".encode()).hexdigest()
            for member in after_format(archive):
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None and member.name == MANIFEST:
                    manifest = json.loads(file.read())["sha256"]
                elif file is not None:
                    found[member.name] = _digest(file)
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError) as error:
        raise Refused(f"{name} can't be read: {type(error).__name__}: {error}. Take another backup.") from None
    if manifest is None:
        raise Refused(f"{name} ends too early. Take another backup.")
    if wrong := sorted(each for each in {*manifest, *found} if manifest.get(each) != found.get(each)):
        raise Refused(f"{name} is damaged: {', '.join(wrong[:5])}. Take another backup.")
    return manifest


def check_name(member: tarfile.TarInfo) -> None:
    """Raises ``Refused`` for a member that would land outside, or is neither file, folder nor link."""
    parts = Path(member.name).parts
    plain = member.isfile() or member.isdir() or member.issym()
    if not plain or member.name.startswith("/") or ".." in parts or parts[:1] not in ((STATE,), (ENV,), (MANIFEST,)):
        raise Refused(f"The archive holds {member.name!r}, which no backup does.")


def _below(folder: Path, apart: Sequence[Path] = ()) -> Iterator[Path]:
    """Parents first, sorted; without what belongs to a database beside it, and what is no file, folder or link.

    Of the folders ``apart`` nothing but themselves.
    """
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return  # gone since it was listed
    for path in paths:
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue  # one that is gone: the others beside it are not
        if stat.S_ISDIR(mode):
            yield path
            if path not in apart:
                yield from _below(path, apart)
        elif stat.S_ISLNK(mode) or (stat.S_ISREG(mode) and not _is_beside_database(path)):
            yield path


def _is_beside_database(path: Path) -> bool:
    main = next((path.with_name(path.name.removesuffix(end)) for end in BESIDE if path.name.endswith(end)), None)
    return main is not None and main.is_file() and is_database(main)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


def _described(name: str, status: os.stat_result) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = status.st_size, stat.S_IMODE(status.st_mode), int(status.st_mtime)
    return member


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


class _Summed(io.RawIOBase):
    """Reads exactly ``size`` bytes, zeros where the file became shorter meanwhile, and sums what it gave."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self._file, self._left = file, size
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        data += bytes(wanted - len(data))
        self._left -= wanted
        self.digest.update(data)
        return data
