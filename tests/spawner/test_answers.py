"""What of Docker's answers goes back to the sidecar."""

from __future__ import annotations

import pytest

from spawner.answers import event_is_ours, ours_of, version, without_environment

OURS = {"open-persona.spawner": "aaaabbbbcccc", "x": "y"}
THEIRS = {"open-persona.spawner": "000000000000"}


@pytest.mark.requirement("spawner:ours-alone")
def test_a_list_holds_what_is_ours_alone() -> None:
    found: list[dict[str, object]] = [
        {"Id": "1", "Labels": OURS},
        {"Id": "2", "Labels": THEIRS},
        {"Id": "3", "Labels": None},
        {"Id": "4"},
    ]
    assert [one["Id"] for one in ours_of(found, "aaaabbbbcccc")] == ["1"]


@pytest.mark.requirement("spawner:ours-alone")
@pytest.mark.parametrize(
    ("event", "ours"),
    [
        ({"Type": "container", "Actor": {"ID": "1", "Attributes": OURS}}, True),
        ({"Type": "container", "Actor": {"ID": "1", "Attributes": THEIRS}}, False),
        ({"Type": "network", "Actor": {"ID": "1", "Attributes": {"name": "bridge"}}}, False),
        ({"Type": "container", "Actor": None}, False),
        ({}, False),
        ([], False),
        (None, False),
    ],
    ids=str,
)
def test_an_event_is_passed_on_if_it_is_ours(event: object, *, ours: bool) -> None:
    assert event_is_ours(event, "aaaabbbbcccc") is ours


@pytest.mark.requirement("spawner:no-secret-back")
def test_an_inspected_container_comes_without_its_variables() -> None:
    inspected = {"Id": "1", "Config": {"Env": ["OPEN_PERSONA_RUNNER_TOKEN=secret"], "Tty": False}}
    assert without_environment(inspected) == {"Id": "1", "Config": {"Env": [], "Tty": False}}
    assert inspected["Config"] == {"Env": ["OPEN_PERSONA_RUNNER_TOKEN=secret"], "Tty": False}
    assert without_environment({"Id": "1", "Config": None}) == {"Id": "1", "Config": None}


@pytest.mark.requirement("spawner:calls")
@pytest.mark.parametrize(("newest", "told"), [("1.41", "1.41"), ("1.52", "1.52"), ("1.60", "1.52"), ("odd", "odd")])
def test_dockers_version_is_no_newer_than_the_rules(newest: str, told: str) -> None:
    answer = version({"Version": "99", "ApiVersion": newest, "MinAPIVersion": "1.24", "KernelVersion": "6"})
    assert answer == {"Version": "99", "ApiVersion": told, "MinAPIVersion": "1.24"}
