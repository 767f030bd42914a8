from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hub.manifest import Manifest
from mcp_servers.grants_gov import server
from mcp_servers.grants_gov.attachments import attachments_url

FOLDER = Path(server.__file__).parent


@pytest.mark.requirement("grants_gov:manifest")
def test_the_manifest_is_one_that_the_hub_accepts() -> None:
    manifest = Manifest.model_validate(yaml.safe_load((FOLDER / "manifest.yaml").read_text(encoding="utf-8")))

    assert manifest.name == FOLDER.name
    assert manifest.settings == ()
    tools = ("search_opportunities", "get_opportunities", "list_codes", "read_attachment")
    assert manifest.tools == dict.fromkeys(tools, "read")
    assert manifest.limits.max_result_bytes > 2 * server.DETAILED_BYTES


def test_the_readme_has_the_headings_of_an_integration_and_every_tool() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")

    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["What it does", "Settings", "Tools", "Limits", "Troubleshooting"]
    assert all(f"`{tool}`" in text for tool in server.INTEGRATION.tools)
    assert server.BASE_URL_ENV in text


@pytest.mark.parametrize(
    ("base_url", "source"),
    [
        ("https://api.grants.gov/v1/api", "Grants.gov"),
        ("https://api.www.grants.gov/v1/api", "Grants.gov"),
        ("https://grants.gov.example/v1/api", "Grants.gov API at grants.gov.example"),
        ("http://127.0.0.1:1/v1/api", "Grants.gov API at 127.0.0.1"),
    ],
)
def test_another_address_is_not_passed_off_as_grants_gov(base_url: str, source: str) -> None:
    assert server._source(base_url) == source


def test_files_are_asked_of_the_host_that_answers_for_the_api() -> None:
    path = "/grantsws/rest/opportunity/att/download/"
    assert attachments_url("https://api.grants.gov/v1/api", official=True) == f"https://apply07.grants.gov{path}"
    assert attachments_url("http://127.0.0.1:1/v1/api", official=False) == f"http://127.0.0.1:1{path}"
