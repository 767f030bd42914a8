"""The headers to the sidecar: what is sent, what is left out, what is refused; and read back by the sidecar itself."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from openwebui.headers import IDS, MAX_ID_CHARS, ids_in, is_sidecar, persona_headers, printable, without_ours
from openwebui.request_errors import ModelAtFaultError, TooLargeError
from openwebui.settings import PROVIDERS, Settings
from sidecar.identity import KEY_HEADERS, parse_identity
from sidecar.meta import parse_meta

BASE = Settings.from_environment({}).sidecar_base_urls


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://LOCALHOST:8000/v1/", True),
        ("http://open-persona-sidecar:8000/v1", True),
        ("http://127.0.0.1:8000", False),
        ("http://127.0.0.1:8001/v1", False),
        ("https://127.0.0.1:8000/v1", False),
        ("http://127.0.0.1:8000@evil.example/v1", False),
        ("http://127.0.0.1:8000.evil.example/v1", False),
        ("http://evil.example/http://127.0.0.1:8000/v1", False),
        ("http://[::1", False),
        ("", False),
    ],
)
@pytest.mark.requirement("webui:only-the-sidecar")
def test_only_the_sidecars_own_address_counts(url: str, ours: bool) -> None:
    assert is_sidecar(url, BASE) is ours


def test_the_providers_are_the_sidecars() -> None:
    assert {provider: f"x-openpersona-{provider}-api-key" for provider in PROVIDERS} == dict(KEY_HEADERS)


KEYS = st.dictionaries(st.sampled_from(PROVIDERS), st.text(max_size=40))
SETTINGS = st.dictionaries(
    st.sampled_from(["instrumentl", "grants_gov"]), st.dictionaries(st.sampled_from(["a", "b_c"]), st.text(max_size=30))
)
PERSONA = st.fixed_dictionaries({}, optional={"model": st.text(max_size=30), "unknown": st.text(max_size=30)})


@pytest.mark.requirement("webui:header-values")
@given(keys=KEYS, settings=SETTINGS, persona=PERSONA)
def test_whatever_users_enter_the_sidecar_can_read_it(
    keys: dict[str, str], settings: dict[str, dict[str, str]], persona: dict[str, object]
) -> None:
    headers = persona_headers(
        "izzy",
        persona,
        {provider: SecretStr(key) for provider, key in keys.items()},
        {name: {key: SecretStr(value) for key, value in values.items()} for name, values in settings.items()},
    )
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    identity = parse_identity({"x-openwebui-user-id": "u", **headers})
    assert parse_meta(identity.meta_header, on_unknown=lambda _: None).model == persona.get("model", "")
    good = {provider: key.strip() for provider, key in keys.items() if printable(key, 1024)}
    assert {provider: key.get_secret_value() for provider, key in identity.keys.items()} == good


@pytest.mark.requirement("webui:header-values")
def test_an_id_that_can_not_be_sent_is_empty_and_nothing_else_is_ours() -> None:
    given = {"X-OpenWebUI-Chat-Id": "c 1", "x-openwebui-task": "a\r\nb", "x-openwebui-message-id": "ä", "X-Title": "t"}
    given |= {"x-openwebui-user-message-id": "x" * (MAX_ID_CHARS + 1), "X-OpenWebUI-User-Email": "a@example.org"}
    assert ids_in(given) == dict.fromkeys(IDS, "") | {"x-openwebui-chat-id": "c 1"}
    assert without_ours(given) == {"X-Title": "t"}


def test_a_persona_without_settings_is_still_a_persona_and_no_model_is_none() -> None:
    assert json.loads(base64.b64decode(persona_headers("m", {}, {}, {})["x-openpersona-meta-b64"])) == {}
    assert persona_headers("m", None, {}, {}) == {"x-openpersona-original-model-id": "m"}


@pytest.mark.requirement("webui:header-values")
def test_what_would_change_the_rights_is_refused_and_not_left_out() -> None:
    with pytest.raises(TooLargeError, match="Ask an admin to shorten"):
        persona_headers("m", {"persona": "x" * 30_000}, {}, {})
    many = {f"s{number}": SecretStr("x" * 4000) for number in range(9)}
    with pytest.raises(TooLargeError, match="Integrations > Tools"):
        persona_headers("m", {}, {}, {"instrumentl": many})
    with pytest.raises(ModelAtFaultError, match="clone the Model"):
        persona_headers("mö", {}, {}, {})


def test_no_key_is_in_a_repr() -> None:
    settings = Settings.from_environment(
        {"OPEN_PERSONA_DEFAULT_OPENAI_API_KEY": "sk-canary", "OPEN_PERSONA_SIDECAR_API_KEY": "sk-own"}
    )
    assert "sk-" not in repr(settings)
