"""What is promised of the stack of ``docker-compose.yml``, and of the scripts in ``deploy/``."""

from __future__ import annotations

from typing import Final

COMPOSE: Final[dict[str, str]] = {
    "backup:agents": "nothing that an agent writes leads a backup elsewhere, ends it, or is opened by a program",
    "backup:refusals": "a damaged, foreign or newer backup or a used place is refused, and nothing written",
    "backup:round-trip": "a backup of a running deployment restores all state, private, into an empty place",
    "backup:valves": "keys that users stored in Open WebUI are readable after a restore",
    "compose:checklist": "the six lines for finding out what is wrong work as printed",
    "compose:down": "down ends the runners too, and the next up goes on with all state",
    "compose:env_example": ".env.example and the page of settings name every variable that the compose file takes",
    "compose:first_run": "the first run makes folders, secrets and .env, changes none later, and refuses bad places",
    "compose:folders": "a folder put among the integrations is seen within 10 s, a template at the next start",
    "compose:hardened": "every service runs as user 1000 on a read-only root, with limits, on loopback",
    "compose:images": "the images are built by either builder, share their packages and run as user 1000",
    "compose:secrets": "secrets are files, each for those who need it, and no inspection of a container shows one",
    "compose:up": "all services are healthy, and a chat through Open WebUI reaches an integration from a runner",
}
