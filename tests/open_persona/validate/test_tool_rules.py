"""Faults in what a server lists: each is found at its place in the code."""

from __future__ import annotations

import pytest

from tests.open_persona.validate.sample import TOOL, Checkout, at, only

MANIFEST, SERVER = (f"mcp_servers/sample/{name}" for name in ("manifest.yaml", "server.py"))
pytestmark = pytest.mark.requirement("validate:planted-faults")


def schema(**properties: object) -> dict[str, object]:
    return {**TOOL, "inputSchema": {"type": "object", "properties": properties}}


def test_a_server_that_does_not_answer(checkout: Checkout) -> None:
    problem = only(checkout.judged(problem="the server ended as soon as it was started"))
    assert at(problem) == ("server-answers", MANIFEST, 6)
    assert "python -m mcp_servers.run mcp_servers/sample" in problem.mend


def test_a_tool_that_is_stated_and_not_listed(checkout: Checkout) -> None:
    checkout.change("manifest.yaml", "  find_samples: read", "  find_samples: read\n  lookup: read")
    checkout.change("README.md", "`find_samples`", "`lookup`, `find_samples`")
    assert at(only(checkout.judged(TOOL))) == ("server-lists-what-is-stated", MANIFEST, 15)


def test_a_tool_that_is_listed_and_not_stated(checkout: Checkout) -> None:
    problem = only(checkout.judged(TOOL, {**TOOL, "name": "build_app"}))
    assert at(problem) == ("server-lists-what-is-stated", SERVER, checkout.line("server.py", "def build_app"))
    assert "`build_app: read`" in problem.mend


@pytest.mark.parametrize("description", ["", "Short.", "find_samples", "Find samples.", "x" * 1001, None])
def test_a_description_that_says_nothing_or_too_much(checkout: Checkout, description: str | None) -> None:
    problem = only(checkout.judged({**TOOL, "description": description}))
    assert at(problem) == ("tools-are-described", SERVER, checkout.line("server.py", "def find_samples"))


@pytest.mark.parametrize(
    ("part", "lacks"),
    [
        ({"type": "string"}, "no description"),
        ({"description": "Words"}, "no type"),
        ({}, "no type and no description"),
    ],
)
def test_an_argument_that_is_not_explained(checkout: Checkout, part: dict[str, str], lacks: str) -> None:
    problem = only(checkout.judged(schema(words=part)))
    assert at(problem) == ("arguments-are-typed", SERVER, checkout.line("server.py", "words: Annotated"))
    assert problem.what.endswith(lacks)


def test_an_argument_of_a_shared_type_is_explained(checkout: Checkout) -> None:
    held = {"$ref": "#/$defs/Words"}
    shared = {"Words": {"type": "string", "description": "Words to look for"}}
    tool = {**TOOL, "inputSchema": {"type": "object", "properties": {"words": held}, "$defs": shared}}
    assert checkout.judged(tool).problems == ()


@pytest.mark.parametrize(
    ("risk", "hints", "agrees"),
    [
        ("read", {"readOnlyHint": True}, True),
        ("read", {"readOnlyHint": False, "destructiveHint": False}, False),
        ("read", None, False),
        ("write", {"readOnlyHint": False, "destructiveHint": False}, True),
        ("write", {"readOnlyHint": True, "destructiveHint": False}, False),
        ("write", {"readOnlyHint": False}, False),
        ("destructive", {"readOnlyHint": False, "destructiveHint": True}, True),
        ("destructive", {"readOnlyHint": False, "destructiveHint": False}, False),
    ],
)
def test_hints_that_do_not_agree_with_the_risk(
    checkout: Checkout, risk: str, hints: dict[str, bool] | None, *, agrees: bool
) -> None:
    checkout.change("manifest.yaml", "find_samples: read", f"find_samples: {risk}")
    examined = checkout.judged({**TOOL, "annotations": hints})
    if agrees:
        assert examined.problems == ()
        return
    problem = only(examined)
    assert at(problem) == ("tools-are-annotated", SERVER, checkout.line("server.py", "def find_samples"))
    assert f"annotations={risk.upper()}" in problem.mend


def test_a_tool_over_its_budget(checkout: Checkout) -> None:
    wide = {f"word_{number}": {"type": "string", "description": "x" * 100} for number in range(30)}
    problem = only(checkout.judged(schema(**wide)))
    assert at(problem) == ("tools-fit-the-context", SERVER, checkout.line("server.py", "def find_samples"))
    assert "the budget is 800" in problem.what


def test_an_integration_over_its_budget(checkout: Checkout) -> None:
    names = [f"find_{number}" for number in range(20)]
    checkout.change("manifest.yaml", "  find_samples: read\n", "".join(f"  {name}: read\n" for name in names))
    checkout.change("README.md", "`find_samples`", ", ".join(names))
    wide = schema(words={"type": "string", "description": "x" * 300})
    problem = only(checkout.judged(*({**wide, "name": name} for name in names)))
    assert at(problem) == ("tools-fit-the-context", MANIFEST, 13)
    assert "the budget is 2000" in problem.what


def test_what_somebody_else_wrote_is_not_judged_by_its_code(checkout: Checkout) -> None:
    checkout.change("manifest.yaml", "{type: python, port: 7050}", '{type: http, url: "https://mcp.example/{api_key}"}')
    (checkout.folder / "server.py").unlink()
    (checkout.folder / "README.md").unlink()
    examined = checkout.judged({"name": "find_samples", "inputSchema": {"properties": {"words": {}}}})
    assert [(one.rule, one.level) for one in examined.problems] == [("documentation-is-there", "warning")]
    assert examined.errors == 0
