"""Which npm package holds the binary for which machine. Pure, but for :func:`this_machine`.

Package names: the ``optionalDependencies`` of ``opencode-ai`` 1.18.33 and ``@vscode/ripgrep`` 1.18.0.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from open_persona.errors import ToolMissing

System = Literal["linux", "darwin"]
Architecture = Literal["x64", "arm64"]

_ARCHITECTURES: dict[str, Architecture] = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_SYSTEMS: dict[str, System] = {"Linux": "linux", "Darwin": "darwin"}


@dataclass(frozen=True)
class Machine:
    """``avx2`` and ``musl`` decide between builds of the same program."""

    system: System
    architecture: Architecture
    avx2: bool = True
    musl: bool = False


def opencode_package(machine: Machine) -> str:
    """The npm package with opencode's binary; ``-baseline`` runs on processors without AVX2."""
    name = f"opencode-{machine.system}-{machine.architecture}"
    if machine.architecture == "x64" and not machine.avx2:
        name += "-baseline"
    return f"{name}-musl" if machine.musl else name


def ripgrep_package(machine: Machine) -> str:
    """The npm package with ripgrep's binary; its Linux builds are static, so they run on musl too."""
    return f"@vscode/ripgrep-{machine.system}-{machine.architecture}"


def this_machine() -> Machine:
    """Raises ``ToolMissing`` where opencode has no build."""
    system, architecture = _SYSTEMS.get(platform.system()), _ARCHITECTURES.get(platform.machine().lower())
    if system is None or architecture is None:
        raise ToolMissing(
            f"opencode has no build for {platform.system()} on {platform.machine()}. "
            "Linux and macOS on x86-64 and arm64 work; on Windows use WSL."
        )
    return Machine(system, architecture, avx2=_has_avx2(system), musl=system == "linux" and _is_musl())


def _has_avx2(system: System) -> bool:
    if system == "darwin":
        return True
    try:
        return " avx2" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _is_musl() -> bool:
    return any(Path("/lib").glob("ld-musl-*"))
