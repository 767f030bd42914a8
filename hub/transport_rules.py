"""How settings may reach a server that somebody else wrote: rules for ``command`` and ``http`` manifests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from hub.manifest import PLACEHOLDER, CommandTransport, HttpTransport, Setting
from hub.manifest_file import Fault, ManifestFile

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_OUR_HEADERS = re.compile(
    r"(?i)accept|accept-encoding|connection|content-.*|cookie|host|keep-alive|mcp-.*|te|trailer|transfer-encoding"
    r"|upgrade|x-open-persona-.*"
)
"""What the hub itself sends, or what would change where a request begins and ends."""

_OUR_VARIABLES = re.compile(r"HOME|PATH|LANG|TMPDIR|IFS|ENV|BASH_ENV|NODE_OPTIONS|PYTHON.*|(?:LD|DYLD)_.*")
"""What the launcher itself sets, or what makes a program run other code than its own."""


OUR_SECRETS = re.compile(
    r"OPEN_PERSONA_(?:SERVICE_KEY|SIDECAR_API_KEY|TOKEN_KEY|RUNNER_TOKEN|DEFAULT_[A-Z0-9_]+_API_KEY)"
)
"""Variables that hold keys of Open Persona itself. ``mcp_servers.launcher`` has the same list."""


def values_are_its_own(file: ManifestFile, accepted: Sequence[ManifestFile]) -> Iterator[Fault]:  # noqa: ARG001
    """The variable of a setting, ``OPEN_PERSONA_<NAME>_<KEY>``, is none that holds a key of Open Persona itself."""
    for number, setting in enumerate(file.manifest.settings if file.manifest else ()):
        variable = f"OPEN_PERSONA_{file.folder}_{setting.key}".upper()
        if OUR_SECRETS.fullmatch(variable):
            yield file.fault(
                ("settings", str(number), "key"),
                f"settings.{number}.key: its value would be {variable}, a key of Open Persona's own; rename the "
                "setting or the integration",
            )


def arguments_hold_no_secret(file: ManifestFile, accepted: Sequence[ManifestFile]) -> Iterator[Fault]:  # noqa: ARG001
    """A setting may go into an argument unless it is a secret: arguments show in the list of processes."""
    if file.manifest is None or not isinstance(file.manifest.transport, CommandTransport):
        return
    settings = _settings(file)
    for number, argument in enumerate(file.manifest.transport.command):
        where = ("transport", "command", str(number))
        shown = f"transport.command.{number}"
        keys = PLACEHOLDER.findall(argument)
        if keys and number == 0:
            yield file.fault(where, f"{shown}: the program itself can't come from a setting")
            continue
        for key in keys:
            if key not in settings:
                yield file.fault(where, f"{shown}: there is no setting {key!r}")
            elif settings[key].secret:
                yield file.fault(
                    where,
                    f"{shown}: {key!r} is a secret, and arguments show in the list of processes; give it to the "
                    "program by `env` of the setting",
                )


def variables_are_free(file: ManifestFile, accepted: Sequence[ManifestFile]) -> Iterator[Fault]:  # noqa: ARG001
    """``env`` is for ``command`` alone, and names no variable that something else depends on."""
    if file.manifest is None:
        return
    seen: set[str] = set()
    for number, setting in enumerate(file.manifest.settings):
        if not setting.env:
            continue
        where, shown = ("settings", str(number), "env"), f"settings.{number}.env"
        if not isinstance(file.manifest.transport, CommandTransport):
            yield file.fault(where, f"{shown}: only a server of transport.type 'command' gets variables")
        elif _OUR_VARIABLES.fullmatch(setting.env):
            yield file.fault(where, f"{shown}: a setting can't be the variable {setting.env}")
        elif setting.env in seen:
            yield file.fault(where, f"{shown}: {setting.env} is the variable of another setting")
        seen.add(setting.env)


def headers_can_be_sent(file: ManifestFile, accepted: Sequence[ManifestFile]) -> Iterator[Fault]:  # noqa: ARG001
    """Header names are free for use, their values can be sent, and every ``{key}`` in them is a setting."""
    if file.manifest is None or not isinstance(file.manifest.transport, HttpTransport):
        return
    settings, seen = _settings(file), set[str]()
    for name, value in file.manifest.transport.headers.items():
        where, shown = ("transport", "headers", name), f"transport.headers.{name}"
        if not _HEADER_NAME.fullmatch(name):
            yield file.fault(where, f"{shown}: this is no name of a header")
        elif _OUR_HEADERS.fullmatch(name):
            yield file.fault(where, f"{shown}: the hub does not let a manifest set this header")
        elif name.lower() in seen:
            yield file.fault(where, f"{shown}: the header is there twice")
        if not _HEADER_VALUE.fullmatch(value):
            yield file.fault(where, f"{shown}: the value has to be printable ASCII in one line")
        for key in PLACEHOLDER.findall(value):
            if key not in settings:
                yield file.fault(where, f"{shown}: there is no setting {key!r}")
        seen.add(name.lower())


def _settings(file: ManifestFile) -> Mapping[str, Setting]:
    return {setting.key: setting for setting in file.manifest.settings} if file.manifest else {}
