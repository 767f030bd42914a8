"""A new integration as files. The manifest comes last: the launcher starts a server as soon as it sees one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import HttpUrl, TypeAdapter, ValidationError

from hub.manifest import Manifest
from hub.manifest_file import MANIFEST, ManifestFile
from hub.validate import RULES
from open_persona.errors import BadArgument
from open_persona.scaffold.answers import Answers
from open_persona.scaffold.rendering import rendered
from open_persona.scaffold.writing import Files

_FIELDS = frozenset({"title", "description", "port", "url", "command"})
"""Fields of a manifest that an option of the same name fills."""


def integration_files(answers: Answers, root: Path, neighbours: Sequence[ManifestFile]) -> Files:
    """Everything that the new integration needs. Raises ``BadArgument`` for an answer that its manifest can't hold, and
    for one that clashes with a neighbour."""
    _check_url(answers.url)
    values = vars(answers)
    folder, kind = root / answers.name, answers.kind
    manifest = rendered("manifest.yaml.jinja", **values)
    _check_manifest(manifest, answers.name, neighbours)
    readme = rendered("README.md.jinja", **values)
    if kind != "python":
        return {folder / "README.md": readme, folder / MANIFEST: manifest}
    code = {folder / name: rendered(f"python/{name}.jinja", **values) for name in ("client.py", "server.py")}
    return {
        **_tests(root, values, answers.name),
        folder / "__init__.py": "",
        **code,
        folder / "README.md": readme,
        folder / MANIFEST: manifest,
    }


def has_tests(root: Path) -> bool:
    """Whether integrations below ``root`` have their tests beside it, as in a checkout."""
    return (root.parent / "tests" / "mcp_servers").is_dir() and (root.parent / "tests" / "fakes").is_dir()


def _tests(root: Path, values: dict[str, object], name: str) -> dict[Path, str]:
    if not has_tests(root):
        return {}
    tests = root.parent / "tests"
    return {
        tests / "fakes" / f"{name}.py": rendered("tests/fake.py.jinja", **values),
        tests / "mcp_servers" / name / "__init__.py": "",
        tests / "mcp_servers" / name / "test_server.py": rendered("tests/test_server.py.jinja", **values),
    }


def _check_url(url: str) -> None:
    try:
        if url:
            TypeAdapter(HttpUrl).validate_python(url)
    except ValidationError as error:
        raise BadArgument(f"--url: {error.errors()[0]['msg']}.") from None
    if any(not character.isprintable() or character in "\"'\\ " for character in url):
        raise BadArgument("--url: an address has no blanks, quotes or line breaks.")


def _check_manifest(text: str, name: str, neighbours: Sequence[ManifestFile]) -> None:
    try:
        manifest = Manifest.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][-1])
        raise BadArgument(f"{'--' if field in _FIELDS else ''}{field}: {first['msg']}.") from None
    file = ManifestFile(name, manifest, (), {})
    sound = [other for other in neighbours if other.manifest is not None]
    for rule in RULES:
        for fault in rule(file, sound):
            raise BadArgument(f"{fault.reason}. Nothing was written.")
