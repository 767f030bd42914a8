from __future__ import annotations

import re
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers

from sidecar import identity, meta
from sidecar.errors import InvalidRequest, Unauthorized
from sidecar.identity import check_api_key, key_sig, parse_identity, runner_name, runner_password, runner_token
from tests.sidecar.builders import b64

USER = {"x-openwebui-user-id": "u1"}
SETTINGS = "x-openpersona-integrations-b64"
SECRET = "s3cret-value"
TOKEN_KEY = SecretStr("token-key")


@pytest.mark.requirement("sidecar:identity")
def test_every_header_has_its_place() -> None:
    found = parse_identity(
        {
            "X-OpenWebUI-User-Id": "u1",
            "x-openwebui-chat-id": "c1",
            "x-openwebui-message-id": "m2",
            "x-openwebui-user-message-id": "m1",
            "x-openwebui-user-message-parent-id": "m0",
            "x-openwebui-task": "title_generation",
            "x-openpersona-original-model-id": "izzy",
            "x-openpersona-meta-b64": "e30=",
            "x-openpersona-openai-api-key": SECRET,
            "x-openpersona-compatible-api-key": "k2",
            "x-openpersona-anthropic-api-key": "",
            SETTINGS: b64({"instrumentl": {"api_key_id": "id", "api_private_key": SECRET, "empty": " "}}),
            "content-type": "application/json",
        }
    )
    assert (found.user_id, found.chat_id, found.message_id) == ("u1", "c1", "m2")
    assert (found.user_message_id, found.parent_message_id) == ("m1", "m0")
    assert (found.task, found.original_model_id, found.meta_header) == ("title_generation", "izzy", "e30=")
    assert {name: key.get_secret_value() for name, key in found.keys.items()} == {"openai": SECRET, "compatible": "k2"}
    settings = {key: value.get_secret_value() for key, value in found.settings["instrumentl"].items()}
    assert settings == {"api_key_id": "id", "api_private_key": SECRET}
    assert SECRET not in repr(found)


@pytest.mark.requirement("sidecar:identity-errors")
@pytest.mark.parametrize("headers", [{}, {"x-openwebui-user-id": ""}, {"x-openwebui-user-id": "  "}])
def test_a_request_names_its_user(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match="x-openwebui-user-id") as caught:
        parse_identity(headers)
    assert (caught.value.status, caught.value.param) == (400, "x-openwebui-user-id")


@pytest.mark.requirement("sidecar:identity-errors")
@pytest.mark.parametrize(
    ("header", "limit"),
    [
        ("x-openwebui-user-id", 256),
        ("x-openwebui-chat-id", 256),
        ("x-openwebui-message-id", 256),
        ("x-openwebui-task", 256),
        ("x-openpersona-original-model-id", 256),
        ("x-openpersona-anthropic-api-key", 1024),
        ("x-openpersona-meta-b64", 32768),
    ],
)
def test_sizes_and_characters_are_bounded(header: str, limit: int) -> None:
    parse_identity(USER | {header: "a" * limit})
    for value in ("a" * (limit + 1), "a\r\nb: c", "caf\xe9", "a\x00"):
        with pytest.raises(InvalidRequest) as caught:
            parse_identity(USER | {header: value})
        assert caught.value.param == header
        assert value not in caught.value.message


def test_a_header_that_came_twice_is_refused() -> None:
    raw = [(b"x-openwebui-user-id", b"u1"), (b"x-openwebui-user-id", b"u2")]
    with pytest.raises(InvalidRequest, match="sent twice"):
        parse_identity(Headers(raw=raw))


@pytest.mark.parametrize(
    ("chat", "kept"),
    [("c1", True), ("", False), ("local:abc", False), ("temporary:abc", False), ("channel:abc", False)],
)
def test_a_chat_that_nobody_keeps_has_no_memory(chat: str, kept: bool) -> None:
    found = parse_identity(USER | {"x-openwebui-chat-id": chat})
    assert (found.chat_id, found.has_memory_id) == (chat, kept)


@pytest.mark.requirement("sidecar:settings-errors")
@pytest.mark.parametrize(
    "raw",
    [
        [SECRET],
        {"instrumentl": SECRET},
        {"instrumentl": [SECRET]},
        {"instrumentl": {"key": 5}},
        {"instrumentl": {"key": None}},
        {"instrumentl": {"key": [SECRET]}},
        {"instrumentl": {"key": f"{SECRET}\r\nx-admin: 1"}},
        {"instrumentl": {"key": f"{SECRET}é"}},
        {"instrumentl": {"key": SECRET * 400}},
        {"instrumentl": {"Bad-Key\n": SECRET}},
        {"../up": {"key": SECRET}},
    ],
)
def test_broken_settings_name_the_header_and_show_no_value(raw: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_identity(USER | {SETTINGS: b64(raw)})
    assert caught.value.param == SETTINGS
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.requirement("sidecar:api-key")
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic key", "key", "Bearer ké", "Bearer \udcff"]
)
def test_a_wrong_key_is_refused(header: str | None) -> None:
    with pytest.raises(Unauthorized) as caught:
        check_api_key(header, SecretStr("key"))
    assert caught.value.status == 401


def test_the_right_key_passes() -> None:
    check_api_key("Bearer key", SecretStr("key"))
    check_api_key("bearer  key ", SecretStr("key"))


def test_no_key_configured_lets_nobody_in() -> None:
    with pytest.raises(Unauthorized):
        check_api_key("Bearer ", SecretStr(""))


@pytest.mark.requirement("sidecar:runner-names")
def test_names_are_stable_and_tell_nothing() -> None:
    workspace = identity.workspace_hash("u1")
    assert re.fullmatch(r"[0-9a-f]{16}", workspace)
    assert workspace != identity.workspace_hash("u2")
    one = key_sig(TOKEN_KEY, {"openai": SecretStr("a"), "anthropic": SecretStr("b")})
    assert re.fullmatch(r"[0-9a-f]{8}", one)
    assert one == key_sig(TOKEN_KEY, {"anthropic": SecretStr("b"), "openai": SecretStr("a")})
    assert one != key_sig(TOKEN_KEY, {"openai": SecretStr("b"), "anthropic": SecretStr("a")})
    assert one != key_sig(SecretStr("other"), {"openai": SecretStr("a"), "anthropic": SecretStr("b")})
    assert key_sig(TOKEN_KEY, {}) != one
    assert runner_name(workspace, one) == f"open-persona-runner-{workspace}-{one}"


@pytest.mark.requirement("sidecar:runner-names")
def test_a_runners_two_secrets_differ() -> None:
    token, password = runner_token(TOKEN_KEY, "r1"), runner_password(TOKEN_KEY, "r1")
    values = {each.get_secret_value() for each in (token, password, runner_token(TOKEN_KEY, "r2"))}
    assert len(values) == 3
    assert token == runner_token(TOKEN_KEY, "r1")
    assert token.get_secret_value() not in repr(token)


def test_the_reference_lists_every_header() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "headers.md").read_text()
    source = Path(identity.__file__).read_text() + meta.META_HEADER
    names = set(re.findall(r"x-open(?:webui|persona)-[a-z0-9-]*[a-z0-9]", source))
    assert len(names) == 13
    assert {name for name in names if f"| `{name}` |" not in page} == set()
