"""Every scenario of the suite's requirement sets is either run through the gateway or left out for a reason."""

from __future__ import annotations

import pytest
import yaml

from tests.conformance.scenarios import OUT_OF_SCOPE, REVISIONS, THROUGH_GATEWAY, Revision
from tests.conformance.tools import Judges

pytestmark = pytest.mark.real


@pytest.mark.requirement("conformance:scope")
@pytest.mark.parametrize("revision", REVISIONS)
def test_the_two_tables_hold_the_suites_scenarios_once_each(judges: Judges, revision: Revision) -> None:
    package = judges.conformance.parent.parent
    requirements = yaml.safe_load((package / "requirements" / f"{revision}.yaml").read_text())
    unscored = [entry["scenario"] for entry in requirements["not_scored"] if entry["leg"] == "server"]
    listed = [*THROUGH_GATEWAY[revision], *OUT_OF_SCOPE[revision]]
    assert sorted(listed) == sorted([*requirements["server"], *unscored])
    assert all(OUT_OF_SCOPE[revision].values())
