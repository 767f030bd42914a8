from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_servers.grants_gov.keywords import compile_keyword
from mcp_servers.kit.errors import InvalidArgument

CHARACTERS = st.sampled_from(" \"()*-&|:~?[]^+!/\\.,'_") | st.characters(codec="ascii") | st.just("é")
PARTS = st.sampled_from(
    ["and", "AND", "or", "OR", "NOT", "not", "(", ")", '"', "rural", "K-12", "-x", "food*", "title:a"]
)
TYPED = st.text(alphabet=CHARACTERS, max_size=60) | st.lists(PARTS, max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("rural broadband", "rural AND broadband"),
        ("K-12, 93.866", '"K-12" AND "93.866"'),
        ("title:broadband~ ^food!", "title AND broadband AND food"),
        ("a OR b c", "a OR (b AND c)"),
        ("a && b || c", "(a AND b) OR c"),
        ("NOT (a OR b)", "NOT (a OR b)"),
        ("NOT NOT a", "a"),
        ("not for profit", '"not" AND for AND profit'),
        ("-opioid care", "NOT opioid AND care"),
        ("broad*", "broad*"),
        ("R&D women's", '"R&D" AND "women\'s"'),
        ('"mental  health: youth"', '"mental health youth"'),
    ],
)
def test_what_is_typed_is_written_out(typed: str, sent: str) -> None:
    assert compile_keyword(typed) == sent


@pytest.mark.parametrize(
    "typed",
    ["rural AND", "OR rural", "a OR OR b", '"open', "(a", "a)", "()", "---", "?", "(" * 9 + "a" + ")" * 9, "x" * 301],
)
def test_what_upstream_would_widen_is_refused(typed: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        compile_keyword(typed)
    assert refused.value.field == "keyword"


@pytest.mark.requirement("grants_gov:never-wider")
@settings(deadline=None)
@given(TYPED)
def test_a_compiled_keyword_never_has_a_form_that_widens(typed: str) -> None:
    try:
        sent = compile_keyword(typed)
    except InvalidArgument:
        return
    bare = re.sub(r'"[^"]*"', '""', sent)
    assert sent.count('"') % 2 == 0
    assert bare.count("(") == bare.count(")")
    assert not re.search(r"(^|\()\s*(AND|OR)\b|\b(AND|OR|NOT)\s*($|\))", bare)
    assert not re.search(r"[:~?\[\]{}^\\/!+|&]", bare)
    assert not re.search(r"(^|[\s(])(and|or)([\s)]|$)", bare)
    parts = re.findall(r'"[^"]*"|[()]|[^\s()"]+', sent)
    operands = [part not in ("AND", "OR", "NOT", "(") for part in parts]
    starts = [part not in ("AND", "OR", ")") for part in parts]
    assert not any(left and right for left, right in zip(operands, starts[1:], strict=False))  # none side by side


@settings(deadline=None)
@given(TYPED)
def test_without_or_typed_there_is_no_or_sent(typed: str) -> None:
    try:
        sent = compile_keyword(re.sub(r"(?i)or|\|", "", typed))
    except InvalidArgument:
        return
    assert not re.search(r"\bOR\b", re.sub(r'"[^"]*"', "", sent))


@settings(deadline=None)
@given(TYPED)
def test_compiling_again_changes_nothing(typed: str) -> None:
    try:
        sent = compile_keyword(typed)
    except InvalidArgument:
        return
    if len(sent) <= 300:
        assert compile_keyword(sent) == sent
