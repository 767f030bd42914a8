"""What is promised, as data: ``<area>:<feature>`` → one sentence, by area in ``tests/promises/``.

A test that proves a promise carries ``@pytest.mark.requirement("<id>")``; ``test_requirements.py`` compares the two.
"""

from __future__ import annotations

from typing import Final

from tests.promises.compose import COMPOSE
from tests.promises.docker import DOCKER
from tests.promises.hub import HUB
from tests.promises.integrations import INTEGRATIONS
from tests.promises.open_webui import OPEN_WEBUI
from tests.promises.sidecar import SIDECAR
from tests.promises.spawner import SPAWNER
from tests.promises.the_repo import THE_REPO

AREAS: Final = (THE_REPO, OPEN_WEBUI, HUB, INTEGRATIONS, SIDECAR, DOCKER, COMPOSE, SPAWNER)
REQUIREMENTS: Final[dict[str, str]] = {key: text for area in AREAS for key, text in area.items()}
