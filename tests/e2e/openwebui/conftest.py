"""What the tests with the real Open WebUI share."""

from __future__ import annotations

from tests.e2e.openwebui.installed import open_webui_program

__all__ = ["open_webui_program"]
