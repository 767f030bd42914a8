"""The hub's settings, read from ``OPEN_PERSONA_*`` variables and ``secrets.json``."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hub.errors import SettingsError

NameList = Annotated[frozenset[str], NoDecode]


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """The state folder: ``$XDG_DATA_HOME/open-persona``, by default ``~/.local/share/open-persona``."""
    base = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "open-persona"


def default_servers_dir() -> Path:
    """The ``mcp_servers`` folder beside this package."""
    return Path(__file__).resolve().parent.parent / "mcp_servers"


class HubSettings(BaseSettings):
    """Environment names are the field names in capitals with the prefix ``OPEN_PERSONA_``.

    ``mcp_host`` is where the servers of the manifests listen, seen from the hub. ``hub_disabled`` and
    ``hub_allowed_hosts`` are comma lists. Whoever calls from ``runner_subnets`` is a runner. ``service_key`` falls back
    to ``secrets.json`` in ``home``.
    """

    model_config = SettingsConfigDict(env_prefix="OPEN_PERSONA_", frozen=True)

    hub_host: str = "127.0.0.1"
    hub_port: Annotated[int, Field(ge=0, le=65535)] = 7000
    hub_disabled: NameList = frozenset()
    hub_allowed_hosts: NameList = frozenset()
    mcp_servers_dir: Path = Field(default_factory=default_servers_dir)
    mcp_host: str = "127.0.0.1"
    runner_subnets: IPv4Network = IPv4Network("10.213.0.0/16")
    home: Path = Field(default_factory=default_home)
    service_key: SecretStr = SecretStr("")

    @field_validator("hub_disabled", "hub_allowed_hosts", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def loopback_only(self) -> bool:
        """Whether the hub can be reached from this machine alone."""
        return is_loopback(self.hub_host)


def is_loopback(host: str) -> bool:
    """Whether a bind address is a loopback one; a name other than ``localhost`` is not taken for one."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings() -> HubSettings:
    """Settings with a service key.

    Raises:
        SettingsError: a value is malformed, or there is no service key.
    """
    try:
        settings = HubSettings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = "OPEN_PERSONA_" + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg']}") from None
    if settings.service_key.get_secret_value():
        return settings
    return settings.model_copy(update={"service_key": _key_from_file(settings.home)})


def _key_from_file(home: Path) -> SecretStr:
    try:
        secrets = json.loads((home / "secrets.json").read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            "There is no service key. Run `open-persona up` once (it makes secrets.json in OPEN_PERSONA_HOME), "
            "or set OPEN_PERSONA_SERVICE_KEY."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"secrets.json in OPEN_PERSONA_HOME can't be read: {type(error).__name__}.") from None
    key = secrets.get("service_key") if isinstance(secrets, dict) else None
    if not isinstance(key, str) or not key:
        raise SettingsError(
            "secrets.json in OPEN_PERSONA_HOME holds no service_key. Restore it from your backup, "
            "or set OPEN_PERSONA_SERVICE_KEY."
        )
    return SecretStr(key)
