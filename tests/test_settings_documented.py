"""Every setting has its row in docs/reference/settings.md, and every row names a setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hub.settings import HubSettings
from mcp_servers.kit import app as kit_app
from mcp_servers.kit import serve as kit_serve
from open_persona.settings import StackSettings
from sidecar.settings import Settings
from spawner.settings import SpawnerSettings
from tests.deploy.compose_file import interpolated

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reference" / "settings.md").read_text()
OTHERS = {
    kit_app.ALLOWED_HOSTS_ENV,
    kit_serve.LOG_LEVEL_ENV,
    kit_serve.PORT_ENV,
    "OPEN_PERSONA_<NAME>_<SETTING>",
    "OPEN_PERSONA_INSTRUMENTL_BASE_URL",
    "OPEN_PERSONA_GRANTS_GOV_BASE_URL",
    "OPEN_PERSONA_SIDECAR_BASE_URLS",  # of the package in Open WebUI
}


@pytest.mark.requirement("docs:settings")
def test_the_page_and_the_settings_name_the_same_variables() -> None:
    models = (Settings, HubSettings, StackSettings, SpawnerSettings)
    known = {f"OPEN_PERSONA_{name.upper()}" for model in models for name in model.model_fields} | OTHERS
    known |= {name for name in interpolated() if name.startswith("OPEN_PERSONA_")}
    documented = set(re.findall(r"^\| `(OPEN_PERSONA_[A-Z_<>]+)`", PAGE, re.MULTILINE))
    assert documented == known


@pytest.mark.requirement("docs:settings")
def test_the_source_reads_no_variable_that_is_not_documented() -> None:
    read = set()
    for package in ("sidecar", "hub", "mcp_servers", "open_persona", "openwebui", "spawner"):
        for file in (ROOT / package).rglob("*.py"):
            read |= set(re.findall(r'"(OPEN_PERSONA_[A-Z_]+)"', file.read_text()))
    internal = {"OPEN_PERSONA_RUNNER_TOKEN"}  # the runner's own, set by the sidecar
    assert {name for name in read if not name.endswith("_")} - internal <= set(
        re.findall(r"OPEN_PERSONA_[A-Z_]+", PAGE)
    )
