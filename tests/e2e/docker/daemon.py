"""A Docker daemon for the tests on a machine that has none: installed from Debian's packages, started, and stopped."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

STATE = Path("/var/run/open-persona-tests")
PACKAGES = {"dockerd": "docker.io", "iptables": "iptables", "nft": "nftables", "debootstrap": "debootstrap"}
INSTALL = ("install", "-y", "-o", "DPkg::Lock::Timeout=120", "--no-install-recommends")
GET_COMPOSE = Path(__file__).resolve().parents[3] / "deploy" / "get-compose"
INSTALL_S = 300
START_S = 40
STOP_S = 30


def answers() -> bool:
    """Whether a daemon is there already; whose it is does not matter."""
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, timeout=30, check=False
    )
    return asked.returncode == 0


def install(*programs: str) -> None:
    """What is missing of these programs, or of all, with apt, as root; one test process at a time."""
    with (Path(tempfile.gettempdir()) / "open-persona-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install([PACKAGES[program] for program in programs or PACKAGES if not shutil.which(program)])


def _install(missing: list[str]) -> None:
    if missing:
        print(f"docker: installing {' '.join(missing)}", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], [*INSTALL, "ca-certificates", *missing]):
            subprocess.run(
                ["apt-get", "-qq", *command],
                env=environment,
                check=True,
                timeout=INSTALL_S,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )


def install_compose() -> None:
    """``docker compose``, where the docker command lacks it; as root."""
    subprocess.run(
        [str(GET_COMPOSE)], check=True, timeout=INSTALL_S, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def start() -> subprocess.Popen[bytes]:
    """A daemon of the tests' own. Raises ``RuntimeError`` with the end of its log."""
    STATE.mkdir(parents=True, exist_ok=True)
    _mount_cgroups()
    _forget_the_dead()
    log, pid_file = STATE / "dockerd.log", STATE / "dockerd.pid"
    with log.open("ab") as output:
        daemon = subprocess.Popen(
            ["dockerd", "--pidfile", str(pid_file)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    while not answers():
        if daemon.poll() is not None or time.monotonic() > deadline:
            daemon.kill()
            daemon.wait()
            raise RuntimeError(f"dockerd did not come up:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
    return daemon


def stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(STOP_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _mount_cgroups() -> None:
    """What an init does elsewhere: without its controllers mounted there is no limit, and no daemon."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists() or (root / "memory").is_mount():
        return
    if not root.is_mount():
        _mount("-t", "tmpfs", "-o", "mode=755", "cgroup", str(root))
    for line in Path("/proc/cgroups").read_text().splitlines():
        name, _, _, enabled, *_ = (*line.split(), "", "", "", "")
        if line.startswith("#") or enabled != "1":
            continue
        (root / name).mkdir(exist_ok=True)
        if not (root / name).is_mount() and not _mount("-t", "cgroup", "-o", name, "cgroup", str(root / name)):
            (root / name).rmdir()


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, timeout=30, check=False).returncode == 0


def _forget_the_dead() -> None:
    """dockerd refuses to start while a pid file names any process at all, and waits in vain for a dead containerd."""
    for file in (STATE / "dockerd.pid", Path("/var/run/docker.pid")):
        if program(file) != "dockerd":
            file.unlink(missing_ok=True)
    state = Path("/var/run/docker/containerd")
    if program(state / "containerd.pid") == "containerd":
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((state / "containerd.pid").read_text()), signal.SIGTERM)
    for name in ("containerd.pid", "containerd.sock", "containerd.sock.ttrpc"):
        (state / name).unlink(missing_ok=True)


def program(pid_file: Path) -> str:
    """The name of the living process that the file names; empty without one."""
    try:
        process = Path("/proc") / pid_file.read_text().strip()
        alive = ") Z " not in (process / "stat").read_text()
        return (process / "comm").read_text().strip() if alive else ""
    except (OSError, ValueError):
        return ""
