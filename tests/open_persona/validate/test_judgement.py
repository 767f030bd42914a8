"""Waivers: what they excuse, and what is wrong with one."""

from __future__ import annotations

import pytest

from open_persona.validate.rules import RULES, id_of, promise_of
from tests.open_persona.validate.sample import TOOL, Checkout, at, only

MANIFEST = "mcp_servers/sample/manifest.yaml"


def with_waiver(checkout: Checkout, rule: str, reason: str = "Because.") -> None:
    text = (checkout.folder / "manifest.yaml").read_text()
    checkout.write("manifest.yaml", f'{text}waivers:\n  {rule}: "{reason}"\n')


@pytest.mark.requirement("validate:waivers")
def test_a_waiver_excuses_its_rule_and_no_other(checkout: Checkout) -> None:
    checkout.change("README.md", "\nNone.\n", "")
    checkout.change("manifest.yaml", "timeout_s: 25", "timeout_s: 500")
    with_waiver(checkout, "readme-has-its-headings", "It has no limits.")
    examined = checkout.judged(TOOL)
    assert at(only(examined))[0] == "limits-are-sane"
    (waived,) = examined.waived
    assert (waived.problem.rule, waived.reason) == ("readme-has-its-headings", "It has no limits.")


@pytest.mark.requirement("validate:waivers")
@pytest.mark.parametrize(
    ("rule", "reason", "what"),
    [
        ("no-such-rule", "Because.", "there is no rule 'no-such-rule'"),
        ("port-is-unique", "Because.", "the rule 'port-is-unique' can't be waived: the hub enforces it"),
        ("waivers", "Because.", "there is no rule 'waivers'"),
        ("limits-are-sane", "  ", "the waiver of 'limits-are-sane' gives no reason"),
    ],
)
def test_a_waiver_that_makes_no_sense(checkout: Checkout, rule: str, reason: str, what: str) -> None:
    with_waiver(checkout, rule, reason)
    problem = only(checkout.judged(TOOL))
    assert at(problem) == ("waivers", MANIFEST, 18)
    assert (problem.level, problem.what) == ("error", what)


@pytest.mark.requirement("validate:waivers")
def test_a_waiver_without_a_reason_waives_nothing(checkout: Checkout) -> None:
    checkout.change("manifest.yaml", "timeout_s: 25", "timeout_s: 500")
    with_waiver(checkout, "limits-are-sane", "")
    assert {one.rule for one in checkout.judged(TOOL).problems} == {"limits-are-sane", "waivers"}


@pytest.mark.requirement("validate:waivers")
def test_a_waiver_that_waives_nothing_is_a_warning(checkout: Checkout) -> None:
    with_waiver(checkout, "limits-are-sane")
    examined = checkout.judged(TOOL)
    assert at(only(examined)) == ("waivers", MANIFEST, 18)
    assert (examined.errors, examined.warnings) == (0, 1)


@pytest.mark.parametrize("rule", ["tools-are-described", "port-is-free-or-its-own"])
def test_a_waiver_of_a_rule_that_was_not_looked_at_is_left_alone(checkout: Checkout, rule: str) -> None:
    with_waiver(checkout, rule)
    assert checkout.judged().problems == ()


def test_each_rule_has_an_id_of_its_own_and_a_promise() -> None:
    ids = [id_of(rule) for rule in RULES]
    assert len(set(ids)) == len(ids) >= 20
    assert all(promise_of(rule).endswith(".") for rule in RULES)
