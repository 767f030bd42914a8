"""The registry of running turns."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from sidecar.turns import RunningTurn, TurnRegistry


def turn(token: str, turn_id: str = "t") -> RunningTurn:
    return RunningTurn(turn_id, "user", "izzy", SecretStr(token), frozenset(), {"openai": SecretStr("sk-secret")})


async def test_a_turn_is_found_by_its_token_while_it_runs() -> None:
    turns = TurnRegistry()
    async with turns.open(turn("one", "a")) as first, turns.open(turn("one", "b")) as second:
        async with turns.open(turn("two")):
            assert turns.for_token("one") == (first, second)
            assert len(turns.running) == 3
        assert not turns.for_token("two")
    assert not turns.for_token("one")
    assert not turns.running


@pytest.mark.parametrize("token", ["", "On", "one ", "ONE", "onee", "\udcff", "é"])
async def test_another_token_finds_nothing(token: str) -> None:
    turns = TurnRegistry()
    async with turns.open(turn("one")):
        assert turns.for_token(token) == ()


@pytest.mark.requirement("broker:turn-end")
async def test_the_end_cancels_what_is_in_flight_and_what_comes_late() -> None:
    turns = TurnRegistry()
    running = turn("one")
    call = asyncio.create_task(hold(running, asyncio.Event()))
    async with turns.open(running):
        await asyncio.sleep(0)
    assert call.cancelled()
    late = asyncio.create_task(hold(running, asyncio.Event()))
    await asyncio.wait({late}, timeout=5)
    assert late.cancelled()


async def test_closing_the_registry_ends_every_turns_calls() -> None:
    turns = TurnRegistry()
    one, two = turn("one"), turn("two")
    async with turns.open(one), turns.open(two):
        calls = [asyncio.create_task(hold(running, asyncio.Event())) for running in (one, two)]
        await asyncio.sleep(0)
        await turns.aclose()
        assert all(call.cancelled() for call in calls)
        assert turns.for_token("one") == ()


def test_no_secret_shows() -> None:
    shown = repr(turn("runner-token"))
    assert "sk-secret" not in shown
    assert "runner-token" not in shown


async def hold(running: RunningTurn, never: asyncio.Event) -> None:
    task = asyncio.current_task()
    assert task is not None
    with running.holding(task):
        await never.wait()
