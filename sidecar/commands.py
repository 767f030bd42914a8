"""What a user can say to Open Persona itself: a message that is exactly ``/reset`` or ``/forget``.

``/reset`` ends the user's runner: the next turn gets a fresh one. ``/forget`` deletes what is remembered of the chat.
Both are answered without a model, and are never told to one. Any other word with a slash is a message like others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy.exc import SQLAlchemyError

from sidecar.errors import Busy, RunnerError, SidecarError
from sidecar.events import Text
from sidecar.identity import Identity, workspace_hash
from sidecar.locks import KeyedLocks
from sidecar.openai_models import ChatRequest, Message, Usage
from sidecar.outputs import Emit, Failure, Finish, Status
from sidecar.personas import Persona, parse_meta, resolve_persona
from sidecar.runners.live import LiveRunner
from sidecar.runners.pool import RunnerPool
from sidecar.store import Store, Tree
from sidecar.templates import Templates

log = logging.getLogger(__name__)
Command = Literal["/reset", "/forget"]
COMMANDS: Final[tuple[Command, ...]] = ("/reset", "/forget")

TIDYING_S: Final = 1.0

FRESH = "Your next message gets a fresh workspace. Your files and what I remember stay."
NONE_RUNNING = "No workspace of yours was running: your next message starts one. Your files and what I remember stay."
RUNNING = "Another answer of yours is still running in your workspace. Stop it or wait for it, then send {} again."
FORGOTTEN = (
    "What I remembered of this chat is deleted, and I am told nothing that was said before this message. "
    "Open WebUI still shows it: delete the chat there to remove it from your history. Your files stay."
)
UNKEPT = "There is nothing to forget: this chat is not kept, and so nothing of it is remembered."
NO_MEMORY = (
    "There is nothing to forget: this persona remembers nothing. It reads what the chat shows; "
    "begin a new chat where it is not to."
)
WAITING = "Another answer in this chat is still running; it is forgotten next …"


@dataclass(frozen=True)
class Told:
    """A command, and who gave it to whom."""

    command: Command
    identity: Identity
    persona: Persona

    @property
    def user(self) -> str:
        """The user's hash."""
        return workspace_hash(self.identity.user_id)


def command_in(message: Message) -> Command | None:
    """The command that a message is; pictures beside it are not looked at."""
    words = message.text.strip()
    return next((command for command in COMMANDS if message.role == "user" and words == command), None)


def without_commands(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages without commands and what answered them."""
    kept: list[Message] = []
    answering = False
    for message in messages:
        if message.role == "user":
            answering = command_in(message) is not None
        if not answering or message.role == "system":
            kept.append(message)
    return tuple(kept)


@dataclass(frozen=True)
class Commands:
    """``chats`` are the locks that the turns of a chat take; ``wait_s`` is how long to wait for one."""

    store: Store
    pool: RunnerPool
    templates: Templates
    chats: KeyedLocks
    wait_s: float

    def read(self, identity: Identity, chat: ChatRequest) -> Told | None:
        """The command that the request's new message is. Raises a ``RequestError`` where the persona is at fault."""
        command = command_in(chat.new_message)
        if command is None:
            return None
        meta = parse_meta(identity.meta_header)
        persona = resolve_persona(
            model=chat.model, original_model_id=identity.original_model_id, meta=meta, templates=self.templates
        )
        return Told(command, identity, persona)

    async def run(self, told: Told, emit: Emit) -> None:
        """Does it. ``emit`` gets the answer and a ``Finish``, or a ``Failure``."""
        try:
            answer = await (self._reset(told) if told.command == "/reset" else self._forget(told, emit))
        except Busy:
            answer = RUNNING.format(told.command)
        except SidecarError as error:
            log.warning("%s failed: %s %s", told.command, error.reason, error.detail)
            emit(Failure(error))
            return
        except Exception:
            log.exception("%s failed", told.command)
            emit(Failure(SidecarError(f"{told.command} could not be done. Open Persona's log says why; try again.")))
            return
        emit(Text(answer))
        emit(Finish("stop", Usage()))

    async def _reset(self, told: Told) -> str:
        ended = await self._end_runner(told.user)
        await self._stand_in(told)
        return FRESH if ended else NONE_RUNNING

    async def _end_runner(self, user: str) -> bool:
        """Whether there was one. An answer that has just ended may still be tidied up. Raises ``Busy``."""
        patience = time.monotonic() + TIDYING_S
        while True:
            try:
                return await self.pool.reset(user)
            except Busy:
                if time.monotonic() > patience:
                    raise
            await asyncio.sleep(0.05)

    async def _stand_in(self, told: Told) -> None:
        """The answer takes the place of the one before: the next turn goes on from there."""
        identity = told.identity
        place = (told.user, identity.chat_id, identity.message_id, identity.parent_message_id)
        if identity.has_memory_id and identity.message_id:
            try:
                await asyncio.to_thread(self.store.repeat_answer, *place)
            except SQLAlchemyError:
                log.exception("an answer could not be noted")

    async def _forget(self, told: Told, emit: Emit) -> str:
        identity = told.identity
        if not identity.has_memory_id:
            return UNKEPT
        tree = await asyncio.to_thread(self.store.tree, told.user, identity.chat_id)
        if not told.persona.memory and not any(answer.session for answer in tree.answers.values()):
            return NO_MEMORY
        async with AsyncExitStack() as stack:
            await self._wait_for_turns(told, tree, stack, emit)
            sessions = await asyncio.to_thread(self.store.forget_chat, told.user, identity.chat_id)
        await self._delete_sessions(told.user, sessions)
        return FORGOTTEN

    async def _wait_for_turns(self, told: Told, tree: Tree, stack: AsyncExitStack, emit: Emit) -> None:
        """Whoever answers in this chat now would note its session again when it ends. Raises ``Busy``."""
        chat = told.identity.chat_id
        personas = {answer.persona for answer in tree.answers.values()} | {told.persona.id}
        locks = [self.chats.of(told.user, chat, persona) for persona in sorted(personas)]
        if any(lock.locked() for lock in locks):
            emit(Status(WAITING))
        try:
            async with asyncio.timeout(self.wait_s):
                for lock in locks:
                    await stack.enter_async_context(lock)
        except TimeoutError:
            raise Busy(RUNNING.format(told.command)) from None

    async def _delete_sessions(self, user: str, sessions: frozenset[str]) -> None:
        """Nobody can come back to them any more. A runner that can't delete them now, such as a paused one, is ended.

        The next one begins with deleting what nobody can come back to.
        """
        live = next((one for one in self.pool.live if one.spec.workspace_hash == user and not one.gone.is_set()), None)
        if live is None or (not live.paused and await _deleted(live, sessions)):
            return
        try:
            await self.pool.reset(user)
        except SidecarError as refused:
            log.warning("sessions of a forgotten chat wait for the next start: %s", refused.message)


async def _deleted(live: LiveRunner, sessions: frozenset[str]) -> bool:
    try:
        for session in sorted(sessions):
            await live.client.delete_session(session)
    except RunnerError as error:
        log.warning("sessions of a forgotten chat could not be deleted: %s", error.detail)
        return False
    return True
