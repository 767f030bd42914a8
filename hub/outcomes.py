"""How a runner's request can end: closed lists, so that each can be a metric label."""

from __future__ import annotations

from typing import Literal

Outcome = Literal[
    "ok",
    "cut",
    "tool_error",
    "rpc_error",
    "bad_arguments",
    "unknown_tool",
    "tool_not_granted",
    "unavailable",
    "missing_setting",
    "rate_limited",
    "timeout",
    "unreachable",
    "backend_error",
    "bad_answer",
    "too_large",
    "cancelled",
    "lease_ended",
    "stopped",
    "internal",
]
"""The end of one ``tools/call``. ``cut``: a good result over ``max_result_bytes``; ``tool_error`` and ``rpc_error``:
the integration's own; ``missing_setting``: it can't be called without; ``backend_error``: an HTTP status that is none
of MCP's; ``stopped``: the hub stops."""

Refusal = Literal["no_token", "unknown_token", "unknown_integration", "not_granted", "other_route"]
"""Why a request was answered like one for something that does not exist."""
