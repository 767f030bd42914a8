"""The home, its secrets, and the provider keys: where they are and where they come from, never what they are."""

from __future__ import annotations

from collections.abc import Sequence

from open_persona.doctor.findings import Finding, Patient, fail, ok, warn
from open_persona.errors import HomeRefused
from open_persona.home import HOME_SETTING, check_writable, work_tree_above
from open_persona.secrets import FILE, NAMES, is_private, load_secrets
from open_persona.webui.secret_key import FILE as WEBUI_FILE

KEYS = {
    "OpenAI": "OPEN_PERSONA_DEFAULT_OPENAI_API_KEY",
    "Anthropic": "OPEN_PERSONA_DEFAULT_ANTHROPIC_API_KEY",
    "OpenRouter": "OPEN_PERSONA_DEFAULT_OPENROUTER_API_KEY",
}
OWN_ENDPOINT = "OPEN_PERSONA_COMPATIBLE_BASE_URL"


async def home(patient: Patient) -> Sequence[Finding]:
    """There, writable, and outside of any git work tree."""
    folder = patient.settings.home
    if tree := work_tree_above(folder):
        return [
            fail("home", f"{folder} lies in the git work tree {tree}", f"Set {HOME_SETTING} to a folder outside of it.")
        ]
    if not folder.exists() and not folder.is_symlink():
        return [warn("home", f"{folder} is not there yet", "'open-persona up' makes it.")]
    if not folder.is_dir():
        return [fail("home", f"{folder} is no folder", f"Move it away, or set {HOME_SETTING} to a folder of yours.")]
    try:
        check_writable(folder)
    except HomeRefused as error:
        return [fail("home", str(error), f"Look: ls -ld {folder}; df {folder}")]
    return [ok("home", str(folder))]


async def secrets(patient: Patient) -> Sequence[Finding]:
    """All three keys are there, and nobody else can read them, nor Open WebUI's."""
    file = patient.settings.home / FILE
    try:
        found = load_secrets(patient.settings.home, patient.environment)
    except HomeRefused as error:
        return [fail("secrets", str(error), "A new one is made by 'open-persona up' once it is moved away.")]
    if found is None:
        return [warn("secrets", f"{file} is not there yet", "'open-persona up' makes it.")]
    files = (file, patient.settings.home / WEBUI_FILE)
    if open_to_others := [one for one in files if one.exists() and not is_private(one)]:
        return [fail("secrets", f"others can read {one}", f"Run: chmod 600 {one}") for one in open_to_others]
    by_hand = [name for name in NAMES if patient.environment.get(f"OPEN_PERSONA_{name.upper()}")]
    source = f"{', '.join(by_hand)} from the environment" if by_hand else str(file)
    return [ok("secrets", source)]


async def provider_keys(patient: Patient) -> Sequence[Finding]:
    """The deployment's default keys, by the name of the variable that each comes from."""
    found = [
        ok(f"key {title}", f"default key set by {name}")
        for title, name in KEYS.items()
        if patient.environment.get(name)
    ]
    if patient.environment.get(OWN_ENDPOINT):
        found.append(ok("key own endpoint", f"endpoint set by {OWN_ENDPOINT}"))
    if patient.settings.demo:
        found.append(ok("demo model", "OPEN_PERSONA_DEMO is set: a scripted model answers where no key is"))
    if found:
        return found
    action = (
        "Each user enters a key in Open WebUI (Integrations > Tools > Open Persona: my keys), "
        f"or set one of {', '.join(KEYS.values())} for everyone, or OPEN_PERSONA_DEMO=1 to try without."
    )
    return [warn("provider keys", "no default provider key is set here", action)]
