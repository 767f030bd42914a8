"""Rules on the page that an integration has for people, and on its tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from open_persona.validate.problems import Found
from open_persona.validate.sources import Source, files_of, text_of
from open_persona.validate.subject import Subject

HEADINGS = ("What it does", "Settings", "Tools", "Limits", "Troubleshooting")
_FENCE = re.compile(r"^\s*(```|~~~)")


def documentation_is_there(subject: Subject) -> Iterator[Found]:
    """The page that the manifest names is in the folder."""
    if not _is_inside(subject.documentation, subject.folder) or text_of(subject.documentation) is None:
        yield Found(
            subject.in_manifest("documentation"),
            f"the page {subject.manifest.documentation!r} is not in the folder",
            f"Write it, with the headings {', '.join(HEADINGS)}.",
            subject.severity,
        )


def readme_has_its_headings(subject: Subject) -> Iterator[Found]:
    """The page has its five headings, in order, with something under each."""
    text = _page(subject)
    if text is None:
        return
    page = subject.documentation
    sections = list(_sections(text))
    names = [name for name, _, _ in sections]
    missing = [heading for heading in HEADINGS if heading not in names]
    if missing:
        yield Found(
            subject.place(page),
            f"the heading{'s' if len(missing) > 1 else ''} {', '.join(missing)} {'are' if len(missing) > 1 else 'is'}"
            " missing",
            f"The page has these, each as `## …`: {', '.join(HEADINGS)}.",
            subject.severity,
        )
    elif [name for name in names if name in HEADINGS] != list(HEADINGS):
        yield Found(
            subject.place(page, sections[0][1]),
            "the five headings are not in their order, or one is there twice",
            f"Order them: {', '.join(HEADINGS)}.",
            subject.severity,
        )
    for name, line, body in sections:
        if name in HEADINGS and not body.strip():
            yield Found(
                subject.place(page, line),
                f"nothing stands under {name!r}",
                "Write what there is to say, if only that there is nothing: 'None.'",
                subject.severity,
            )


def readme_names_tools_and_settings(subject: Subject) -> Iterator[Found]:
    """The page names each tool and each setting."""
    text = _page(subject)
    if text is None:
        return
    lines = {name: line for name, line, _ in _sections(text)}
    wanted = [("Tools", "tool", name) for name in subject.manifest.tools]
    wanted += [("Settings", "setting", setting.key) for setting in subject.manifest.settings]
    for heading, kind, name in wanted:
        if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text):
            yield Found(
                subject.place(subject.documentation, lines.get(heading, 1)),
                f"the page does not name the {kind} {name!r}",
                f"Say under '{heading}' what it is for.",
                subject.severity,
            )


def tests_are_there(subject: Subject) -> Iterator[Found]:
    """Our own integration of a checkout has tests that import it."""
    tests = subject.tests
    if tests is None or not subject.ours:
        return
    shown = f"tests/mcp_servers/{subject.name}"
    sources = [Source.read(path) for path in files_of(tests) if path.suffix == ".py"]
    found = [source for source in sources if source.path.name.startswith("test_") and _has_a_test(source)]
    if not found:
        yield Found(
            subject.in_manifest("name"),
            f"there is no test in {shown}/",
            f"Write {shown}/test_server.py: the real server in front of a fake upstream.",
        )
    elif not any(f"mcp_servers.{subject.name}" in source.text for source in sources):
        yield Found(
            subject.place(found[0].path),
            f"no test in {shown}/ imports mcp_servers.{subject.name}",
            f"Test the server itself: from mcp_servers.{subject.name}.server import build_app.",
        )


def _has_a_test(source: Source) -> bool:
    return any(function.name.startswith("test_") for function in source.functions)


def _page(subject: Subject) -> str | None:
    return text_of(subject.documentation) if _is_inside(subject.documentation, subject.folder) else None


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _sections(text: str) -> Iterator[tuple[str, int, str]]:
    """(heading, line, text below it) of each ``## …`` outside of code."""
    name, begun, body, fenced = "", 0, [""], False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= bool(_FENCE.match(line))
        if line.startswith("## ") and not fenced:
            if name:
                yield name, begun, "\n".join(body)
            name, begun, body = line.removeprefix("## ").strip(), number, []
        else:
            body.append(line)
    if name:
        yield name, begun, "\n".join(body)
