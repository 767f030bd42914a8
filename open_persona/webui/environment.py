"""The environment that Open WebUI runs in. Pure.

Its own variables that the user has set win over ``DEFAULTS``; of ``OPEN_PERSONA_*`` it gets what our package in it
reads, and nothing else: no service key, no token key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from pydantic import SecretStr

from open_persona.settings import PREFIX, StackSettings
from open_persona.webui.secret_key import DATA, SETTING

DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        # Stored keys of users are encrypted.
        "ENABLE_VALVE_ENCRYPTION": "True",
        # An agent's answer may take longer than any total deadline: empty is none.
        "AIOHTTP_CLIENT_TIMEOUT": "",
        # No provider learns who asks; the sidecar's connection gets its headers from our package.
        "ENABLE_FORWARD_USER_INFO_HEADERS": "False",
        "ENABLE_OLLAMA_API": "False",
        # Nothing is fetched at a start: without these it waits minutes for models where there is no internet.
        "OFFLINE_MODE": "True",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "RAG_EMBEDDING_ENGINE": "openai",
        # A file that a user attaches goes to the persona as it is. Else its text would go to an embedding service, and
        # without a key for one no file could be read.
        "BYPASS_EMBEDDING_AND_RETRIEVAL": "True",
        "RAG_EMBEDDING_MODEL_AUTO_UPDATE": "False",
        "RAG_RERANKING_MODEL_AUTO_UPDATE": "False",
        "WHISPER_MODEL_AUTO_UPDATE": "False",
        "ENABLE_VERSION_UPDATE_CHECK": "False",
        # Nothing is reported to anybody.
        "ANONYMIZED_TELEMETRY": "False",
        "DO_NOT_TRACK": "true",
        "SCARF_NO_ANALYTICS": "true",
    }
)
"""The same in ``openwebui/Dockerfile``."""
_NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME")
_LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class WebuiStart:
    """What a start of Open WebUI takes: its command, the key that its database is tied to, and the sidecar's key."""

    program: Path
    secret_key: SecretStr
    sidecar_api_key: SecretStr


def webui_environment(
    settings: StackSettings, start: WebuiStart, environment: Mapping[str, str], provider_keys: Mapping[str, str]
) -> dict[str, str]:
    """Defaults, then the user's own variables, then what must be so."""
    users = {name: value for name, value in environment.items() if not _withheld(name)}
    return {
        **DEFAULTS,
        "CORS_ALLOW_ORIGIN": ";".join(own_origins(settings)),
        # Unsaid, it is api.openai.com, with an OPENAI_API_KEY of the operator's own shell.
        "OPENAI_API_BASE_URLS": sidecar_base_urls(settings)[0],
        **users,
        **provider_keys,
        "PYTHONUNBUFFERED": "1",
        "DATA_DIR": str(settings.home / DATA),
        SETTING: start.secret_key.get_secret_value(),
        "OPEN_PERSONA_HUB_URL": settings.hub,
        "OPEN_PERSONA_SIDECAR_BASE_URLS": ",".join(sidecar_base_urls(settings)),
        "OPEN_PERSONA_SIDECAR_PORT": str(settings.sidecar_port),
        "OPEN_PERSONA_SIDECAR_API_KEY": start.sidecar_api_key.get_secret_value(),
    }


def sidecar_base_urls(settings: StackSettings) -> list[str]:
    """The base URLs that count as the sidecar's connection, the one that is used first."""
    urls = [settings.sidecar, *(f"http://{host}:{settings.sidecar_port}" for host in _LOOPBACK)]
    return [f"{url}/v1" for url in dict.fromkeys(urls)]


def own_origins(settings: StackSettings) -> list[str]:
    """The addresses under which a browser may have opened this Open WebUI."""
    told = urlsplit(settings.webui)
    urls = [f"{told.scheme}://{told.netloc}", settings.webui_here]
    return list(dict.fromkeys([*urls, *(f"http://{host}:{settings.webui_port}" for host in _LOOPBACK)]))


def _withheld(name: str) -> bool:
    return name.startswith(PREFIX) or name in _NOT_PASSED_ON
