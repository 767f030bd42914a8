"""What kind of container can be made: the runner of the contract, and nothing that differs from it in any field."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from sidecar.runners.base import RunnerSpec
from sidecar.runners.container_spec import Surroundings, container_spec
from sidecar.settings import Settings
from spawner.container_body import new_container
from spawner.errors import CallError, Refused
from spawner.settings import SpawnerSettings
from tests.spawner.bodies import MIB, NAME, SECRET, SIG, WORKSPACE, container_body
from tests.spawner.hostile import CONTAINERS, Change

DATA = Path("/srv/open-persona")
SETTINGS = SpawnerSettings(data_dir=DATA)
Path_ = tuple[str | int, ...]

FREE = (
    ("HostConfig", "PidsLimit"),
    ("HostConfig", "NanoCpus"),
    ("Labels", "open-persona.instance"),
    ("Labels", "open-persona.spec"),
)
"""Fields that take more than one value; the tests of each say which."""


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    inner = [leaf for key, part in parts for leaf in leaves(part, (*path, key))]
    yield from inner or [path]


def folders(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Where in the body an object stands."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, dict):
        yield path
    for key, part in parts:
        yield from folders(part, (*path, key))


def at(value: Any, path: Path_) -> Any:
    for part in path:
        value = value[part]
    return value


VALID = container_body(DATA)
FIXED = [path for path in leaves(VALID) if path not in FREE and path[0] != "Env" and "Tmpfs" not in path]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.requirement("spawner:create")
def test_a_runner_is_made_with_our_label_and_else_as_asked_for() -> None:
    made = new_container(container_body(DATA), NAME, SETTINGS)
    labels = {**VALID["Labels"], "open-persona.spawner": SETTINGS.deployment}
    assert made.body == {**VALID, "Labels": labels}


@pytest.mark.requirement("spawner:sidecar")
def test_what_the_sidecar_makes_is_what_is_allowed() -> None:
    settings = Settings(home=DATA, token_key=SecretStr("k"))
    secret, private = SecretStr(SECRET), DATA / "runners" / WORKSPACE / SIG
    workspace = DATA / "workspaces" / WORKSPACE
    spec = RunnerSpec(NAME, WORKSPACE, SIG, workspace, private, "{}", token=secret, password=secret)
    made = container_spec(spec, Surroundings(settings, image_id="sha256:" + "0" * 64, user="1000:1000"))
    body = dict(made.body)
    assert new_container(json.loads(json.dumps(body)), made.name, SETTINGS).workspace == WORKSPACE


@pytest.mark.requirement("spawner:create")
def test_a_runner_may_have_less_than_the_most() -> None:
    body = container_body(DATA)
    body["HostConfig"] |= {"Memory": 600 * MIB, "MemorySwap": 600 * MIB, "NanoCpus": 10**9, "PidsLimit": 100}
    assert json.loads(json.dumps(new_container(body, NAME, SETTINGS).body))["HostConfig"] == body["HostConfig"]


@pytest.mark.requirement("spawner:hostile-bodies")
@pytest.mark.parametrize("change", CONTAINERS.values(), ids=CONTAINERS)
def test_a_hostile_body_is_refused_in_words_that_show_no_value(change: Change) -> None:
    body = container_body(DATA)
    change(body)
    with pytest.raises(Refused) as refusal:
        new_container(body, NAME, SETTINGS)
    assert SECRET not in str(refusal.value)
    assert str(refusal.value).isprintable()


@pytest.mark.requirement("spawner:hostile-bodies")
@pytest.mark.parametrize(
    "name",
    ["", "evil", "open-persona-sidecar", NAME + "0", NAME.upper(), NAME + "\n", "/" + NAME, NAME[:-8] + "00000000"],
)
def test_a_name_that_is_not_the_runners_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        new_container(container_body(DATA), name, SETTINGS)


@pytest.mark.requirement("spawner:hostile-bodies")
@settings(deadline=None)
@given(path=st.sampled_from(FIXED), value=ANYTHING)
def test_no_other_value_of_a_fixed_field_passes(path: Path_, value: object) -> None:
    body = container_body(DATA)
    before = at(body, path)
    at(body, path[:-1])[path[-1]] = value
    try:
        made = new_container(body, NAME, SETTINGS)
    except CallError:
        return
    # 1 and 1.0 and True are one in Python: what counts is that Docker gets what the contract has.
    assert at(json.loads(json.dumps(made.body)), path) == before
    assert type(at(made.body, path)) is type(before)


@pytest.mark.requirement("spawner:hostile-bodies")
@settings(deadline=None)
@given(path=st.sampled_from(sorted(folders(VALID), key=str)), name=st.text(), value=ANYTHING)
def test_no_further_field_passes_anywhere(path: Path_, name: str, value: object) -> None:
    body = container_body(DATA)
    target = at(body, path)
    if name in target:
        return
    target[name] = value
    with pytest.raises(Refused):
        new_container(body, NAME, SETTINGS)


@pytest.mark.requirement("spawner:hostile-bodies")
@pytest.mark.parametrize("path", [path for path in leaves(VALID) if path[0] not in ("Env", "Cmd")], ids=str)
def test_no_field_can_be_left_out(path: Path_) -> None:
    body = copy.deepcopy(VALID)
    del at(body, path[:-1])[path[-1]]
    with pytest.raises(Refused):
        new_container(body, NAME, SETTINGS)


@pytest.mark.requirement("spawner:hostile-bodies")
@settings(deadline=None)
@given(
    name=st.text(st.characters(codec="ascii"), max_size=30)
    | st.sampled_from(["LD_PRELOAD", "PATH ", "OPENCODE_X", "LANG"]),
    value=st.text(max_size=30) | st.just("1"),
)
def test_no_variable_passes_that_is_not_on_the_list(name: str, value: str) -> None:
    known = {variable.partition("=")[0] for variable in VALID["Env"]}
    body = container_body(DATA)
    body["Env"] = [f"{name}={value}"]
    try:
        new_container(body, NAME, SETTINGS)
    except Refused:
        return
    assert name in known or (name.startswith("OPENCODE_DISABLE_") and value == "1")


@pytest.mark.requirement("spawner:hostile-bodies")
@settings(deadline=None)
@given(ANYTHING)
def test_any_other_json_is_refused(raw: object) -> None:
    with pytest.raises(Refused):
        new_container(raw, NAME, SETTINGS)
