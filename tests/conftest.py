"""The order of a run: fast tests first, those with real components after them, and which of these run side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

DOCKER = Path(__file__).parent / "e2e" / "docker"
STACKS = {f"test_{name}.py" for name in ("crowd", "key_sets", "mishaps", "restarts", "stack", "stack_core")}
"""Those of them that want a whole stack of compose."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the rows in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A stable sort, so that within each half the files keep their order.

    Tests with real components mostly wait. With ``--dist loadgroup`` they run in three rows, one process each.
    """
    items.sort(key=lambda item: item.get_closest_marker("real") is not None)
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(pytest.mark.xdist_group(_row(item.path)))


def _row(file: Path) -> str:
    if file.parent != DOCKER:
        return "programs"
    return "stacks" if file.name in STACKS else "containers"
