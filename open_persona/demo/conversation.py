"""The chat-completions request, as far as the demo model reads it.

Wire format: OpenAI's ``POST /v1/chat/completions``; fields that the script does not need are ignored.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sidecar.prompts import MARK, QUOTE, TRANSCRIPT_END


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Part(_Wire):
    """One part of a message's content; only ``text`` is read."""

    type: str
    text: str = ""


class Message(_Wire):
    """One message. ``content`` is absent on an assistant message that only calls tools."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """The content as plain text."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class Function(_Wire):
    """One tool on offer; ``parameters`` is a JSON schema."""

    name: str
    description: str = ""
    parameters: dict[str, JsonValue] = Field(default_factory=dict)


class Offer(_Wire):
    """An entry of the request's ``tools``."""

    function: Function


class StreamOptions(_Wire):
    """``include_usage`` asks for a last chunk with token counts."""

    include_usage: bool = False


class ChatRequest(_Wire):
    """The request's body."""

    model: str
    messages: list[Message] = Field(min_length=1)
    tools: list[Offer] = Field(default_factory=list)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()

    @property
    def functions(self) -> list[Function]:
        """The tools on offer."""
        return [offer.function for offer in self.tools]

    @property
    def question(self) -> str:
        """What the user says now: the last user message, without a history that is quoted in front of it."""
        return self._last_user_text.rpartition(TRANSCRIPT_END)[2].strip()

    @property
    def told(self) -> str:
        """What the user said before the question: in earlier messages and in a quoted history."""
        earlier = [message.text for message in self.messages[: self._last_user_index] if message.role == "user"]
        return "\n".join([*earlier, *_quoted_user_lines(self._last_user_text.rpartition(TRANSCRIPT_END)[0])])

    @property
    def tool_results(self) -> list[str]:
        """What the tools answered since the user's last message."""
        after = self.messages[self._last_user_index + 1 :]
        return [message.text for message in after if message.role == "tool"]

    @property
    def _last_user_index(self) -> int:
        return max((n for n, message in enumerate(self.messages) if message.role == "user"), default=len(self.messages))

    @property
    def _last_user_text(self) -> str:
        index = self._last_user_index
        return self.messages[index].text if index < len(self.messages) else ""


def _quoted_user_lines(transcript: str) -> list[str]:
    """The user's lines of a transcript as :mod:`sidecar.prompts` fences it."""
    lines: list[str] = []
    role = ""
    for line in transcript.splitlines():
        if line.startswith(MARK):
            role = line.removeprefix(MARK).strip(" ],").split(",")[0].split(" ")[0]
        elif role == "user":
            lines.append(line.removeprefix(QUOTE))
    return lines
