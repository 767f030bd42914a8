"""Is Open WebUI up, and is our package in it at work: patched, seeded, its tools there, whose keys are set?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from open_persona.doctor.findings import Finding, Patient, fail, ok, warn
from open_persona.errors import ServiceUnreachable
from open_persona.hub_api import HubApi
from open_persona.webui.api import KeyState, Refusal, SeedState, WebuiApi, WebuiStatus
from open_persona.webui.pins import VERSION

PROVIDER_TOOLS = ("open_persona_provider_keys", "open_persona_provider_defaults")
INTEGRATION_TOOL = "open_persona_integration_"
SAME_HOME = "Set OPEN_PERSONA_HOME or OPEN_PERSONA_SIDECAR_API_KEY to what Open WebUI was started with."
PATCHED_START = "Start it with 'open-persona up --webui', or take the image of openwebui/Dockerfile."
LOG = "Look at Open WebUI's log: logs/Open-WebUI.log in the home."
ENTER_KEY = "A user enters one there: Integrations > Tools > the sliders beside 'Open Persona: my keys'."
REFUSALS: dict[Refusal, tuple[str, str]] = {
    "unpatched": ("runs without our patch: personas get no keys, settings or ids", PATCHED_START),
    "wrong_key": ("answers 401 to this home's API key", SAME_HOME),
    "unreachable": ("did not tell how it is in time", "Run the doctor again."),
    "error": ("can't tell how it is", LOG),
    "bad_shape": ("tells how it is in another version's shape", PATCHED_START),
}


async def open_webui(patient: Patient) -> Sequence[Finding]:
    """Open WebUI is optional: the CLI and any OpenAI client work without it. One that is there has to be patched."""
    url = patient.settings.webui
    webui = WebuiApi(url, patient.http)
    if not await webui.healthy():
        action = "'open-persona up --webui' starts one; for another set OPEN_PERSONA_WEBUI_URL. The CLI works without."
        return [warn("Open WebUI", f"does not answer at {url}", action)]
    version = await webui.version()
    if version is None:
        action = "Stop that, or set OPEN_PERSONA_WEBUI_URL to Open WebUI's address."
        return [warn("Open WebUI", f"what answers at {url} is no Open WebUI", action)]
    return [_version(url, version), *await _inside(webui, patient)]


def _version(url: str, version: str) -> Finding:
    message = f"{version} answers at {url}"
    if version == VERSION:
        return ok("Open WebUI", message)
    return warn("Open WebUI", f"{message}, which Open Persona is not made for", f"Take version {VERSION}.")


async def _inside(webui: WebuiApi, patient: Patient) -> list[Finding]:
    if patient.secrets is None:
        return [fail("Open WebUI patch", "can't be asked: this home has no API key", SAME_HOME)]
    status = await webui.status(patient.secrets.sidecar_api_key)
    if not isinstance(status, WebuiStatus):
        return [fail("Open WebUI patch", *REFUSALS[status])]
    if not status.patched:
        return [fail("Open WebUI patch", *REFUSALS["unpatched"])]
    expected = await _integration_tools(patient)
    return [
        ok("Open WebUI patch", "is loaded"),
        _seed(status.seed, len(status.models)),
        _tools(status, expected),
        *_keys(status.keys, demo=patient.settings.demo),
    ]


def _seed(seed: SeedState, models: int) -> Finding:
    at = f" at {seed.at}" if seed.at else ""
    if seed.state == "seeded":
        return ok("Open WebUI seed", f"seeded{at}, {models} models")
    problem = _printable(seed.problem or "no reason given")
    if seed.state == "waiting":
        return warn("Open WebUI seed", f"waits: {problem}", "Are hub and sidecar up? Ask again in a minute.")
    return fail("Open WebUI seed", f"failed{at}: {problem}", LOG)


async def _integration_tools(patient: Patient) -> list[str]:
    """The tools that the catalog calls for; none where the hub can't be asked, which another check tells."""
    key = patient.secrets.service_key if patient.secrets else None
    try:
        catalog = await HubApi(patient.settings.hub, patient.http, key).catalog()
    except ServiceUnreachable:
        return []
    there = (view for view in catalog.integrations if view.admin_state == "enabled" and view.health != "invalid")
    return [f"{INTEGRATION_TOOL}{view.name}" for view in there]


def _tools(status: WebuiStatus, expected: Sequence[str]) -> Finding:
    missing = [tool for tool in (*PROVIDER_TOOLS, *expected) if tool not in status.tools]
    if missing:
        action = f"They come with the seed, within a minute of a change. {LOG}"
        return fail("Open WebUI tools", f"not there: {', '.join(missing)}", action)
    integrations = sum(tool.startswith(INTEGRATION_TOOL) for tool in status.tools)
    return ok("Open WebUI tools", f"the two for provider keys, and {integrations} of integrations")


def _keys(keys: KeyState, *, demo: bool) -> Iterator[Finding]:
    having = [user for user in keys.users if user.set]
    for user in having:
        yield ok(f"keys of {_printable(user.user)}", _listed(user.set))
    for title, providers in (("the admin's defaults", keys.defaults), ("Open WebUI's environment", keys.environment)):
        if providers:
            yield ok("default keys", f"{_listed(providers)}, from {title}")
    if not (having or keys.defaults or keys.environment or demo):
        yield warn("keys in Open WebUI", "no user has a provider key, and there is no default one", ENTER_KEY)


def _listed(providers: Sequence[str]) -> str:
    return _printable(", ".join(providers))


def _printable(text: str) -> str:
    """Names are the users' own: nothing in them steers a terminal."""
    return "".join(character for character in text if character.isprintable())
