"""Every rule has its row in docs/reference/rules.md, and every row names a rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from open_persona.validate.personas import LOCK_RULE, TEMPLATE_RULE
from open_persona.validate.rules import RULES, id_of, promise_of
from open_persona.validate.rules.tools import INTEGRATION_TOKENS, TOOL_TOKENS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "rules.md").read_text()


@pytest.mark.requirement("validate:documented")
def test_the_page_has_each_rule_with_its_promise() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert set(rows) == {id_of(rule) for rule in RULES} | {TEMPLATE_RULE, LOCK_RULE}
    assert {id_of(rule): rows[id_of(rule)] for rule in RULES} == {id_of(rule): promise_of(rule) for rule in RULES}


def test_the_page_has_the_budgets() -> None:
    assert f"{TOOL_TOKENS} tokens for a tool and {INTEGRATION_TOKENS:,} for an integration" in PAGE
