"""Docker with the images that the tests need, whatever the machine has of it: nothing, a daemon, or everything."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest

from tests.e2e.docker import daemon

ROOT = Path(__file__).resolve().parents[3]
MAKE_BASES = ROOT / "deploy" / "make-base-images"
RUNNER = ROOT / "deploy" / "runner"
RUNNER_IMAGE = "open-persona-test-runner"
NAMESPACE = os.environ.get("NS", "open-persona-base")
OFFICIAL = {"debian:bookworm": "debian:bookworm-slim", "python:3.11": "python:3.11-slim"}
VARIABLES = {"debian:bookworm": "OPEN_PERSONA_DEBIAN_BASE", "python:3.11": "OPEN_PERSONA_PYTHON_BASE"}
PULL_S = 60
BUILD_S = 600


@dataclass(frozen=True)
class Engine:
    """``debian`` is the base of our images, ``runner`` the runner's own image."""

    debian: str
    runner: str

    def docker(self, *arguments: str, check: bool = True) -> str:
        """What the CLI prints, without the white space around it."""
        return docker(*arguments, check=check)


def docker(*arguments: str, check: bool = True, timeout_s: float = 60) -> str:
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False, env=environment
    )
    if check and done.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr or done.stdout}")
    return done.stdout.strip()


def base_image(name: str) -> str:
    """``debian:bookworm`` or ``python:3.11``: the one of the environment, one that is here, pulled, or made here."""
    ours = f"{NAMESPACE}/{name}"
    for image in (os.environ.get(VARIABLES[name]), ours, OFFICIAL[name]):
        if image and has_image(image):
            return image
    if _pulled(OFFICIAL[name]):
        return OFFICIAL[name]
    print(f"docker: making {ours}", flush=True)
    subprocess.run([str(MAKE_BASES), "--without-open-webui"], stdin=subprocess.DEVNULL, check=True, timeout=BUILD_S)
    return ours


def has_image(image: str) -> bool:
    return bool(docker("image", "inspect", "--format", "{{.Id}}", image, check=False))


def _pulled(image: str) -> bool:
    try:
        docker("pull", "-q", image, timeout_s=PULL_S)
    except (RuntimeError, subprocess.TimeoutExpired):
        return False
    return True


def build_runner(base: str) -> str:
    """The runner's image, built unless one of the same sources is here: its tag says of which.

    opencode is the one that set-up has fetched, where it has.
    """
    opencode = next(iter((ROOT / ".tools").glob("opencode-*/opencode")), None)
    files = [RUNNER / "Dockerfile", RUNNER / "fetch-opencode"]
    source = hashlib.sha256(b"\0".join([*(file.read_bytes() for file in files), base.encode()])).hexdigest()[:12]
    image = f"{RUNNER_IMAGE}:{source}"
    if has_image(image):
        return image
    with tempfile.TemporaryDirectory(prefix="open-persona-build-") as folder:
        context = Path(folder) / "deploy" / "runner"
        context.mkdir(parents=True)
        for file in (*files, *([opencode] if opencode else [])):
            shutil.copy(file, context / file.name)
        print(f"docker: building {image}", flush=True)
        given = ("-t", image, "--build-arg", f"BASE_IMAGE={base}", "-f", str(context / "Dockerfile"))
        docker("build", "-q", *given, folder, timeout_s=BUILD_S)
    return image


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Skips where Docker can neither be used nor be installed. A daemon that was started here ends here, once no other
    test process uses it."""
    with _locked("engine-users", fcntl.LOCK_SH) as users:
        with _locked("engine", fcntl.LOCK_EX):
            started = _started()
            try:
                if os.geteuid() == 0:
                    daemon.install_compose()
                debian = base_image("debian:bookworm")
                engine = Engine(debian, build_runner(debian))
            except BaseException:
                if started is not None:
                    daemon.stop(started)
                raise
        try:
            yield engine
        finally:
            if started is not None:
                fcntl.flock(users, fcntl.LOCK_EX)
                daemon.stop(started)


def _started() -> subprocess.Popen[bytes] | None:
    """A daemon, where none answers."""
    if daemon.answers():
        return None
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("no Docker daemon answers, and only root on Debian can install one")
    daemon.install()
    return daemon.start()


@contextmanager
def _locked(what: str, how: int) -> Iterator[TextIO]:
    """Holds a lock among the test processes of this machine."""
    with (Path(tempfile.gettempdir()) / f"open-persona-{what}-{os.geteuid()}.lock").open("w") as file:
        fcntl.flock(file, how)
        yield file
