"""What the demo model answers: a fixed script over the request, with no memory and no chance in it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import JsonValue

from open_persona.demo.arguments import arguments_for, key_terms
from open_persona.demo.choice import choose
from open_persona.demo.conversation import ChatRequest
from open_persona.demo.recall import asks_back, facts, recalled
from open_persona.demo.report import report

DEMO = "This is the demo model: a script that picks tools by words, not a real model."
TASK_MARK = "### Task:"
"""How Open WebUI begins the prompts of its background calls (title, tags, follow-ups)."""


@dataclass(frozen=True)
class Speech:
    """An answer in words."""

    text: str


@dataclass(frozen=True)
class Call:
    """One tool call."""

    tool: str
    arguments: dict[str, JsonValue]


def respond(request: ChatRequest) -> Speech | Call:
    """The same request always gets the same answer."""
    question = request.question
    if TASK_MARK in question:
        return Speech(_task(question))
    if request.tool_results:
        return Speech(_told_by_tools(request.tool_results))
    if asks_back(question):
        return Speech(_recollection(question, request.told))
    if new := facts(question):
        return Speech(f"Noted: {'; '.join(new)}. {DEMO}")
    tool = choose(question, request.functions)
    if tool is not None:
        return Call(tool.name, arguments_for(tool.parameters, question))
    return Speech(f"{_offer([function.name for function in request.functions])} {DEMO}")


def _told_by_tools(results: list[str]) -> str:
    return "\n\n".join(["Here is what the tool returned:", *map(report, results), DEMO])


def _recollection(question: str, told: str) -> str:
    known = recalled(question, told)
    if not known:
        return f"You have told me nothing about that in this conversation. {DEMO}"
    return f"You told me: {'; '.join(known)}. {DEMO}"


def _offer(names: list[str]) -> str:
    if not names:
        return "I was offered no tools, so I can look nothing up."
    return f"I was offered {len(names)} tools ({', '.join(names)}), and none fits these words."


def _task(prompt: str) -> str:
    """Open WebUI asks for a JSON object with one key, which its prompt names."""
    for key in ("follow_ups", "tags", "queries"):
        if f'"{key}"' in prompt:
            return json.dumps({key: []})
    words = key_terms(prompt.rpartition("USER:")[2]) if "USER:" in prompt else ""
    return json.dumps({"title": f"Demo: {words}" if words else "Demo chat"})
