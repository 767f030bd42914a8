"""The judges, fetched at their first use."""

from __future__ import annotations

import pytest

from tests.conformance.tools import Judges, ensure_judges


@pytest.fixture(scope="session")
def judges(pytestconfig: pytest.Config) -> Judges:
    """Fetching takes about half a minute once; progress is shown past pytest's capture."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        return ensure_judges(lambda line: print(f"\n{line}", flush=True))
