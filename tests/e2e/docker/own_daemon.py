"""A Docker daemon of the test's own, to be stopped and started again while the machine's own serves everybody else.

It has namespaces of its own for network and mounts: two daemons in one network write over each other's firewall rules,
and a daemon that is started again has to find the mounts of its running containers. Wants root.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.docker.daemon import program

PLACE = Path("/var/tmp")
"""Its folder's path is short, for the sake of sockets, and on a disk that holds images."""
CGROUPS = Path("/sys/fs/cgroup")
START_S = 60
STOP_S = 60
CALL_S = 120
LOAD_S = 300
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
HOLD = "mkdir -p /run/containerd && mount -t tmpfs tmpfs /run/containerd && echo held && exec cat"
"""Keeps the namespaces for as long as its standard input is open; hides a containerd of the machine's own, which the
daemon would use."""


class OwnDaemon:
    """``socket`` is where it answers while it runs; made by ``own_daemon``."""

    def __init__(self, place: Path, holder: subprocess.Popen[bytes]) -> None:
        self._place = place
        self._holder = holder
        self._daemon: subprocess.Popen[bytes] | None = None
        self.socket = place / "docker.sock"

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def network(self) -> Path:
        """Its network namespace; see ``entered``."""
        return Path(f"/proc/{self._holder.pid}/ns/net")

    def docker(self, *arguments: str, check: bool = True) -> str:
        """What the CLI prints, asked of this daemon."""
        command = ["docker", "-H", self.host, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_S, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout.strip()

    def load(self, image: str) -> None:
        """An image of the machine's own daemon."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
            into = ["docker", "-H", self.host, "load", "-q"]
            subprocess.run(into, stdin=saving.stdout, stdout=subprocess.DEVNULL, check=True, timeout=LOAD_S)

    def start(self, *, live_restore: bool) -> None:
        """Returns once it answers. Raises ``RuntimeError`` with the end of its log."""
        config = self._place / "daemon.json"
        config.write_text(
            json.dumps(
                {
                    "live-restore": live_restore,
                    "exec-opts": ["native.cgroupdriver=cgroupfs"],
                    "cgroup-parent": f"/{self._place.name}",
                }
            )
        )
        places = {"config-file": config, "pidfile": self._place / "pid", "host": self.host}
        places |= {"data-root": self._place / "data", "exec-root": self._place / "exec"}
        options = [part for name, value in places.items() for part in (f"--{name}", str(value))]
        enter = ["nsenter", "-t", str(self._holder.pid), "-n", "-m", "--"]
        log = self._place / "log"
        with log.open("ab") as output:
            self._daemon = subprocess.Popen(
                [*enter, "dockerd", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"dockerd did not come up:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as door:
            door.settimeout(5)
            door.connect(str(self.socket))
            door.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in door.recv(64)
        return False

    def stop(self) -> None:
        """As an operator stops it: it has its time to end well."""
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def clear(self) -> None:
        """Removes every container and network, if it runs."""
        if self._daemon is not None:
            if found := self.docker("ps", "-aq", check=False).split():
                self.docker("rm", "-f", *found, check=False)
            self.docker("network", "prune", "-f", check=False)

    def end(self) -> None:
        """Nothing of it is left: no container, process, mount or file."""
        if self._daemon is None:
            # With live-restore containers may have outlived it.
            with contextlib.suppress(RuntimeError):
                self.start(live_restore=True)
        self.clear()
        self.stop()
        containerd = self._place / "exec" / "containerd" / "containerd.pid"
        if program(containerd) == "containerd":
            os.kill(int(containerd.read_text()), signal.SIGTERM)
        self._holder.communicate()
        shutil.rmtree(self._place, ignore_errors=True)
        for group in (*CGROUPS.glob(f"*/{self._place.name}"), CGROUPS / self._place.name):
            with contextlib.suppress(OSError):
                group.rmdir()


@contextmanager
def own_daemon() -> Iterator[OwnDaemon]:
    """One that is not started yet."""
    place = Path(tempfile.mkdtemp(prefix="opd", dir=PLACE))
    holder = subprocess.Popen(
        ["unshare", "-n", "-m", "sh", "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    daemon = OwnDaemon(place, holder)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n", "the namespaces can't be made: this wants root"
        with entered(daemon.network):
            _loopback_up()
        yield daemon
    finally:
        daemon.end()


@contextmanager
def entered(network: Path) -> Iterator[None]:
    """What this thread opens and starts meanwhile is in that network namespace."""
    with Path("/proc/thread-self/ns/net").open() as here, network.open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(here.fileno())


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
