"""Settings of the spawner, from the environment. Those of runners have the sidecar's names; here they are bounds."""

from __future__ import annotations

import hashlib
import re
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from spawner.errors import SettingsError
from spawner.healthcheck import DEFAULT_SOCKET
from spawner.names import SERVICE_ALIASES

CONTAINER_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}")
PLAIN_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_.@+ -]+)+")


class SpawnerSettings(BaseSettings):
    """Environment names are the field names in capitals with the prefix ``OPEN_PERSONA_``.

    ``data_dir`` is the deployment's state, by its path on the host, and mounted read-only at the same path here.
    ``runner_services`` is a comma list: the containers of sidecar and hub.
    """

    model_config = SettingsConfigDict(env_prefix="OPEN_PERSONA_", frozen=True)

    spawner_socket: Path = Path(DEFAULT_SOCKET)
    spawner_docker_socket: Path = Path("/var/run/docker.sock")
    data_dir: Path
    runner_image: Annotated[str, Field(pattern=r"\A[a-z0-9][A-Za-z0-9._:/@-]{0,254}\z")] = "open-persona-runner:1.18.33"
    runner_user: Annotated[str, Field(pattern=r"\A[1-9][0-9]{0,9}:[1-9][0-9]{0,9}\z")] = "1000:1000"
    runner_memory_mb: Annotated[int, Field(ge=512)] = 1024
    runner_cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2
    runner_pids: Annotated[int, Field(ge=32)] = 256
    runner_subnets: IPv4Network = IPv4Network("10.213.0.0/16")
    runner_services: Annotated[tuple[str, ...], NoDecode] = ()

    @field_validator("runner_services", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("runner_services")
    @classmethod
    def _two_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > len(SERVICE_ALIASES) or not all(CONTAINER_NAME.fullmatch(name) for name in value):
            raise ValueError("must be the container names of the sidecar and the hub, in this order")
        return value

    @field_validator("runner_subnets")
    @classmethod
    def _holds_a_network(cls, value: IPv4Network) -> IPv4Network:
        if value.prefixlen > 28 or not value.is_private:
            raise ValueError("must be a private range that holds at least one /28")
        return value

    @field_validator("data_dir")
    @classmethod
    def _plain(cls, value: Path) -> Path:
        if not PLAIN_PATH.fullmatch(str(value)) or {"..", "."} & set(value.parts):
            raise ValueError("must be an absolute path on the host, with no '..' and no special characters in it")
        return value

    @property
    def deployment(self) -> str:
        """What the label ``open-persona.spawner`` says: 12 hex digits, made from the data's place."""
        return hashlib.sha256(f"open-persona-spawner:{self.data_dir}".encode()).hexdigest()[:12]

    @property
    def services(self) -> dict[str, str]:
        """Container name → the alias under which runners know it."""
        return dict(zip(self.runner_services, SERVICE_ALIASES, strict=False))


def load_settings() -> SpawnerSettings:
    """Raises ``SettingsError``: a value is missing or malformed, or the data directory is not mounted here."""
    try:
        settings = SpawnerSettings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = "OPEN_PERSONA_" + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg']}.") from None
    if not settings.data_dir.is_dir():
        raise SettingsError(
            "OPEN_PERSONA_DATA_DIR: there is no such directory here. "
            "Mount the host's data directory into the spawner, read-only and at the same path."
        )
    return settings
