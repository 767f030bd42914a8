from __future__ import annotations

import base64

import pytest

from sidecar.errors import InvalidRequest
from sidecar.meta import META_HEADER, Meta, OncePerPath, parse_meta
from tests.sidecar.builders import b64

FULL = {
    "persona": {"template": "izzy"},
    "integrations": {"instrumentl": {"enabled": True, "tools": ["list_deadlines"]}, "web": {"enabled": False}},
    "memory": {"enabled": True, "self_reference_level": 0.6},
    "model": "anthropic/claude-sonnet-4-5",
}


@pytest.mark.requirement("sidecar:meta")
def test_every_part_is_read() -> None:
    meta = parse_meta(b64(FULL))
    assert meta.persona.template == "izzy"
    assert meta.integrations["instrumentl"].tools == ("list_deadlines",)
    assert meta.enabled_integrations == ("instrumentl",)
    assert (meta.memory.enabled, meta.memory.self_reference_level) == (True, 0.6)
    assert meta.model == "anthropic/claude-sonnet-4-5"


@pytest.mark.parametrize("header", [None, "", b64({})])
def test_all_of_it_is_optional(header: str | None) -> None:
    assert parse_meta(header) == Meta()


@pytest.mark.requirement("sidecar:meta-errors")
@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ([], "open_persona"),
        (None, "open_persona"),
        ("izzy", "open_persona"),
        ({"persona": "izzy"}, "open_persona.persona"),
        ({"persona": {"template": 1}}, "open_persona.persona.template"),
        ({"persona": {"template": None}}, "open_persona.persona.template"),
        ({"integrations": []}, "open_persona.integrations"),
        ({"integrations": {"instrumentl": True}}, "open_persona.integrations.instrumentl"),
        ({"integrations": {"instrumentl": {"enabled": "yes"}}}, "open_persona.integrations.instrumentl.enabled"),
        ({"integrations": {"instrumentl": {"enabled": 1}}}, "open_persona.integrations.instrumentl.enabled"),
        ({"integrations": {"instrumentl": {"enabled": None}}}, "open_persona.integrations.instrumentl.enabled"),
        ({"integrations": {"instrumentl": {"tools": "all"}}}, "open_persona.integrations.instrumentl.tools"),
        ({"integrations": {"instrumentl": {"tools": {"a": 1}}}}, "open_persona.integrations.instrumentl.tools"),
        ({"integrations": {"instrumentl": {"tools": ["a", 2]}}}, "open_persona.integrations.instrumentl.tools[1]"),
        ({"memory": True}, "open_persona.memory"),
        ({"memory": {"enabled": "true"}}, "open_persona.memory.enabled"),
        ({"memory": {"self_reference_level": "high"}}, "open_persona.memory.self_reference_level"),
        ({"memory": {"self_reference_level": True}}, "open_persona.memory.self_reference_level"),
        ({"memory": {"self_reference_level": float("nan")}}, "open_persona.memory.self_reference_level"),
        ({"memory": {"self_reference_level": float("-inf")}}, "open_persona.memory.self_reference_level"),
        ({"model": ["openai/gpt"]}, "open_persona.model"),
    ],
)
def test_a_wrong_type_names_its_field(raw: object, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_meta(b64(raw))
    assert caught.value.param == path
    assert caught.value.message.startswith(f"{path}: ")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("level", "clamped"), [(-3, 0), (0, 0), (0.35, 0.35), (1, 1), (2, 1), (10**400, 1), (-(10**400), 0), (1e308, 1)]
)
def test_the_level_is_clamped(level: float, clamped: float) -> None:
    assert parse_meta(b64({"memory": {"self_reference_level": level}})).memory.self_reference_level == clamped


@pytest.mark.requirement("sidecar:meta-errors")
@pytest.mark.parametrize(
    "header",
    [
        "not base64!",
        base64.b64encode(b"{").decode(),
        base64.b64encode(b"\xff").decode(),
        base64.b64encode(b'{"a":' * 4000).decode(),
        "A" * 40_000,
        "e30=\r\nx: y",
    ],
)
def test_a_broken_header_is_named(header: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_meta(header)
    assert caught.value.param == META_HEADER


def test_unknown_keys_are_ignored_and_told_by_path() -> None:
    told: list[str] = []
    raw = {"color": 1, "persona": {"x": 1}, "memory": {"y": {}}, "integrations": {"web": {"enabled": True, "z": 1}}}
    meta = parse_meta(b64(raw), on_unknown=told.append)
    assert meta.enabled_integrations == ("web",)
    assert told == [
        "open_persona.color",
        "open_persona.persona.x",
        "open_persona.memory.y",
        "open_persona.integrations.web.z",
    ]


def test_an_unknown_key_is_logged_once_and_memory_is_bounded() -> None:
    lines: list[str] = []
    log = OncePerPath(lambda _, path: lines.append(path), limit=2)
    for path in ("a", "a", "b", "c", "d", "a"):
        log(path)
    assert lines == ["a", "b"]
