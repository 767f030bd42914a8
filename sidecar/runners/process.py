"""Runner mode ``process``: a local ``opencode serve`` each, on loopback, for one person or people who trust each other.

It separates users by opencode's own rules alone. What makes it hold is in the environment that it gives opencode:
no project config, no git work tree (opencode counts a whole work tree as inside), nothing fetched, nothing phoned home.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakValueDictionary

import aiohttp

from sidecar.cleanup import complete
from sidecar.errors import Forbidden, RunnerError
from sidecar.opencode_client import OpencodeClient
from sidecar.runners.base import Ending, FoundRunner, RunnerSpec
from sidecar.runners.directories import prepare
from sidecar.settings import Settings

log = logging.getLogger(__name__)
VERSION = "1.18.33"
KEEPER = Path(__file__).with_name("keeper.py")
WORKSPACE = re.compile(r"[0-9a-f]{16}")
LISTENING = re.compile(r"listening on (http://\S+)")
STOP_S = 6.0
HEALTH_S = 30.0
LOG_BYTES = 256 * 1024
SWITCHES = (
    "OPENCODE_DISABLE_PROJECT_CONFIG",
    "OPENCODE_DISABLE_MODELS_FETCH",
    "OPENCODE_DISABLE_AUTOUPDATE",
    "OPENCODE_DISABLE_LSP_DOWNLOAD",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS",
    "OPENCODE_DISABLE_CLAUDE_CODE",
    "OPENCODE_DISABLE_EXTERNAL_SKILLS",
    "OPENCODE_DISABLE_EMBEDDED_WEB_UI",
    "OPENCODE_PURE",
)


def environment(spec: RunnerSpec, *, path: str) -> dict[str, str]:
    """All that opencode sees of the environment; it holds no provider key and no setting of an integration."""
    xdg = {f"XDG_{kind.upper()}_HOME": str(spec.private / kind) for kind in ("config", "state", "cache", "data")}
    return {
        **xdg,
        **dict.fromkeys(SWITCHES, "1"),
        "PATH": path,
        "HOME": str(spec.private / "cache"),
        "TMPDIR": str(spec.private / "cache"),
        "LANG": "C.UTF-8",
        "GIT_DIR": "/dev/null",
        "OPENCODE_CONFIG": str(spec.config_file),
        "OPENCODE_SERVER_PASSWORD": spec.password.get_secret_value(),
        "OPEN_PERSONA_RUNNER_TOKEN": spec.token.get_secret_value(),
    }


class ProcessRunner:
    """``opencode`` and ``ripgrep`` are the programs; ``http`` is shared and stays the caller's."""

    def __init__(
        self, spec: RunnerSpec, *, opencode: str, ripgrep: str, http: aiohttp.ClientSession, start_timeout_s: float = 60
    ) -> None:
        self.spec = spec
        self._opencode = opencode
        self._ripgrep = ripgrep
        self._http = http
        self._start_timeout_s = start_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._output: deque[str] = deque(maxlen=40)
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> str:
        await asyncio.to_thread(prepare, self.spec)
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await self._spawn()
                url = await self._listening()
                await self._healthy(url)
        except BaseException as error:
            await complete(self.stop())
            if isinstance(error, TimeoutError):
                raise self._failed(f"it did not answer within {self._start_timeout_s:g} s") from None
            raise
        return url

    async def _spawn(self) -> None:
        path = os.pathsep.join(dict.fromkeys([str(Path(self._ripgrep).parent), "/usr/local/bin", "/usr/bin", "/bin"]))
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(KEEPER)),
                *(self._opencode, "serve", "--hostname", "127.0.0.1", "--port", "0"),
                cwd=self.spec.workspace,
                env=environment(self.spec, path=path),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise self._failed(error.strerror or type(error).__name__) from None

    async def _listening(self) -> str:
        """The URL that opencode prints once HTTP works; a request in the time before is never answered."""
        assert self._process is not None and self._process.stdout is not None
        while line := await self._process.stdout.readline():
            text = line.decode(errors="replace").rstrip()
            self._output.append(text)
            if found := LISTENING.search(text):
                self._reader = asyncio.create_task(self._drain(self._process.stdout))
                return found.group(1)
        status = await self._process.wait()
        if status == 127:
            raise RunnerError(
                f"The agent engine is missing: there is no '{self._opencode}'. "
                "Run 'open-persona setup', or set OPEN_PERSONA_OPENCODE_BIN.",
                reason="runner_missing",
                detail="\n".join(self._output),
            )
        raise self._failed(f"it ended with status {status}")

    async def _drain(self, output: asyncio.StreamReader) -> None:
        while block := await output.read(4096):
            self._output += block.decode(errors="replace").splitlines()

    async def _healthy(self, url: str) -> None:
        client = OpencodeClient(url, self.spec.password, self._http)
        version = ""
        async with asyncio.timeout(HEALTH_S):
            while not version:
                with contextlib.suppress(RunnerError):
                    version = await client.version()
        if version != VERSION:
            raise RunnerError(
                f"The agent engine has version {version}, but {VERSION} is needed. Run 'open-persona setup'.",
                reason="runner_version",
            )
        await client.check_config()

    def _failed(self, why: str) -> RunnerError:
        tail = "\n".join(self._output)
        return RunnerError(
            f"The agent engine did not start: {why}. "
            "Send the message again; 'open-persona doctor' looks for the cause.",
            reason="runner_start",
            detail=f"{self.spec.name}: {why}\n{tail}",
        )

    async def poll(self) -> int | None:
        return -1 if self._process is None else self._process.returncode

    @property
    def ending(self) -> Ending | None:
        return None if self._process is None or self._process.returncode is None else "exited"

    @property
    def output(self) -> Sequence[str]:
        """The last lines that it has written."""
        return tuple(self._output)

    async def stop(self) -> None:
        """Closing the keeper's standard input is the signal: the same that the sidecar's own death gives."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            if not await _exited(process):
                log.warning("runner %s did not end in time and is killed", self.spec.name)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await _exited(process)
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None


class ProcessMode:
    """Runners end with the sidecar, so none is ever found. ``http`` is shared and stays the caller's."""

    lasting = False

    def __init__(self, settings: Settings, http: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._http = http
        self._made: WeakValueDictionary[str, ProcessRunner] = WeakValueDictionary()
        self._users: set[str] = set()

    async def open(self) -> None:
        log.warning(
            "runner mode 'process' separates users by opencode's own rules only: "
            "it is for one person, or people who trust each other"
        )

    async def close(self) -> None: ...

    def make(self, spec: RunnerSpec) -> ProcessRunner:
        """Raises ``Forbidden`` for a second user, unless the operator has said that users trust each other."""
        self._refuse_second_user(spec.workspace_hash)
        self._users.add(spec.workspace_hash)
        runner = self._made[spec.name] = ProcessRunner(
            spec,
            opencode=self._settings.opencode_bin,
            ripgrep=shutil.which(self._settings.ripgrep_bin) or self._settings.ripgrep_bin,
            http=self._http,
            start_timeout_s=self._settings.runner_start_timeout_s,
        )
        return runner

    def _refuse_second_user(self, user: str) -> None:
        if self._settings.process_shared:
            return
        folders = {path.name for path in (self._settings.home / "workspaces").glob("*") if path.is_dir()}
        if {name for name in folders | self._users if WORKSPACE.fullmatch(name)} - {user}:
            raise Forbidden(
                "This Open Persona runs in 'process' mode, for one person, and already serves another user id. "
                "If both are you, talk under one id: set OPEN_PERSONA_USER (or --user) of the command to your "
                "Open WebUI user id. If all its users trust each other, its operator can set "
                "OPEN_PERSONA_PROCESS_SHARED=1; otherwise use runner mode 'docker'."
            )

    async def found(self) -> Sequence[FoundRunner]:
        return ()

    async def remove(self, name: str) -> None: ...

    async def tidy(self) -> None: ...

    async def logs(self, name: str, lines: int) -> str:
        """What opencode has printed, and the end of its log file."""
        runner = self._made.get(name)
        if runner is None:
            raise RunnerError(f"There is no runner {name}.", reason="runner_missing")
        logged = await asyncio.to_thread(_log_tail, runner.spec.data / "opencode" / "log")
        return "".join(f"{line}\n" for line in [*runner.output, *logged][-lines:])


def _log_tail(folder: Path) -> list[str]:
    """The last lines of the newest log file in ``folder``."""
    newest = max(folder.glob("*.log"), key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return []
    with newest.open("rb") as file:
        file.seek(max(0, newest.stat().st_size - LOG_BYTES))
        return file.read().decode(errors="replace").splitlines()


async def _exited(process: asyncio.subprocess.Process) -> bool:
    """Whether it ended within ``STOP_S``. asyncio also waits for its pipes, which a stray grandchild could hold."""
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        return process.returncode is not None
    return True
