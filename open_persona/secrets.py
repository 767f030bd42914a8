"""``secrets.json``: the three keys of a deployment, made at the first start and then only read.

``sidecar_api_key`` is what Open WebUI shows the sidecar, ``service_key`` what the services show each other, and
``token_key`` what runner tokens and passwords are derived from.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from pydantic import SecretStr

from open_persona.errors import HomeRefused

FILE = "secrets.json"
KEY_BYTES = 32


@dataclass(frozen=True)
class Secrets:
    """The keys of one deployment."""

    sidecar_api_key: SecretStr
    service_key: SecretStr
    token_key: SecretStr


NAMES = tuple(field.name for field in fields(Secrets))


def load_secrets(home: Path, environment: Mapping[str, str]) -> Secrets | None:
    """The keys, each from ``OPEN_PERSONA_<NAME>`` first and else from the file; ``None`` while there is no file.

    Raises ``HomeRefused`` when the file can't be read or lacks a key.
    """
    stored = _read(home / FILE)
    held = stored or {}
    found = {name: environment.get(f"OPEN_PERSONA_{name.upper()}") or held.get(name, "") for name in NAMES}
    lacking = [name for name, value in found.items() if not value]
    if lacking and stored is None:
        return None
    if lacking:
        raise HomeRefused(f"{home / FILE} lacks {', '.join(lacking)}. Restore it from your backup, or move it away.")
    return Secrets(**{name: SecretStr(value) for name, value in found.items()})


def make_secrets(home: Path, environment: Mapping[str, str]) -> Secrets:
    """The keys, made now where they are in neither place; an existing file is never changed.

    Raises ``HomeRefused`` when the file can't be made, read, or lacks a key.
    """
    if (found := load_secrets(home, environment)) is not None:
        return found
    with contextlib.suppress(FileExistsError):
        create_private(home / FILE, json.dumps({name: secrets.token_urlsafe(KEY_BYTES) for name in NAMES}, indent=1))
    if (made := load_secrets(home, environment)) is None:
        raise HomeRefused(f"{home / FILE} was removed while it was made. Run the command again.")
    return made


def is_private(path: Path) -> bool:
    """Whether nobody but the owner can read the file."""
    return not stat.S_IMODE(path.stat().st_mode) & 0o077


def create_private(path: Path, content: str) -> None:
    """A file for its owner alone, whole or not at all, and never over another: of two that start at once, one wins.

    Raises ``FileExistsError``, or ``HomeRefused`` where the folder can't be written.
    """
    try:
        handle, scratch = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)  # O_EXCL, mode 0600
        try:
            with os.fdopen(handle, "w") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(scratch, path)
        finally:
            Path(scratch).unlink()
    except FileExistsError:
        raise
    except OSError as error:
        raise HomeRefused(f"{path} can't be made: {error}") from error


def _read(path: Path) -> dict[str, str] | None:
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise HomeRefused(f"{path} can't be read: {type(error).__name__}. Restore it from your backup.") from None
    if not isinstance(raw, dict):
        raise HomeRefused(f"{path} is not a JSON object. Restore it from your backup.")
    return {str(name): value for name, value in raw.items() if isinstance(value, str)}
