"""Base models and personas."""

from __future__ import annotations

import pytest

from openwebui.seed_memory import Memory
from openwebui.seed_models import BARE, PERSONAS, base_models, personas_due
from sidecar.settings import Settings
from sidecar.templates import load_templates


@pytest.mark.requirement("seed:all")
def test_base_models_are_hidden_and_have_no_tools_of_open_webuis() -> None:
    made = base_models(["open-persona/izzy", "open-persona/build"])
    assert [each.id for each in made] == [*BARE, "open-persona/izzy"]
    for each in made:
        assert each.base is None
        assert each.meta["hidden"] is True
        capabilities = each.meta["capabilities"]
        assert isinstance(capabilities, dict) and capabilities["builtin_tools"] is False


@pytest.mark.requirement("seed:admins_edits")
def test_a_persona_is_due_once_and_not_before_its_base_is_known() -> None:
    izzy = ["open-persona/izzy"]
    assert [each.id for each in personas_due((), izzy)] == ["izzy"]
    assert personas_due({"izzy"}, izzy) == ()
    assert personas_due((), ()) == ()


def test_the_shipped_personas_stand_on_shipped_templates() -> None:
    folder = Settings().personas_dir
    templates = load_templates(folder, memory_templates=("izzy",), runner_mode="process")
    assert {each.base for each in PERSONAS} == {f"open-persona/{template.id}" for template in templates}
    assert all(each.meta["suggestion_prompts"] and each.meta["description"] for each in PERSONAS)


def test_the_memory_reads_what_it_wrote_and_nothing_else() -> None:
    grant = {"principal_type": "user", "principal_id": "*", "permission": "read"}
    memory = Memory().with_persona("izzy").with_hidden("t", (grant,)).with_hidden("u", ())
    assert Memory.from_json(memory.as_json()) == memory
    assert memory.without_hidden("t").hidden == {"u": ()}
    assert Memory.from_json({"personas": 1, "hidden": {"t": [1, {"permission": "read"}]}}) == Memory(hidden={"t": ()})
