"""A run: tests with real components first, in two rows side by side, then the fast ones. In CI none is skipped."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

DOCKER: Final = Path(__file__).parent / "e2e" / "docker"
CORE: Final = {"test_hostile.py"}
"""Those on Docker that are no ``containers``: what a runner can't reach or do."""
ROWS: Final = {
    "browsers": ("tests/e2e/openwebui/", "tests/e2e/status_page/"),
    "programs": ("tests/conformance/", "tests/e2e/process/", "tests/e2e/docker/"),
}
"""Row to the folders of its tests, which run one after the other."""


def row_of(nodeid: str) -> str:
    """Empty for a test that any worker may run at any time."""
    return next((row for row, folders in ROWS.items() if nodeid.startswith(folders)), "")


class Rows(LoadScopeScheduling):  # type: ignore[misc]  # has no types
    """A worker takes a row, or else a file, as a whole."""

    def _split_scope(self, nodeid: str) -> str:
        return row_of(nodeid) or nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Rows:
    config.option.loadscopereorder = False
    return Rows(config, log)


@pytest.hookimpl(tryfirst=True)  # before pytest looks for the markers that were asked for
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A stable sort: rows first where several workers share the tests, else the fast ones."""
    for item in items:
        if item.path.parent == DOCKER and item.path.name not in CORE:
            item.add_marker(pytest.mark.containers)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (not row_of(item.nodeid), not _is_real(item)))
    else:
        items.sort(key=_is_real)


def _is_real(item: pytest.Item) -> bool:
    return item.get_closest_marker("real") is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that can't have what it needs has failed."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
    return report
