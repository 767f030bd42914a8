"""The reference pages name everything that there is."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

import hub
from hub.actions import DISABLED, OURS
from hub.approval_routes import approval_router
from hub.manifest import CommandTransport, HttpTransport, Limits, Manifest, ProbeSettings, PythonTransport, Setting
from hub.manifest_file import read_manifest
from hub.page import MANY, overall
from hub.routes import own, router
from hub.settings import HubSettings
from hub.wire import Health, Reason, StatusView

DOCS = Path(__file__).parents[2] / "docs" / "reference"
API = (DOCS / "hub-api.md").read_text("utf-8")
MANIFEST = (DOCS / "manifest.md").read_text("utf-8")


def example(page: str, language: str, at: int = 0) -> str:
    return page.split(f"```{language}\n")[at + 1].split("```", maxsplit=1)[0]


@pytest.mark.parametrize(
    "model", [Manifest, PythonTransport, CommandTransport, HttpTransport, Setting, Limits, ProbeSettings]
)
def test_every_field_of_a_manifest_is_described(model: type[BaseModel]) -> None:
    assert [name for name in model.model_fields if f"`{name}`" not in MANIFEST] == []


def test_every_route_state_reason_and_setting_is_described() -> None:
    routes = [route for route in (*own.routes, *router.routes, *approval_router.routes) if isinstance(route, APIRoute)]
    assert len(routes) > 9
    assert [route.path for route in routes if f"{min(route.methods or ())} {route.path}" not in API] == []
    assert [word for word in (*get_args(Health), *get_args(Reason)) if f"| `{word}` |" not in API] == []
    assert [name for name in HubSettings.model_fields if f"`OPEN_PERSONA_{name.upper()}`" not in API] == []


def test_every_reason_has_an_action() -> None:
    assert set(OURS) | {"disabled", "invalid_manifest"} == set(get_args(Reason))
    assert DISABLED


@pytest.mark.requirement("docs:status-page")
def test_the_page_has_the_words_that_its_how_to_names() -> None:
    how_to = (DOCS.parent / "how-to" / "read-the-status-page.md").read_text("utf-8")
    pages = "".join(one.read_text("utf-8") for one in (Path(hub.__file__).parent / "templates").iterdir())
    words = [
        "What to do", "Integrations", "Details", "Last calls", "Uptime 24 h", "Check took", "not offered", "tokens",
        "Faulty manifest", "Check now", "Not as last approved", "Approve", "Tools changed",
    ]  # fmt: skip
    assert [word for word in words if word not in how_to or word not in pages] == []
    assert "All 4 integrations answer" in how_to
    assert overall(["healthy"] * 4)[1] == "All 4 integrations answer"
    assert f"more than {MANY}," in how_to


def test_the_examples_are_valid(tmp_path: Path) -> None:
    folder = tmp_path / "instrumentl"
    folder.mkdir()
    (folder / "manifest.yaml").write_text(example(MANIFEST, "yaml"))
    assert read_manifest(folder).faults == ()
    assert StatusView.model_validate_json(example(API, "json", 1)).counts["healthy"] == 1
