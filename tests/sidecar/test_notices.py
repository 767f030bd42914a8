"""What a user is told of switches in the chat that do not do what they show."""

from __future__ import annotations

import pytest

from sidecar.errors import InvalidRequest
from sidecar.integrations import notices
from sidecar.personas import Persona, read_meta
from tests.sidecar.builders import catalog, integration

CATALOG = catalog(integration("alpha", {"search": "read"}), integration("beta", {"find": "read"}))


def told(**noted: object) -> list[str]:
    return notices(Persona("p", "P", "m", meta=read_meta({"notices": noted})), CATALOG)


def test_each_switch_that_does_nothing_and_each_that_is_new_has_its_line() -> None:
    lacking, added = told(lacking=["alpha"], added=["beta"])
    assert lacking == "Alpha is not part of this persona, so switching it on does nothing."
    assert added.startswith("Beta is on: this persona got it after this chat began.")
    assert added.endswith("start a new chat and switch it off there.")


def test_a_name_that_nobody_knows_is_not_repeated() -> None:
    assert told(lacking=["<script>"], added=["nothing"]) == []
    assert notices(Persona("p", "P", "m", meta=read_meta({"notices": {"lacking": ["alpha"]}})), None) == []


def test_a_wrong_type_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"open_persona\.notices\.lacking"):
        told(lacking="alpha")
