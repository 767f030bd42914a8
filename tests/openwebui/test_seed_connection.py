"""The sidecar's place among Open WebUI's connections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwebui.seed_connection import HEADERS, Connections, with_sidecar
from openwebui.settings import Settings

SETTINGS = Settings.from_environment({"OPEN_PERSONA_SIDECAR_API_KEY": "k"})
URL = SETTINGS.sidecar_base_urls[0]
LISTED = ("open-persona/build", "open-persona/plan", "open-persona/izzy")

URLS = st.sampled_from(["https://a.example/v1", "https://b.example/v1", URL, f"{URL}/", *SETTINGS.sidecar_base_urls])
CONFIGS = st.dictionaries(
    st.sampled_from(["0", "1", "2", "https://a.example/v1"]),
    st.fixed_dictionaries(
        {}, optional={"enable": st.booleans(), "prefix_id": st.text(max_size=3), "tags": st.just([])}
    ),
)
CONNECTIONS = st.builds(
    lambda urls, keys, configs: Connections(tuple(urls), tuple(keys), configs),
    st.lists(URLS, max_size=3),
    st.lists(st.text(max_size=3), max_size=4),
    CONFIGS,
)


@pytest.mark.requirement("seed:other_connections")
@given(CONNECTIONS, st.none() | st.just(LISTED))
def test_the_others_are_untouched_and_a_second_time_changes_nothing(
    held: Connections, listed: tuple[str, ...] | None
) -> None:
    made = with_sidecar(held, SETTINGS, listed)
    ours = made.position(SETTINGS.sidecar_base_urls)
    assert ours is not None
    assert made.urls[: len(held.urls)] == held.urls
    for index in range(len(held.urls)):
        if index != ours:
            assert made.config(index) == held.config(index)
            assert made.keys[index] == (held.keys[index] if index < len(held.keys) else "")
    assert with_sidecar(made, SETTINGS, listed) == made


@pytest.mark.requirement("seed:other_connections")
def test_a_new_one_comes_last() -> None:
    made = with_sidecar(Connections(("https://a.example/v1",), ("ka",), {"0": {"tags": ["x"]}}), SETTINGS, LISTED)
    assert made.urls == ("https://a.example/v1", URL)
    assert made.keys == ("ka", "k")
    assert made.configs == {
        "0": {"tags": ["x"]},
        "1": {
            "enable": True,
            "tags": [],
            "connection_type": "external",
            "model_ids": list(LISTED),
            "headers": HEADERS,
            "prefix_id": "",
            "auth_type": "bearer",
        },
    }


def test_what_is_the_admins_stays_and_what_is_ours_is_put_right() -> None:
    config = {"enable": False, "tags": ["x"], "prefix_id": "p", "headers": {"a": "b"}, "model_ids": ["m"]}
    made = with_sidecar(Connections((URL,), ("old",), {URL: config}), SETTINGS, LISTED)
    held = made.config(0)
    assert (held["enable"], held["tags"]) == (False, ["x"])
    assert (held["prefix_id"], held["headers"], held["model_ids"]) == ("", HEADERS, list(LISTED))
    assert made.keys == ("k",)


def test_until_the_sidecar_answers_its_models_stay() -> None:
    before = with_sidecar(Connections(), SETTINGS, LISTED)
    assert with_sidecar(before, SETTINGS, None) == before
    assert with_sidecar(Connections(), SETTINGS, None).config(0)["model_ids"] == list(LISTED[:2])


def test_keys_are_in_no_repr() -> None:
    assert "secret" not in repr(Connections((URL,), ("secret",)))
