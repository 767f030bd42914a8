"""The names of fields, and that they lead back to the keys."""

from __future__ import annotations

import keyword

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from openwebui.field_names import RESERVED, field_of, key_of

KEYS = st.from_regex(r"[a-z][a-z0-9_]*", fullmatch=True)


@pytest.mark.requirement("fields:one_to_one")
@given(KEYS)
@example("class")
@example("class_")
@example("model_config")
@example("model_")
def test_a_field_leads_back_to_its_key(key: str) -> None:
    assert key_of(field_of(key)) == key


@pytest.mark.requirement("fields:one_to_one")
@given(st.sampled_from(sorted(RESERVED)), st.integers(0, 3), st.integers(0, 3))
def test_no_two_keys_share_a_field(word: str, one: int, other: int) -> None:
    keys = (word + "_" * one, word + "_" * other)
    assert (field_of(keys[0]) == field_of(keys[1])) is (one == other)


@pytest.mark.requirement("fields:one_to_one")
@pytest.mark.parametrize("key", ["api_key", "token", "str", "type", "match", "model", "self", "data"])
def test_an_ordinary_key_is_its_field(key: str) -> None:
    assert field_of(key) == key


@pytest.mark.requirement("fields:one_to_one")
def test_what_python_and_pydantic_have_taken_is_reserved() -> None:
    taken = {word for word in keyword.kwlist if word.islower()}
    taken |= {name for name in vars(BaseModel) | {"schema": 0} if not name.startswith("_")}
    assert {name for name in taken if field_of(name) == name} == set()
