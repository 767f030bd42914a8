"""Processes that tests look at from outside: through ``/proc``."""

from __future__ import annotations

from pathlib import Path


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def processes_of(folder: Path) -> list[int]:
    """Living processes whose environment names ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        if state != "Z" and str(folder).encode() in environ:
            found.append(int(entry.name))
    return found


def opencode_of(private: Path) -> int:
    """opencode itself, among the processes of a runner's private directory."""
    for pid in processes_of(private):
        if "keeper.py" not in command_of(pid) and " serve" in command_of(pid):
            return pid
    raise AssertionError("no opencode process")
