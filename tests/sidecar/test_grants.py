from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.manifest import Risk
from hub.wire import AdminState, CatalogView, Health, ToolState
from sidecar.errors import InvalidRequest
from sidecar.grants import Mode, granted_tools
from sidecar.meta import IntegrationMeta, read_meta
from tests.sidecar.builders import catalog, integration

INSTRUMENTL = integration(
    "instrumentl",
    {"list_projects": "read", "save_grant": "write", "delete_project": "destructive", "gone": "read", "extra": "read"},
    states={"gone": "missing", "extra": "unlisted"},
)
WEB = integration("web", {"fetch": "read"})
CATALOG = catalog(INSTRUMENTL, WEB)


def on(*tools: str) -> dict[str, IntegrationMeta]:
    return {"instrumentl": IntegrationMeta(enabled=True, tools=tools or None)}


@pytest.mark.requirement("sidecar:toggles")
def test_on_means_the_approved_read_and_write_tools() -> None:
    assert granted_tools(on(), "build", CATALOG) == {"instrumentl": ("list_projects", "save_grant")}


@pytest.mark.requirement("sidecar:toggles")
@pytest.mark.parametrize("toggles", [{}, {"instrumentl": IntegrationMeta(tools=("list_projects",))}])
def test_what_is_not_on_is_off(toggles: dict[str, IntegrationMeta]) -> None:
    assert granted_tools(toggles, "build", CATALOG) == {}


@pytest.mark.requirement("sidecar:toggles")
def test_tools_narrow_and_alone_allow_a_destructive_one() -> None:
    assert granted_tools(on("list_projects"), "build", CATALOG) == {"instrumentl": ("list_projects",)}
    assert granted_tools(on("delete_project"), "build", CATALOG) == {"instrumentl": ("delete_project",)}
    narrowed_to_none = {"instrumentl": IntegrationMeta(enabled=True, tools=())}
    assert granted_tools(narrowed_to_none, "build", CATALOG) == {}


@pytest.mark.requirement("sidecar:toggles")
def test_planning_reads_alone() -> None:
    assert granted_tools(on(), "plan", CATALOG) == {"instrumentl": ("list_projects",)}
    assert granted_tools(on("save_grant", "delete_project"), "plan", CATALOG) == {}


def test_only_approved_tools_are_granted_even_by_name() -> None:
    assert granted_tools(on("gone", "extra"), "build", CATALOG) == {}


def test_a_disabled_or_invalid_integration_grants_nothing_and_breaks_nothing() -> None:
    broken = catalog(integration("instrumentl", {}, health="invalid"), integration("web", {"fetch": "read"}))
    toggles = on("list_projects") | {"web": IntegrationMeta(enabled=True)}
    assert granted_tools(toggles, "build", broken) == {"web": ("fetch",)}
    disabled = catalog(integration("instrumentl", {"list_projects": "read"}, admin_state="disabled"))
    assert granted_tools(on(), "build", disabled) == {}


def test_without_a_catalog_nothing_is_granted() -> None:
    assert granted_tools(on(), "build", None) == {}


@pytest.mark.requirement("sidecar:toggle-errors")
def test_an_unknown_integration_that_is_on_is_named() -> None:
    with pytest.raises(InvalidRequest, match="Known: instrumentl, web") as caught:
        granted_tools({"intrumentl": IntegrationMeta(enabled=True)}, "build", CATALOG)
    assert caught.value.param == "open_persona.integrations.intrumentl"


@pytest.mark.requirement("sidecar:toggle-errors")
def test_an_unknown_tool_is_named() -> None:
    with pytest.raises(InvalidRequest, match="list_projects") as caught:
        granted_tools(on("list_projects", "list_project"), "build", CATALOG)
    assert caught.value.param == "open_persona.integrations.instrumentl.tools[1]"


def test_an_unknown_integration_that_is_off_is_ignored() -> None:
    assert granted_tools({"gone": IntegrationMeta(enabled=False, tools=("x",))}, "build", CATALOG) == {}


NAMES = st.sampled_from(["alpha", "beta", "gamma"])
TOOLS = st.sampled_from(["one", "two", "three", "four"])
RISKS: st.SearchStrategy[Risk] = st.sampled_from(["read", "write", "destructive"])
STATES: st.SearchStrategy[ToolState] = st.sampled_from(["approved", "approved", "missing", "unlisted", "withheld"])
HEALTH: st.SearchStrategy[Health] = st.sampled_from(["healthy", "down", "invalid"])
ADMIN: st.SearchStrategy[AdminState] = st.sampled_from(["enabled", "enabled", "enabled", "disabled"])
MODES: st.SearchStrategy[Mode] = st.sampled_from(["build", "plan"])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | NAMES | TOOLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | NAMES, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def catalogs(draw: st.DrawFn) -> CatalogView:
    views = []
    for name in sorted(draw(st.sets(NAMES, min_size=1))):
        tools = draw(st.dictionaries(TOOLS, st.tuples(RISKS, STATES), min_size=2))
        views.append(
            integration(
                name,
                {tool: risk for tool, (risk, _) in tools.items()},
                states={tool: state for tool, (_, state) in tools.items()},
                health=draw(HEALTH),
                admin_state=draw(ADMIN),
            )
        )
    return catalog(*views)


@st.composite
def cases(draw: st.DrawFn) -> tuple[object, CatalogView]:
    """A catalog, and a meta that mostly fits it: every flaw is possible, none is so common that it hides the rest."""
    view = draw(catalogs())
    toggles: dict[str, object] = {}
    for each in view.integrations:
        enabled = draw(st.sampled_from([True] * 7 + [False, None, "true", 1]))
        toggle: dict[str, object] = {} if enabled is None else {"enabled": enabled}
        if draw(st.booleans()):
            toggle["tools"] = draw(st.lists(st.sampled_from([tool.name for tool in each.tools])))
        toggles[each.name] = toggle
    raw: dict[str, object] = {"integrations": toggles}
    if draw(st.integers(0, 4)) == 0:
        where = draw(st.sampled_from([raw, toggles]))
        where[draw(st.text(max_size=4) | NAMES)] = draw(ANY_JSON)
    return raw, view


@pytest.mark.requirement("sidecar:toggles-property")
@settings(max_examples=300)
@given(case=cases(), mode=MODES)
def test_no_meta_grants_a_tool_that_it_does_not_switch_on(case: tuple[object, CatalogView], mode: Mode) -> None:
    """Against the raw JSON, not against the model that read it."""
    raw, view = case
    try:
        grant = granted_tools(read_meta(raw, on_unknown=lambda _: None).integrations, mode, view)
    except InvalidRequest as error:
        assert error.param
        return
    tools = {(each.name, tool.name): tool for each in view.integrations for tool in each.tools}
    for name, allowed in grant.items():
        assert isinstance(raw, dict)
        toggle = raw["integrations"][name]
        assert toggle["enabled"] is True
        assert list(allowed) == sorted(set(allowed))
        for tool in allowed:
            known = tools[name, tool]
            assert known.state == "approved"
            assert "tools" not in toggle or tool in toggle["tools"]
            assert known.risk != "destructive" or tool in toggle.get("tools", ())
            assert mode == "build" or known.risk == "read"


@given(raw=ANY_JSON)
def test_any_json_is_a_meta_or_an_error_that_names_a_field(raw: object) -> None:
    try:
        assert granted_tools(read_meta(raw, on_unknown=lambda _: None).integrations, "build", None) == {}
    except InvalidRequest as error:
        assert error.param
