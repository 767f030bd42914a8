"""The rules across manifests, and the snapshot that they make."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.catalog import NOTHING, Catalog, load_catalog, succeeding
from hub.errors import SettingsError
from hub.folder import Folder
from hub.manifest import Manifest
from hub.manifest_file import Fault, ManifestFile
from hub.validate import port_of
from tests.hub.conftest import WriteManifest


def text(name: str, port: int, tools: str = "{list_things: read}") -> str:
    return (
        f"manifest_version: 1\nname: {name}\ntitle: {name}\ndescription: d\n"
        f"transport: {{type: python, port: {port}}}\ntools: {tools}\n"
    )


def invalid(directory: Path) -> dict[str, str]:
    return {one.name: str(one.faults[0]) for one in load_catalog(Folder(directory)) if one.faults}


@pytest.mark.requirement("hub:catalog-isolation")
def test_a_bad_manifest_leaves_the_others_alone(servers_dir: Path, write_manifest: WriteManifest) -> None:
    write_manifest("alpha", text("alpha", 7101))
    write_manifest("beta", "name: [")
    write_manifest("gamma", text("gamma", 7103))
    catalog = load_catalog(Folder(servers_dir))
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
    assert [one.name for one in load_catalog(Folder(servers_dir))] == ["alpha"]


def test_a_missing_folder_of_integrations_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="OPEN_PERSONA_MCP_SERVERS_DIR"):
        load_catalog(Folder(tmp_path / "none"))


def file(name: str, port: int, **fields: object) -> ManifestFile:
    """A folder with a sound manifest."""
    body = {"manifest_version": 1, "name": name, "title": name, "description": "d", "tools": {"go": "read"}}
    manifest = Manifest.model_validate({**body, "transport": {"type": "python", "port": port}, **fields})
    return ManifestFile(name, manifest, (), {("transport",): 5, ("transport", "port"): 5})


def broken(name: str) -> ManifestFile:
    return ManifestFile(name, None, (Fault(f"{name}/manifest.yaml", 3, "bad"),), {})


def following(*steps: list[ManifestFile]) -> Catalog:
    """The catalog after these looks at the folders."""
    catalog = NOTHING
    for files in steps:
        catalog = succeeding(catalog, files)
    return catalog


def ports(catalog: Catalog) -> dict[str, int | None]:
    return {one.name: port_of(ManifestFile(one.name, one.manifest, (), {})) for one in catalog}


def faults(catalog: Catalog) -> dict[str, list[str]]:
    return {one.name: [str(fault) for fault in one.faults] for one in catalog if one.faults}


@pytest.mark.requirement("hub:last-good-serves")
def test_a_broken_edit_leaves_the_last_good_version(servers_dir: Path) -> None:
    catalog = following([file("alpha", 7101)], [broken("alpha")])
    assert (ports(catalog), faults(catalog)) == ({"alpha": 7101}, {"alpha": ["alpha/manifest.yaml:3: bad"]})
    mended = succeeding(catalog, [file("alpha", 7105)])
    assert (ports(mended), faults(mended)) == ({"alpha": 7105}, {})


def test_a_folder_that_was_never_good_is_invalid() -> None:
    catalog = following([], [broken("alpha")])
    assert (ports(catalog), list(faults(catalog))) == ({"alpha": None}, ["alpha"])


def test_a_folder_that_went_takes_its_last_good_version_along() -> None:
    catalog = following([file("alpha", 7101)], [], [broken("alpha")])
    assert ports(catalog) == {"alpha": None}


@pytest.mark.requirement("hub:first-claim")
def test_a_new_folder_takes_no_port_and_no_name_from_what_serves() -> None:
    serving = [file("beta", 7101), file("gamma_ray", 7102)]
    catalog = following(serving, [file("alpha", 7101), *serving, file("gamma", 7103)])
    assert ports(catalog) == {"alpha": None, "beta": 7101, "gamma_ray": 7102, "gamma": None}
    assert faults(catalog)["alpha"] == ["alpha/manifest.yaml:5: transport.port: 7101 is taken by 'beta'"]
    assert "'gamma' and 'gamma_ray' clash" in faults(catalog)["gamma"][0]
    freed = succeeding(catalog, [file("alpha", 7101), file("gamma", 7103)])
    assert (ports(freed), faults(freed)) == ({"alpha": 7101, "gamma": 7103}, {})


@pytest.mark.requirement("hub:first-claim")
def test_an_edit_takes_no_port_from_what_serves() -> None:
    catalog = following([file("alpha", 7101), file("beta", 7102)], [file("alpha", 7102), file("beta", 7102)])
    assert ports(catalog) == {"alpha": 7101, "beta": 7102}
    assert faults(catalog) == {"alpha": ["alpha/manifest.yaml:5: transport.port: 7102 is taken by 'beta'"]}


def test_a_port_of_a_broken_one_stays_its_own() -> None:
    catalog = following([file("alpha", 7101), file("beta", 7102)], [broken("beta"), file("alpha", 7102)])
    assert ports(catalog) == {"beta": 7102, "alpha": 7101}


def test_two_swap_their_ports_in_one_go() -> None:
    catalog = following([file("alpha", 7101), file("beta", 7102)], [file("alpha", 7102), file("beta", 7101)])
    assert (ports(catalog), faults(catalog)) == ({"alpha": 7102, "beta": 7101}, {})


def test_an_edit_that_leans_on_a_refused_one_is_refused_too() -> None:
    before = [file("alpha", 7101), file("beta", 7102), file("gamma", 7103)]
    catalog = following(before, [file("alpha", 7102), file("beta", 7103), file("gamma", 7103)])
    assert ports(catalog) == {"alpha": 7101, "beta": 7102, "gamma": 7103}
    assert list(faults(catalog)) == ["alpha", "beta"]


def test_an_equal_manifest_stays_the_object_that_it_was() -> None:
    first = following([file("alpha", 7101)])
    second = succeeding(first, [file("alpha", 7101)])
    assert second.integrations[0].manifest is first.integrations[0].manifest
    assert second == first


_folders = st.dictionaries(
    st.sampled_from(["alpha", "alpha_two", "beta", "gamma"]), st.none() | st.integers(7101, 7103), max_size=4
)


@pytest.mark.requirement("hub:first-claim")
@given(st.lists(_folders, max_size=5))
def test_whatever_is_edited_what_serves_goes_on_and_nothing_clashes(steps: list[Mapping[str, int | None]]) -> None:
    catalog = NOTHING
    for step in steps:
        served = {one.name for one in catalog if one.manifest}
        files = [broken(name) if port is None else file(name, port) for name, port in sorted(step.items())]
        catalog = succeeding(catalog, files)
        now = {name: port for name, port in ports(catalog).items() if port is not None}
        assert served & step.keys() <= now.keys()
        assert len(set(now.values())) == len(now)
        assert not any(other.startswith(f"{one}_") for one, other in combinations(sorted(now), 2))
        assert all(one.faults or one.manifest for one in catalog)
        assert ports(succeeding(catalog, files)) == ports(catalog)
