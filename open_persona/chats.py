"""Where ``chat --chat ID`` goes on: the last answer of each chat, one small file each in ``chats`` under the home.

The words are not kept here: Izzy has them in her session, which the sidecar finds by that answer's id.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from open_persona.errors import HomeRefused
from open_persona.home import prepare_home, unwritable
from open_persona.settings import IDENTIFIER
from open_persona.whole_file import replace_whole

FOLDER = "chats"
MOST = 500
"""Chats over this number are forgotten, the longest unused first."""


class ChatNote:
    """The note of one chat of one user. Nothing is read or written before the methods are called."""

    def __init__(self, home: Path, user: str, chat: str) -> None:
        name = hashlib.sha256(f"{user}\n{chat}".encode()).hexdigest()[:32]
        self._home = home
        self._path = home / FOLDER / name

    def last_answer(self) -> str:
        """The id of the chat's last answer; empty for a chat that is not known. Raises ``HomeRefused``."""
        try:
            found = self._path.read_bytes()[:300].decode("ascii", "replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise HomeRefused(f"{self._path} can't be read: {error.strerror or error}.") from None
        return found if IDENTIFIER.fullmatch(found) else ""

    def keep(self, answer: str) -> None:
        """Notes the answer, whole or not at all. Raises ``HomeRefused``."""
        prepare_home(self._home)
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            replace_whole(self._path, answer)
            _forget(self._path.parent)
        except OSError as error:
            raise unwritable(self._path, error) from None


def _forget(folder: Path) -> None:
    """Removes the oldest notes over ``MOST``; another command may be at it, too."""
    aged: list[tuple[float, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            aged.append((path.stat().st_mtime, path))
    for _, path in sorted(aged, reverse=True)[MOST:]:
        path.unlink(missing_ok=True)
