"""The source of a tool: whatever a manifest says, it is a class with exactly those fields."""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openwebui.catalog import Integration, Setting
from openwebui.field_names import field_of
from openwebui.integration_tools import integration_tool
from openwebui.provider_tools import DEFAULT_KEYS, KEY_FIELDS, USER_KEYS, provider_tools
from openwebui.tool_source import FIRST_LINES, MANIFEST, SettingField, literal, tool_source

KEYS = st.from_regex(r"[a-z][a-z0-9_]*", fullmatch=True) | st.sampled_from(["class", "str", "schema", "model_config"])
SETTINGS = st.lists(
    st.builds(Setting, KEYS, st.text(), st.text(), st.text(), st.booleans(), st.booleans()),
    unique_by=lambda setting: setting.key,
    max_size=4,
)
BREAKOUT = Setting("k", '"""\n\\"); import os  # from main', "'''{0}\r\nrequirements: evil", "\x00\u2028\U0001f600")


def as_open_webui_runs_it(source: str) -> type[Any]:
    """The class ``Tools`` of a source, loaded as Open WebUI 0.12.4 does.

    It rewrites some imports first. ``exec`` hands on the postponed annotations of this module, as it does of theirs.
    """
    for word in ("utils", "apps", "main", "config"):
        source = source.replace(f"from {word}", f"from open_webui.{word}")
    module = types.ModuleType("tool_of_a_test")
    sys.modules[module.__name__] = module
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(source, "<at once>", "exec", dont_inherit=True), module.__dict__)
            exec(source, module.__dict__)
    finally:
        del sys.modules[module.__name__]
    tools: type[Any] = module.Tools
    return tools


@pytest.mark.requirement("source:no_way_out")
@given(SETTINGS)
@example([BREAKOUT])
def test_any_settings_make_exactly_their_fields(settings: list[Setting]) -> None:
    wanted = integration_tool(Integration("any", "Any", settings=tuple(settings)))
    tools = as_open_webui_runs_it(wanted.content)
    assert wanted.has_user_valves is bool(settings) is hasattr(tools, "UserValves")
    if settings:
        shown = tools.UserValves.model_json_schema()["properties"]
        assert {name: entry["title"] for name, entry in shown.items()} == {
            field_of(setting.key): setting.title for setting in settings
        }
        assert {name for name, entry in shown.items() if entry.get("input") == {"type": "password"}} == {
            field_of(setting.key) for setting in settings if setting.secret
        }
    assert {name for name in vars(tools) if not name.startswith("__")} <= {"UserValves"}


@pytest.mark.requirement("source:no_way_out")
@given(SETTINGS)
@example([BREAKOUT])
def test_what_is_stored_is_what_was_entered(settings: list[Setting]) -> None:
    tools = as_open_webui_runs_it(integration_tool(Integration("any", "Any", settings=tuple(settings))).content)
    entered = {field_of(setting.key): f"value of {setting.key}" for setting in settings}
    if settings:
        assert tools.UserValves(**entered).model_dump(exclude_unset=True) == entered
        assert set(tools.UserValves().model_dump().values()) == {""}


@pytest.mark.requirement("source:no_way_out")
@given(st.text())
@example("from main from config from utils")
def test_a_literal_is_the_text_and_nothing_that_open_webui_rewrites(text: str) -> None:
    made = literal(text)
    assert made.isascii() and "\n" not in made
    assert eval(made) == text
    assert not any(f"from {word}" in made for word in ("utils", "apps", "main", "config"))


@pytest.mark.requirement("source:no_way_out")
@given(SETTINGS)
@example([BREAKOUT])
def test_the_front_matter_is_ours_whatever_the_manifest_says(settings: list[Setting]) -> None:
    source = integration_tool(Integration("any", "requirements: evil", settings=tuple(settings))).content
    assert source.startswith(FIRST_LINES)
    head = source.split('"""')[1]
    found = dict(line.split(": ", 1) for line in head.splitlines() if line and line.split(": ")[0].isidentifier())
    assert {key: found[key] for key in MANIFEST} == MANIFEST
    assert "requirements" not in head


def test_the_fields_stand_in_the_order_of_the_manifest() -> None:
    tools = as_open_webui_runs_it(tool_source("Valves", [SettingField("b", "B"), SettingField("a", "A")]))
    assert list(tools.Valves.model_fields) == ["b", "a"]


@pytest.mark.requirement("seed:defaults_for_admins")
def test_both_tools_for_provider_keys_have_one_masked_field_for_each_provider() -> None:
    made = {tool.id: tool for tool in provider_tools()}
    own = as_open_webui_runs_it(made[USER_KEYS].content).UserValves.model_json_schema()["properties"]
    for_all = as_open_webui_runs_it(made[DEFAULT_KEYS].content).Valves.model_json_schema()["properties"]
    assert list(own) == list(for_all) == list(KEY_FIELDS.values())
    assert all(field["input"] == {"type": "password"} for field in (*own.values(), *for_all.values()))


def test_a_field_says_whether_it_is_required_and_where_to_get_it() -> None:
    setting = Setting("k", "Key", "Shown once.", "https://example.org/help", required=True)
    source = integration_tool(Integration("any", "Any", settings=(setting,))).content
    shown = as_open_webui_runs_it(source).UserValves.model_json_schema()["properties"]["k"]
    assert shown["description"] == "Required. Shown once. Help: https://example.org/help"
