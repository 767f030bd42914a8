from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.openai_models import Message
from sidecar.sessions import answers_above, last_exchanges, last_seen
from sidecar.store import Answer


def answer(identifier: str, parent: str = "", persona: str = "izzy", session: str = "ses") -> Answer:
    return Answer("ann", "c", identifier, parent, persona, session, f"msg_{identifier}")


TREE = {
    one.answer: one
    for one in (
        answer("a1"),
        answer("a2", "a1"),
        answer("d3", "a2", "draft", ""),
        answer("d4", "d3", "draft", ""),
        answer("b2", "a1"),
    )
}


@pytest.mark.parametrize(
    ("parent", "found", "unseen"),
    [("a2", "a2", 0), ("b2", "b2", 0), ("d3", "a2", 1), ("d4", "a2", 2), ("", None, 0), ("unknown", None, 0)],
)
def test_the_nearest_answer_of_the_persona_is_found(parent: str, found: str | None, unseen: int) -> None:
    nearest, count = last_seen(answers_above(TREE, parent), "izzy")
    assert (nearest.answer if nearest else None, count) == (found, unseen)


def test_a_persona_that_never_answered_has_seen_nothing() -> None:
    assert last_seen(answers_above(TREE, "d4"), "other") == (None, 4)


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("abcdef")))
def test_a_tree_that_bites_its_tail_ends_too(parents: dict[str, str]) -> None:
    tree = {name: answer(name, parent, "draft", "") for name, parent in parents.items()}
    assert last_seen(answers_above(tree, "a"), "izzy")[0] is None


def test_the_last_exchanges_start_at_their_user_messages() -> None:
    roles = ["user", "assistant", "user", "assistant", "assistant", "user", "assistant"]
    history = [Message(role, str(n)) for n, role in enumerate(roles)]  # type: ignore[arg-type]
    assert [m.text for m in last_exchanges(history, 1)] == ["5", "6"]
    assert [m.text for m in last_exchanges(history, 2)] == ["2", "3", "4", "5", "6"]
    assert list(last_exchanges(history, 0)) == []
    assert list(last_exchanges(history, 9)) == history
