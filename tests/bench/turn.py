"""What the sidecar adds to a turn: the same turn through it and straight to the same opencode, interleaved.

Both sides make a session of their own and use the same agent, model and broker. Rules, connecting the integration and
finding the runner are the sidecar's own and count against it. Times in milliseconds, medians; the last line is JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from sidecar.event_stream import turn_events
from sidecar.events import Ended, Text, TurnEvents
from sidecar.opencode_client import OpencodeClient, new_message_id
from sidecar.runners.base import RunnerSpec
from sidecar.runners.directories import prepare
from sidecar.runners.live import LiveRunner
from sidecar.runners.process import LISTENING, ProcessRunner, environment
from sidecar.turns import RunningTurn
from tests.e2e.process.deployment import Answer, Deployment, running_deployment, switched_on
from tests.fakes.provider import Reply

WARM_ROUNDS = 40
FIRST_ROUNDS = 4
START_ROUNDS = 6
MODEL = "open-persona/grant-draft"
META = switched_on("alpha")
WORDS = [f"word{n} " for n in range(20)]
LIMITS = {"turn_ms": 25.0, "turn_ratio": 1.15, "start_ratio": 1.15}


@dataclass(frozen=True)
class Timing:
    """Milliseconds from the request to the first token and to the end."""

    first: float
    whole: float


async def through_the_sidecar(deployment: Deployment) -> Timing:
    begun, first = time.perf_counter(), 0.0
    answer = Answer(200)
    request = deployment.turn("go", model=MODEL, meta=META)
    async with deployment.client.stream("POST", **request) as response:  # type: ignore[arg-type]
        async for line in response.aiter_lines():
            answer.add(line)
            if not first and answer.text:
                first = time.perf_counter()
    assert answer.text == "".join(WORDS), answer
    return _timing(begun, first)


async def straight(live: LiveRunner, deployment: Deployment) -> Timing:
    turn = RunningTurn("bench", "bench", "bench", live.spec.token, frozenset({"compatible/m1"}), {})
    async with deployment.services.turns.running.open(turn):
        turn.keys = {"compatible": SecretStr("k")}
        begun = time.perf_counter()
        session = await live.client.create_session("bench", [])
        events = TurnEvents(session, new_message_id())
        first, said = 0.0, ""
        with live.events.subscribe(session) as queue:
            await live.client.prompt(session, _prompt(events.user_message))
            async for event in turn_events(queue, events, live.client):
                if isinstance(event, Text):
                    first, said = first or time.perf_counter(), said + event.text
                if isinstance(event, Ended):
                    break
        timing = _timing(begun, first)
        assert said == "".join(WORDS), said
        await live.client.delete_session(session)
    return timing


def _prompt(message: str) -> dict[str, object]:
    model = {"providerID": "compatible", "modelID": "m1"}
    parts = [{"type": "text", "text": "go"}]
    return {"messageID": message, "agent": "template-grant-draft", "model": model, "parts": parts}


def _timing(begun: float, first: float) -> Timing:
    return Timing((first - begun) * 1000, (time.perf_counter() - begun) * 1000)


async def warm(deployment: Deployment) -> tuple[list[Timing], list[Timing]]:
    ours, bare = [], []
    for _ in range(5):
        await through_the_sidecar(deployment)
        await straight(deployment.services.turns.pool.live[0], deployment)
    for _ in range(WARM_ROUNDS):
        ours.append(await through_the_sidecar(deployment))
        bare.append(await straight(deployment.services.turns.pool.live[0], deployment))
    return ours, bare


def _unheard(line: str, *, done: bool = False) -> None:
    """Nobody listens to progress here."""


async def first_turns(deployment: Deployment) -> tuple[list[Timing], list[Timing]]:
    """The first turn of a fresh runner on either side; its start is measured apart."""
    pool, ours, bare = deployment.services.turns.pool, [], []
    for number in range(FIRST_ROUNDS * 2):
        user = pool.live[0].spec.workspace_hash
        spec = pool.live[0].spec
        config = pool.live[0].loaded
        await deployment.idle()
        await pool.reset(user)
        async with pool.lease(user, spec.key_sig, config, _unheard) as live:
            if number % 2:
                bare.append(await straight(live, deployment))
        if not number % 2:
            ours.append(await through_the_sidecar(deployment))
    return ours, bare


async def starts(deployment: Deployment, tmp: Path) -> tuple[list[float], list[float]]:
    """Seconds until a runner is ready, and until a bare ``opencode serve`` with the same environment is healthy."""
    settings, live = deployment.services.settings, deployment.services.turns.pool.live[0]
    http, ours, bare = live.client._http, [], []
    for number in range(START_ROUNDS):
        spec = _fresh(live.spec, tmp / f"s{number}")
        runner = ProcessRunner(spec, opencode=settings.opencode_bin, ripgrep=settings.ripgrep_bin, http=http)
        ours.append(await _timed(runner.start))
        await runner.stop()
        shutil.rmtree(tmp / f"s{number}")
        bare.append(await _bare_start(_fresh(live.spec, tmp / f"s{number}"), settings.opencode_bin, http))
    return ours, bare


def _fresh(spec: RunnerSpec, home: Path) -> RunnerSpec:
    places = {"workspace": home / "workspace", "private": home / "runners" / "k"}
    return RunnerSpec(**{**vars(spec), **places})


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


async def _bare_start(spec: RunnerSpec, opencode: str, http: object) -> float:
    prepare(spec)
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(opencode, "serve", "--hostname", "127.0.0.1", "--port", "0"),
        cwd=spec.workspace,
        env=environment(spec, path="/usr/bin:/bin"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    while not (found := LISTENING.search((await process.stdout.readline()).decode())):
        pass
    await OpencodeClient(found.group(1), spec.password, http).version(timeout_s=10)  # type: ignore[arg-type]
    taken = time.perf_counter() - begun
    process.terminate()
    await process.communicate()
    return taken


def median(values: list[float]) -> float:
    return statistics.median(values)


def compare(ours: list[float], bare: list[float]) -> dict[str, float]:
    one, other = median(ours), median(bare)
    return {
        "sidecar": round(one, 1),
        "bare": round(other, 1),
        "added": round(one - other, 1),
        "ratio": round(one / other, 3),
    }


def within(row: dict[str, float]) -> bool:
    return row["added"] <= LIMITS["turn_ms"] or row["ratio"] <= LIMITS["turn_ratio"]


async def measure(tmp: Path) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    script = Reply(text=WORDS)
    async with running_deployment(tmp, integrations={"alpha": {"search": "read"}}, script=script) as deployment:
        for name, pair in (("warm", await warm(deployment)), ("first turn", await first_turns(deployment))):
            ours, bare = pair
            rows[f"{name}, first token (ms)"] = compare([t.first for t in ours], [t.first for t in bare])
            rows[f"{name}, whole (ms)"] = compare([t.whole for t in ours], [t.whole for t in bare])
        ready = await starts(deployment, tmp)
        rows["start to ready (ms)"] = compare([s * 1000 for s in ready[0]], [s * 1000 for s in ready[1]])
    return rows


def main() -> int:
    logging.disable(logging.WARNING)
    tmp = Path(tempfile.mkdtemp(prefix="open-persona-bench-"))
    try:
        rows = asyncio.run(measure(tmp))
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    print(f"{'':28}{'sidecar':>10}{'bare':>10}{'added':>10}{'ratio':>8}")
    for name, row in rows.items():
        print(f"{name:28}{row['sidecar']:10.1f}{row['bare']:10.1f}{row['added']:10.1f}{row['ratio']:8.2f}")
    good = all(within(row) for name, row in rows.items() if not name.startswith("start"))
    good = good and rows["start to ready (ms)"]["ratio"] <= LIMITS["start_ratio"]
    print(json.dumps({"bench": "turn", "within_limits": good, "limits": LIMITS, "rows": rows}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
