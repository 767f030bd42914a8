"""The sidecar's settings: environment variables with the prefix ``OPEN_PERSONA_``.

Every field is documented in ``docs/reference/settings.md``; a test compares the two.
"""

from __future__ import annotations

import json
import logging
import os
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sidecar.errors import SidecarError

ProviderName = Literal["openai", "anthropic", "openrouter", "compatible", "demo"]
PACKAGE = Path(__file__).resolve().parent
SIDECAR_ALIAS = "open-persona-sidecar"
HUB_ALIAS = "open-persona-hub"
"""The two doors' names as every runner in a container knows them."""


class SettingsError(SidecarError):
    """The environment does not make a working sidecar; the message names the variable."""


def default_home() -> Path:
    """``$XDG_DATA_HOME/open-persona``, by default under ``~/.local/share``."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "open-persona"


class Settings(BaseSettings):
    """Read once at start; nothing else in the sidecar reads the environment."""

    model_config = SettingsConfigDict(env_prefix="OPEN_PERSONA_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=default_home)
    sidecar_host: str = "127.0.0.1"
    sidecar_port: int = Field(8000, ge=0, le=65535)
    sidecar_url: str = ""
    sidecar_api_key: SecretStr = SecretStr("")
    service_key: SecretStr = SecretStr("")
    token_key: SecretStr = SecretStr("")
    hub_url: str = "http://127.0.0.1:7000"
    gateway_url: str = ""
    log_level: str = "INFO"

    demo: bool = False
    demo_base_url: str = "http://127.0.0.1:8900/v1"
    openai_base_url: str = "https://api.openai.com/v1"
    anthropic_base_url: str = "https://api.anthropic.com/v1"
    openrouter_base_url: str = "https://openrouter.ai/api/v1"
    compatible_base_url: str = ""
    openai_models: Annotated[tuple[str, ...], NoDecode] = ("gpt-5.1", "gpt-5-mini")
    anthropic_models: Annotated[tuple[str, ...], NoDecode] = ("claude-sonnet-4-5", "claude-haiku-4-5")
    openrouter_models: Annotated[tuple[str, ...], NoDecode] = ("anthropic/claude-sonnet-4.5",)
    compatible_models: Annotated[tuple[str, ...], NoDecode] = ()
    compatible_context: int = 128_000
    compatible_output: int = 8_192
    compatible_images: bool = False
    default_openai_api_key: SecretStr = SecretStr("")
    default_anthropic_api_key: SecretStr = SecretStr("")
    default_openrouter_api_key: SecretStr = SecretStr("")
    default_compatible_api_key: SecretStr = SecretStr("")
    model: str = ""
    task_model: str = ""
    providers: Annotated[tuple[ProviderName, ...], NoDecode] = ("openai", "anthropic", "openrouter", "compatible")

    personas_dir: Path = PACKAGE / "personas"
    memory_templates: Annotated[tuple[str, ...], NoDecode] = ("izzy",)

    turn_timeout_s: float = Field(1800, gt=0)
    turn_steps: int = Field(40, ge=1)
    provider_first_byte_s: float = Field(120, gt=0)
    provider_idle_s: float = Field(120, gt=0)
    provider_retries: int = Field(2, ge=0)
    heartbeat_s: float = Field(10, gt=0)
    max_body_bytes: int = Field(10 * 2**20, ge=1024)

    runner_mode: Literal["process", "docker"] = "process"
    process_shared: bool = False
    opencode_bin: str = "opencode"
    ripgrep_bin: str = "rg"
    runner_start_timeout_s: float = Field(60, gt=0)
    runner_health_timeout_s: float = Field(30, gt=0)
    runner_pause_s: float = Field(600, gt=0)
    runner_idle_s: float = Field(3600, gt=0)
    max_runners: int = Field(20, ge=1)
    key_change_wait_s: float = Field(60, ge=0)
    runner_image: str = "open-persona-runner:1.18.33"
    runner_memory_mb: int = Field(1024, ge=512)
    runner_cpus: float = Field(2, gt=0)
    runner_pids: int = Field(256, ge=32)
    runner_subnets: IPv4Network = IPv4Network("10.213.0.0/16")
    runner_services: Annotated[tuple[str, ...], NoDecode] = ()
    docker_host: str = ""
    workspace_quota_mb: int = Field(2048, ge=1)
    min_free_gb: float = Field(1, ge=0)
    unused_days: int = Field(90, ge=1)

    @field_validator(
        "providers",
        "memory_templates",
        "openai_models",
        "anthropic_models",
        "openrouter_models",
        "compatible_models",
        "runner_services",
        mode="before",
    )
    @classmethod
    def _comma_list(cls, value: object) -> object:
        """Lists are written ``a,b,c`` in the environment."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.upper() not in logging.getLevelNamesMapping():
            raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    @model_validator(mode="after")
    def _read_secrets(self) -> Self:
        """What the environment does not hold comes from ``secrets.json`` under the home."""
        stored = _stored_secrets(self.home / "secrets.json")
        for name in ("sidecar_api_key", "service_key", "token_key"):
            if not getattr(self, name).get_secret_value() and name in stored:
                object.__setattr__(self, name, stored[name])
        return self

    @property
    def public_url(self) -> str:
        """Where a runner finds the sidecar."""
        host = SIDECAR_ALIAS if self.runner_mode == "docker" else self.sidecar_host
        return self.sidecar_url or f"http://{host}:{self.sidecar_port}"

    @property
    def gateway(self) -> str:
        """Where a runner finds the hub's gateway, without a final slash."""
        if self.runner_mode == "docker" and not self.gateway_url:
            return f"http://{HUB_ALIAS}:{urlsplit(self.hub_url).port or 80}"
        return (self.gateway_url or self.hub_url).rstrip("/")

    @property
    def enabled_providers(self) -> tuple[ProviderName, ...]:
        """Configured providers, in the order in which a default model is looked for."""
        listed = tuple(name for name in self.providers if name != "compatible" or self.compatible_base_url)
        return (*listed, "demo") if self.demo and "demo" not in listed else listed


def _stored_secrets(path: Path) -> dict[str, SecretStr]:
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read: {type(error).__name__}. Restore it from your backup.") from None
    if not isinstance(raw, dict):
        raise SettingsError(f"{path} is not a JSON object. Restore it from your backup.")
    return {str(name): SecretStr(value) for name, value in raw.items() if isinstance(value, str)}


def load_settings() -> Settings:
    """The settings of this process.

    Raises ``SettingsError`` when a value is wrong or a secret is missing.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        faults = "; ".join(
            f"OPEN_PERSONA_{'_'.join(map(str, e['loc'])).upper()}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise SettingsError(f"Settings are wrong. {faults}") from None
    for name in ("sidecar_api_key", "token_key"):
        if not getattr(settings, name).get_secret_value():
            raise SettingsError(f"No {name}: set OPEN_PERSONA_{name.upper()}, or {_repair(settings.home)}.")
    return settings


def _repair(home: Path) -> str:
    """How ``secrets.json`` gets its keys: an existing one is never changed by us."""
    file = home / "secrets.json"
    if file.exists():
        return f"restore {file}, which lacks it, from your backup"
    return f"run 'open-persona up' once to make {file}"
