"""Every promise has a test, and every test that claims one claims a promise that exists."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.requirements import AREAS, REQUIREMENTS

TESTS = Path(__file__).parent


def claimed() -> set[str]:
    """The ids in ``pytest.mark.requirement(...)`` of every test file."""
    found: set[str] = set()
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "requirement":
                found |= {str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)}
    return found


def test_every_promise_has_a_test() -> None:
    assert sorted(set(REQUIREMENTS) - claimed()) == []


def test_every_claim_is_a_promise() -> None:
    assert sorted(claimed() - set(REQUIREMENTS)) == []


def test_a_promise_is_one_sentence() -> None:
    assert [key for key, text in REQUIREMENTS.items() if not text or text.endswith(".") or "\n" in text] == []


def test_no_promise_is_made_twice() -> None:
    assert sum(map(len, AREAS)) == len(REQUIREMENTS)
