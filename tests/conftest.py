"""The order of a run: fast tests first, those with real components after them."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A stable sort, so that within each half the files keep their order."""
    items.sort(key=lambda item: item.get_closest_marker("real") is not None)
