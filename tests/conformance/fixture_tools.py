"""The plain tools that the conformance suite calls: each kind of content, progress, errors, and requests to the client.

Names, texts and shapes are those that the scenarios of ``@modelcontextprotocol/conformance`` 0.2.0-alpha.12 look for.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    EmbeddedResource,
    ImageContent,
    InputRequiredResult,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

from tests.conformance.fixture_inputs import asked_for_name

PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
"""A PNG of one pixel."""
SILENCE: Final = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAAAAA=="
"""A WAV of one sample."""
STEP_S: Final = 0.05

Ctx = Context[Any, Any]


def add_plain_tools(server: MCPServer[Any]) -> None:
    """Tools that answer by themselves, and three that watch how the server treats a request."""
    for tool in (
        test_simple_text,
        test_image_content,
        test_audio_content,
        test_embedded_resource,
        test_multiple_content_types,
        test_error_handling,
        test_tool_with_progress,
        test_tool_with_logging,
        test_missing_capability,
        test_streaming_elicitation,
        test_logging_tool,
        test_trigger_tool_change,
        test_trigger_prompt_change,
        test_mirrored_header,
    ):
        server.add_tool(tool, name=tool.__name__, description=tool.__doc__, structured_output=False)


def add_asking_tools(server: MCPServer[Any]) -> None:
    """Tools that ask the client while they run; only the older era can."""
    for tool in (test_sampling, test_elicitation, test_elicitation_sep1034_defaults, test_elicitation_sep1330_enums):
        server.add_tool(tool, name=tool.__name__, description=tool.__doc__, structured_output=False)


def test_simple_text() -> str:
    """Answers one text."""
    return "This is a simple text response for testing."


def test_image_content() -> ImageContent:
    """Answers an image."""
    return ImageContent(type="image", data=PIXEL, mime_type="image/png")


def test_audio_content() -> AudioContent:
    """Answers a sound."""
    return AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")


def test_embedded_resource() -> EmbeddedResource:
    """Answers a resource."""
    return _embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")


def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    """Answers a text, an image and a resource."""
    return [
        TextContent(type="text", text="Multiple content types test:"),
        test_image_content(),
        _embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ]


def _embedded(uri: str, kind: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=kind, text=text))


def test_error_handling() -> str:
    """Always fails."""
    raise ValueError("This tool intentionally returns an error for testing")


async def test_tool_with_progress(ctx: Ctx) -> str:
    """Reports 0, 50 and 100 of 100."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
        await asyncio.sleep(STEP_S)
    return "Progress was reported."


async def test_tool_with_logging(ctx: Ctx) -> str:
    """Logs three lines while it works."""
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(line)
        await asyncio.sleep(STEP_S)
    return "Lines were logged."


async def test_logging_tool(ctx: Ctx) -> str:
    """Logs one line, which is sent only to a client that set a level."""
    await ctx.info("A line of the log.")
    return "A line was logged."


def test_missing_capability(ctx: Ctx) -> str:
    """Refuses a client that cannot sample."""
    capabilities = ctx.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="This tool needs a client that can sample.",
            data={"requiredCapabilities": {"sampling": {}}},
        )
    return "The client can sample."


def test_streaming_elicitation() -> InputRequiredResult:
    """Asks for a name by its result."""
    return asked_for_name()


async def test_trigger_tool_change(ctx: Ctx) -> str:
    """Says that the list of tools changed."""
    await ctx.notify_tools_changed()
    return "The change was told."


async def test_trigger_prompt_change(ctx: Ctx) -> str:
    """Says that the list of prompts changed."""
    await ctx.notify_prompts_changed()
    return "The change was told."


def test_mirrored_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """Answers its argument, which the client repeats in a header."""
    return f"The region is {region}."


async def test_sampling(prompt: str, ctx: Ctx) -> str:
    """Has the client's model answer ``prompt``."""
    question = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    answer = await ctx.session.create_message([question], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {answer.content.text if isinstance(answer.content, TextContent) else ''}"


async def test_elicitation(message: str, ctx: Ctx) -> str:
    """Asks the client's user for name and address."""
    fields = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    schema = {"type": "object", "properties": fields, "required": ["username", "email"]}
    return f"User response: {await _elicited(ctx, message, schema)}"


async def test_elicitation_sep1034_defaults(ctx: Ctx) -> str:
    """Asks with a default for each kind of field."""
    fields = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return f"Elicitation completed: {await _elicited(ctx, 'Defaults', {'type': 'object', 'properties': fields})}"


async def test_elicitation_sep1330_enums(ctx: Ctx) -> str:
    """Asks with each kind of choice."""
    options, values = ["option1", "option2", "option3"], ["value1", "value2", "value3"]
    titled = [
        {"const": value, "title": f"{nth} Option"}
        for value, nth in zip(values, ("First", "Second", "Third"), strict=True)
    ]
    fields = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return f"Elicitation completed: {await _elicited(ctx, 'Choices', {'type': 'object', 'properties': fields})}"


async def _elicited(ctx: Ctx, message: str, schema: dict[str, Any]) -> str:
    answer = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    return f"action={answer.action}, content={answer.content}"
