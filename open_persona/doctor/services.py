"""Are the sidecar, the hub and the integrations up, and are they what they should be?"""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from hub.wire import IntegrationView
from open_persona.doctor.findings import Finding, Patient, fail, ok, warn
from open_persona.errors import ServiceUnreachable
from open_persona.hub_api import HubApi
from open_persona.ports import holder_of, is_taken
from open_persona.terminal import advice_for, state_of

START = "Start it with 'open-persona up'."


async def sidecar(patient: Patient) -> Sequence[Finding]:
    """Up, and with the API key that this home holds."""
    settings = patient.settings
    url = settings.sidecar
    if await _status(patient.http, f"{url}/healthz") != httpx.codes.OK:
        return [_absent("sidecar", url, settings.sidecar_host, settings.sidecar_port, "OPEN_PERSONA_SIDECAR_PORT")]
    if patient.secrets is None:
        return [
            fail(
                "sidecar", f"answers at {url}, but its API key is not known here", "Set OPEN_PERSONA_HOME to its home."
            )
        ]
    key = {"Authorization": f"Bearer {patient.secrets.sidecar_api_key.get_secret_value()}"}
    status = await _status(patient.http, f"{url}/v1/models", key)
    if status != httpx.codes.OK:
        action = "Set OPEN_PERSONA_HOME or OPEN_PERSONA_SIDECAR_API_KEY to what the sidecar was started with."
        return [fail("sidecar", f"answers {status} at {url} to this home's API key", action)]
    return [ok("sidecar", f"answers at {url}")]


async def hub(patient: Patient) -> Sequence[Finding]:
    """Up, and done with its first look at the integrations."""
    settings = patient.settings
    if await _status(patient.http, f"{settings.hub}/healthz") != httpx.codes.OK:
        return [_absent("hub", settings.hub, settings.hub_host, settings.hub_port, "OPEN_PERSONA_HUB_PORT")]
    if await _status(patient.http, f"{settings.hub}/readyz") != httpx.codes.OK:
        return [warn("hub", f"answers at {settings.hub}, but is still starting", "Ask again in a few seconds.")]
    return [ok("hub", f"answers at {settings.hub}")]


async def integrations(patient: Patient) -> Sequence[Finding]:
    """Every integration, as the hub sees it."""
    key = patient.secrets.service_key if patient.secrets else None
    try:
        catalog = await HubApi(patient.settings.hub, patient.http, key).catalog()
    except ServiceUnreachable as error:
        return [fail("integrations", "unknown, since the hub can't be asked", str(error))]
    if not catalog.integrations:
        return [warn("integrations", "there are none", "Add a folder under mcp_servers/.")]
    return [_integration(view) for view in catalog.integrations]


def _integration(view: IntegrationView) -> Finding:
    name, state = f"integration {view.name}", state_of(view)
    if state == "healthy" and view.faults:
        return warn(name, "healthy, by the last good version of its manifest", view.action)
    if state == "healthy":
        return ok(name, f"healthy, {len(view.tools)} tools")
    advice = advice_for(view) or view.detail
    if state in ("disabled", "starting", "degraded"):
        return warn(name, state, advice)
    return fail(name, f"{state}: {view.detail or view.reason or 'no reason given'}", advice)


def _absent(name: str, url: str, host: str, port: int, setting: str) -> Finding:
    """Not running, or another program sits on its port."""
    if is_taken(host, port):
        holder = holder_of(port) or "another program"
        return fail(name, f"port {port} is taken by {holder}, which is no {name}", f"Stop that, or set {setting}.")
    return fail(name, f"does not answer at {url}", START)


async def _status(http: httpx.AsyncClient, url: str, headers: dict[str, str] | None = None) -> int:
    """The status code, 0 where there is no answer."""
    try:
        return (await http.get(url, headers=headers)).status_code
    except (httpx.HTTPError, httpx.InvalidURL):
        return 0
