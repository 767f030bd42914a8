"""Shaping a backend's result: always JSON of the protocol's types, never over the limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.routing import APIRoute
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import CallError, RpcError
from hub.gateway_messages import INVALID_REQUEST, as_header, encoded, header_text, read_request
from hub.gateway_params import check_sent, headers_for, param_headers
from hub.gateway_results import shaped
from hub.lease_routes import lease_router
from hub.outcomes import Outcome, Refusal

ANY_TEXT = st.text(st.characters(), max_size=3000)
JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
)
BLOCK = st.fixed_dictionaries({"type": st.just("text"), "text": ANY_TEXT}) | st.fixed_dictionaries(
    {"type": st.just("image"), "data": st.text("A", max_size=4000), "mimeType": st.just("image/png")}
)


@pytest.mark.requirement("gateway:size-cap")
@settings(max_examples=60, deadline=None)
@given(
    content=st.lists(BLOCK, max_size=8),
    structured=JSON_VALUE,
    limit=st.integers(1000, 5000),
    modern=st.booleans(),
    error=st.booleans(),
)
def test_a_result_fits_and_says_when_it_was_cut(
    content: list[dict[str, str]], structured: object, limit: int, modern: bool, error: bool
) -> None:
    result = {"content": content, "structuredContent": structured, "isError": error}
    made = shaped(result, "Demo", limit=limit, modern=modern)
    read = json.loads(made.body)
    assert len(made.body) <= limit
    assert read["isError"] is error
    assert ("resultType" in read) == modern
    whole = len(read["content"]) == len(content) and "[Cut by" not in made.body.decode()
    if whole:
        assert encoded(read["content"]) == encoded(content)
    else:
        assert read["content"][-1]["text"].startswith("[Cut by Open Persona")
        assert made.outcome == ("tool_error" if error else "cut")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["content", "resultType", "isError", "structuredContent", "_meta"]), JSON_VALUE))
def test_whatever_a_backend_says_is_a_result_or_a_call_error(result: dict[str, Any]) -> None:
    try:
        made = shaped(result, "Demo", limit=60_000, modern=False)
    except CallError as error:
        assert error.outcome == "bad_answer"
    else:
        assert set(json.loads(made.body)) <= {"content", "isError", "structuredContent", "_meta"}


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | JSON_VALUE.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_runner_says_is_a_request_or_an_rpc_error(body: bytes) -> None:
    with pytest.raises(RpcError):
        read_request(body, [(b"mcp-method", b"tools/call")])


def test_input_is_asked_for_in_the_modern_era_alone() -> None:
    asking = {"resultType": "input_required", "requestState": "s", "inputRequests": {"a": {}}, "other": 1}
    assert json.loads(shaped(asking, "Demo", limit=1000, modern=True).body) == {
        "resultType": "input_required", "requestState": "s", "inputRequests": {"a": {}},
    }  # fmt: skip
    with pytest.raises(CallError):
        shaped(asking, "Demo", limit=1000, modern=False)
    with pytest.raises(CallError) as caught:
        shaped({**asking, "requestState": "s" * 1000}, "Demo", limit=1000, modern=True)
    assert caught.value.outcome == "too_large"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_header_texts_survive(text: str) -> None:
    assert header_text(as_header(text)) == text
    assert as_header(text).isascii()


def test_routing_headers_are_read_without_the_blanks_around_them() -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    body = encoded({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "_meta": meta}})
    headers = [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", b"tools/call"), (b"mcp-name", b" echo\t")]
    assert read_request(body, headers).modern
    with pytest.raises(RpcError, match="more than once"):
        read_request(body, [*headers, (b"mcp-name", b"echo")])
    with pytest.raises(RpcError) as caught:
        read_request(b"[%s]" % body, headers)
    assert caught.value.code == INVALID_REQUEST


def test_declared_header_arguments() -> None:
    inner = {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}}
    properties: dict[str, Any] = {
        "a": {"type": "boolean", "x-mcp-header": "A"},
        "in": inner,
        "bad": {"type": "number", "x-mcp-header": "Bad"},
        "worse": {"type": "string", "x-mcp-header": "a b\r\n"},
    }
    declared = param_headers({"properties": properties})
    assert [(one.path, one.token) for one in declared] == [(("a",), "A"), (("in", "n"), "N")]
    headers = headers_for(declared, {"a": True, "in": {"n": 42.0}, "bad": 1})
    assert headers == {"mcp-param-a": "true", "mcp-param-n": "42"}
    assert headers_for(declared, {"a": None, "in": 5}) == {}
    check_sent(declared, headers, [(b"mcp-param-a", b"true"), (b"mcp-param-n", b"42"), (b"mcp-param-other", b"x")])
    for sent in ([(b"mcp-param-a", b"true")], [(b"mcp-param-a", b"true")] * 2 + [(b"mcp-param-n", b"42")]):
        with pytest.raises(RpcError):
            check_sent(declared, headers, sent)
    assert param_headers({"properties": {**properties, "b": {"type": "string", "x-mcp-header": "a"}}}) == ()


def test_every_outcome_and_lease_route_is_described() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "hub-api.md").read_text("utf-8")
    assert [word for word in (*get_args(Outcome), *get_args(Refusal)) if f"`{word}`" not in page] == []
    routes = [route for route in lease_router.routes if isinstance(route, APIRoute)]
    assert len(routes) == 2
    assert [route.path for route in routes if f"`{min(route.methods or ())} {route.path}`" not in page] == []
