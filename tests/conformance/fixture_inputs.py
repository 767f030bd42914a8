"""The tools and the prompt that ask for input by their result, in rounds (protocol revision 2026-07-28).

What carries over from one round to the next is ``request_state``; the SDK seals it, so that a changed one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, UserMessage
from mcp.types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)

PREFIX: Final = "test_input_required_result_"
Ctx = Context[Any, Any]


def add_input_tools(server: MCPServer[Any]) -> None:
    """Every tool named ``test_input_required_result_…``."""
    tools = {
        "elicitation": _elicitation,
        "sampling": _sampling,
        "list_roots": _list_roots,
        "request_state": _confirmed,
        "tampered_state": _confirmed,
        "multiple_inputs": _multiple_inputs,
        "multi_round": _multi_round,
        "capabilities": _capabilities,
    }
    for name, tool in tools.items():
        server.add_tool(tool, name=PREFIX + name, description=tool.__doc__, structured_output=False)


def add_input_prompt(server: MCPServer[Any]) -> None:
    """The prompt that asks before it answers."""

    @server.prompt(name=f"{PREFIX}prompt", description="A prompt that asks for its context first.")
    def prompt(ctx: Ctx) -> list[UserMessage] | InputRequiredResult:
        context = _content(ctx, "user_context")
        if "context" not in context:
            return _asked(user_context=_form("What context should the prompt use?", context="string"))
        return [UserMessage(f"Context: {context['context']}")]


def asked_for_name() -> InputRequiredResult:
    """The first round of a tool that wants a name."""
    return _asked(user_name=_form("What is your name?", name="string"))


def _asked(state: str | None = None, **requests: InputRequest) -> InputRequiredResult:
    return InputRequiredResult(input_requests=requests, request_state=state)


def _form(message: str, **fields: str) -> ElicitRequest:
    properties = {name: {"type": kind} for name, kind in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _question(text: str, max_tokens: int) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens))


def _answer(ctx: Ctx, key: str) -> object:
    return (ctx.input_responses or {}).get(key)


def _content(ctx: Ctx, key: str) -> Mapping[str, object]:
    answer = _answer(ctx, key)
    return answer.content or {} if isinstance(answer, ElicitResult) else {}


def _elicitation(ctx: Ctx) -> str | InputRequiredResult:
    """Asks for a name."""
    name = _content(ctx, "user_name").get("name")
    return f"Hello, {name}!" if isinstance(name, str) else asked_for_name()


def _sampling(ctx: Ctx) -> str | InputRequiredResult:
    """Asks the client's model."""
    answer = _answer(ctx, "capital_question")
    if not isinstance(answer, CreateMessageResult):
        return _asked(capital_question=_question("What is the capital of France?", 100))
    return answer.content.text if isinstance(answer.content, TextContent) else "The model answered no text."


def _list_roots(ctx: Ctx) -> str | InputRequiredResult:
    """Asks for the client's folders."""
    answer = _answer(ctx, "client_roots")
    if not isinstance(answer, ListRootsResult):
        return _asked(client_roots=ListRootsRequest())
    return "Roots: " + ", ".join(str(root.uri) for root in answer.roots)


def _confirmed(ctx: Ctx) -> str | InputRequiredResult:
    """Asks for a yes, and checks its own state."""
    if ctx.request_state != "asked" or not _content(ctx, "confirm").get("ok"):
        return _asked("asked", confirm=_form("Please confirm", ok="boolean"))
    return "Confirmed: state-ok"


def _multiple_inputs(ctx: Ctx) -> str | InputRequiredResult:
    """Asks three things at once."""
    requests: dict[str, InputRequest] = {
        "user_name": _form("What is your name?", name="string"),
        "greeting": _question("Generate a greeting", 50),
        "client_roots": ListRootsRequest(),
    }
    if ctx.request_state != "asked" or any(_answer(ctx, key) is None for key in requests):
        return _asked("asked", **requests)
    return f"All inputs of {_content(ctx, 'user_name').get('name')} arrived."


def _multi_round(ctx: Ctx) -> str | InputRequiredResult:
    """Asks for a name, then for a colour."""
    state = ctx.request_state or ""
    if state == "named" and (color := _content(ctx, "step2").get("color")):
        return f"The colour is {color}."
    if state in ("started", "named") and (state == "named" or _content(ctx, "step1").get("name")):
        return _asked("named", step2=_form("Step 2: What is your favorite color?", color="string"))
    return _asked("started", step1=_form("Step 1: What is your name?", name="string"))


def _capabilities(ctx: Ctx) -> str | InputRequiredResult:
    """Asks only what the client can answer."""
    known, requests = ctx.client_capabilities, dict[str, InputRequest]()
    if known is not None and known.elicitation is not None:
        requests["user_name"] = _form("What is your name?", name="string")
    if known is not None and known.sampling is not None:
        requests["greeting"] = _question("Generate a greeting", 50)
    if known is not None and known.roots is not None:
        requests["client_roots"] = ListRootsRequest()
    return _asked(None, **requests) if requests else "The client can answer nothing."
