"""The tool of one integration: a form of the user's settings, a toggle, and how the integration is."""

from __future__ import annotations

import re

from .catalog import Integration, Setting
from .field_names import field_of
from .status_line import line_for
from .tool_source import SettingField, tool_source
from .wanted import PublicRead, WantedTool

PREFIX = "open_persona_integration_"
"""What the ids of these tools start with; the integration's name follows."""


def integration_tool(integration: Integration) -> WantedTool:
    """Its tool, as it is first seeded."""
    fields = tuple(_field(setting) for setting in integration.settings)
    return WantedTool(
        id=f"{PREFIX}{integration.name}",
        name=f"Open Persona: {_one_line(integration.title) or integration.name}",
        description=_one_line(integration.description),
        content=tool_source("UserValves", fields),
        has_user_valves=bool(fields),
        access=PublicRead(),
        status=line_for(integration),
    )


def _field(setting: Setting) -> SettingField:
    said = ["Required." if setting.required else "Optional.", setting.description.strip()]
    said += [f"Help: {setting.help_url}"] if setting.help_url else []
    return SettingField(field_of(setting.key), setting.title, " ".join(filter(None, said)), setting.secret)


def _one_line(text: str) -> str:
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
