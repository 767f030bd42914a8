"""``open-persona status``: the hub's table."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from rich.console import Console

from open_persona.hub_api import HubApi
from open_persona.secrets import load_secrets
from open_persona.settings import StackSettings
from open_persona.terminal import integration_table

ANSWER_S = 5.0


async def status(settings: StackSettings, environment: Mapping[str, str], out: Console, *, as_json: bool) -> int:
    """Exit code 0 when every enabled integration is healthy, else 1. Raises ``ServiceUnreachable``."""
    secrets = load_secrets(settings.home, environment)
    async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_S) as http:
        catalog = await HubApi(settings.hub, http, secrets.service_key if secrets else None).catalog()
    if as_json:
        out.file.write(catalog.model_dump_json(indent=1) + "\n")
    else:
        out.print(integration_table(catalog))
    return int(any(view.health != "healthy" for view in catalog.integrations if view.admin_state == "enabled"))
