"""What an integration says of itself: the model of ``mcp_servers/<name>/manifest.yaml``.

Only the shape of one manifest lives here. Rules that need the rest of the catalog
(unique ports, no name a prefix of another) are in ``hub.validate``.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, field_validator

Risk = Literal["read", "write", "destructive"]
"""What a tool can do to the user's data; ``destructive`` is never on unless a persona names the tool."""

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
TOOL_PATTERN = r"^[a-zA-Z][a-zA-Z0-9_-]*$"
SETTING_PATTERN = r"^[a-z][a-z0-9_]*$"

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
"""``{key}`` in an argument or a header stands for a setting; braces around anything else are text."""

Port = Annotated[int, Field(ge=1024, le=65535)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PythonTransport(_Strict):
    """A server of ours: ``server.py`` in the integration's folder, run by the launcher on ``port``."""

    type: Literal["python"]
    port: Port


class CommandTransport(_Strict):
    """A stdio server that somebody else wrote, run by the launcher behind HTTP on ``port``.

    An argument may hold ``{key}`` of a setting that is no secret, since arguments show in the list of processes.
    """

    type: Literal["command"]
    port: Port
    command: Annotated[list[str], Field(min_length=1)]


class HttpTransport(_Strict):
    """A server that runs elsewhere; ``url`` is its MCP endpoint. ``headers`` may hold ``{key}`` of settings."""

    type: Literal["http"]
    url: HttpUrl
    headers: dict[str, str] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _no_credentials(cls, url: HttpUrl) -> HttpUrl:
        # The catalog and the status page show it, and calls would not send them.
        if url.username or url.password:
            raise ValueError("a user or password can't be part of it; make it a setting")
        return url


Transport = Annotated[PythonTransport | CommandTransport | HttpTransport, Field(discriminator="type")]


class Setting(_Strict):
    """One setting: a field in Open WebUI (``scope: user``) and a header at a server of ours.

    ``env`` is the variable in which a ``command`` gets it; ``example`` stands for it when tools are listed.
    """

    key: Annotated[str, Field(pattern=SETTING_PATTERN)]
    title: Annotated[str, Field(min_length=1)]
    scope: Literal["user", "deployment"] = "user"
    secret: bool = False
    required: bool = False
    description: str = ""
    help_url: HttpUrl | None = None
    env: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")] = ""
    example: Annotated[str, Field(max_length=1000, pattern=r"^[\x20-\x7e]*$")] = ""


class Limits(_Strict):
    """Bounds on one tool call: seconds, bytes of its result, and calls a minute for one user."""

    timeout_s: Annotated[float, Field(gt=0, le=600)] = 25
    max_result_bytes: Annotated[int, Field(ge=1000, le=10_000_000)] = 60_000
    calls_per_minute: Annotated[int, Field(ge=1)] = 60


class ProbeSettings(_Strict):
    """How often and how patiently the hub asks whether the server answers."""

    interval_s: Annotated[float, Field(ge=0.2, le=3600)] = 30
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5
    failures_before_down: Annotated[int, Field(ge=1)] = 3
    successes_before_up: Annotated[int, Field(ge=1)] = 1


class Manifest(_Strict):
    """One integration, as its folder states it."""

    manifest_version: Literal[1]
    name: Annotated[str, Field(pattern=NAME_PATTERN, max_length=40)]
    title: Annotated[str, Field(min_length=1, max_length=80)]
    description: Annotated[str, Field(min_length=1, max_length=400)]
    documentation: str = "README.md"
    transport: Transport
    settings: tuple[Setting, ...] = ()
    tools: dict[str, Risk] = Field(default_factory=dict)
    limits: Limits = Limits()
    probe: ProbeSettings = ProbeSettings()
    waivers: dict[str, str] = Field(default_factory=dict)
    """Rule of ``open-persona validate`` → why this integration need not keep it. The hub reads it and does nothing."""
    pin: bool | None = None
    """Whether a new or changed tool waits for an approval; left out, so it is for servers that somebody else wrote."""

    @property
    def pinned(self) -> bool:
        return not isinstance(self.transport, PythonTransport) if self.pin is None else self.pin

    @field_validator("tools")
    @classmethod
    def _tool_names(cls, tools: dict[str, Risk]) -> dict[str, Risk]:
        for name in tools:
            if not re.match(TOOL_PATTERN, name):
                raise ValueError(f"tool name {name!r}: use letters, digits, '_' and '-', starting with a letter")
        return tools

    @field_validator("settings")
    @classmethod
    def _setting_keys(cls, settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
        keys = [setting.key for setting in settings]
        if repeated := {key for key in keys if keys.count(key) > 1}:
            raise ValueError(f"settings named twice: {', '.join(sorted(repeated))}")
        return settings
