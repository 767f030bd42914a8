"""The opencode config of one user, and the permission rules of one turn: pure functions of what the deployment states.

Shapes are those of opencode 1.18.33. Three facts about it decide the form:

* the last rule that matches wins, and a tool whose last matching rule denies ``*`` is not shown to the model;
* a session's rules come after its agent's, so rules beginning with ``* deny`` are the whole truth of a turn;
* an agent's ``prompt`` is the first text of the system message, the prompt's own ``system`` the last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypedDict

from hub.wire import CatalogView, IntegrationView
from sidecar.errors import InvalidRequest
from sidecar.personas import Persona, allowed_tools
from sidecar.prompts import core_prompt
from sidecar.providers import PROVIDERS, ProviderName
from sidecar.settings import Settings
from sidecar.templates import Templates

TOKEN_REFERENCE = "{env:OPEN_PERSONA_RUNNER_TOKEN}"  # noqa: S105 - names a variable
OWN_AGENTS = frozenset({"build", "plan", "title", "summary", "compaction", "general", "explore"})
TEMPLATE_AGENT = "template-"
NO_TEMPLATE = "none"

BUILD_PROMPT = (
    "You are a careful assistant with a private folder for files. Answer briefly and plainly. "
    "Use only the tools that you are given, report what they return as it is, and say so when something is unknown."
)
PLAN_PROMPT = (
    "You are a careful assistant that plans and changes nothing. Look at what you are given, ask what you need, "
    "and answer with the steps that you propose, their order and their risks."
)
NO_TEMPLATE_PROMPT = (
    "You are a helpful assistant. Your character and task are described in the section 'User-editable settings'. "
    "Use only the tools that you are given, report what they return as it is, and say so when something is unknown."
)


class Rule(TypedDict):
    """One permission rule of an opencode session."""

    permission: str
    pattern: str
    action: Literal["allow", "deny"]


Door = Callable[[IntegrationView], str]
"""Where a runner reaches an integration: the URL of its MCP endpoint."""


@dataclass(frozen=True)
class OpencodeConfig:
    """A config file: ``text`` as written, and the ``reload_key`` of the parts that no session rule can stand in for.

    Permissions are left out of ``reload_key``: every turn gives its session the full rule list, so a changed toggle
    needs no reload.
    """

    text: str

    @cached_property
    def document(self) -> dict[str, object]:
        parsed: dict[str, object] = json.loads(self.text)
        return parsed

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        """Agent name to its prompt."""
        agents = self.document["agent"]
        assert isinstance(agents, dict)
        return {name: agent["prompt"] for name, agent in agents.items() if "prompt" in agent}

    @cached_property
    def servers(self) -> frozenset[str]:
        """The MCP servers that are listed."""
        servers = self.document["mcp"]
        assert isinstance(servers, dict)
        return frozenset(servers)

    @cached_property
    def reload_key(self) -> str:
        steady = {key: value for key, value in self.document.items() if key not in ("agent", "mcp")}
        return _canonical([steady, self.document["mcp"], dict(self.prompts)])


def build_config(
    *,
    templates: Templates,
    personas: Iterable[Persona],
    catalog: CatalogView | None,
    door: Door,
    settings: Settings,
) -> OpencodeConfig:
    """The config of one user who has used ``personas``. It depends on nothing that a request's body says."""
    document = {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "snapshot": False,
        "compaction": {"auto": True, "prune": True},
        "permission": {"*": "deny"},
        "enabled_providers": list(settings.enabled_providers),
        "provider": {name: provider_entry(name, settings) for name in settings.enabled_providers},
        "mcp": {
            view.name: server_entry(view, door(view)) for view in (catalog.integrations if catalog else ()) if view.url
        },
        "agent": _agents(templates, personas, catalog, settings),
    }
    return OpencodeConfig(text=json.dumps(document, indent=1, sort_keys=True))


def server_entry(view: IntegrationView, url: str, token: str = TOKEN_REFERENCE) -> dict[str, object]:
    """One entry of ``mcp``: listed, off, and with a deadline a little past the integration's own."""
    return {
        "type": "remote",
        "url": url,
        "enabled": False,
        "oauth": False,
        "timeout": int(view.limits.timeout_s * 1000) + 5000,
        "headers": {"Authorization": f"Bearer {token}"},
    }


def provider_entry(name: ProviderName, settings: Settings) -> dict[str, object]:
    """One provider, moved to the broker; the runner's token stands where a key would."""
    provider = PROVIDERS[name]
    models = provider.listed_models(settings)
    entry: dict[str, object] = {
        "options": {
            "baseURL": f"{settings.public_url}{provider.broker_path}",
            "apiKey": TOKEN_REFERENCE,
            "timeout": False,
            "headerTimeout": False,
            "chunkTimeout": False,
        },
        "whitelist": list(models),
    }
    if provider.npm:
        entry |= {
            "npm": provider.npm,
            "name": provider.title,
            "models": {model: _own_model(settings) for model in models},
        }
    return entry


def _own_model(settings: Settings) -> dict[str, object]:
    inputs = ["text", "image"] if settings.compatible_images else ["text"]
    return {
        "tool_call": True,
        "attachment": settings.compatible_images,
        "reasoning": True,
        "interleaved": {"field": "reasoning_content"},
        "limit": {"context": settings.compatible_context, "output": settings.compatible_output},
        "modalities": {"input": inputs, "output": ["text"]},
    }


def _agents(
    templates: Templates, personas: Iterable[Persona], catalog: CatalogView | None, settings: Settings
) -> dict[str, object]:
    steps = settings.turn_steps
    agents: dict[str, object] = {
        "title": {"disable": True},
        "build": _agent(BUILD_PROMPT, capability_rules(frozenset({"files"}), plan=False), steps),
        "plan": _agent(PLAN_PROMPT, capability_rules(frozenset({"files"}), plan=True), steps),
        TEMPLATE_AGENT + NO_TEMPLATE: _agent(NO_TEMPLATE_PROMPT, [], steps),
    }
    for template in templates:
        agents[TEMPLATE_AGENT + template.id] = _agent(template.core, [], steps)
    for persona in personas:
        if not persona.bare:
            agents[agent_name(persona)] = _agent(persona_prompt(persona), _known_rules(persona, catalog), steps)
    return agents


def _known_rules(persona: Persona, catalog: CatalogView | None) -> list[Rule]:
    """The rules of a persona after its ``* deny``; none for one whose meta names what is no longer there."""
    try:
        return turn_rules(persona, catalog)[1:]
    except InvalidRequest:
        return []


def _agent(prompt: str, rules: Sequence[Rule], steps: int) -> dict[str, object]:
    permission: dict[str, object] = {"*": "deny"}
    for rule in rules:
        held = permission.get(rule["permission"])
        if rule["pattern"] == "*" and held is None:
            permission[rule["permission"]] = rule["action"]
        else:
            permission[rule["permission"]] = {"*": held, rule["pattern"]: rule["action"]}
    return {"mode": "primary", "prompt": prompt, "steps": steps, "permission": permission}


def agent_name(persona: Persona) -> str:
    """The agent of a persona: its id, ``<id>__plan`` in plan mode, or opencode's own for a bare model."""
    if persona.bare:
        return persona.mode
    taken = persona.id in OWN_AGENTS or persona.id.startswith(TEMPLATE_AGENT)
    name = f"persona-{persona.id}" if taken else persona.id
    return f"{name}__plan" if persona.mode == "plan" else name


def template_agent_name(persona: Persona) -> str:
    """The agent that stands in for a persona which the runner has not loaded."""
    return TEMPLATE_AGENT + (persona.template.id if persona.template else NO_TEMPLATE)


def persona_prompt(persona: Persona) -> str:
    """The agent's prompt: the locked core first, byte for byte."""
    if persona.template is None:
        return NO_TEMPLATE_PROMPT
    return core_prompt(persona.template, self_reference_level=persona.self_reference_level)


def stand_in_text(persona: Persona) -> str:
    """What the persona's own prompt says beyond its template's core, for a turn on the template's agent."""
    core = persona.template.core if persona.template else NO_TEMPLATE_PROMPT
    return persona_prompt(persona)[len(core) :].strip()


def turn_rules(persona: Persona, catalog: CatalogView | None, reachable: Collection[str] | None = None) -> list[Rule]:
    """The full rule list of a turn: ``* deny``, then what the persona may use, then what nobody may.

    Of integrations, only those in ``reachable`` are allowed; None stands for all.
    """
    rules: list[Rule] = [_rule("*", "deny")]
    rules += capability_rules(persona.capabilities, plan=persona.mode == "plan")
    for integration, tools in sorted(allowed_tools(persona, catalog).items()):
        if reachable is None or integration in reachable:
            rules += [_rule(f"{integration}_{tool}", "allow") for tool in tools]
    return [*rules, *_LAST_DENIES]


def capability_rules(capabilities: Collection[str], *, plan: bool) -> list[Rule]:
    """What a template's capabilities are called in opencode; planning reads alone."""
    allowed: list[str] = []
    if "files" in capabilities:
        allowed += ["read", "glob", "grep", "list"] if plan else ["read", "edit", "glob", "grep", "list"]
    if "shell" in capabilities and not plan:
        allowed.append("bash")
    return [_rule(name, "allow") for name in allowed]


def _rule(permission: str, action: Literal["allow", "deny"], pattern: str = "*") -> Rule:
    return {"permission": permission, "pattern": pattern, "action": action}


_LAST_DENIES = [_rule("external_directory", "deny"), _rule("doom_loop", "deny")]


def _canonical(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
