"""Reading the answers of hub and sidecar."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import HttpUrl

from hub.manifest import Setting as HubSetting
from hub.wire import CatalogView, IntegrationView
from openwebui.catalog import Integration, Setting, parse_catalog, parse_models
from sidecar.openai_models import models_list

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.requirement("seed:reads_the_hub")
def test_the_hubs_own_answer_is_read() -> None:
    user = HubSetting(key="token", title="Token", secret=True, required=True, help_url=HttpUrl("https://e.org/h"))
    ours = HubSetting(key="base", title="Base", scope="deployment")
    view = IntegrationView(
        name="weather",
        title="Weather",
        description="Rain.",
        admin_state="disabled",
        health="down",
        reason="refused",
        action="Start it.",
        settings=(user, ours),
    )
    answer = json.loads(CatalogView(revision="r1", boot_id="b", integrations=(view,)).model_dump_json())
    catalog = parse_catalog(answer)
    token = Setting("token", "Token", "", "https://e.org/h", secret=True, required=True)
    assert catalog.revision == "r1"
    assert catalog.integrations == (
        Integration("weather", "Weather", "Rain.", "down", "refused", "Start it.", disabled=True, settings=(token,)),
    )


@pytest.mark.requirement("seed:reads_the_hub")
def test_the_sidecars_own_answer_is_read() -> None:
    assert parse_models(models_list(["open-persona/build", "open-persona/izzy"], created=1)) == (
        "open-persona/build",
        "open-persona/izzy",
    )
    assert parse_models(models_list(["gpt-5", "open-persona/x y", "open-persona/a", "open-persona/a"], created=1)) == (
        "open-persona/a",
    )


@pytest.mark.requirement("seed:reads_the_hub")
@given(st.lists(JSON))
def test_one_bad_entry_hides_no_other(entries: list[Any]) -> None:
    good = {"name": "good", "title": "Good"}
    found = parse_catalog({"revision": "r", "integrations": [*entries, good]}).integrations
    assert found[-1] == Integration("good", "Good", health="")


@pytest.mark.parametrize("answer", [None, [], "no", {}, {"integrations": {}}])
def test_an_answer_of_something_else_is_refused(answer: object) -> None:
    with pytest.raises(ValueError, match="not a catalog"):
        parse_catalog(answer)
    with pytest.raises(ValueError, match="not a list of models"):
        parse_models(answer)


def test_names_that_cannot_be_an_id_and_texts_that_cannot_be_stored_do_not_pass() -> None:
    entries = [
        {"name": "A"},
        {"name": "x\n"},
        {"name": "ok", "title": "\ud800", "settings": [{"key": "K"}, {"key": "k"}]},
    ]
    (found,) = parse_catalog({"revision": "r", "integrations": entries}).integrations
    assert (found.title, [setting.key for setting in found.settings]) == ("?", ["k"])
