"""What the Model says, what an admin ticked and what the user switched off become one persona."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwebui.request_errors import ModelAtFaultError
from openwebui.toggles import Switches, enabled_in, integrations_in, limited_to, stored_persona, with_switches

NAMES = st.frozensets(st.sampled_from(["instrumentl", "grants_gov", "web", "x"]))
MAYBE = st.dictionaries(
    st.sampled_from(["instrumentl", "grants_gov", "web"]),
    st.fixed_dictionaries({}, optional={"enabled": st.booleans(), "tools": st.just(["a"])}),
)


def on(meta: Mapping[str, object], **switches: set[str]) -> frozenset[str]:
    return enabled_in(with_switches(meta, Switches(**{key: frozenset(names) for key, names in switches.items()})))


@pytest.mark.requirement("webui:toggles")
def test_on_is_what_is_said_else_what_is_ticked() -> None:
    said = {"integrations": {"a": {"enabled": True}, "b": {"enabled": False}, "c": {"tools": ["t"]}}}
    assert on(said) == {"a"}
    assert on(said, ticked={"a", "b", "c", "d"}) == {"a", "c", "d"}
    assert with_switches(said, Switches(ticked=frozenset("c")))["integrations"]["c"] == {  # type: ignore[index]
        "tools": ["t"],
        "enabled": True,
    }


@pytest.mark.requirement("webui:toggles")
def test_a_user_switches_off_what_is_ticked_and_nothing_else_and_nothing_on() -> None:
    said = {"integrations": {"a": {"enabled": True}, "b": {"enabled": True}}}
    assert on(said, ticked={"a"}, off={"a", "b"}) == {"b"}
    assert on({}, wanted={"a"}) == frozenset()


@given(said=MAYBE, usable=NAMES)
def test_a_limit_leaves_on_what_is_usable_and_changes_nothing_else(
    said: dict[str, object], usable: frozenset[str]
) -> None:
    meta: dict[str, object] = {"integrations": said, "model": "m"}
    limited = limited_to(meta, usable)
    assert enabled_in(limited) == enabled_in(meta) & usable
    assert limited["model"] == "m"
    assert limited_to({"integrations": "odd"}, usable) == {"integrations": "odd"}


@given(said=MAYBE, ticked=NAMES, off=NAMES, added=NAMES, wanted=NAMES)
def test_no_switch_of_a_user_widens_anything(
    said: dict[str, object], ticked: frozenset[str], off: frozenset[str], added: frozenset[str], wanted: frozenset[str]
) -> None:
    meta = {"integrations": said}
    free = enabled_in(with_switches(meta, Switches(ticked=ticked)))
    switched = with_switches(meta, Switches(ticked, off & ticked, added, wanted))
    assert enabled_in(switched) == free - (off & ticked)
    assert meta == {"integrations": said}


def test_what_a_switch_does_not_do_is_noted() -> None:
    folded = with_switches({}, Switches(frozenset("ab"), frozenset("a"), frozenset("b"), frozenset("xa")))
    assert folded["notices"] == {"lacking": ["a", "x"], "added": ["b"]}
    assert "notices" not in with_switches({}, Switches(frozenset("a"), wanted=frozenset("a")))


def test_a_wrong_shape_goes_on_to_the_sidecar_which_names_it() -> None:
    wrong: tuple[object, ...] = ([], "x", 5)
    for integrations in wrong:
        assert with_switches({"integrations": integrations}, Switches(frozenset("a")))["integrations"] == integrations
    assert with_switches({"integrations": {"a": True}}, Switches(frozenset("a")))["integrations"] == {"a": True}


@pytest.mark.requirement("webui:custom-parameter")
@pytest.mark.parametrize(
    "custom", ['{"memory": {"enabled": false}, "model": "m"}', {"memory": {"enabled": False}, "model": "m"}]
)
def test_the_custom_parameter_is_folded_over_the_meta(custom: object) -> None:
    meta = {"open_persona": {"memory": {"enabled": True, "self_reference_level": 1}, "persona": {"template": "izzy"}}}
    assert stored_persona("Izzy", meta, {"custom_params": {"open_persona": custom}}) == {
        "memory": {"enabled": False, "self_reference_level": 1},
        "persona": {"template": "izzy"},
        "model": "m",
    }


@pytest.mark.parametrize(
    "params", [{}, {"custom_params": None}, {"custom_params": {}}, {"custom_params": {"open_persona": " "}}]
)
def test_without_the_custom_parameter_the_meta_stands(params: dict[str, object]) -> None:
    assert stored_persona("x", {"open_persona": {"model": "m"}}, params) == {"model": "m"}


@pytest.mark.requirement("webui:custom-parameter")
@pytest.mark.parametrize("custom", ["{", "[1]", "null", "5", [1], 5])
def test_a_custom_parameter_that_is_no_object_is_the_admins_to_mend(custom: object) -> None:
    with pytest.raises(
        ModelAtFaultError, match=r"custom parameter open_persona of the Model “My Model”.*Advanced Params"
    ):
        stored_persona("My Model", {}, {"custom_params": {"open_persona": custom}})


def test_a_meta_that_is_no_object_is_named() -> None:
    with pytest.raises(ModelAtFaultError, match=r"meta\.open_persona"):
        stored_persona("x", {"open_persona": "on"}, {})


@pytest.mark.parametrize(
    "ids", [None, "open_persona_integration_a", {"a": 1}, [5, None, "other", "open_persona_integration_"]]
)
def test_what_is_no_list_of_our_tools_holds_none(ids: object) -> None:
    assert integrations_in(ids) == frozenset()
