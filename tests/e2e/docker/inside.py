"""Scripts of an agent gone bad, run in a runner's container as the runner's own user."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parent / "hostile"


@dataclass(frozen=True)
class Inside:
    """One runner's container; ``address`` is its own."""

    container: str
    address: str

    async def run(self, script: str, *arguments: object, lines: Iterable[str] = (), within_s: float = 120) -> str:
        """What ``hostile/<script>.sh`` prints; ``lines`` are its standard input. Raises ``TimeoutError``."""
        text = (SCRIPTS / f"{script}.sh").read_text()
        given = [str(argument) for argument in arguments]
        command = ["docker", "exec", "-i", self.container, "bash", "-c", text, script, *given]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(within_s):
                out, _ = await process.communicate("".join(f"{line}\n" for line in lines).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return out.decode(errors="replace")

    async def told(self, script: str, *arguments: object, lines: Iterable[str] = ()) -> dict[str, str]:
        """The same as ``{what: what came of it}``."""
        pairs = (line.rpartition(": ") for line in (await self.run(script, *arguments, lines=lines)).splitlines())
        return {what: found for what, _, found in pairs}
