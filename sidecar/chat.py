"""One turn, start to finish.

Request → persona and model → config → the user's runner → lease and connected integrations → session and rules →
prompt and events → what the user sees → nothing left behind. Everything that the request itself can get wrong is
found by ``Turns.ask``, before a byte is answered; what goes wrong later is a ``Failure`` in the stream.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError

from hub.wire import CatalogView
from sidecar import integrations, sessions
from sidecar.cleanup import bounded, finish_or_undo
from sidecar.commands import without_commands
from sidecar.endings import ended_error
from sidecar.errors import Busy, InvalidRequest, ProviderError, RunnerError, SidecarError, TurnTimeout
from sidecar.event_stream import turn_events
from sidecar.events import Ended, Retry, Text, Tool, TurnEvents
from sidecar.hub_client import HubClient
from sidecar.identity import Identity, key_sig, workspace_hash
from sidecar.leases import held, make_lease
from sidecar.locks import KeyedLocks
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
from sidecar.quota import Quota
from sidecar.registry import PersonaRegistry
from sidecar.runners.live import LiveRunner
from sidecar.runners.pool import RunnerPool
from sidecar.seam import home_of
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
        """The user's hash: the name of the workspace, and the key of all state."""
        return workspace_hash(self.identity.user_id)

    @property
    def in_a_chat(self) -> bool:
        """Whether the answer has a place in a chat that Open WebUI stores."""
        return self.identity.has_memory_id and bool(self.identity.message_id)


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
    chats: KeyedLocks
    quota: Quota

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

    async def admit(self, asked: Asked) -> None:
        """Keeps a place for the turn, which has to be run next. Raises ``Overloaded`` where there is none."""
        await self.pool.admit(asked.user)

    async def run(self, asked: Asked, emit: Emit) -> None:
        """Runs the turn to its end, whatever that is.

        ``emit`` gets exactly one ``Failure`` or ``Finish``, unless the turn is cancelled.
        """
        try:
            async with AsyncExitStack() as stack:
                stack.enter_context(self.pool.holding(asked.user))
                await self._note_begun(asked)
                if sessions.remembers(asked.persona, asked.identity):
                    await self._wait_for_turn(asked, stack, emit)
                await self._timed(asked, emit)
        except SidecarError as error:
            log.warning("turn failed: %s %s", error.reason, error.detail)
            emit(Failure(error))
        except Exception:
            log.exception("turn failed")
            emit(Failure(SidecarError("Something went wrong inside Open Persona. Its log has the details; try again.")))

    async def _note_begun(self, asked: Asked) -> None:
        """Puts the answer into the chat's tree before anything can go wrong: the next one may follow it."""
        if asked.in_a_chat:
            await self.remember(asked, "", "", only_new=True)

    async def _wait_for_turn(self, asked: Asked, stack: AsyncExitStack, emit: Emit) -> None:
        """Answers of one persona in one chat are given one after the other."""
        lock = self.chats.of(asked.user, asked.identity.chat_id, asked.persona.id)
        if lock.locked():
            emit(Status("Another answer in this chat is still running; yours comes next …"))
        try:
            async with asyncio.timeout(self.settings.turn_timeout_s):
                await stack.enter_async_context(lock)
        except TimeoutError:
            raise Busy("An earlier answer in this chat is still running. Stop it, then send again.") from None

    async def _timed(self, asked: Asked, emit: Emit) -> None:
        limit = self.settings.turn_timeout_s
        try:
            async with asyncio.timeout(limit):
                await self._run(asked, emit)
        except TimeoutError:
            raise TurnTimeout(
                f"The answer took longer than {limit:g} s and was stopped. Ask for less at once."
            ) from None

    async def remember(self, asked: Asked, session: str, message: str, *, only_new: bool = False) -> None:
        """Notes where an answer was given. A failure costs memory and is logged; the answer itself stands."""
        identity = asked.identity
        place = (asked.user, identity.chat_id, identity.message_id, identity.parent_message_id, asked.persona.id)
        note = self.store.note_answer if only_new else self.store.remember_answer
        try:
            await asyncio.to_thread(note, Answer(*place, session, message))
        except SQLAlchemyError:
            log.exception("an answer could not be noted")

    async def _run(self, asked: Asked, emit: Emit) -> None:
        personas = await self.registry.with_used(asked.user, asked.persona, asked.chat.model)
        config = build_config(
            templates=self.templates, personas=personas, catalog=asked.catalog, door=self.door, settings=self.settings
        )

        def say(line: str, *, done: bool = False) -> None:
            emit(Status(line, done))

        sig = key_sig(self.settings.token_key, asked.keys)
        alone = "shell" in asked.persona.capabilities
        leased = self.pool.lease(asked.user, sig, config, say, alone=alone)
        async with leased as live, self.quota.watched(live):
            address = home_of(live.client.url, self.settings.runner_subnets)
            turn = RunningTurn(
                turn_id=uuid.uuid4().hex,
                user_hash=asked.user,
                persona_id=asked.persona.id,
                token=live.spec.token,
                models=frozenset({f"{asked.model.provider}/{asked.model.model}"}),
                keys=asked.keys,
                address=address,
            )
            lease = make_lease(
                persona=asked.persona,
                catalog=asked.catalog,
                user=asked.user,
                token=live.spec.token,
                settings=asked.identity.settings,
                address=address,
            )
            async with self.running.open(turn), held(self.hub, lease) as reachable:
                left_out = integrations.left_out(asked.persona, asked.catalog, reachable=reachable)
                for line in (*integrations.notices(asked.persona, asked.catalog), *left_out):
                    say(line, done=True)
                catalog = asked.catalog if reachable else None
                connected = await integrations.connect(asked.persona, catalog, live, self.door, say)
                await _Conversation(self, asked, live, turn, connected, emit).hold()


class _Conversation:
    """The part of a turn that has a session: prompt, events, and what must happen however it ends."""

    def __init__(
        self, turns: Turns, asked: Asked, live: LiveRunner, turn: RunningTurn, connected: frozenset[str], emit: Emit
    ) -> None:
        self._turns = turns
        self._asked = asked
        self._live = live
        self._turn = turn
        self._connected = connected
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
            await self._remember(seat, events)
            self._check(end)
            self._emit(Finish(events.finish, events.usage))
        finally:
            await bounded(self._leave(seat, events, ended))

    async def _take_seat(self) -> sessions.Seat:
        asked = self._asked
        return await sessions.take_seat(
            persona=asked.persona,
            identity=asked.identity,
            user=asked.user,
            history=without_commands(asked.chat.history),
            rules=turn_rules(asked.persona, asked.catalog, self._connected),
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
                return await self._outcome(relay, gone)
            if gone.done():
                raise self._live.loss()
            raise self._turn.note.failure or ProviderError("The model provider failed. Try again.")
        finally:
            for task in (relay, gone, failed):
                task.cancel()
            await asyncio.gather(relay, gone, failed, return_exceptions=True)

    async def _outcome(self, relay: asyncio.Task[Ended], gone: asyncio.Task[bool]) -> Ended:
        """The end that the relay has seen. Where it lost the runner, why that ended says more than the broken call."""
        try:
            return relay.result()
        except RunnerError:
            await asyncio.wait({gone}, timeout=LAST_WORDS_S * 2)
            if gone.done():
                raise self._live.loss() from None
            raise

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
        """Raises what ended the answer, unless it ended well."""
        failure = self._turn.note.failure
        if end.error and failure is not None:
            raise failure
        if end.error:
            raise ended_error(end)
        if not self._answered:
            raise failure or ProviderError("The model answered nothing. Ask again, or choose another model.")

    async def _remember(self, seat: sessions.Seat, events: TurnEvents) -> None:
        """Notes the session of an answer, so that the next turn goes on there."""
        if self._asked.in_a_chat and seat.kept and events.answer_id:
            await self._turns.remember(self._asked, seat.session, events.answer_id)

    async def _leave(self, seat: sessions.Seat, events: TurnEvents, ended: bool) -> None:
        """Stops what still runs, notes what was said so far, and deletes a session that nobody will come back to."""
        if not ended:
            await self._remember(seat, events)
            if not self._live.gone.is_set():
                await self._live.client.abort(seat.session)
        if not seat.kept and not self._live.gone.is_set():
            await self._live.client.delete_session(seat.session)


def _check_images(chat: ChatRequest, model: ModelChoice, settings: Settings) -> None:
    if any(message.images for message in chat.messages) and not takes_images(model, settings):
        raise InvalidRequest(
            f"The model {model.provider}/{model.model} does not take images. Remove them or choose another model.",
            param="messages",
        )
