"""One turn, start to finish.

Request → persona and model → config → the user's runner → connected integrations → session and rules → prompt and
events → what the user sees → nothing left behind. Everything that the request itself can get wrong is found by
``Turns.ask``, before a byte is answered; what goes wrong later is a ``Failure`` in the stream.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from weakref import WeakValueDictionary

from pydantic import SecretStr

from hub.wire import CatalogView
from sidecar import integrations, sessions
from sidecar.cleanup import bounded, finish_or_undo
from sidecar.errors import InvalidRequest, ProviderError, RunnerError, SidecarError, TurnTimeout
from sidecar.events import Ended, Retry, Text, Tool, TurnEvents, turn_events
from sidecar.hub_client import HubClient
from sidecar.identity import Identity, key_sig, workspace_hash
from sidecar.model_limits import context_chars, takes_images
from sidecar.openai_models import ChatRequest
from sidecar.opencode_client import new_message_id
from sidecar.opencode_config import (
    Door,
    agent_name,
    build_config,
    persona_prompt,
    stand_in_text,
    template_agent_name,
    turn_rules,
)
from sidecar.outputs import Emit, Failure, Finish, Status
from sidecar.personas import Persona, allowed_tools, parse_meta, resolve_persona
from sidecar.prompts import settings_text, user_text
from sidecar.providers import ModelChoice, choose_model, effective_keys
from sidecar.registry import PersonaRegistry
from sidecar.runners.pool import LiveRunner, RunnerPool
from sidecar.settings import ProviderName, Settings
from sidecar.store import Answer, Store
from sidecar.templates import Templates
from sidecar.turns import RunningTurn, TurnRegistry

log = logging.getLogger(__name__)
LAST_WORDS_S = 1.0


@dataclass(frozen=True)
class Asked:
    """A request that has passed every check that needs no runner."""

    identity: Identity
    persona: Persona
    chat: ChatRequest
    model: ModelChoice
    keys: Mapping[ProviderName, SecretStr]
    catalog: CatalogView | None

    @property
    def user(self) -> str:
        return workspace_hash(self.identity.user_id)


class ChatLocks:
    """Turns of one persona in one chat run in order; a lock is gone when nobody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, ...], asyncio.Lock] = WeakValueDictionary()

    def of(self, *chat: str) -> asyncio.Lock:
        return self._locks.setdefault(chat, asyncio.Lock())


@dataclass(frozen=True)
class Turns:
    """What turns share. ``door`` says where a runner reaches an integration."""

    settings: Settings
    templates: Templates
    hub: HubClient
    store: Store
    pool: RunnerPool
    running: TurnRegistry
    registry: PersonaRegistry
    door: Door
    chats: ChatLocks

    async def ask(self, identity: Identity, chat: ChatRequest) -> Asked:
        """Raises a ``RequestError`` that names the field at fault."""
        meta = parse_meta(identity.meta_header)
        persona = resolve_persona(
            model=chat.model, original_model_id=identity.original_model_id, meta=meta, templates=self.templates
        )
        keys = effective_keys(identity.keys, self.settings)
        template_model = persona.template.model if persona.template else ""
        model = choose_model(wanted=meta.model, template_model=template_model or "", settings=self.settings, keys=keys)
        _check_images(chat, model, self.settings)
        catalog = await self.hub.catalog()
        allowed_tools(persona, catalog)
        return Asked(identity, persona, chat, model, keys, catalog)

    async def run(self, asked: Asked, emit: Emit) -> None:
        """Runs the turn to its end, whatever that is.

        ``emit`` gets exactly one ``Failure`` or ``Finish``, unless the turn is cancelled.
        """
        try:
            async with asyncio.timeout(self.settings.turn_timeout_s), AsyncExitStack() as stack:
                if sessions.remembers(asked.persona, asked.identity):
                    lock = self.chats.of(asked.user, asked.identity.chat_id, asked.persona.id)
                    await stack.enter_async_context(lock)
                await self._run(asked, emit)
        except TimeoutError:
            limit = self.settings.turn_timeout_s
            emit(
                Failure(TurnTimeout(f"The answer took longer than {limit:g} s and was stopped. Ask for less at once."))
            )
        except SidecarError as error:
            log.warning("turn failed: %s %s", error.reason, error.detail)
            emit(Failure(error))
        except Exception:
            log.exception("turn failed")
            emit(Failure(SidecarError("Something went wrong inside Open Persona. Its log has the details; try again.")))

    async def _run(self, asked: Asked, emit: Emit) -> None:
        personas = await self.registry.with_used(asked.user, asked.persona, asked.chat.model)
        config = build_config(
            templates=self.templates, personas=personas, catalog=asked.catalog, door=self.door, settings=self.settings
        )

        def say(line: str) -> None:
            emit(Status(line))

        sig = key_sig(self.settings.token_key, asked.keys)
        async with self.pool.lease(asked.user, sig, config, say) as live:
            turn = RunningTurn(
                turn_id=uuid.uuid4().hex,
                user_hash=asked.user,
                persona_id=asked.persona.id,
                token=live.spec.token,
                models=frozenset({f"{asked.model.provider}/{asked.model.model}"}),
                keys=asked.keys,
            )
            async with self.running.open(turn):
                await integrations.connect(asked.persona, asked.catalog, live, self.door, say)
                await _Conversation(self, asked, live, turn, emit).hold()


class _Conversation:
    """The part of a turn that has a session: prompt, events, and what must happen however it ends."""

    def __init__(self, turns: Turns, asked: Asked, live: LiveRunner, turn: RunningTurn, emit: Emit) -> None:
        self._turns = turns
        self._asked = asked
        self._live = live
        self._turn = turn
        self._emit = emit
        self._answered = False

    async def hold(self) -> None:
        seat = await finish_or_undo(self._take_seat(), self._leave_new)
        self._turn.session_id = seat.session
        events = TurnEvents(seat.session, new_message_id())
        ended = False
        try:
            end = await self._follow(seat, events)
            ended = True
            self._check(end)
            await self._remember(seat, events)
            self._emit(Finish(events.finish, events.usage))
        finally:
            await bounded(self._leave(seat, events, ended))

    async def _take_seat(self) -> sessions.Seat:
        asked = self._asked
        return await sessions.take_seat(
            persona=asked.persona,
            identity=asked.identity,
            user=asked.user,
            history=asked.chat.history,
            rules=turn_rules(asked.persona, asked.catalog),
            store=self._turns.store,
            client=self._live.client,
        )

    async def _leave_new(self, seat: sessions.Seat) -> None:
        if not seat.kept:
            await self._live.client.delete_session(seat.session)

    def _prompt(self, seat: sessions.Seat, message_id: str) -> dict[str, object]:
        asked, persona = self._asked, self._asked.persona
        name = agent_name(persona)
        loaded = persona.bare or self._live.loaded.prompts.get(name) == persona_prompt(persona)
        system = settings_text(asked.chat.system_texts, persona.template)
        if not loaded:
            name, system = template_agent_name(persona), f"{stand_in_text(persona)}\n\n{system}".strip()
        prompt = user_text(seat.untold, asked.chat.new_message, context_chars(asked.model, self._turns.settings))
        parts: list[dict[str, object]] = [{"type": "text", "text": prompt.text}] if prompt.text else []
        parts += [
            {"type": "file", "mime": image.mime, "filename": f"image-{index}", "url": image.url}
            for index, image in enumerate(prompt.images, 1)
        ]
        return {
            "messageID": message_id,
            "agent": name,
            "model": {"providerID": asked.model.provider, "modelID": asked.model.model},
            "system": system,
            "parts": parts,
        }

    async def _follow(self, seat: sessions.Seat, events: TurnEvents) -> Ended:
        """Shows events until the end, the runner's death, or a provider's failure that opencode would only repeat."""
        relay = asyncio.create_task(self._relay(seat, events))
        gone = asyncio.create_task(self._live.gone.wait())
        failed = asyncio.create_task(self._turn.note.failed.wait())
        try:
            await asyncio.wait({relay, gone, failed}, return_when=asyncio.FIRST_COMPLETED)
            if failed.done() and not relay.done():  # what the provider had said before is still on its way
                await asyncio.wait({relay, gone}, timeout=LAST_WORDS_S, return_when=asyncio.FIRST_COMPLETED)
            if relay.done():
                return relay.result()
            if gone.done():
                raise RunnerError(
                    "The agent engine ended in the middle of the answer. Send the message again; it starts afresh.",
                    reason="runner_lost",
                )
            raise self._turn.note.failure or ProviderError("The model provider failed. Try again.")
        finally:
            for task in (relay, gone, failed):
                task.cancel()
            await asyncio.gather(relay, gone, failed, return_exceptions=True)

    async def _relay(self, seat: sessions.Seat, events: TurnEvents) -> Ended:
        client = self._live.client
        with self._live.events.subscribe(seat.session) as queue:
            await client.prompt(seat.session, self._prompt(seat, events.user_message))
            async for event in turn_events(queue, events, client):
                if isinstance(event, Ended):
                    return event
                if isinstance(event, Retry) and self._turn.note.failure and self._turn.note.stopped:
                    raise self._turn.note.failure
                self._show(event)
        raise RunnerError("The agent engine stopped sending events. Send the message again.", reason="runner_lost")

    def _show(self, event: Text | Tool | Retry) -> None:
        match event:
            case Text():
                self._answered = self._answered or event.kind == "answer"
                self._emit(event)
            case Tool(name=name, state="running"):
                self._emit(Status(f"{integrations.tool_title(name, self._asked.catalog)} …"))
            case Tool(name=name, state=state):
                outcome = "done" if state == "completed" else "failed"
                self._emit(Status(f"{integrations.tool_title(name, self._asked.catalog)}: {outcome}", done=True))
            case Retry(attempt=attempt):
                self._emit(Status(f"The model provider is busy; asking again (attempt {attempt + 1}) …"))

    def _check(self, end: Ended) -> None:
        failure = self._turn.note.failure
        if end.error and failure is not None:
            raise failure
        if end.error == "ContextOverflowError":
            raise InvalidRequest(
                "The chat is too long for this model. Start a new chat or shorten the message.", param="messages"
            )
        if end.error:
            raise RunnerError(
                "The agent engine gave up on this answer. Send the message again.",
                reason="runner_lost",
                detail=f"{end.error}: {end.message}",
            )
        if not self._answered:
            raise failure or ProviderError("The model answered nothing. Ask again, or choose another model.")

    async def _remember(self, seat: sessions.Seat, events: TurnEvents) -> None:
        """Notes the answer in the chat's tree; others' answers count too, so that Izzy knows what she missed."""
        identity = self._asked.identity
        if not identity.has_memory_id or not identity.message_id:
            return
        session = (seat.session, events.answer_id) if seat.kept and events.answer_id else ("", "")
        answer = Answer(
            self._asked.user,
            identity.chat_id,
            identity.message_id,
            identity.parent_message_id,
            self._asked.persona.id,
            *session,
        )
        await asyncio.to_thread(self._turns.store.remember_answer, answer)

    async def _leave(self, seat: sessions.Seat, events: TurnEvents, ended: bool) -> None:
        if not ended and not self._live.gone.is_set():
            await self._live.client.abort(seat.session)
            await self._remember(seat, events)
        if not seat.kept and not self._live.gone.is_set():
            await self._live.client.delete_session(seat.session)


def _check_images(chat: ChatRequest, model: ModelChoice, settings: Settings) -> None:
    if any(message.images for message in chat.messages) and not takes_images(model, settings):
        raise InvalidRequest(
            f"The model {model.provider}/{model.model} does not take images. Remove them or choose another model.",
            param="messages",
        )
