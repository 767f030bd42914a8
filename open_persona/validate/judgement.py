"""From one integration to its problems: every rule that can run, then the waivers of its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from open_persona.validate.problems import Examined, Found, Problem, Waived
from open_persona.validate.rules import CATALOG_RULES, FOLDER_RULES, TOOL_RULES, Rule, id_of
from open_persona.validate.rules.manifest import port_is_free_or_its_own
from open_persona.validate.subject import Subject

WAIVERS = "waivers"
"""The id of what is wrong with a waiver itself."""

_BINDING = frozenset(map(id_of, CATALOG_RULES))
_WAIVABLE = frozenset(map(id_of, (*FOLDER_RULES, *TOOL_RULES)))


def judge(subject: Subject, notes: Sequence[str] = ()) -> Examined:
    """Everything that is wrong with one integration. Of a manifest that can't be read only its faults are told."""
    if subject.file.manifest is None:
        return Examined(kind="integration", name=subject.name, problems=_problems(subject, CATALOG_RULES[:1]))
    found = _problems(subject, _runnable(subject))
    reasons = {rule: reason.strip() for rule, reason in subject.manifest.waivers.items() if rule in _WAIVABLE}
    kept = tuple(problem for problem in found if not reasons.get(problem.rule))
    waived = tuple(
        Waived(problem=problem, reason=reasons[problem.rule]) for problem in found if reasons.get(problem.rule)
    )
    bad = tuple(Problem.of(WAIVERS, one) for one in _bad_waivers(subject, {one.problem.rule for one in waived}))
    return Examined(kind="integration", name=subject.name, problems=(*kept, *bad), waived=waived, notes=tuple(notes))


def _runnable(subject: Subject) -> tuple[Rule, ...]:
    return (*CATALOG_RULES, *FOLDER_RULES, *(TOOL_RULES if subject.listing is not None else ()))


def _problems(subject: Subject, rules: Sequence[Rule]) -> tuple[Problem, ...]:
    return tuple(Problem.of(id_of(rule), found) for rule in rules for found in rule(subject))


def _bad_waivers(subject: Subject, used: set[str]) -> Iterator[Found]:
    looked_at = {id_of(rule) for rule in _runnable(subject)}
    if subject.port is None:
        looked_at.discard(id_of(port_is_free_or_its_own))
    for rule, reason in subject.manifest.waivers.items():
        place = subject.in_manifest("waivers", rule)
        if rule in _BINDING:
            yield Found(
                place, f"the rule {rule!r} can't be waived: the hub enforces it", "Remove the waiver, mend the fault."
            )
        elif rule not in _WAIVABLE:
            yield Found(
                place, f"there is no rule {rule!r}", "Correct its id; docs/reference/rules.md lists every rule."
            )
        elif not reason.strip():
            yield Found(place, f"the waiver of {rule!r} gives no reason", "Say why the rule need not be kept here.")
        elif rule in looked_at and rule not in used:
            yield Found(place, f"the waiver of {rule!r} waives nothing", "Remove it.", "warning")
