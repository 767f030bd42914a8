"""The integration's page and manifest are what the hub and a reader expect."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hub.manifest import Manifest
from mcp_servers.web import server
from mcp_servers.web.fetch import Limits

FOLDER = Path(server.__file__).parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.requirement("web:manifest")
def test_the_manifest_is_one_that_the_hub_accepts() -> None:
    manifest = Manifest.model_validate(yaml.safe_load((FOLDER / "manifest.yaml").read_text(encoding="utf-8")))
    assert (manifest.name, manifest.settings, manifest.tools) == (FOLDER.name, (), {"fetch_page": "read"})
    assert manifest.limits.max_result_bytes > 2 * server.MAX_BYTES
    assert manifest.limits.timeout_s > server.CALL_S


def test_headings_tool_and_limits_are_described() -> None:
    headings = [line[3:] for line in README.splitlines() if line.startswith("## ")]
    assert headings == ["What it does", "Settings", "Tools", "Limits", "Troubleshooting"]
    limits, mib = Limits(), 1024 * 1024
    for said in (
        "`fetch_page`",
        f"{limits.page_bytes // mib} MiB for a page",
        f"{limits.file_bytes // mib} MiB for a PDF",
        f"{limits.total_s:.0f} seconds for fetching, {server.CALL_S:.0f} for all",
        f"Up to {limits.redirects} redirects",
    ):
        assert said in " ".join(README.split())
