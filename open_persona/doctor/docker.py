"""In ``docker`` mode: are the secrets set, does Docker answer, and can a runner reach this machine?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound

from open_persona.doctor.docker_probe import Outcome, try_firewall
from open_persona.doctor.findings import Finding, Patient, fail, ok, warn

CALL_S: Final = 10
WHOLE_S: Final = 60.0
DEFAULT_HOST: Final = "unix:///var/run/docker.sock"
INSTALL: Final = "Run: sudo deploy/firewall install (docs/how-to/install-the-firewall.md)"
SECRETS: Final = Path("/run/secrets")
"""Where compose puts a service's secrets, one file for each."""
START: Final = "Start Docker, and see that this user may use it, or correct OPEN_PERSONA_DOCKER_HOST."
OUTCOMES: Final[dict[Outcome, Callable[[], Finding]]] = {
    "kept out": lambda: ok("firewall", "a runner cannot reach this machine (tried with a container)"),
    "got in": lambda: fail(
        "firewall", "a runner can reach every program of this machine that listens on all addresses", INSTALL
    ),
    "not this machine": lambda: ok(
        "firewall", "not tried: Docker runs on another machine than this command; run the doctor there"
    ),
    "not allowed": lambda: ok(
        "firewall",
        "not tried: only runners can be started from here. On the host, 'sudo deploy/firewall check' tells whether "
        "the rules are in place, and 'open-persona doctor' tries them",
    ),
    "no room": lambda: warn(
        "firewall", "not tried: no /28 of OPEN_PERSONA_RUNNER_SUBNETS is free", "Give it a range that nothing uses."
    ),
    "unclear": lambda: warn(
        "firewall", "not tried: the container that was to try it did not run", "Look: docker run --rm <runner image> id"
    ),
}


async def compose_secrets(_: Patient, folder: Path = SECRETS) -> Sequence[Finding]:
    """Within a service of compose: which of its secrets are set, by their names. Elsewhere nothing."""
    try:
        sizes = await asyncio.to_thread(_sizes, folder)
    except OSError as error:
        return [fail("keys", f"{folder} can't be read: {error.strerror}", "Run deploy/first-run, then restart.")]
    filled, empty = ([name for name, size in sizes.items() if bool(size) is given] for given in (True, False))
    if not sizes:
        return []
    return [ok("keys", f"set: {', '.join(filled) or 'none'}; not set: {', '.join(empty) or 'none'}")]


def _sizes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in sorted(folder.glob("[A-Z]*")) if file.is_file()}


async def docker(patient: Patient) -> Sequence[Finding]:
    """Nothing in ``process`` mode. Leaves nothing behind."""
    if patient.settings.runner_mode != "docker":
        return []
    try:
        async with asyncio.timeout(WHOLE_S):
            return await asyncio.to_thread(_examine, patient)
    except TimeoutError:
        return [fail("Docker", f"is too slow: no answer within {WHOLE_S:g} s", "Look: docker info; uptime")]


def _examine(patient: Patient) -> list[Finding]:
    settings = patient.settings
    host = settings.docker_host or patient.environment.get("DOCKER_HOST") or DEFAULT_HOST
    try:
        client = APIClient(host, version="auto", timeout=CALL_S)
    except (DockerException, OSError) as error:
        return [fail("Docker", f"does not answer at {host}: {_first_line(error)}", START)]
    try:
        image = _image(client, settings.runner_image)
        found = [ok("Docker", f"{_version(client)} answers at {host}"), image]
        if image.level == "ok":
            found.append(OUTCOMES[try_firewall(client, settings.runner_image, settings.runner_subnets)]())
        return found
    except (DockerException, OSError) as error:
        return [fail("Docker", f"answers at {host}, but not as it should: {_first_line(error)}", "Look: docker info")]
    finally:
        client.close()


def _version(client: APIClient) -> str:
    return str(client.version(api_version=False).get("Version", "an unknown version"))


def _image(client: APIClient, name: str) -> Finding:
    try:
        found = client.inspect_image(name)
    except ImageNotFound:
        return fail("runner image", f"{name} is not there", "Build it: docker compose build, or make images.")
    except APIError as error:
        return fail("runner image", f"{name}: {_first_line(error)}", "Is OPEN_PERSONA_RUNNER_IMAGE right?")
    return ok("runner image", f"{name} is there ({str(found['Id']).removeprefix('sha256:')[:12]})")


def _first_line(error: Exception) -> str:
    text = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
    return str(text).splitlines()[0] if text else type(error).__name__
