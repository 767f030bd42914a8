"""What the tests on real Docker share: the engine, once for a run, and a deployment's runner mode for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.docker.engine import Engine, running_engine
from tests.e2e.docker.runners import Deployment, StandIns, running_mode, stand_in_images


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with running_engine() as running:
        yield running


@pytest.fixture(scope="session")
def stand_ins(engine: Engine) -> Iterator[StandIns]:
    with stand_in_images(engine) as images:
        yield images


@pytest.fixture
async def deployment(engine: Engine, tmp_path: Path) -> AsyncIterator[Deployment]:
    """One of its own; no container and no network of it is left afterwards."""
    async with running_mode(tmp_path, engine) as running:
        yield running
