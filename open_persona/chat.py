"""``open-persona chat``: a conversation with a persona, streamed to the terminal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from rich.console import Console
from rich.text import Text

from open_persona.conversation import Conversation
from open_persona.sidecar_api import Event, Failed, Progress, SidecarApi, Words

EXIT = frozenset({"/exit", "/quit"})


async def chat(
    sidecar: SidecarApi, conversation: Conversation, lines: AsyncIterator[str] | None, first: str, out: Console
) -> int:
    """Sends ``first`` if it is given, then every line until ``/exit`` or their end.

    Exit code: 1 when the only or the last turn failed.
    """
    failed = False
    if first:
        failed = not await take_turn(sidecar, conversation, first, out)
    if lines is not None:
        async for line in lines:
            if line.strip().lower() in EXIT:
                break
            if line.strip():
                failed = not await take_turn(sidecar, conversation, line, out)
    return int(failed)


async def take_turn(sidecar: SidecarApi, conversation: Conversation, text: str, out: Console) -> bool:
    """One turn, shown as it comes; whether it came to its end. What was said of a failed turn is not kept."""
    turn = conversation.ask(text)
    screen = _Screen(out)
    async with aclosing(sidecar.stream(turn)) as events:
        async for event in events:
            screen.show(event)
    screen.end()
    if not screen.failed:
        conversation.answered(turn, screen.answer)
    return not screen.failed


class _Screen:
    """Puts a turn on the terminal: words as they come, each status line on a line of its own."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._pieces: list[str] = []
        self._in_line = False
        self.failed = False

    @property
    def answer(self) -> str:
        """All words so far."""
        return "".join(self._pieces)

    def show(self, event: Event) -> None:
        """One event of the turn."""
        match event:
            case Words(text):
                self._pieces.append(text)
                self._out.print(Text(text), end="", soft_wrap=True)
                self._in_line = not text.endswith("\n")
            case Progress(description, _):
                self._line(Text(f"  · {description}", style="dim"))
            case Failed(message):
                self.failed = True
                self._line(Text(f"error: {message}", style="red"))

    def end(self) -> None:
        """Ends a line that is not ended."""
        if self._in_line:
            self._out.print()
            self._in_line = False

    def _line(self, text: Text) -> None:
        self.end()
        self._out.print(text, soft_wrap=True)
