"""The key that Open WebUI signs sign-ins with and encrypts stored keys under: made once, kept in the home."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from open_persona.errors import HomeRefused
from open_persona.secrets import KEY_BYTES, create_private

SETTING = "WEBUI_SECRET_KEY"
FILE = "webui-secret-key"
DATA = "webui"
"""Open WebUI's own folder in the home."""
DATABASE = Path(DATA) / "webui.db"


def webui_secret_key(home: Path, environment: Mapping[str, str]) -> SecretStr:
    """``WEBUI_SECRET_KEY`` of the user's environment, else what the file holds; the file is made at the first start.

    Raises ``HomeRefused`` when it can't be read or made, or is gone while a database made with it is there: with a new
    one nobody's stored keys could be read.
    """
    if given := environment.get(SETTING):
        return SecretStr(given)
    file = home / FILE
    if not file.exists():
        if (home / DATABASE).exists():
            raise HomeRefused(_gone(file, home / DATABASE))
        with contextlib.suppress(FileExistsError):
            create_private(file, secrets.token_urlsafe(KEY_BYTES))
    return _read(file)


def _read(file: Path) -> SecretStr:
    try:
        key = SecretStr(file.read_text().strip())
    except (OSError, ValueError) as error:
        raise HomeRefused(f"{file} can't be read: {type(error).__name__}. Restore it from your backup.") from None
    if not key.get_secret_value():
        raise HomeRefused(f"{file} is empty. Restore it from your backup.")
    return key


def _gone(file: Path, database: Path) -> str:
    return (
        f"{file} is gone, and {database} holds keys that only it can read. Restore it from your backup, or set "
        f"{SETTING} to what it was. Without either, put a new random text there: people then sign in again and enter "
        "their keys anew."
    )
