"""What the gateway shows of each integration, made of the last good probe and kept until that changes.

Shown are the approved tools alone, the same to every runner, each reduced to what a model reads. An output schema is
left out: no model reads it, and a client that has it refuses a result that was cut.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hub.board import Board, Present
from hub.errors import RpcError
from hub.gateway_messages import INVALID_PARAMS, JsonObject, encoded
from hub.gateway_params import ParamHeader, param_headers
from hub.manifest import Limits, Manifest, Risk
from hub.mcp_session import HANDSHAKE_VERSIONS, MODERN_VERSION
from hub.probe import target_of
from hub.state import Standing
from hub.tools import Tool, combined_fingerprint, compare

PAGE = 100
"""Tools on one page of ``tools/list``."""

SERVER_KEY = "io.modelcontextprotocol/serverInfo"
_BOOL_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")


@dataclass(frozen=True)
class Front:
    """One integration as runners see it. ``unavailable`` says why it can't be called now; its list is empty then.

    ``tools`` are the approved ones with their risk; ``described`` is false while only their names are known, which is
    so from the hub's start to its first probe.
    """

    name: str
    title: str
    limits: Limits
    url: str
    protocol: str
    tools: Mapping[str, Risk]
    described: bool
    unavailable: str
    mark: str
    """Changes with the tools and with whether they are shown."""
    secret_settings: frozenset[str]
    """Keys of the settings whose values may not come back in an answer."""
    params: Mapping[str, tuple[ParamHeader, ...]] = field(repr=False)
    pages: Mapping[tuple[bool, str], bytes] = field(repr=False)
    """Results of ``tools/list`` as JSON, by (modern, cursor)."""
    manifest: Manifest | None = field(default=None, repr=False)

    def page(self, cursor: object, *, modern: bool) -> bytes:
        """One page. Raises RpcError for a cursor of another list, or of nobody's."""
        found = self.pages.get((modern, cursor)) if isinstance(cursor, str) else None
        if found is None:
            raise RpcError(INVALID_PARAMS, "The cursor is not one of this list; start again without one")
        return found

    def initialized(self, wanted: object) -> bytes:
        """The result of ``initialize``: the client's revision where it is of the handshake era, else the newest."""
        version = wanted if wanted in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[-1]
        capabilities = {"tools": {"listChanged": False}}
        return encoded(
            {"protocolVersion": version, "capabilities": capabilities, "serverInfo": _server(self.name, self.title)}
        )

    def discovered(self) -> bytes:
        """The result of ``server/discover``."""
        capabilities = {"tools": {"listChanged": False}}
        result = {"supportedVersions": [MODERN_VERSION], "capabilities": capabilities}
        return encoded({**result, **_envelope(self.name, self.title)})


class Fronts:
    """The fronts of all integrations; each is made anew when its standing or its manifest changes."""

    def __init__(self, board: Board, mcp_host: str) -> None:
        self._board = board
        self._mcp_host = mcp_host
        self._made: dict[str, tuple[Present, Front]] = {}

    def of(self, name: str) -> Front | None:
        """The front of an integration, None for an unknown name."""
        present = self._board.present(name)
        if present is None:
            self._made.pop(name, None)
            return None
        made = self._made.get(name)
        if made is None or not _same(made[0], present):
            made = self._made[name] = (present, self._make(name, present, made))
        return made[1]

    def _make(self, name: str, present: Present, made: tuple[Present, Front] | None) -> Front:
        manifest, standing = present.manifest, present.standing
        if manifest is None:
            return _broken(name)
        listed = standing.tools or ()
        why = _unavailable(manifest, standing, present.disabled)
        url, protocol = target_of(manifest, self._mcp_host).url, standing.protocol or MODERN_VERSION
        described = all(tool.definition for tool in listed)
        views = compare(manifest, listed, standing.approved)
        approved = {view.name: view.risk for view in views if view.state == "approved"}
        mark = f"{combined_fingerprint(listed)[:16]} {' '.join(approved)} {described} {not why}"
        if made is not None and made[0].manifest is manifest and made[1].mark == mark:
            return replace(made[1], url=url, protocol=protocol, unavailable=why)
        shown = [tool for tool in listed if tool.name in approved]
        return Front(
            name=name,
            title=manifest.title,
            limits=manifest.limits,
            url=url,
            protocol=protocol,
            tools=approved,
            described=described,
            unavailable=why,
            mark=mark,
            secret_settings=frozenset(one.key for one in manifest.settings if one.secret),
            params={tool.name: found for tool in shown if (found := _params(tool))},
            pages=_pages(manifest.name, manifest.title, [] if why else shown),
            manifest=manifest,
        )


def _broken(name: str) -> Front:
    """An invalid manifest."""
    why = f"{name} is not set up correctly. Do not try again; tell the user that the administrator has to mend it."
    pages = _pages(name, name, [])
    return Front(
        name,
        name,
        Limits(),
        "",
        MODERN_VERSION,
        {},
        described=True,
        unavailable=why,
        mark="",
        secret_settings=frozenset(),
        params={},
        pages=pages,
    )


def _same(one: Present, other: Present) -> bool:
    return one.standing is other.standing and one.manifest is other.manifest and one.disabled == other.disabled


def _params(tool: Tool) -> tuple[ParamHeader, ...]:
    schema = tool.definition.get("inputSchema")
    return param_headers(schema) if isinstance(schema, dict) else ()


def _unavailable(manifest: Manifest, standing: Standing, disabled: bool) -> str:
    title = manifest.title
    if disabled:
        return f"{title} is switched off by the administrator. Do not try again; tell the user so."
    if standing.health == "starting":
        return f"{title} has not been checked since its start. Try again in a few seconds."
    if standing.health not in ("healthy", "degraded"):
        return (
            f"{title} is down ({standing.reason or 'unknown'}). Do not try again now; tell the user that {title} can't "
            "be reached, and that the hub's status page says why."
        )
    return ""


def _pages(name: str, title: str, tools: list[Tool]) -> dict[tuple[bool, str], bytes]:
    """Every page in both eras by its cursor; the first page's is empty."""
    mark = combined_fingerprint(tools)[:12]
    pages = {}
    for start in range(0, max(len(tools), 1), PAGE):
        result: dict[str, object] = {"tools": [shown_definition(tool) for tool in tools[start : start + PAGE]]}
        if start + PAGE < len(tools):
            result["nextCursor"] = _cursor(mark, start + PAGE)
        own = _cursor(mark, start) if start else ""
        pages[False, own] = encoded(result)
        pages[True, own] = encoded({**result, **_envelope(name, title)})
    return pages


def _cursor(mark: str, start: int) -> str:
    return base64.urlsafe_b64encode(f"{mark}:{start}".encode()).decode()


def shown_definition(tool: Tool) -> dict[str, object]:
    """A tool's definition with what a model reads, in the types that the protocol gives it."""
    raw = tool.definition
    shown: dict[str, object] = {"name": tool.name}
    shown.update({key: raw[key] for key in ("title", "description") if isinstance(raw.get(key), str)})
    shown["inputSchema"] = raw.get("inputSchema", {"type": "object"})
    hints = raw.get("annotations")
    if isinstance(hints, dict):
        kept = {key: hints[key] for key in _BOOL_HINTS if isinstance(hints.get(key), bool)}
        if isinstance(hints.get("title"), str):
            kept["title"] = hints["title"]
        shown["annotations"] = kept
    return shown


def _server(name: str, title: str) -> JsonObject:
    return {"name": name, "title": title, "version": "1"}


def _envelope(name: str, title: str) -> dict[str, object]:
    """What every result of the modern era has. Nothing is cached: what is shown follows the integration's health."""
    meta = {SERVER_KEY: _server(name, title)}
    return {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "_meta": meta}
