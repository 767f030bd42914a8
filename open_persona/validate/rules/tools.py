"""Rules on what the server lists. They run where a server was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hub.tokens import context_tokens
from hub.tools import Tool, compare, stated_risks
from open_persona.validate.problems import Found
from open_persona.validate.subject import Subject

DESCRIPTION_CHARS = (20, 1000)
TOOL_TOKENS = 800
"""The largest tool that ships has 560."""

INTEGRATION_TOKENS = 2000
"""Twice what the largest integration that ships has: each turn of a persona pays for it."""

_TYPED = ("type", "enum", "const", "anyOf", "oneOf", "allOf")


def server_answers(subject: Subject) -> Iterator[Found]:
    """The server starts and lists its tools."""
    if subject.listing is not None and subject.listing.problem:
        yield Found(
            subject.in_manifest("transport"),
            subject.listing.problem,
            f"Run it to see all that it says: python -m mcp_servers.run {subject.folder.parent.name}/{subject.name}",
        )


def server_lists_what_is_stated(subject: Subject) -> Iterator[Found]:
    """The server lists exactly the tools that the manifest states."""
    if subject.listing is None or subject.listing.problem:
        return
    for view in compare(subject.manifest, subject.listing.tools):
        if view.state == "missing":
            yield Found(
                subject.in_manifest("tools", view.name),
                f"the server does not list the tool {view.name!r}",
                "Remove it from the manifest, or add it to the server.",
            )
        elif view.state == "unlisted":
            yield Found(
                subject.of_tool(view.name),
                f"the manifest does not state the tool {view.name!r}",
                f"Add `{view.name}: read` (or write, destructive) to `tools` in the manifest.",
            )


def tools_are_described(subject: Subject) -> Iterator[Found]:
    """Each tool says what it does, in a sentence or a few."""
    least, most = DESCRIPTION_CHARS
    for tool in _own(subject):
        text = tool.description.strip()
        if text.lower().rstrip(".").replace(" ", "_") in {"", tool.name.lower()}:
            what = f"the tool {tool.name!r} has no description" + (" but its name" if text else "")
        elif not least <= len(str(tool.definition.get("description", "")).strip()) <= most:
            what = f"the description of {tool.name!r} has {len(text)} characters"
        else:
            continue
        yield Found(
            subject.of_tool(tool.name),
            what,
            f"Say in {least} to {most} characters what it does, what it gives and when to use it.",
        )


def arguments_are_typed(subject: Subject) -> Iterator[Found]:
    """Each argument of a tool has a type and a description."""
    for tool in _own(subject):
        for name, schema in _properties(tool):
            lacks = [word for word, there in (("type", _is_typed(schema)), ("description", _said(schema))) if not there]
            if lacks:
                yield Found(
                    subject.of_argument(tool.name, name),
                    f"the argument {name!r} of {tool.name!r} has no {' and no '.join(lacks)}",
                    f'Annotate it: {name}: Annotated[<type>, Field(description="…")].',
                )


def tools_are_annotated(subject: Subject) -> Iterator[Found]:
    """The hints of each tool agree with its risk in the manifest."""
    risks = subject.manifest.tools
    for tool in _own(subject):
        risk = risks.get(tool.name)
        hints = tool.definition.get("annotations")
        wanted = {"read": (True, False), "write": (False, False), "destructive": (False, True)}.get(risk or "")
        if wanted is None:
            continue
        held = hints if isinstance(hints, Mapping) else {}
        # A tool that only reads destroys nothing; for it the protocol gives the second hint no meaning.
        stated = (held.get("readOnlyHint"), False if risk == "read" else held.get("destructiveHint"))
        if stated != wanted:
            shown = ", ".join(f"{key} {held.get(key, 'not set')}" for key in ("readOnlyHint", "destructiveHint"))
            yield Found(
                subject.of_tool(tool.name),
                f"the tool {tool.name!r} is `{risk}` in the manifest, and its hints say: {shown}",
                f"Give it annotations={str(risk).upper()} of mcp_servers.kit.integration, or correct its risk.",
            )


def tools_fit_the_context(subject: Subject) -> Iterator[Found]:
    """What the tools cost a model's context, in each and together, is within a budget."""
    tools = _listed(subject)
    risks = stated_risks(subject.manifest, tools)
    costs = {tool.name: context_tokens(tool.definition) for tool in tools if tool.name in risks}
    for name, cost in costs.items():
        if cost > TOOL_TOKENS:
            yield Found(
                subject.of_tool(name),
                f"the tool {name!r} costs about {cost} tokens of every turn; the budget is {TOOL_TOKENS}",
                "Shorten its descriptions, or split it.",
            )
    if (total := sum(costs.values())) > INTEGRATION_TOKENS:
        yield Found(
            subject.in_manifest("tools"),
            f"its tools cost about {total} tokens of every turn; the budget is {INTEGRATION_TOKENS}",
            "Fewer tools, shorter descriptions; or state only the tools that a persona needs.",
        )


def _listed(subject: Subject) -> tuple[Tool, ...]:
    return subject.listing.tools if subject.listing else ()


def _own(subject: Subject) -> tuple[Tool, ...]:
    """The tools whose code is in the folder: what somebody else wrote can't be mended here."""
    return _listed(subject) if subject.ours else ()


def _properties(tool: Tool) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Each argument with its schema, what it refers to put in."""
    schema = tool.definition.get("inputSchema")
    whole = schema if isinstance(schema, Mapping) else {}
    properties, shared = whole.get("properties"), whole.get("$defs")
    for name, part in properties.items() if isinstance(properties, Mapping) else ():
        held = part if isinstance(part, Mapping) else {}
        target = shared.get(str(held.get("$ref", "")).rpartition("/")[2]) if isinstance(shared, Mapping) else None
        yield str(name), {**(target if isinstance(target, Mapping) else {}), **held}


def _is_typed(schema: Mapping[str, object]) -> bool:
    return any(key in schema for key in _TYPED)


def _said(schema: Mapping[str, object]) -> bool:
    text = schema.get("description")
    return isinstance(text, str) and bool(text.strip())
