"""Which provider and model a turn uses."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pydantic import SecretStr

from sidecar.errors import InvalidRequest, MissingKey
from sidecar.providers import PROVIDERS, ModelChoice, choose_model, effective_keys
from sidecar.settings import ProviderName, Settings

Keys = Mapping[ProviderName, SecretStr]
OPENAI: Keys = {"openai": SecretStr("sk-o")}
CLAUDE: Keys = {"anthropic": SecretStr("sk-a")}


def settings(**changed: object) -> Settings:
    return Settings.model_validate(changed)


def chosen(
    wanted: str = "",
    template: str = "",
    keys: Keys | None = None,
    **changed: object,
) -> str:
    held = settings(**changed)
    return choose_model(wanted=wanted, template_model=template, settings=held, keys=keys or {}).full


@pytest.mark.requirement("model:order")
def test_the_order_in_which_a_model_is_looked_for() -> None:
    everything: Keys = {**OPENAI, **CLAUDE}
    meta, template, setting = "anthropic/claude-haiku-4-5", "openai/gpt-5-mini", "anthropic/claude-sonnet-4-5"
    assert chosen(meta, template, everything, model=setting) == meta
    assert chosen("", template, everything, model=setting) == template
    assert chosen("", "", everything, model=setting) == setting
    assert chosen("", "", everything) == "openai/gpt-5.1"
    assert chosen("", "", everything, providers=("anthropic", "openai")) == "anthropic/claude-sonnet-4-5"
    assert chosen("", "", CLAUDE) == "anthropic/claude-sonnet-4-5"
    assert chosen("", "", CLAUDE, demo=True) == "anthropic/claude-sonnet-4-5"
    assert chosen("", "", {}, demo=True) == "demo/demo"
    assert chosen("", "", {}, compatible_base_url="http://x.test/v1", compatible_models=("m1",)) == "compatible/m1"


def test_a_model_may_hold_slashes() -> None:
    keys: Keys = {"openrouter": SecretStr("k")}
    choice = choose_model(
        wanted="openrouter/anthropic/claude-sonnet-4.5", template_model="", settings=settings(), keys=keys
    )
    assert choice == ModelChoice("openrouter", "anthropic/claude-sonnet-4.5")


@pytest.mark.requirement("model:missing-key")
def test_a_model_without_a_key_is_an_error_and_never_another_provider() -> None:
    with pytest.raises(MissingKey) as caught:
        chosen("anthropic/claude-sonnet-4-5", "", OPENAI)
    for words in ("Open Persona: my keys", "Anthropic API key", "Integrations > Tools", "sliders icon"):
        assert words in caught.value.message
    assert "OPEN_PERSONA_DEFAULT_ANTHROPIC_API_KEY" in caught.value.message


@pytest.mark.requirement("model:missing-key")
def test_no_key_at_all_names_the_tool_and_the_place() -> None:
    with pytest.raises(MissingKey) as caught:
        chosen()
    assert "Open Persona: my keys" in caught.value.message
    with pytest.raises(MissingKey, match="OPEN_PERSONA_PROVIDERS"):
        chosen(providers=())


@pytest.mark.parametrize("model", ["openai/gpt-2", "openai", "openai/", "/gpt-5.1", "demo/demo", "nobody/m", "x" * 500])
def test_an_unknown_model_lists_the_known_ones(model: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chosen(model, "", OPENAI)
    assert caught.value.param == "open_persona.model"
    assert "openai/gpt-5.1" in caught.value.message
    assert len(caught.value.message) < 600


def test_the_template_or_the_setting_is_named_when_it_is_wrong() -> None:
    with pytest.raises(InvalidRequest) as caught:
        chosen("", "openai/gpt-2", OPENAI)
    assert caught.value.param == "template.model"
    with pytest.raises(InvalidRequest) as caught:
        chosen("", "", OPENAI, model="openai/gpt-2")
    assert caught.value.param == "OPEN_PERSONA_MODEL"


def test_the_users_key_comes_before_the_default() -> None:
    held = settings(default_openai_api_key="sk-default", default_anthropic_api_key="sk-a-default", demo=True)
    keys = effective_keys({"openai": SecretStr("sk-own"), "compatible": SecretStr("sk-c")}, held)
    assert {name: key.get_secret_value() for name, key in keys.items()} == {
        "openai": "sk-own",
        "anthropic": "sk-a-default",
    }
    assert "sk-own" not in repr(keys)


def test_the_table_names_what_opencode_needs() -> None:
    assert {name: (row.broker_path, row.call, row.npm) for name, row in PROVIDERS.items()} == {
        "openai": ("/llm/openai/v1", "responses", ""),
        "anthropic": ("/llm/anthropic/v1", "messages", ""),
        "openrouter": ("/llm/openrouter/api/v1", "chat/completions", ""),
        "compatible": ("/llm/compatible/v1", "chat/completions", "@ai-sdk/openai-compatible"),
        "demo": ("/llm/demo/v1", "chat/completions", "@ai-sdk/openai-compatible"),
    }
