"""What is promised of runners in containers, and of the stack with compose."""
"""What is promised of runners in containers, and of the stack made of them."""

from __future__ import annotations

from typing import Final

DOCKER: Final[dict[str, str]] = {
    # The doors, by network
    "doors:by-network": "who calls from a runner's network finds the two doors and nothing else, whatever it sends",
    "doors:peer-not-header": "who calls is told by the connection, and no header changes that",
    "hub:keyless-beyond-loopback": "beyond loopback only health and the catalog can be read without the key",
    # The container of a runner
    "container:body": "the container is hardened, writes to its own folders alone, and has no field beyond the agreed",
    "container:hash": "the spec hash changes with everything that a container is made from, and with no secret",
    "container:secrets": "token and password are in the environment alone, and no other secret is in a container",
}
