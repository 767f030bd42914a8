"""The connection to the sidecar in Open WebUI's list of OpenAI connections, which is kept by position.

Address, key, model list, headers and how it logs in are ours at every start. Whether it is on, its tags and all the
rest of it, and every other connection, are the admin's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .headers import is_sidecar
from .seed_models import BARE
from .settings import Settings

HEADERS = {
    "x-openwebui-user-id": "{{USER_ID}}",
    "x-openwebui-chat-id": "{{CHAT_ID}}",
    "x-openwebui-message-id": "{{MESSAGE_ID}}",
    "x-openwebui-user-message-id": "{{USER_MESSAGE_ID}}",
    "x-openwebui-user-message-parent-id": "{{USER_MESSAGE_PARENT_ID}}",
    "x-openwebui-task": "{{TASK}}",
}
"""Open WebUI fills these in, and sends them to this connection alone."""

_NEW: Mapping[str, object] = {"enable": True, "tags": [], "connection_type": "external"}
_OTHER_API = ("api_type", "azure", "api_version", "provider")
"""Whatever would make Open WebUI speak another API than chat completions."""


@dataclass(frozen=True)
class Connections:
    """Open WebUI's OpenAI connections: URLs, keys by position, and configs by position or, of old, by URL."""

    urls: tuple[str, ...] = ()
    keys: tuple[str, ...] = field(default=(), repr=False)
    configs: Mapping[str, object] = field(default_factory=dict)

    def position(self, base_urls: Sequence[str]) -> int | None:
        """Where the first connection stands whose URL is one of these."""
        return next((index for index, url in enumerate(self.urls) if is_sidecar(url, base_urls)), None)

    def config(self, index: int) -> dict[str, object]:
        held = self.configs.get(str(index), self.configs.get(self.urls[index], {}))
        return dict(held) if isinstance(held, Mapping) else {}


def with_sidecar(connections: Connections, settings: Settings, listed: Sequence[str] | None) -> Connections:
    """``connections`` with the sidecar's in it. ``listed`` are the sidecar's models, None while it has not answered:
    then the models that the connection has stay.
    """
    index = connections.position(settings.sidecar_base_urls)
    if index is None:
        index = len(connections.urls)
        connections = replace(connections, urls=(*connections.urls, settings.sidecar_base_urls[0]))
        config = dict(_NEW)
    else:
        config = {key: value for key, value in connections.config(index).items() if key not in _OTHER_API}
    config |= {
        "model_ids": _model_ids(config.get("model_ids"), listed),
        "headers": dict(HEADERS),
        "prefix_id": "",
        "auth_type": "bearer",
    }
    keys = [*connections.keys[: len(connections.urls)], *[""] * (len(connections.urls) - len(connections.keys))]
    keys[index] = settings.sidecar_api_key.get_secret_value() or keys[index]
    return replace(connections, keys=tuple(keys), configs={**connections.configs, str(index): config})


def _model_ids(held: object, listed: Sequence[str] | None) -> list[str]:
    known = listed if listed is not None else held if isinstance(held, list) else ()
    return list(dict.fromkeys((*BARE, *(str(each) for each in known))))
