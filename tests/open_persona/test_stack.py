"""Real child processes: ready or a clear error, and none left behind, however the parent ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from open_persona.errors import HomeRefused, PortTaken, ServiceFailed
from open_persona.ports import free_ports, holder_of
from open_persona.services import READY_S, Listener, Service
from open_persona.stack import Stack

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(str(os.getpid()).encode())
    def log_message(self, *_): pass
print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
BOUND_S = 15.0


def service(name: str, port: int, code: str = SERVER, ready_s: float = READY_S) -> Service:
    url = f"http://127.0.0.1:{port}"
    listener = Listener(name, "127.0.0.1", port, url, f"{url}/healthz", "SETTING_PORT", ready_s)
    return Service(name, (sys.executable, "-c", code, str(port)), dict(os.environ), (listener,))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not condition():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pid_on(port: int) -> int:
    holder = holder_of(port)
    return int(holder.rpartition("pid ")[2].rstrip(")")) if holder else 0


@pytest.mark.requirement("stack:up_and_down")
async def test_it_is_ready_when_all_answer_and_gone_afterwards(tmp_path: Path) -> None:
    ports = free_ports(2)
    services = [service(f"service {port}", port) for port in ports]
    async with Stack(services, tmp_path / "logs", say=lambda _: None) as stack:
        await stack.ready(BOUND_S)
        pids = [pid_on(port) for port in ports]
        assert all(alive(pid) for pid in pids)
        assert set(stack.states().values()) == {"running"}
    assert not any(alive(pid) for pid in pids)
    assert (tmp_path / "logs" / f"service-{ports[0]}.log").read_text() == "listening\n"


@pytest.mark.requirement("stack:restart")
async def test_a_service_that_is_killed_comes_back_and_it_is_said(tmp_path: Path) -> None:
    [port] = free_ports(1)
    said: list[str] = []
    async with Stack([service("hub", port)], tmp_path, say=said.append) as stack:
        await stack.ready(BOUND_S)
        first = pid_on(port)
        os.kill(first, signal.SIGKILL)
        await until(lambda: pid_on(port) not in (0, first))
    assert said[0].startswith("The hub was ended by SIGKILL")
    assert said[1].startswith("The hub runs again")


@pytest.mark.requirement("stack:failure_is_told")
async def test_a_service_that_ends_at_its_start_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    good, bad = free_ports(2)
    services = [service("good", good), service("bad", bad, "print('no key, set KEY'); raise SystemExit(3)")]
    with pytest.raises(ServiceFailed, match=r"(?s)bad ended with status 3.*no key, set KEY.*bad\.log"):
        async with Stack(services, tmp_path, say=lambda _: None) as stack:
            await stack.ready(BOUND_S)
    assert pid_on(good) == 0


async def test_a_service_that_never_answers_is_an_error(tmp_path: Path) -> None:
    [port] = free_ports(1)
    with pytest.raises(ServiceFailed, match=r"did not answer .* within 0.3 s"):
        async with Stack([service("mute", port, "import time; time.sleep(60)")], tmp_path, say=lambda _: None) as stack:
            await stack.ready(0.3)


@pytest.mark.requirement("stack:deadline")
async def test_each_service_has_its_own_deadline_and_is_named_while_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("open_persona.stack.TELL_S", 0.2)
    quick, mute = free_ports(2)
    services = [service("quick", quick), service("mute", mute, "import time; time.sleep(60)", 0.9)]
    said: list[str] = []
    with pytest.raises(ServiceFailed, match=r"mute did not answer .* within 0.9 s"):
        async with Stack(services, tmp_path, say=said.append) as stack:
            await stack.ready()
    assert "Waiting for mute (0 s) ..." in said


@pytest.mark.requirement("stack:port_taken")
async def test_a_taken_port_is_named_with_its_holder_and_setting_and_nothing_starts(tmp_path: Path) -> None:
    [free] = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(PortTaken) as caught:
            async with Stack([service("other", free), service("hub", port)], tmp_path, say=lambda _: None):
                pass
    message = str(caught.value)
    assert f"Port {port} (hub) is used by" in message
    assert f"pid {os.getpid()}" in message
    assert "change SETTING_PORT" in message
    assert pid_on(free) == 0


@pytest.mark.requirement("stack:full-disk")
async def test_a_log_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path: Path) -> None:
    first, second = free_ports(2)
    said: list[str] = []
    for port in (first, second):
        (tmp_path / f"service-{port}.log").symlink_to("/dev/full")
    chatty = SERVER.replace('print("listening"', 'print("a\\nb"')
    services = [service(f"service {port}", port, chatty) for port in (first, second)]
    async with Stack(services, tmp_path, say=said.append) as stack:
        await stack.ready(BOUND_S)
        await until(lambda: len(said) == 2)
    assert [line.rpartition(" can't be written: ")[2] for line in said] == ["No space left on device."] * 2
    assert (pid_on(first), pid_on(second)) == (0, 0)


async def test_logs_that_have_no_folder_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(HomeRefused, match="can't be written"):
        Stack([service("hub", 1)], tmp_path / "logs", say=print)


STUBBORN = """
import signal, sys, time
def late(*_):
    time.sleep(8.5); print("ended by itself", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, late)
"""


@pytest.mark.requirement("stack:grace")
async def test_a_service_that_takes_its_time_to_end_is_not_killed(tmp_path: Path) -> None:
    [port] = free_ports(1)
    async with Stack([service("slow", port, STUBBORN + SERVER)], tmp_path, say=print) as stack:
        await stack.ready(BOUND_S)
    assert (tmp_path / "slow.log").read_text() == "listening\nended by itself\n"


@pytest.mark.requirement("stack:grace")
async def test_a_stop_that_is_cut_short_leaves_nothing(tmp_path: Path) -> None:
    [port] = free_ports(1)
    stack = Stack([service("slow", port, STUBBORN + SERVER)], tmp_path, say=print)
    await stack.__aenter__()
    await stack.ready(BOUND_S)
    child = pid_on(port)
    stopping = asyncio.create_task(stack.__aexit__(None, None, None))
    await until(lambda: stack.states()["slow"] == "stopping")
    stopping.cancel()
    async with asyncio.timeout(4):
        await asyncio.gather(stopping, return_exceptions=True)
    assert not alive(child)


@pytest.mark.requirement("stack:no_orphans")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
async def test_no_child_outlives_the_command(tmp_path: Path, number: signal.Signals) -> None:
    [port] = free_ports(1)
    parent = tmp_path / "parent.py"
    parent.write_text(
        textwrap.dedent(
            f"""
            import asyncio, sys
            from pathlib import Path
            from open_persona.signals import run_until_stopped
            from open_persona.stack import Stack
            from tests.open_persona.test_stack import service

            async def main():
                async with Stack([service("child", {port})], Path({str(tmp_path)!r}), say=print) as stack:
                    await stack.ready()
                    print("ready", flush=True)
                    await asyncio.Event().wait()

            sys.exit(run_until_stopped(main()))
            """
        )
    )
    root = Path(__file__).resolve().parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(parent),
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(BOUND_S):
        assert await process.stdout.readline() == b"ready\n"
        child = pid_on(port)
        assert alive(child)
        process.send_signal(number)
        code = await process.wait()
    await until(lambda: not alive(child))
    assert code == (-number if number is signal.SIGKILL else 130)
