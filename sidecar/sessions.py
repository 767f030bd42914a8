"""Which opencode session a turn runs in.

A persona with memory continues where the answer that the user replied to ended: in that answer's session when nothing
came after it there, else in a fork that ends with it. Answers that the persona did not see come first, as a
transcript. Every other turn gets a session of its own, which is deleted afterwards. Of a chat whose memory was deleted
only the answers since then are told, to any persona.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidecar.identity import Identity
from sidecar.openai_models import Message
from sidecar.opencode_client import OpencodeClient
from sidecar.opencode_config import Rule
from sidecar.personas import Persona
from sidecar.store import Answer, Store, Tree

TITLE = "turn"


@dataclass(frozen=True)
class Seat:
    """Where a turn runs: the session, the earlier messages that it has to be told, whether it is kept afterwards."""

    session: str
    untold: tuple[Message, ...]
    kept: bool


def remembers(persona: Persona, identity: Identity) -> bool:
    """Whether this turn has memory: the persona's, and a chat that Open WebUI stores."""
    return persona.memory and identity.has_memory_id and bool(identity.message_id)


async def take_seat(
    *,
    persona: Persona,
    identity: Identity,
    user: str,
    history: Sequence[Message],
    rules: Sequence[Rule],
    store: Store,
    client: OpencodeClient,
) -> Seat:
    """Finds or makes the session of a turn and gives it ``rules``. ``history`` is what came before the new message."""
    tree = await asyncio.to_thread(store.tree, user, identity.chat_id) if identity.has_memory_id else Tree({})
    above = answers_above(tree.answers, identity.parent_message_id)
    if tree.begun_anew:
        history = last_exchanges(history, len(above))
    if not remembers(persona, identity):
        return Seat(await client.create_session(TITLE, rules), tuple(history), kept=False)
    known, unseen = last_seen(above, persona.id)
    session = await _resume(client, known, rules) if known else None
    if session is None:
        return Seat(await client.create_session(TITLE, rules), tuple(history), kept=True)
    return Seat(session, tuple(last_exchanges(history, unseen)), kept=True)


def answers_above(answers: Mapping[str, Answer], parent: str) -> list[Answer]:
    """The known answers from ``parent`` up to the first of the chat, or to one that is not known; nearest first."""
    above: dict[str, Answer] = {}
    while parent in answers and parent not in above:
        above[parent] = answers[parent]
        parent = answers[parent].parent
    return list(above.values())


def last_seen(above: Sequence[Answer], persona: str) -> tuple[Answer | None, int]:
    """The nearest answer that ``persona`` gave in a session, and how many came after it."""
    for unseen, answer in enumerate(above):
        if answer.persona == persona and answer.session:
            return answer, unseen
    return None, len(above)


def last_exchanges(history: Sequence[Message], count: int) -> Sequence[Message]:
    """The last ``count`` exchanges of a history, each from its user message on."""
    if count == 0:
        return ()
    starts = [index for index, message in enumerate(history) if message.role == "user"]
    return history[starts[-count] :] if len(starts) >= count else history


async def forget_strays(store: Store, user: str, client: OpencodeClient) -> None:
    """Deletes the sessions that nobody can come back to: what a crash has left of turns without memory."""
    kept = await asyncio.to_thread(store.sessions, user)
    for session in await client.sessions():
        if session not in kept:
            await client.delete_session(session)


async def _resume(client: OpencodeClient, known: Answer, rules: Sequence[Rule]) -> str | None:
    """The session that ends with the known answer; None when opencode has lost it."""
    messages = await client.messages(known.session)
    ids = [message.id for message in messages or ()]
    if known.message not in ids:
        return None
    following = ids[ids.index(known.message) + 1 :]
    session = await client.fork(known.session, following[0]) if following else known.session
    held = await client.session_rules(session)
    if held is None:
        return None
    if held[-len(rules) :] != list(rules):  # rules are appended and outlive a turn; a fork drops them
        await client.add_rules(session, rules)
    return session
