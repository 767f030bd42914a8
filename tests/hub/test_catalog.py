"""The rules across manifests, and the snapshot that they make."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.catalog import load_catalog
from hub.errors import SettingsError
from tests.hub.conftest import WriteManifest


def text(name: str, port: int, tools: str = "{list_things: read}") -> str:
    return (
        f"manifest_version: 1\nname: {name}\ntitle: {name}\ndescription: d\n"
        f"transport: {{type: python, port: {port}}}\ntools: {tools}\n"
    )


def invalid(directory: Path) -> dict[str, str]:
    return {one.name: str(one.faults[0]) for one in load_catalog(directory) if one.faults}


@pytest.mark.requirement("hub:catalog-isolation")
def test_a_bad_manifest_leaves_the_others_alone(servers_dir: Path, write_manifest: WriteManifest) -> None:
    write_manifest("alpha", text("alpha", 7101))
    write_manifest("beta", "name: [")
    write_manifest("gamma", text("gamma", 7103))
    catalog = load_catalog(servers_dir)
    assert [(one.name, bool(one.manifest)) for one in catalog] == [("alpha", True), ("beta", False), ("gamma", True)]


def test_of_two_with_one_port_the_later_is_invalid(servers_dir: Path, write_manifest: WriteManifest) -> None:
    write_manifest("beta", text("beta", 7101))
    write_manifest("alpha", text("alpha", 7101))
    assert invalid(servers_dir) == {"beta": "beta/manifest.yaml:5: transport.port: 7101 is taken by 'alpha'"}


def test_a_faulty_manifest_holds_no_port(servers_dir: Path, write_manifest: WriteManifest) -> None:
    write_manifest("alpha", text("other", 7101))
    write_manifest("beta", text("beta", 7101))
    assert list(invalid(servers_dir)) == ["alpha"]


def test_the_name_is_the_folder(servers_dir: Path, write_manifest: WriteManifest) -> None:
    write_manifest("alpha", text("beta", 7101))
    assert invalid(servers_dir) == {"alpha": "alpha/manifest.yaml:2: name: 'beta' differs from the folder 'alpha'"}


def test_no_name_is_a_prefix_of_another(servers_dir: Path, write_manifest: WriteManifest) -> None:
    write_manifest("grants", text("grants", 7101))
    write_manifest("grants_gov", text("grants_gov", 7102))
    write_manifest("grantsmith", text("grantsmith", 7103))
    assert list(invalid(servers_dir)) == ["grants_gov"]


@pytest.mark.requirement("hub:reserved-names")
@pytest.mark.parametrize(
    ("name", "tool"), [("external", "directory"), ("apply", "patch"), ("plan", "exit"), ("list_mcp", "resources")]
)
def test_no_tool_takes_a_name_of_opencodes_own(
    servers_dir: Path, write_manifest: WriteManifest, name: str, tool: str
) -> None:
    write_manifest(name, text(name, 7101, f"\n  fine: read\n  {tool}: read"))
    assert invalid(servers_dir)[name].startswith(f"{name}/manifest.yaml:8: tools.{tool}: {name}_{tool} ")


def test_only_folders_with_a_manifest_count(servers_dir: Path, write_manifest: WriteManifest) -> None:
    write_manifest("alpha", text("alpha", 7101))
    (servers_dir / "kit").mkdir()
    (servers_dir / "readme.md").write_text("x")
    write_manifest("_template", "x")
    assert [one.name for one in load_catalog(servers_dir)] == ["alpha"]


def test_the_revision_follows_the_manifests_alone(servers_dir: Path, write_manifest: WriteManifest) -> None:
    folder = write_manifest("alpha", text("alpha", 7101))
    before = load_catalog(servers_dir).revision
    (folder / "notes.txt").write_text("x")
    assert load_catalog(servers_dir).revision == before
    (folder / "manifest.yaml").write_text(text("alpha", 7102))
    assert load_catalog(servers_dir).revision != before


def test_a_missing_folder_of_integrations_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="OPEN_PERSONA_MCP_SERVERS_DIR"):
        load_catalog(tmp_path / "none")
