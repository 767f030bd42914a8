"""Rules that one manifest's own model can't check: small functions, each ``rule(file, accepted) -> faults``.

``accepted`` are the integrations that have the better claim: what serves already, then what sorts before this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from hub.manifest import HttpTransport, Manifest
from hub.manifest_file import Fault, ManifestFile
from hub.transport_rules import arguments_hold_no_secret, headers_can_be_sent, values_are_its_own, variables_are_free

Rule = Callable[[ManifestFile, Sequence[ManifestFile]], Iterator[Fault]]

# fmt: off
OPENCODE_NAMES = frozenset(
    {
        "read", "write", "edit", "multiedit", "apply_patch", "patch", "glob", "grep", "list", "bash", "task",
        "webfetch", "websearch", "codesearch", "todowrite", "todoread", "question", "skill", "lsp",
        "external_directory", "doom_loop", "invalid", "plan_enter", "plan_exit", "list_mcp_resources",
        "list_mcp_resource_templates", "read_mcp_resource", "batch",
    }
)
# fmt: on
"""Tools and permissions of opencode 1.18's own. opencode calls an integration's tool ``<name>_<tool>``."""


def name_is_folder(file: ManifestFile, accepted: Sequence[ManifestFile]) -> Iterator[Fault]:  # noqa: ARG001
    """The folder is the integration's identity: its name says the same."""
    if file.manifest and file.manifest.name != file.folder:
        yield file.fault(("name",), f"name: {file.manifest.name!r} differs from the folder {file.folder!r}")


def name_is_no_prefix(file: ManifestFile, accepted: Sequence[ManifestFile]) -> Iterator[Fault]:
    """With ``a`` and ``a_b`` the tool ``a_b_c`` could belong to either, and so could a permission for it."""
    for other in accepted:
        shorter, longer = sorted((file.folder, other.folder), key=len)
        if longer.startswith(shorter + "_"):
            yield file.fault(
                ("name",), f"name: {shorter!r} and {longer!r} clash, because tools are named <name>_<tool>; rename one"
            )


def no_opencode_name(file: ManifestFile, accepted: Sequence[ManifestFile]) -> Iterator[Fault]:  # noqa: ARG001
    """No ``<name>_<tool>`` may pass for a tool or permission of opencode's own."""
    for tool in file.manifest.tools if file.manifest else ():
        if f"{file.folder}_{tool}" in OPENCODE_NAMES:
            yield file.fault(("tools", tool), f"tools.{tool}: {file.folder}_{tool} is a name of opencode's own")


def port_is_free(file: ManifestFile, accepted: Sequence[ManifestFile]) -> Iterator[Fault]:
    """Two servers can't listen on one port."""
    port = port_of(file)
    for other in accepted:
        if port is not None and port == port_of(other):
            yield file.fault(("transport", "port"), f"transport.port: {port} is taken by {other.folder!r}")


RULES: tuple[Rule, ...] = (
    name_is_folder,
    name_is_no_prefix,
    no_opencode_name,
    port_is_free,
    values_are_its_own,
    arguments_hold_no_secret,
    variables_are_free,
    headers_can_be_sent,
)


def port_of(file: ManifestFile) -> int | None:
    """The port that the launcher gives to the server, None for one that runs elsewhere."""
    if file.manifest is None or isinstance(file.manifest.transport, HttpTransport):
        return None
    return file.manifest.transport.port


def judge(files: Sequence[ManifestFile], serving: Mapping[str, Manifest] | None = None) -> dict[str, tuple[Fault, ...]]:
    """The faults of every folder, by folder. A folder with faults of its own takes part in no clash.

    ``serving`` are the manifests that are in use. What serves stays: an edit or a new folder that clashes with it is at
    fault. Several edits are taken together, so that two integrations can swap their ports at once.
    """
    held = serving or {}
    files = sorted(files, key=lambda file: file.folder)
    faults = {file.folder: file.faults or _faults(file, ()) for file in files}
    sound = [file for file in files if not faults[file.folder]]
    edits = [file for file in sound if file.folder in held and file.manifest != held[file.folder]]
    while True:
        edits = [file for file in edits if not faults[file.folder]]
        edited = {file.folder for file in edits}
        accepted = [_as_held(file, held) for file in files if file.folder in held and file.folder not in edited]
        if _admit(edits, accepted, faults):
            break
    for file in sound:
        if file.folder not in held:
            _admit([file], accepted, faults)
    return faults


def _admit(files: Sequence[ManifestFile], accepted: list[ManifestFile], faults: dict[str, tuple[Fault, ...]]) -> bool:
    """Accept them one by one until one is at fault, which is noted; whether none was."""
    for file in files:
        faults[file.folder] = _faults(file, accepted)
        if faults[file.folder]:
            return False
        accepted.append(file)
    return True


def _as_held(file: ManifestFile, held: Mapping[str, Manifest]) -> ManifestFile:
    return ManifestFile(file.folder, held[file.folder], (), {})


def _faults(file: ManifestFile, accepted: Sequence[ManifestFile]) -> tuple[Fault, ...]:
    return tuple(fault for rule in RULES for fault in rule(file, accepted))
