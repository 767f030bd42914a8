"""The base models and the personas: what they are when they are first seeded.

A row of these is made and never changed afterwards: from then on it is the admin's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .wanted import WantedModel

BARE = ("open-persona/build", "open-persona/plan")
"""The base models that are always there."""

PREFIX = "open-persona/"

_CAPABILITIES = {
    "vision": True,
    "file_upload": True,
    "file_context": True,
    "citations": True,
    "status_updates": True,
    "usage": True,
    "web_search": False,
    "image_generation": False,
    "code_interpreter": False,
    "terminal": False,
    "memory": False,
    "builtin_tools": False,
}
"""Open WebUI's own tools are off: they would be sent with each request, and the agent has its own."""

_PICK = "Choose it as the base of a model; people do not see it in their list."
_SAID = {
    "build": "For a persona of your own: it is what its system prompt says, and has what you tick.",
    "plan": "For a persona of your own that only looks: of what you tick it has the tools that read.",
}


def base_models(ids: Sequence[str]) -> tuple[WantedModel, ...]:
    """A hidden row for each id: without one, users may not use a persona that stands on it."""
    return tuple(_base(each) for each in dict.fromkeys((*BARE, *ids)))


def _base(model_id: str) -> WantedModel:
    """Called by its id, as the documentation calls it."""
    template = model_id.removeprefix(PREFIX)
    said = (
        _SAID.get(template) or f"The locked core “{template}”: your system prompt comes after it and can't change it."
    )
    return WantedModel(
        id=model_id,
        name=model_id,
        base=None,
        meta={"description": f"{said} {_PICK}", "hidden": True, "capabilities": dict(_CAPABILITIES)},
    )


def _prompt(title: str, subtitle: str, content: str) -> dict[str, object]:
    return {"title": [title, subtitle], "content": content}


PERSONAS = (
    WantedModel(
        id="izzy",
        name="Izzy",
        base=f"{PREFIX}izzy",
        meta={
            "description": "A grant strategist: finds money that fits, says what is not worth the work, and remembers "
            "the chat.",
            "capabilities": dict(_CAPABILITIES),
            "suggestion_prompts": [
                _prompt(
                    "Find grants that fit",
                    "from what you do and where",
                    "We are a small non-profit. Ask me up to three questions about what we do, for whom and where, "
                    "then search for open grants that fit us, and say for each why it fits or not.",
                ),
                _prompt(
                    "Is this grant worth it?",
                    "before you spend the hours",
                    "Here is a grant that we are thinking of applying for: [paste the link or the text]. Is it worth "
                    "our time? Look at eligibility, the odds, the hours it takes and what happens when the money ends.",
                ),
            ],
        },
    ),
    WantedModel(
        id="grant-draft",
        name="Grant draft",
        base=f"{PREFIX}grant-draft",
        meta={
            "description": "Writes, cuts and checks application text: direct, within the limits, nothing invented.",
            "capabilities": dict(_CAPABILITIES),
            "suggestion_prompts": [
                _prompt(
                    "Draft an answer",
                    "to one question of the form",
                    "Question of the form: [paste it, with its word limit]. Facts to use: [paste them]. Draft the "
                    "answer.",
                ),
                _prompt(
                    "Check my draft",
                    "against the funder's rules",
                    "The funder's rules: [paste them]. My draft: [paste it]. Check it for eligibility, missing parts, "
                    "limits and claims without evidence, and cut what is not needed.",
                ),
            ],
        },
    ),
)
"""The personas that are seeded once, each as soon as the sidecar lists its base model."""


def personas_due(settled: Collection[str], known: Collection[str]) -> tuple[WantedModel, ...]:
    """The personas that were never seeded and whose base model is among those ``known``."""
    return tuple(each for each in PERSONAS if each.id not in settled and each.base in known)
