"""The integration's page names what the manifest has."""

from __future__ import annotations

from pathlib import Path

import mcp_servers.instrumentl
from mcp_servers.instrumentl.server import INTEGRATION

README = (Path(mcp_servers.instrumentl.__file__).parent / "README.md").read_text(encoding="utf-8")


def test_headings_tools_and_settings() -> None:
    headings = [line.removeprefix("## ") for line in README.splitlines() if line.startswith("## ")]
    assert headings == ["What it does", "Settings", "Tools", "Limits", "Troubleshooting"]
    for name in (*INTEGRATION.tools, *(setting.key for setting in INTEGRATION.settings)):
        assert f"`{name}`" in README
