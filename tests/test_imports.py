"""Who may import whom: the rules of the layout, read from the source, so that a lazy import counts too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("hub", "mcp_servers", "open_persona", "openwebui", "sidecar", "spawner")
OURS = (*PACKAGES, "tests")
ALLOWED: dict[str, tuple[str, ...]] = {
    "hub": ("hub",),
    "mcp_servers": ("mcp_servers",),
    "open_persona": ("open_persona", "hub", "mcp_servers", "sidecar"),
    "openwebui": ("openwebui",),
    "sidecar": ("sidecar", "hub.manifest", "hub.wire"),
    "spawner": ("spawner",),
}


def imported_modules(source: str, package: str) -> Iterator[str]:
    """Dotted names that the source imports, each ``from a import b`` as ``a.b``; relative ones made absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_allowed(module: str, package: str) -> bool:
    """Whether a file of ``package`` may import ``module``."""
    if module.split(".", maxsplit=1)[0] not in OURS:
        return True
    return any(module == allowed or module.startswith(f"{allowed}.") for allowed in ALLOWED[package])


def violations(path: Path, package: str) -> list[str]:
    """The forbidden imports of one file."""
    dotted = ".".join(path.relative_to(ROOT).parent.parts)
    modules = imported_modules(path.read_text(), dotted)
    return [f"{path.relative_to(ROOT)} imports {module}" for module in modules if not is_allowed(module, package)]


@pytest.mark.requirement("layout:imports")
@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert [line for path in files for line in violations(path, package)] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import hub.catalog", ["hub.catalog"]),
        ("from hub import wire, catalog", ["hub.wire", "hub.catalog"]),
        ("from . import chat", ["sidecar.chat"]),
        ("from ..hub import catalog", ["hub.catalog"]),
        ("def late() -> None:\n    import hub.leases", ["hub.leases"]),
    ],
)
def test_every_way_to_import_is_seen(source: str, found: list[str]) -> None:
    assert list(imported_modules(source, "sidecar")) == found


@pytest.mark.parametrize(
    ("module", "package", "allowed"),
    [
        ("hub.wire.CatalogView", "sidecar", True),
        ("hub.catalog", "sidecar", False),
        ("hub.wire_extra", "sidecar", False),
        ("hub.manifest", "mcp_servers", False),
        ("sidecar.chat", "hub", False),
        ("hub.wire", "openwebui", False),
        ("sidecar.identity", "spawner", False),
        ("tests.fakes", "open_persona", False),
        ("httpx", "openwebui", True),
    ],
)
def test_the_rules_themselves(module: str, package: str, *, allowed: bool) -> None:
    assert is_allowed(module, package) is allowed
