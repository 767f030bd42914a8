"""The model providers: how opencode names each, what the broker lets through to it, and which one a turn uses.

Paths, calls and key headers are what opencode 1.18.33 sends through another base URL (its packages ``@ai-sdk/openai``,
``@ai-sdk/anthropic``, ``@openrouter/ai-sdk-provider`` and ``@ai-sdk/openai-compatible``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import SecretStr

from sidecar.errors import MissingKey
from sidecar.fields import invalid, shown
from sidecar.settings import ProviderName, Settings

__all__ = ["PROVIDERS", "ModelChoice", "Provider", "ProviderName", "choose_model", "effective_keys", "key_place"]

Dialect = Literal["chat", "responses", "messages"]
KEYS_TOOL: Final = "Open Persona: my keys"
DEMO_MODEL: Final = "demo"
_OWN_PACKAGE: Final = "@ai-sdk/openai-compatible"
_CALLS: Final[Mapping[Dialect, str]] = {"chat": "chat/completions", "responses": "responses", "messages": "messages"}
_ANTHROPIC_KINDS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


@dataclass(frozen=True)
class Provider:
    """One row of the table.

    ``npm`` is the package that opencode loads, empty for a provider that it has built in. ``prefix`` is the broker's
    path below ``/llm/<name>``; the one call that may be made there is ``prefix/call``. ``key_field`` is the label of
    the user's field in the Open WebUI tool.
    """

    name: ProviderName
    title: str
    prefix: str
    dialect: Dialect
    npm: str = ""
    key_header: Literal["authorization", "x-api-key"] = "authorization"
    key: Literal["required", "optional", "none"] = "required"
    key_field: str = ""

    @property
    def broker_path(self) -> str:
        """The path of opencode's base URL at the sidecar."""
        return f"/llm/{self.name}{self.prefix}"

    @property
    def call(self) -> str:
        """The only call that passes, below the base URL."""
        return _CALLS[self.dialect]

    def base_url(self, settings: Settings) -> str:
        """Where the provider really is, without a final slash."""
        urls: Mapping[ProviderName, str] = {
            "openai": settings.openai_base_url,
            "anthropic": settings.anthropic_base_url,
            "openrouter": settings.openrouter_base_url,
            "compatible": settings.compatible_base_url,
            "demo": settings.demo_base_url,
        }
        return urls[self.name].rstrip("/")

    def listed_models(self, settings: Settings) -> tuple[str, ...]:
        """The models that this deployment offers, the default one first."""
        lists: Mapping[ProviderName, tuple[str, ...]] = {
            "openai": settings.openai_models,
            "anthropic": settings.anthropic_models,
            "openrouter": settings.openrouter_models,
            "compatible": settings.compatible_models,
            "demo": (DEMO_MODEL,),
        }
        return lists[self.name]

    def auth_headers(self, key: SecretStr | None) -> dict[str, str]:
        """The real credential where this provider wants it; nothing without a key."""
        if key is None:
            return {}
        plain = key.get_secret_value()
        return {self.key_header: plain if self.key_header == "x-api-key" else f"Bearer {plain}"}

    def error_body(self, status: int, message: str, code: str) -> dict[str, object]:
        """An error in the shape of this provider's own."""
        if self.dialect == "messages":
            kind = _ANTHROPIC_KINDS.get(status, "api_error")
            return {"type": "error", "error": {"type": kind, "message": message}}
        if self.name == "openrouter":
            return {"error": {"code": status, "message": message, "metadata": {"reason": code}}}
        return {"error": {"message": message, "type": code, "param": None, "code": code}}


_ROWS: Final = (
    Provider("openai", "OpenAI", "/v1", "responses", key_field="OpenAI API key"),
    Provider("anthropic", "Anthropic", "/v1", "messages", key_header="x-api-key", key_field="Anthropic API key"),
    Provider("openrouter", "OpenRouter", "/api/v1", "chat", key_field="OpenRouter API key"),
    Provider("compatible", "this deployment's own endpoint", "/v1", "chat", _OWN_PACKAGE, key="optional",
             key_field="API key of this organisation's own endpoint"),
    Provider("demo", "the demo model", "/v1", "chat", _OWN_PACKAGE, key="none"),
)  # fmt: skip
PROVIDERS: Final[Mapping[ProviderName, Provider]] = {row.name: row for row in _ROWS}


@dataclass(frozen=True)
class ModelChoice:
    """The model of one turn; ``model`` may hold slashes of its own (OpenRouter)."""

    provider: ProviderName
    model: str

    @property
    def full(self) -> str:
        return f"{self.provider}/{self.model}"


def effective_keys(header_keys: Mapping[ProviderName, SecretStr], settings: Settings) -> dict[ProviderName, SecretStr]:
    """The keys of a turn: the user's own, else the deployment's default; only of configured providers."""
    defaults: Mapping[ProviderName, SecretStr] = {
        "openai": settings.default_openai_api_key,
        "anthropic": settings.default_anthropic_api_key,
        "openrouter": settings.default_openrouter_api_key,
        "compatible": settings.default_compatible_api_key,
    }
    keys: dict[ProviderName, SecretStr] = {}
    for name in settings.enabled_providers:
        for key in (header_keys.get(name), defaults.get(name)):
            if key is not None and key.get_secret_value() and PROVIDERS[name].key != "none":
                keys[name] = key
                break
    return keys


def choose_model(
    *, wanted: str, template_model: str, settings: Settings, keys: Mapping[ProviderName, SecretStr]
) -> ModelChoice:
    """The model of a turn: ``wanted`` (the meta's), else the template's, else ``OPEN_PERSONA_MODEL``, else the first
    model of the first configured provider that can be called.

    A named model is never replaced by another. Raises ``InvalidRequest`` for one that this deployment does not list
    and ``MissingKey`` where its provider has no key.
    """
    named = ((wanted, "open_persona.model"), (template_model, "template.model"), (settings.model, "OPEN_PERSONA_MODEL"))
    for text, path in named:
        if text:
            return _checked(text, path, settings, keys)
    for name in _by_preference(settings):
        models = PROVIDERS[name].listed_models(settings)
        if models and _callable(PROVIDERS[name], keys):
            return ModelChoice(name, models[0])
    raise _no_key_at_all(settings)


def key_place(provider: Provider) -> str:
    """Where a person enters the key of ``provider``: one sentence."""
    return (
        f"In Open WebUI, under the message box: Integrations > Tools > the sliders icon (Valves) next to "
        f"“{KEYS_TOOL}”; there press “Default” next to “{provider.key_field}”, paste the key, and save."
    )


def _checked(text: str, path: str, settings: Settings, keys: Mapping[ProviderName, SecretStr]) -> ModelChoice:
    prefix, _, model = text.partition("/")
    provider = next((PROVIDERS[name] for name in settings.enabled_providers if name == prefix), None)
    if provider is None or model not in provider.listed_models(settings):
        known = ", ".join(_listed(settings)) or "none"
        raise invalid(path, f"there is no model {shown(text)}. Known, as provider/model: {known}.")
    if not _callable(provider, keys):
        raise MissingKey(
            f"The model {text} needs a key: {provider.title} has none. {key_place(provider)} {_default_key(provider)}",
            param=provider.key_field,
        )
    return ModelChoice(provider.name, model)


def _callable(provider: Provider, keys: Mapping[ProviderName, SecretStr]) -> bool:
    return provider.key != "required" or provider.name in keys


def _by_preference(settings: Settings) -> Iterator[ProviderName]:
    """The order of the settings, the demo model last."""
    yield from (name for name in settings.enabled_providers if name != "demo")
    yield from (name for name in settings.enabled_providers if name == "demo")


def _listed(settings: Settings) -> Iterator[str]:
    for name in settings.enabled_providers:
        yield from (f"{name}/{model}" for model in PROVIDERS[name].listed_models(settings))


def _default_key(provider: Provider) -> str:
    return f"An operator can set OPEN_PERSONA_DEFAULT_{provider.name.upper()}_API_KEY for the whole deployment."


def _no_key_at_all(settings: Settings) -> MissingKey:
    rows = [PROVIDERS[name] for name in settings.enabled_providers if PROVIDERS[name].key != "none"]
    if not rows:
        return MissingKey("No model provider is configured. An operator lists them in OPEN_PERSONA_PROVIDERS.")
    names = ", ".join(row.title for row in rows)
    return MissingKey(
        f"No provider key is set ({names}). {key_place(rows[0])} {_default_key(rows[0])}", param=rows[0].key_field
    )
