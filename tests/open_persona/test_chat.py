"""A turn at the terminal: headers and ids as Open WebUI sends them, words as they come, every end told."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr
from rich.console import Console

from open_persona.chat import chat
from open_persona.config_show import MASK, config_of
from open_persona.conversation import Conversation
from open_persona.errors import ServiceUnreachable
from open_persona.sidecar_api import SidecarApi, meta_for
from sidecar.errors import ProviderError
from sidecar.identity import parse_identity
from sidecar.openai_models import Stamp, chunk, error_event, status_event, terminal_chunk
from sidecar.personas import parse_meta
from tests.fakes.asgi_server import serve_app
from tests.open_persona.stand_ins import KEY, SidecarScript

STAMP = Stamp("chatcmpl-1", 1, "open-persona/izzy")


def data(document: dict[str, object]) -> str:
    return f"data: {json.dumps(document)}"


ANSWER = [
    data(chunk(STAMP, first=True)),
    data(status_event("Grants.gov: search opportunities …", done=False)),
    data(chunk(STAMP, content="Two ")),
    data(chunk(STAMP, content="grants.")),
    data(terminal_chunk(STAMP)),
]


@pytest.fixture
def script() -> SidecarScript:
    return SidecarScript(lines=ANSWER)


@pytest.fixture
async def sidecar(script: SidecarScript) -> AsyncIterator[SidecarApi]:
    async with serve_app(script.app()) as url, httpx.AsyncClient(trust_env=False) as http:
        yield SidecarApi(url, http, SecretStr(KEY))


@pytest.fixture
def conversation() -> Conversation:
    return Conversation("izzy", "ann", meta_for(("grants_gov",)))


def paper() -> Console:
    return Console(file=io.StringIO(), width=80, highlight=False)


def text_of(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


async def lines(*typed: str) -> AsyncIterator[str]:
    for line in typed:
        yield line


@pytest.mark.requirement("chat:streams")
async def test_words_and_progress_are_shown_each_on_its_own_line(
    sidecar: SidecarApi, conversation: Conversation
) -> None:
    out = paper()
    assert await chat(sidecar, conversation, None, "hello", out) == 0
    assert text_of(out) == "  · Grants.gov: search opportunities …\nTwo grants.\n"


@pytest.mark.requirement("chat:memory_ids")
async def test_every_turn_follows_the_answer_before_it(
    sidecar: SidecarApi, script: SidecarScript, conversation: Conversation
) -> None:
    await chat(sidecar, conversation, lines("one", "", "two", "/exit", "never sent"), "", paper())
    first, second = [parse_identity(headers) for headers, _ in script.seen]
    assert (first.user_id, first.chat_id) == (second.user_id, second.chat_id) == ("ann", conversation.chat_id)
    assert first.parent_message_id == ""
    assert second.parent_message_id == first.message_id
    assert len({first.message_id, first.user_message_id, second.message_id, second.user_message_id}) == 4
    assert parse_meta(first.meta_header).enabled_integrations == ("grants_gov",)
    assert script.seen[1][1]["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "Two grants."},
        {"role": "user", "content": "two"},
    ]


@pytest.mark.requirement("chat:errors_are_told")
async def test_an_error_in_the_stream_is_shown_and_the_turn_is_not_kept(
    sidecar: SidecarApi, script: SidecarScript, conversation: Conversation
) -> None:
    out = paper()
    script.lines = [*ANSWER[:3], data(error_event(ProviderError("The provider is down.")))]
    assert await chat(sidecar, conversation, None, "hello", out) == 1
    assert text_of(out).endswith("Two \nerror: The provider is down.\n")
    assert conversation.messages == []


async def test_a_refusal_is_shown_in_the_sidecars_words(
    sidecar: SidecarApi, script: SidecarScript, conversation: Conversation
) -> None:
    out = paper()
    script.status = 400
    assert await chat(sidecar, conversation, None, "hello", out) == 1
    assert text_of(out) == "error: That was refused.\n"


async def test_a_cut_stream_is_an_error(sidecar: SidecarApi, script: SidecarScript, conversation: Conversation) -> None:
    script.cut = True
    with pytest.raises(ServiceUnreachable, match="in the middle"):
        await chat(sidecar, conversation, None, "hello", paper())


async def test_no_sidecar_is_an_error_that_says_how_to_start_one(conversation: Conversation) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(ServiceUnreachable, match="open-persona up"):
            await chat(SidecarApi("http://127.0.0.1:9", http, SecretStr(KEY)), conversation, None, "hello", paper())


@pytest.mark.requirement("config_show:masked")
async def test_the_shown_config_is_the_sidecars_with_secrets_masked(
    sidecar: SidecarApi, conversation: Conversation
) -> None:
    assert await config_of(sidecar, conversation) == {
        "on": ["grants_gov"],
        "options": {"apiKey": MASK, "ref": "{env:TOKEN}"},
    }
