"""The names and labels of what is made through the spawner. They are the sidecar's; the label ``SPAWNER`` is ours."""

from __future__ import annotations

import re
from typing import Final

SPAWNER: Final = "open-persona.spawner"
RUNNER: Final = "open-persona.runner"
NETWORK: Final = "open-persona.network"
WORKSPACE: Final = "open-persona.workspace"
KEYSIG: Final = "open-persona.keysig"
INSTANCE: Final = "open-persona.instance"
SPEC: Final = "open-persona.spec"

HASH: Final = "[0-9a-f]{16}"
SIG: Final = "[0-9a-f]{8}"
RUNNER_NAME: Final = f"open-persona-runner-{HASH}-{SIG}"
NETWORK_NAME: Final = f"open-persona-net-{HASH}"
ID: Final = "[0-9a-f]{12,64}"
"""Docker's ids, whole or as ``docker ps`` shows them."""

SERVICE_ALIASES: Final = ("open-persona-sidecar", "open-persona-hub")
"""What runners call the services, in the order of ``OPEN_PERSONA_RUNNER_SERVICES``."""


def runner_parts(name: str) -> tuple[str, str] | None:
    """The workspace hash and the key set's name in a runner's name; None where it is not one."""
    found = re.fullmatch(f"open-persona-runner-({HASH})-({SIG})", name)
    return (found[1], found[2]) if found else None


def network_name(workspace: str) -> str:
    return f"open-persona-net-{workspace}"


def network_workspace(name: str) -> str | None:
    """The workspace hash in a network's name; None where it is not one."""
    found = re.fullmatch(f"open-persona-net-({HASH})", name)
    return found[1] if found else None


def bridge_name(workspace: str) -> str:
    """The interface on the host, 15 characters: the firewall's rules go by its beginning."""
    return f"oprun-{workspace[:9]}"
