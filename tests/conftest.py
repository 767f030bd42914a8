"""The order of a run: fast tests first, those with real components after them; and which of these want containers."""

from __future__ import annotations

from pathlib import Path

import pytest

DOCKER = Path(__file__).parent / "e2e" / "docker"


@pytest.hookimpl(tryfirst=True)  # before pytest looks for the markers that were asked for
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A stable sort, so that within each half the files keep their order."""
    items.sort(key=lambda item: item.get_closest_marker("real") is not None)
    for item in items:
        if item.path.parent == DOCKER:
            item.add_marker(pytest.mark.containers)
