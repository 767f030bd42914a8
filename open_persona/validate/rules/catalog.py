"""Rules that the hub enforces, too: an integration that breaks one is ``invalid`` there. No manifest can waive them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hub import transport_rules
from hub import validate as hub_rules
from hub.manifest_file import Fault, ManifestFile
from open_persona.validate.problems import Found, Place
from open_persona.validate.subject import Subject

FIELDS = "docs/reference/manifest.md lists every field with its values."


def manifest_valid(subject: Subject) -> Iterator[Found]:
    """The manifest can be read and every field holds what it may hold."""
    yield from _faults(subject, subject.file.faults, f"Correct that line; {FIELDS}")


def name_is_folder(subject: Subject) -> Iterator[Found]:
    """The name is the folder's name."""
    yield from _faults(
        subject,
        tuple(hub_rules.name_is_folder(subject.file, ())),
        "Rename the folder, or say its name in the manifest.",
    )


def name_is_no_prefix(subject: Subject) -> Iterator[Found]:
    """No name followed by '_' begins the name of another integration."""
    mend = "Rename the integration: its folder, `name`, and the folder of its tests."
    yield from _faults(subject, tuple(hub_rules.name_is_no_prefix(subject.file, _before(subject))), mend)


def tool_is_not_opencodes(subject: Subject) -> Iterator[Found]:
    """No <name>_<tool> is a tool or permission of opencode's own."""
    mend = "Rename the tool, in the manifest and in the server."
    yield from _faults(subject, tuple(hub_rules.no_opencode_name(subject.file, ())), mend)


def port_is_unique(subject: Subject) -> Iterator[Found]:
    """No two integrations have one port."""
    mend = "Take a port that no other manifest names; `open-persona new integration` picks the next free one."
    yield from _faults(subject, tuple(hub_rules.port_is_free(subject.file, _before(subject))), mend)


def values_are_its_own(subject: Subject) -> Iterator[Found]:
    """The variable of a setting is none that holds a key of Open Persona itself."""
    mend = "Rename the setting's `key`, or the integration."
    yield from _faults(subject, tuple(transport_rules.values_are_its_own(subject.file, ())), mend)


def arguments_hold_no_secret(subject: Subject) -> Iterator[Found]:
    """An argument of a command names settings that there are, and none of them is a secret."""
    mend = "Give a secret to the program by `env` of the setting; correct or declare any other key."
    yield from _faults(subject, tuple(transport_rules.arguments_hold_no_secret(subject.file, ())), mend)


def variables_are_free(subject: Subject) -> Iterator[Found]:
    """A setting's `env` is of a command, and a variable that nothing else depends on."""
    mend = "Take the variable that the program itself documents, one for each setting."
    yield from _faults(subject, tuple(transport_rules.variables_are_free(subject.file, ())), mend)


def headers_can_be_sent(subject: Subject) -> Iterator[Found]:
    """A header of an http integration has a free name, a value that can be sent, and settings that there are."""
    yield from _faults(subject, tuple(transport_rules.headers_can_be_sent(subject.file, ())), f"Correct it; {FIELDS}")


def _before(subject: Subject) -> Sequence[ManifestFile]:
    """The ones that have the better claim where the hub starts: those that sort before this one."""
    return [file for file in subject.neighbours if file.manifest is not None and file.folder < subject.file.folder]


def _faults(subject: Subject, faults: Sequence[Fault], mend: str) -> Iterator[Found]:
    root = subject.folder.parent.name
    for fault in faults:
        yield Found(Place(f"{root}/{fault.file}", fault.line), fault.reason, mend)
