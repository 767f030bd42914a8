"""Rules on settings: what is declared is used, and what is used is declared."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from open_persona.validate.problems import Found
from open_persona.validate.sources import Source
from open_persona.validate.subject import Subject

_HEADER = re.compile(r"x-open-persona-setting-([a-z][a-z0-9-]*)", re.IGNORECASE)
_GIVES_SETTINGS = frozenset({"CallerSettings", "caller_settings"})


def settings_are_used(subject: Subject) -> Iterator[Found]:
    """Each setting of the manifest is one that the server reads."""
    strings = {text for source in subject.sources for text, _ in source.strings}
    headers = {key for text in strings for key in _header_keys(text)}
    # A command or a remote server gets settings by what its transport says.
    transport = subject.manifest.transport.model_dump_json()
    for index, setting in enumerate(subject.manifest.settings):
        if subject.ours:
            used = setting.key in strings or setting.key in headers
            mend = f'Read it with CallerSettings.of(ctx, INTEGRATION).get("{setting.key}"), or remove it.'
        else:
            used = setting.key in transport or bool(setting.model_dump().get("env"))
            mend = "Say in the manifest how the server gets it, or remove it."
        if not used:
            yield Found(
                subject.in_manifest("settings", str(index), "key"),
                f"the setting {setting.key!r} is asked for and never used",
                mend,
            )


def settings_are_declared(subject: Subject) -> Iterator[Found]:
    """The server reads no setting that the manifest does not have."""
    declared = {setting.key for setting in subject.manifest.settings}
    for source in subject.sources:
        for key, line in (*_read(source), *_by_header(source)):
            if key not in declared:
                yield Found(
                    subject.place(source.path, line),
                    f"the code reads the setting {key!r}, which the manifest does not declare",
                    "Add it to `settings` in the manifest, or correct the key.",
                )


def _read(source: Source) -> Iterator[tuple[str, int]]:
    """(key, line) of each ``.require("…")`` and ``.get("…")`` of a caller's settings."""
    if source.tree is None:
        return
    names = set(_names_of_settings(source.tree)) - {""}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"require", "get"}:
            if not (_gives_settings(node.func.value) or _dotted(node.func.value) in names):
                continue
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value, argument.lineno


def _names_of_settings(tree: ast.Module) -> Iterator[str]:
    """Names that hold a caller's settings: assigned from the kit, or annotated so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _gives_settings(node.value):
            yield from (_dotted(target) for target in node.targets)
        elif isinstance(node, ast.arg) and node.annotation is not None and _is_kits_type(node.annotation):
            yield node.arg
        elif isinstance(node, ast.AnnAssign) and _is_kits_type(node.annotation):
            yield _dotted(node.target)


def _is_kits_type(annotation: ast.expr) -> bool:
    return _dotted(annotation).rpartition(".")[2] == "CallerSettings"


def _gives_settings(node: ast.expr) -> bool:
    """``CallerSettings.of(…)``, ``CallerSettings(…)`` or ``caller_settings(…)``."""
    if not isinstance(node, ast.Call):
        return False
    parts = _dotted(node.func).split(".")
    return any(part in _GIVES_SETTINGS for part in parts[-2:])


def _dotted(node: ast.expr) -> str:
    """``a.b.c`` for a chain of names; empty for anything else."""
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def _by_header(source: Source) -> Iterator[tuple[str, int]]:
    for text, line in source.strings:
        # A docstring may explain how headers are named.
        if "\n" not in text and " " not in text:
            yield from ((key, line) for key in _header_keys(text))


def _header_keys(text: str) -> list[str]:
    return [key.lower().replace("-", "_") for key in _HEADER.findall(text)]
