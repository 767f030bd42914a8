"""Rules that one manifest's own model can't check: small functions, each ``rule(file, accepted) -> faults``.

``accepted`` are the valid integrations that sort before this one, so of two that clash the later is invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hub.manifest import HttpTransport
from hub.manifest_file import Fault, ManifestFile

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


RULES: tuple[Rule, ...] = (name_is_folder, name_is_no_prefix, no_opencode_name, port_is_free)


def port_of(file: ManifestFile) -> int | None:
    """The port that the launcher gives to the server, None for one that runs elsewhere."""
    if file.manifest is None or isinstance(file.manifest.transport, HttpTransport):
        return None
    return file.manifest.transport.port


def judge(files: Sequence[ManifestFile]) -> dict[str, tuple[Fault, ...]]:
    """The faults of every folder, by folder, sorted. A folder with faults of its own takes part in no clash."""
    accepted: list[ManifestFile] = []
    faults: dict[str, tuple[Fault, ...]] = {}
    for file in sorted(files, key=lambda file: file.folder):
        found = file.faults or tuple(fault for rule in RULES for fault in rule(file, accepted))
        faults[file.folder] = found
        if not found:
            accepted.append(file)
    return faults
