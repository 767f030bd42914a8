from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from hub.manifest import Risk
from hub.wire import CatalogView, IntegrationView
from sidecar.meta import read_meta
from sidecar.opencode_config import (
    OWN_AGENTS,
    OpencodeConfig,
    Rule,
    agent_name,
    build_config,
    stand_in_text,
    template_agent_name,
    turn_rules,
)
from sidecar.personas import Persona, resolve_persona
from sidecar.settings import Settings
from tests.sidecar.builders import TEMPLATES, catalog, integration

BUILD, PLAN, IZZY_BASE, DRAFT_BASE = (f"open-persona/{name}" for name in ("build", "plan", "izzy", "grant-draft"))
TOOLS: dict[str, dict[str, Risk]] = {
    "alpha": {"search": "read", "save": "write", "wipe": "destructive"},
    "beta": {"look": "read", "read": "read"},
    "gamma": {"find": "read"},
}
CATALOG = catalog(
    *(integration(name, tools).model_copy(update={"url": f"http://hub/{name}"}) for name, tools in TOOLS.items())
)
SETTINGS = Settings(home=Path("nowhere"), demo=True, sidecar_api_key=SecretStr("k"), token_key=SecretStr("t"))
CAPABILITIES = {"read", "edit", "glob", "grep", "list", "bash"}
EVERY_TOOL = [f"{name}_{tool}" for name, tools in TOOLS.items() for tool in tools] + sorted(
    CAPABILITIES | {"webfetch", "task", "external_directory", "doom_loop", "question", "skill", "todowrite"}
)


def door(view: IntegrationView) -> str:
    return view.url


def build(*personas: Persona, using: CatalogView | None = CATALOG, settings: Settings = SETTINGS) -> OpencodeConfig:
    return build_config(templates=TEMPLATES, personas=personas, catalog=using, door=door, settings=settings)


def persona(raw: object = None, *, model: str = DRAFT_BASE, picked: str = "p") -> Persona:
    meta = read_meta({} if raw is None else raw)
    return resolve_persona(model=model, original_model_id=picked, meta=meta, templates=TEMPLATES)


def agent(config: OpencodeConfig, name: str) -> dict[str, object]:
    agents = config.document["agent"]
    assert isinstance(agents, dict)
    found = agents[name]
    assert isinstance(found, dict)
    return found


def allowed_by(rules: Sequence[Rule], tool: str) -> bool:
    """opencode's own reading: the last rule that matches wins; the default is allow."""
    verdict = "allow"
    for rule in rules:
        if fnmatch.fnmatchcase(tool, rule["permission"]) and rule["pattern"] == "*":
            verdict = rule["action"]
    return verdict == "allow"


def as_rules(permission: object) -> list[Rule]:
    assert isinstance(permission, dict)
    return [{"permission": name, "pattern": "*", "action": action} for name, action in permission.items()]


toggles = st.fixed_dictionaries(
    {},
    optional={
        name: st.fixed_dictionaries(
            {"enabled": st.booleans()}, optional={"tools": st.lists(st.sampled_from(sorted(tools)), unique=True)}
        )
        for name, tools in TOOLS.items()
    },
)


@pytest.mark.requirement("config:nothing-beyond-meta")
@given(
    toggles,
    st.sampled_from([BUILD, PLAN, IZZY_BASE, DRAFT_BASE]),
    st.text(max_size=20).filter(str.strip),
    st.lists(toggles, max_size=3),
)
def test_no_meta_allows_a_tool_outside_of_it(
    chosen: dict[str, object], model: str, picked: str, others: list[dict[str, object]]
) -> None:
    one = persona({"integrations": chosen}, model=model, picked=picked)
    more = [persona({"integrations": other}, picked=f"other{n}") for n, other in enumerate(others)]
    config = build(*more, one)
    expected = {
        f"{name}_{tool}"
        for name, toggle in chosen.items()
        if isinstance(toggle, dict) and toggle["enabled"]
        for tool, risk in TOOLS[name].items()
        if (tool in toggle["tools"] if "tools" in toggle else risk != "destructive")
        and (model != PLAN or risk == "read")
    }
    if "files" in one.capabilities:
        expected |= {"read", "glob", "grep", "list"} | ({"edit"} if one.writes_files else set())
    assert {tool for tool in EVERY_TOOL if allowed_by(turn_rules(one, CATALOG), tool)} == expected
    if not one.bare:
        rules = as_rules(agent(config, agent_name(one))["permission"])
        assert {tool for tool in EVERY_TOOL if allowed_by(rules, tool)} == expected


@pytest.mark.requirement("config:deny-first")
def test_rules_begin_with_deny_for_all_and_end_with_what_nobody_may() -> None:
    rules = turn_rules(persona({"integrations": {"alpha": {"enabled": True}}}), CATALOG)
    assert rules[0] == {"permission": "*", "pattern": "*", "action": "deny"}
    assert [rule["permission"] for rule in rules[-2:]] == ["external_directory", "doom_loop"]
    assert {rule["action"] for rule in rules} == {"deny", "allow"}


def test_every_integration_is_listed_off_and_without_a_key() -> None:
    servers = build().document["mcp"]
    assert isinstance(servers, dict)
    assert sorted(servers) == ["alpha", "beta", "gamma"]
    for entry in servers.values():
        assert entry["enabled"] is False
        assert entry["oauth"] is False
        assert entry["headers"] == {"Authorization": "Bearer {env:OPEN_PERSONA_RUNNER_TOKEN}"}


def test_an_integration_with_a_bad_manifest_is_not_listed() -> None:
    broken = integration("broken", {}, health="invalid")
    assert build(using=catalog(broken)).servers == frozenset()


def test_the_agents_that_are_always_there() -> None:
    config = build(using=None)
    agents = config.document["agent"]
    assert isinstance(agents, dict)
    assert sorted(agents) == ["build", "plan", "template-grant-draft", "template-izzy", "template-none", "title"]
    assert agents["title"] == {"disable": True}
    for name in ("template-grant-draft", "template-izzy", "template-none"):
        assert agents[name]["permission"] == {"*": "deny"}


def test_only_configured_providers_are_enabled_and_they_point_at_the_broker() -> None:
    document = build().document
    assert document["enabled_providers"] == ["openai", "anthropic", "openrouter", "demo"]
    providers = document["provider"]
    assert isinstance(providers, dict)
    assert providers["anthropic"]["options"]["baseURL"] == "http://127.0.0.1:8000/llm/anthropic/v1"
    assert {entry["options"]["apiKey"] for entry in providers.values()} == {"{env:OPEN_PERSONA_RUNNER_TOKEN}"}


@pytest.mark.requirement("config:no-key")
def test_no_secret_is_written() -> None:
    names = ("sidecar_api_key", "service_key", "token_key", "default_openai_api_key", "default_compatible_api_key")
    canaries = {name: SecretStr(f"canary-{name}") for name in names}
    settings = Settings(home=Path("nowhere"), compatible_base_url="http://x", **canaries)  # type: ignore[arg-type]
    assert "canary" not in build(persona(), settings=settings).text


@pytest.mark.requirement("config:toggle-needs-no-reload")
def test_a_changed_toggle_needs_no_reload_and_a_changed_prompt_does() -> None:
    off, on = build(persona()), build(persona({"integrations": {"alpha": {"enabled": True}}}))
    assert off.text != on.text
    assert off.reload_key == on.reload_key
    level = build(persona({"memory": {"self_reference_level": 1}}, model=IZZY_BASE))
    assert level.reload_key != build(persona(model=IZZY_BASE)).reload_key
    assert build(using=None).reload_key != build().reload_key


def test_the_same_input_makes_the_same_text() -> None:
    assert build(persona()).text == build(persona()).text
    assert json.loads(build().text) == build().document


@given(st.text(max_size=30).filter(str.strip))
def test_no_persona_takes_an_agent_that_is_not_its_own(picked: str) -> None:
    for model in (IZZY_BASE, BUILD):
        name = agent_name(persona({"model": "x/y"}, model=model, picked=picked))
        assert name not in OWN_AGENTS
        assert not name.startswith("template-")


def test_a_plan_has_an_agent_of_its_own() -> None:
    both = {agent_name(persona(model=model, picked="p")) for model in (BUILD, PLAN)}
    assert {name.endswith("__plan") for name in both} == {True, False}


def test_what_stands_in_for_a_prompt_that_is_not_loaded() -> None:
    izzy = persona({"memory": {"self_reference_level": 0.9}}, model=IZZY_BASE)
    assert template_agent_name(izzy) == "template-izzy"
    assert "0.90" in stand_in_text(izzy)
    assert stand_in_text(persona()) == ""
    assert template_agent_name(persona(model=BUILD)) == "template-none"


def test_a_known_persona_whose_integration_is_gone_does_not_break_the_config() -> None:
    gone = persona({"integrations": {"vanished": {"enabled": True}}})
    permission = agent(build(gone), agent_name(gone))["permission"]
    assert permission == {"*": "deny"}
