"""The spawner's settings: the sidecar's names and defaults, and a clear line for what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.settings import Settings
from spawner.errors import SettingsError
from spawner.settings import SpawnerSettings, load_settings

SHARED = ("runner_image", "runner_memory_mb", "runner_cpus", "runner_pids", "runner_subnets", "runner_services")


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("OPEN_PERSONA_DATA_DIR", str(tmp_path))
    return monkeypatch


@pytest.mark.requirement("spawner:settings")
def test_what_both_read_has_the_same_default() -> None:
    sidecars = {name: Settings.model_fields[name].default for name in SHARED}
    assert {name: SpawnerSettings.model_fields[name].default for name in SHARED} == sidecars


@pytest.mark.requirement("spawner:settings")
def test_the_deployment_is_named_after_the_place_of_its_data() -> None:
    one, same, other = (SpawnerSettings(data_dir=Path(path)) for path in ("/srv/a", "/srv/a", "/srv/b"))
    assert one.deployment == same.deployment != other.deployment


@pytest.mark.requirement("spawner:settings")
def test_services_get_the_names_that_runners_call_them_by(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("OPEN_PERSONA_RUNNER_SERVICES", "x-sidecar, x-hub")
    assert load_settings().services == {"x-sidecar": "open-persona-sidecar", "x-hub": "open-persona-hub"}


@pytest.mark.requirement("spawner:settings")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPEN_PERSONA_DATA_DIR", "data"),
        ("OPEN_PERSONA_DATA_DIR", "/"),
        ("OPEN_PERSONA_DATA_DIR", "/srv/../etc"),
        ("OPEN_PERSONA_DATA_DIR", "/srv/a:b"),
        ("OPEN_PERSONA_DATA_DIR", "/nowhere/at/all"),
        ("OPEN_PERSONA_RUNNER_USER", "0:0"),
        ("OPEN_PERSONA_RUNNER_USER", "1000:0"),
        ("OPEN_PERSONA_RUNNER_USER", "root"),
        ("OPEN_PERSONA_RUNNER_IMAGE", ""),
        ("OPEN_PERSONA_RUNNER_IMAGE", "../x"),
        ("OPEN_PERSONA_RUNNER_SUBNETS", "10.0.0.0/30"),
        ("OPEN_PERSONA_RUNNER_SUBNETS", "8.8.0.0/16"),
        ("OPEN_PERSONA_RUNNER_SERVICES", "a,b,c"),
        ("OPEN_PERSONA_RUNNER_SERVICES", "../x"),
        ("OPEN_PERSONA_RUNNER_CPUS", "inf"),
        ("OPEN_PERSONA_RUNNER_PIDS", "-1"),
    ],
)
def test_a_value_that_does_not_fit_is_named(name: str, value: str, environ: pytest.MonkeyPatch) -> None:
    environ.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()


@pytest.mark.requirement("spawner:settings")
def test_the_data_directory_has_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPEN_PERSONA_DATA_DIR", raising=False)
    with pytest.raises(SettingsError, match="OPEN_PERSONA_DATA_DIR"):
        load_settings()
