"""What belongs into Open WebUI's environment: the pins, and where the environment stands."""

from __future__ import annotations

from pathlib import Path

from open_persona.toolchain import tools_folder

CONSTRAINTS = Path(__file__).with_name("constraints.txt")
PACKAGE = "open-webui"


def pins(constraints: Path) -> dict[str, str]:
    """Name of each pinned package to its version."""
    lines = (line.partition("==") for line in constraints.read_text().split())
    return {name: version for name, _, version in lines}


VERSION = pins(CONSTRAINTS)[PACKAGE]


def environment_folder(home: Path) -> Path:
    """The virtual environment, in the tools folder; its name holds the version. Without links in its path, which its
    scripts name."""
    return tools_folder(home).resolve() / f"{PACKAGE}-{VERSION}"


def program(folder: Path) -> Path:
    """Open WebUI's own command in the environment ``folder``."""
    return folder / "bin" / PACKAGE
