from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import InvalidRequest
from sidecar.meta import Meta, read_meta
from sidecar.personas import Persona, allowed_tools, known_models, resolve_persona
from tests.sidecar.builders import DRAFT, IZZY, TEMPLATES, catalog, integration

BUILD, PLAN = "open-persona/build", "open-persona/plan"


def resolve(model: str = BUILD, picked: str = "", raw: object = None) -> Persona:
    meta = read_meta(raw) if raw is not None else Meta()
    return resolve_persona(model=model, original_model_id=picked, meta=meta, templates=TEMPLATES)


@pytest.mark.requirement("sidecar:template-rule")
@pytest.mark.parametrize(
    ("model", "picked", "named", "expected"),
    [
        (BUILD, "helper", "", None),
        (BUILD, "izzy", "", IZZY),
        (BUILD, "no-nonsense-grant-draft", "", DRAFT),
        ("open-persona/izzy", "helper", "", IZZY),
        ("open-persona/izzy", "", "", IZZY),
        ("open-persona/izzy", "grant-draft", "", IZZY),
        ("open-persona/izzy", "izzy", "grant-draft", DRAFT),
        (BUILD, "izzy", "no-nonsense-grant-draft", DRAFT),
        (BUILD, "", "izzy", IZZY),
        (PLAN, "izzy", "", IZZY),
        (BUILD, "IZZY", "", None),
    ],
)
def test_the_template_comes_from_meta_then_base_then_id(model: str, picked: str, named: str, expected: object) -> None:
    raw = {"persona": {"template": named}} if named else {}
    assert resolve(model, picked, raw).template == expected


@pytest.mark.requirement("sidecar:template-errors")
def test_a_template_that_is_named_but_unknown_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="Known: grant-draft, izzy") as caught:
        resolve("open-persona/izzy", "izzy", {"persona": {"template": "izzi"}})
    assert caught.value.param == "open_persona.persona.template"


@pytest.mark.requirement("sidecar:model-errors")
@pytest.mark.parametrize("model", ["gpt-5", "", "izzy", "open-persona/", "open-persona/nobody", "open-persona/build "])
def test_an_unknown_base_model_lists_the_known(model: str) -> None:
    with pytest.raises(
        InvalidRequest, match="open-persona/build, open-persona/plan, open-persona/grant-draft"
    ) as caught:
        resolve(model, "izzy", {})
    assert caught.value.param == "model"


def test_the_known_models() -> None:
    assert known_models(TEMPLATES) == (BUILD, PLAN, "open-persona/grant-draft", "open-persona/izzy")


@pytest.mark.requirement("sidecar:bare")
@pytest.mark.parametrize("picked", ["", BUILD])
def test_the_bare_model_has_the_files(picked: str) -> None:
    persona = resolve(BUILD, picked)
    assert (persona.id, persona.bare, persona.mode) == ("build", True, "build")
    assert persona.capabilities == {"files"}
    assert persona.writes_files
    assert not persona.memory


@pytest.mark.requirement("sidecar:bare")
@pytest.mark.parametrize("picked", ["", PLAN])
def test_the_bare_plan_only_reads_them(picked: str) -> None:
    persona = resolve(PLAN, picked)
    assert (persona.id, persona.bare, persona.mode) == ("plan", True, "plan")
    assert persona.capabilities == {"files"}
    assert not persona.writes_files


@pytest.mark.requirement("sidecar:bare")
@pytest.mark.parametrize(
    ("model", "picked", "raw"),
    [
        (BUILD, "helper", None),
        (BUILD, PLAN, None),
        (BUILD, "", {"integrations": {"web": {"enabled": True}}}),
        (BUILD, BUILD, {"memory": {"enabled": True}}),
        ("open-persona/grant-draft", "", None),
    ],
)
def test_whatever_else_is_a_persona_and_has_what_its_template_gives(model: str, picked: str, raw: object) -> None:
    persona = resolve(model, picked, raw)
    assert not persona.bare
    assert persona.capabilities == frozenset()
    assert not persona.writes_files


def test_planning_takes_writing_and_the_shell_away() -> None:
    shell = IZZY.model_copy(update={"capabilities": frozenset({"files", "shell"})})
    assert Persona("p", "P", "p", shell).capabilities == {"files", "shell"}
    planning = Persona("p", "P", "p", shell, mode="plan")
    assert planning.capabilities == {"files"}
    assert not planning.writes_files


@pytest.mark.requirement("sidecar:memory-only-by-template")
@pytest.mark.parametrize(
    ("picked", "memory", "expected"),
    [
        ("izzy", {}, True),
        ("izzy", {"enabled": True}, True),
        ("izzy", {"enabled": False}, False),
        ("grant-draft", {"enabled": True}, False),
        ("helper", {"enabled": True}, False),
    ],
)
def test_memory_is_the_templates_to_give_and_the_metas_to_take(
    picked: str, memory: dict[str, bool], expected: bool
) -> None:
    assert resolve(BUILD, picked, {"memory": memory}).memory is expected


def test_the_model_is_the_metas_then_the_templates() -> None:
    fixed = IZZY.model_copy(update={"model": "openai/gpt-5.1"})
    assert Persona("p", "P", "p", fixed).model == "openai/gpt-5.1"
    assert (
        Persona("p", "P", "p", fixed, Meta(model="anthropic/claude-sonnet-4-5")).model == "anthropic/claude-sonnet-4-5"
    )
    assert resolve(BUILD, "helper").model == ""


def test_toggles_reach_the_grant() -> None:
    persona = resolve(PLAN, "helper", {"integrations": {"web": {"enabled": True}}})
    assert allowed_tools(persona, catalog(integration("web", {"fetch": "read", "post": "write"}))) == {
        "web": ("fetch",)
    }


IDS = st.text(max_size=60)


@given(first=IDS, second=IDS)
def test_an_id_is_safe_stable_and_nobody_elses(first: str, second: str) -> None:
    one, other = resolve(BUILD, first), resolve(BUILD, second, {"integrations": {}})
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,60}", one.id)
    assert one.id == resolve(BUILD, first, {"model": "openai/x"}).id or one.bare
    if first and first not in (BUILD, PLAN):
        assert one.id not in {"build", "plan", "general", "explore", "title", "summary", "compaction"}
    if first and second and first != second:
        assert one.id != other.id
