"""Which scenarios of the conformance suite say something of the gateway, and why the others do not.

The gateway shows tools alone and keeps no session towards a runner, so its part is the lifecycle and the tools of both
eras. ``test_scenarios`` compares both tables with the requirement sets of the suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Revision = Literal["2025-11-25", "2026-07-28"]
REVISIONS: Final[tuple[Revision, ...]] = ("2025-11-25", "2026-07-28")

_TOOLS: Final = (
    "tools-list",
    "tools-call-simple-text",
    "tools-call-image",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-mixed-content",
    "tools-call-error",
    "tools-call-with-progress",
    "server-sse-multiple-streams",
    "dns-rebinding-protection",
)
_INPUT: Final = tuple(
    f"input-required-result-{name}"
    for name in (
        "basic-elicitation",
        "basic-sampling",
        "basic-list-roots",
        "request-state",
        "multiple-input-requests",
        "multi-round",
        "missing-input-response",
        "result-type",
        "unsupported-methods",
        "tampered-state",
        "capability-check",
        "ignore-extra-params",
        "validate-input",
    )
)
_HEADERS: Final = ("http-header-validation", "http-custom-header-server-validation")
THROUGH_GATEWAY: Final[Mapping[Revision, tuple[str, ...]]] = {
    "2025-11-25": ("server-initialize", "server-session-lifecycle", "ping", *_TOOLS),
    "2026-07-28": ("server-stateless", *_HEADERS, *_TOOLS, *_INPUT),
}
"""What has to pass, by the revision that is spoken; the kit passes it too, but for ``NOT_OF_KIT``."""

NOT_OF_KIT: Final = {"http-header-validation": "the SDK's server takes no blanks around a header's value"}

NO_RESOURCES: Final = "the gateway shows tools alone: no resources"
NO_PROMPTS: Final = "the gateway shows tools alone: no prompts"
NO_QUESTIONS: Final = "a server cannot ask a runner: the gateway keeps no session, and nobody is there to answer"
NO_LOGGING: Final = "MCP's own logging is not offered: a server logs for its operator"
NO_TASKS: Final = "an extension that the gateway does not offer"
PENDING: Final = "pending in the suite: its own reference server does not pass"

_RESOURCES: Final = dict.fromkeys(
    ("resources-list", "resources-read-text", "resources-read-binary", "resources-templates-read"), NO_RESOURCES
)
_PROMPTS: Final = dict.fromkeys(
    (
        "prompts-list",
        "prompts-get-simple",
        "prompts-get-with-args",
        "prompts-get-embedded-resource",
        "prompts-get-with-image",
    ),
    NO_PROMPTS,
)
OUT_OF_SCOPE: Final[Mapping[Revision, Mapping[str, str]]] = {
    "2025-11-25": {
        **_RESOURCES,
        **_PROMPTS,
        "resources-subscribe": NO_RESOURCES,
        "resources-unsubscribe": NO_RESOURCES,
        "completion-complete": "completions are for prompts and resources, and the gateway shows tools alone",
        "logging-set-level": NO_LOGGING,
        "tools-call-with-logging": NO_LOGGING,
        "tools-call-sampling": NO_QUESTIONS,
        "tools-call-elicitation": NO_QUESTIONS,
        "elicitation-sep1034-defaults": NO_QUESTIONS,
        "elicitation-sep1330-enums": NO_QUESTIONS,
        "json-schema-2020-12": PENDING,
        "server-sse-polling": PENDING,
    },
    "2026-07-28": {
        **_RESOURCES,
        **_PROMPTS,
        "sep-2164-resource-not-found": NO_RESOURCES,
        "completion-complete": "completions are for prompts and resources, and the gateway shows tools alone",
        "caching": "it reads resources and prompts too, and the gateway shows tools alone",
        "input-required-result-non-tool-request": NO_PROMPTS,
        "json-schema-2020-12": PENDING,
        "tasks-lifecycle": NO_TASKS,
        "tasks-capability-negotiation": NO_TASKS,
        "tasks-wire-fields": NO_TASKS,
        "tasks-request-state-removal": NO_TASKS,
        "tasks-mrtr-input": NO_TASKS,
        "tasks-request-headers": NO_TASKS,
        "tasks-dispatch-and-envelope": NO_TASKS,
        "tasks-status-notifications": NO_TASKS,
        "tasks-required-task-error": NO_TASKS,
        "tasks-mrtr-composition": NO_TASKS,
    },
}
"""Scenario to the reason why it is not run through the gateway."""
