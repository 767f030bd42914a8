"""What this package reads from Open WebUI's environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

PROVIDERS = ("openai", "anthropic", "openrouter", "compatible")
"""The model providers that a user may have a key for."""

DEFAULT_PORT = "8000"
DEFAULT_HUB_URL = "http://127.0.0.1:7000"
_HOSTS = ("127.0.0.1", "localhost", "open-persona-sidecar")


@dataclass(frozen=True)
class Settings:
    """``sidecar_base_urls`` end without a slash; the first is that of the connection which the seeder makes.

    ``default_keys`` maps a provider to the key of last resort, where one is set.
    """

    sidecar_base_urls: tuple[str, ...]
    sidecar_api_key: SecretStr = field(default_factory=lambda: SecretStr(""))
    hub_url: str = DEFAULT_HUB_URL
    default_keys: Mapping[str, SecretStr] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """The settings, each variable trimmed; one that is empty counts as absent."""

        def read(name: str, default: str = "") -> str:
            return environment.get(name, "").strip() or default

        port = read("OPEN_PERSONA_SIDECAR_PORT", DEFAULT_PORT)
        urls = read("OPEN_PERSONA_SIDECAR_BASE_URLS") or ",".join(f"http://{host}:{port}/v1" for host in _HOSTS)
        keys = {provider: read(f"OPEN_PERSONA_DEFAULT_{provider.upper()}_API_KEY") for provider in PROVIDERS}
        return cls(
            sidecar_base_urls=tuple(url.strip().rstrip("/") for url in urls.split(",") if url.strip()),
            sidecar_api_key=SecretStr(read("OPEN_PERSONA_SIDECAR_API_KEY")),
            hub_url=read("OPEN_PERSONA_HUB_URL", DEFAULT_HUB_URL).rstrip("/"),
            default_keys={provider: SecretStr(key) for provider, key in keys.items() if key},
        )
