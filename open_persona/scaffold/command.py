"""``open-persona new``: check the name, ask what is not said, write, and say what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from open_persona.scaffold.answers import Answers, Ask, Wishes, answered
from open_persona.scaffold.integration import has_tests, integration_files
from open_persona.scaffold.names import (
    check_integration_name,
    check_persona_id,
    manifests_of,
    next_port,
    title_of,
)
from open_persona.scaffold.persona import persona_files
from open_persona.scaffold.writing import write_all
from open_persona.settings import StackSettings
from open_persona.validate.personas import PersonaFolder


def new_integration(settings: StackSettings, name: str, wishes: Wishes, ask: Ask, out: Console) -> None:
    """Make ``<integrations>/<name>``, and its tests in a checkout.

    Raises ``BadArgument`` and writes nothing for a name or an answer that can't be used.
    """
    root = settings.mcp_servers_dir.resolve()
    check_integration_name(name, root)
    neighbours = manifests_of(root)
    answers = answered(name, wishes, ask, lambda: next_port(neighbours))
    files = integration_files(answers, root, neighbours)
    write_all(files)
    _tell(files, root.parent, _next_steps(answers, root), out)


def new_persona(
    environment: Mapping[str, str], persona: str, name: str, description: str, ask: Ask, out: Console
) -> None:
    """Make ``<templates>/<persona>.md``. Raises ``BadArgument`` and writes nothing for what can't be used."""
    folder = PersonaFolder.of(environment)
    check_persona_id(persona, folder.directory)
    name = name or ask("Name, for people", title_of(persona))
    description = description or ask("What it does, in one line", f"{name} answers questions.")
    files = persona_files(persona, name.strip(), description.strip(), folder)
    write_all(files)
    steps = (
        "Write its locked core: the text below the front matter.",
        f"open-persona validate {persona}",
        f"Restart the sidecar, then: open-persona chat -p {persona}",
    )
    _tell(files, folder.directory.resolve().parent.parent, steps, out)


def _next_steps(answers: Answers, root: Path) -> Iterable[str]:
    folder = f"{root.name}/{answers.name}"
    if answers.kind != "python":
        yield f"State its tools with their risk in {folder}/manifest.yaml; until then each counts as `write`."
        yield f"open-persona validate --running {answers.name}    # with open-persona up running"
        return
    yield f"Write the service's API in {folder}/client.py and its tools in {folder}/server.py."
    if has_tests(root):
        yield f"python -m pytest tests/mcp_servers/{answers.name}"
    yield f"open-persona validate {answers.name}"


def _tell(files: Iterable[Path], base: Path, steps: Iterable[str], out: Console) -> None:
    lines = (
        [f"wrote {path.resolve().relative_to(base)}" for path in files]
        + ["", "Next:"]
        + [f"  {step}" for step in steps]
    )
    for line in lines:
        out.print(Text(line), soft_wrap=True)
