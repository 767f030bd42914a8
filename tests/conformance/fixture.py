"""The server that the conformance suite is run against: with everything, and with its tools alone on our own kit."""

from __future__ import annotations

import base64
import json
from typing import Any

from mcp.server import MCPServer
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import UserMessage
from mcp.types import (
    CompleteRequestParams,
    CompleteResult,
    Completion,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from starlette.applications import Starlette

from mcp_servers.kit.app import create_app, transport_security
from tests.conformance.fixture_inputs import add_input_prompt, add_input_tools
from tests.conformance.fixture_tools import PIXEL, add_asking_tools, add_plain_tools

NAME = "conformance"


def whole_app() -> Starlette:
    """Tools, resources, prompts and completions, with sessions: what the requirement sets want in full."""
    server: MCPServer[Any] = MCPServer(NAME, version="1")
    add_plain_tools(server)
    add_asking_tools(server)
    add_input_tools(server)
    add_input_prompt(server)
    _add_resources(server)
    _add_prompts(server)
    _add_methods(server)
    return server.streamable_http_app(transport_security=transport_security(()))


def tools_server() -> MCPServer[Any]:
    """The tools that an integration can have."""
    server: MCPServer[Any] = MCPServer(NAME, version="1")
    add_plain_tools(server)
    add_input_tools(server)
    return server


def tools_app() -> Starlette:
    """The tools as an integration of ours shows them."""
    return create_app(tools_server(), name=NAME)


def _add_resources(server: MCPServer[Any]) -> None:
    @server.resource("test://static-text", name="static-text", description="A text.", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", name="static-binary", description="An image.", mime_type="image/png")
    def static_binary() -> bytes:
        return base64.b64decode(PIXEL)

    @server.resource("test://watched-resource", name="watched", description="A text to watch.", mime_type="text/plain")
    def watched() -> str:
        return "Watched."

    @server.resource(
        "test://template/{id}/data", name="template", description="Data by id.", mime_type="application/json"
    )
    def template(id: str) -> str:  # noqa: A002 - the name of the template's parameter
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def _add_prompts(server: MCPServer[Any]) -> None:
    @server.prompt(name="test_simple_prompt", description="One message.")
    def simple() -> str:
        return "This is a simple prompt for testing."

    @server.prompt(name="test_prompt_with_arguments", description="One message with two arguments.")
    def with_arguments(arg1: str, arg2: str) -> str:
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt(name="test_prompt_with_embedded_resource", description="A resource and a message.")
    def with_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803 - the suite's name
        text = TextResourceContents(
            uri=resourceUri, mime_type="text/plain", text="Embedded resource content for testing."
        )
        resource = EmbeddedResource(type="resource", resource=text)
        return [UserMessage(resource), UserMessage("Please process the embedded resource above.")]

    @server.prompt(name="test_prompt_with_image", description="An image and a message.")
    def with_image() -> list[UserMessage]:
        image = ImageContent(type="image", data=PIXEL, mime_type="image/png")
        return [UserMessage(image), UserMessage(TextContent(type="text", text="Please analyze the image above."))]


def _add_methods(server: MCPServer[Any]) -> None:
    """What ``MCPServer`` has no typed way for: completion, subscriptions, the level of the log."""

    async def complete(_: ServerRequestContext[Any, Any], asked: CompleteRequestParams) -> CompleteResult:
        values = [word for word in ("paris", "park", "party") if word.startswith(asked.argument.value)]
        return CompleteResult(completion=Completion(values=values, total=len(values), has_more=False))

    async def subscribe(_: ServerRequestContext[Any, Any], __: SubscribeRequestParams) -> EmptyResult:
        return EmptyResult()

    async def unsubscribe(_: ServerRequestContext[Any, Any], __: UnsubscribeRequestParams) -> EmptyResult:
        return EmptyResult()

    async def set_level(_: ServerRequestContext[Any, Any], __: SetLevelRequestParams) -> EmptyResult:
        return EmptyResult()

    lowlevel = server._lowlevel_server
    lowlevel.add_request_handler("completion/complete", CompleteRequestParams, complete)
    lowlevel.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
    lowlevel.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)
    lowlevel.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)
