"""The doctor finds each fault, says what to do, and never shows a secret."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rich.console import Console

from open_persona.doctor.docker import compose_secrets, docker
from open_persona.doctor.examination import CHECKS, examine, healthy, show
from open_persona.doctor.findings import Check, Finding, Patient, ok
from open_persona.doctor.ports import integration_ports
from open_persona.doctor.programs import opencode
from open_persona.doctor.runners import runners
from open_persona.doctor.services import hub, integrations, sidecar
from open_persona.doctor.state import home, provider_keys, secrets
from open_persona.ports import free_ports
from open_persona.settings import StackSettings
from tests.fakes.asgi_server import serve_app
from tests.open_persona.stand_ins import KEY, HubScript, SidecarScript, view

KEYS = {f"OPEN_PERSONA_{name}": KEY for name in ("SIDECAR_API_KEY", "SERVICE_KEY", "TOKEN_KEY")}
MANIFEST = """
manifest_version: 1
name: {name}
title: T
description: D
documentation: README.md
transport: {{type: python, port: {port}}}
settings: []
tools: {{one: read}}
"""


def settings(tmp_path: Path, **given: object) -> StackSettings:
    return StackSettings.model_validate({"home": tmp_path / "home", **given})


async def one(check: Check, patient: StackSettings, **environment: str) -> Finding:
    [finding] = await examine(patient, {**KEYS, **environment}, [check])
    return finding


@asynccontextmanager
async def hub_with(script: HubScript, tmp_path: Path) -> AsyncIterator[StackSettings]:
    async with serve_app(script.app()) as url:
        yield settings(tmp_path, hub_url=url)


@pytest.mark.requirement("doctor:hub")
async def test_a_hub_that_is_down(tmp_path: Path) -> None:
    [port] = free_ports(1)
    finding = await one(hub, settings(tmp_path, hub_port=port))
    assert (finding.level, "open-persona up" in finding.action) == ("fail", True)


async def test_a_hub_that_is_up_and_one_that_still_starts(tmp_path: Path) -> None:
    script = HubScript()
    async with hub_with(script, tmp_path) as patient:
        assert (await one(hub, patient)).level == "ok"
        script.ready = False
        assert (await one(hub, patient)).level == "warn"


@pytest.mark.requirement("doctor:integrations")
async def test_each_integrations_state_becomes_a_line(tmp_path: Path) -> None:
    script = HubScript(
        [
            view("fine"),
            view("gone", health="down", reason="refused", detail="connection refused", action="Start it."),
            view("bad", health="invalid", reason="invalid_manifest", detail="line 3", action="Mend it."),
            view("off", admin_state="disabled", health="starting"),
            view("old", faults=["old/manifest.yaml:3: bad"], action="Mend old/manifest.yaml:3: bad."),
        ]
    )
    async with hub_with(script, tmp_path) as patient:
        found = await examine(patient, KEYS, [integrations])
    assert [(line.check.split()[1], line.level) for line in found] == [
        ("fine", "ok"),
        ("gone", "fail"),
        ("bad", "fail"),
        ("off", "warn"),
        ("old", "warn"),
    ]
    assert found[4].action == "Mend old/manifest.yaml:3: bad."
    assert "Start it." in found[1].action
    assert not healthy(found)


@pytest.mark.requirement("doctor:port_taken")
async def test_a_port_that_another_program_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_persona.doctor.examination.ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)
        port = other.getsockname()[1]
        finding = await one(sidecar, settings(tmp_path, sidecar_port=port))
        assert finding.level == "fail"
        assert f"port {port} is taken by" in finding.message
        assert "OPEN_PERSONA_SIDECAR_PORT" in finding.action


@pytest.mark.requirement("doctor:port_taken")
async def test_an_integrations_port_that_another_program_has(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        folder = tmp_path / "servers" / "weather"
        folder.mkdir(parents=True)
        (folder / "server.py").write_text("")
        (folder / "manifest.yaml").write_text(MANIFEST.format(name="weather", port=other.getsockname()[1]))
        finding = await one(integration_ports, settings(tmp_path, mcp_servers_dir=tmp_path / "servers"))
    assert finding.level == "fail"
    assert "manifest.yaml" in finding.action


async def test_the_shipped_integrations_ports_are_looked_at(tmp_path: Path) -> None:
    assert (await one(integration_ports, settings(tmp_path))).check == "ports"


async def test_a_sidecar_with_this_homes_key_and_with_another(tmp_path: Path) -> None:
    async with serve_app(SidecarScript().app()) as url:
        patient = settings(tmp_path, sidecar_port=int(url.rpartition(":")[2]))
        assert (await one(sidecar, patient)).level == "ok"
        assert (await one(sidecar, patient, OPEN_PERSONA_SIDECAR_API_KEY="other")).level == "fail"


@pytest.mark.requirement("doctor:opencode")
async def test_opencode_missing_and_opencode_of_another_version(tmp_path: Path) -> None:
    gone = await one(opencode, settings(tmp_path), OPEN_PERSONA_OPENCODE_BIN=str(tmp_path / "gone"))
    assert (gone.level, "open-persona setup" in gone.action) == ("fail", True)
    old = tmp_path / "opencode"
    old.write_text("#!/bin/sh\necho 1.0.0\n")
    old.chmod(0o755)
    other = await one(opencode, settings(tmp_path), OPEN_PERSONA_OPENCODE_BIN=str(old))
    assert (other.level, "1.18.33 is needed" in other.message) == ("fail", True)


@pytest.mark.requirement("doctor:provider_keys")
async def test_provider_keys_are_named_by_their_variable_and_never_shown(tmp_path: Path) -> None:
    none = await one(provider_keys, settings(tmp_path))
    assert (none.level, "OPEN_PERSONA_DEFAULT_OPENAI_API_KEY" in none.action) == ("warn", True)
    some = await one(provider_keys, settings(tmp_path), OPEN_PERSONA_DEFAULT_ANTHROPIC_API_KEY="sk-canary")
    assert some.level == "ok"
    assert "OPEN_PERSONA_DEFAULT_ANTHROPIC_API_KEY" in some.message
    assert "sk-canary" not in some.model_dump_json()


@pytest.mark.parametrize("name", ["secrets.json", "webui-secret-key"])
async def test_secrets_that_others_can_read(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    file = folder / name
    file.write_text("{}")
    file.chmod(0o644)
    finding = await one(secrets, settings(tmp_path))
    assert finding.action == f"Run: chmod 600 {file}"


async def test_a_home_inside_a_work_tree(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert (await one(home, settings(tmp_path))).level == "fail"


@pytest.mark.requirement("doctor:home")
async def test_a_home_that_is_a_file_or_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    file = await one(home, settings(tmp_path))
    assert (file.level, "is no folder" in file.message) == ("fail", True)
    system = await one(home, StackSettings(home=Path("/proc/self")))
    assert (system.level, "can't be written" in system.message) == ("fail", True)


@pytest.mark.requirement("doctor:home")
async def test_secrets_that_lack_a_key(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "secrets.json").write_text('{"service_key": "a", "token_key": "b"}')
    [finding] = await examine(settings(tmp_path), {}, [secrets])
    assert (finding.level, "lacks sidecar_api_key" in finding.message) == ("fail", True)


async def test_a_runner_with_errors_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "home" / "runners" / "abcd" / "12" / "data" / "opencode" / "log" / "opencode.log"
    log.parent.mkdir(parents=True)
    log.write_text("timestamp=x level=INFO all well\ntimestamp=x level=ERROR it broke\n")
    finding = await one(runners, settings(tmp_path))
    assert (finding.check, finding.level) == ("runner abcd-12", "warn")
    assert str(log) in finding.message
    assert "1 errors" in finding.message


async def test_with_nothing_there_every_check_still_answers(tmp_path: Path) -> None:
    [first, second, third] = free_ports(3)
    bare = settings(tmp_path, hub_port=first, sidecar_port=second, webui_url=f"http://127.0.0.1:{third}")
    found = await examine(bare, {"PATH": "", **KEYS})
    assert len(found) >= len(set(CHECKS) - {docker, compose_secrets})
    assert all(finding.action for finding in found if finding.level == "fail")


def test_what_is_shown_says_what_to_do() -> None:
    out = Console(file=io.StringIO(), width=80)
    show([ok("a", "fine"), Finding(check="long name", level="fail", message="broken", action="Mend it.")], out)
    assert isinstance(out.file, io.StringIO)
    text = out.file.getvalue()
    assert "fail  long name  broken" in text
    assert "→ Mend it." in text
    assert "1 ok, 0 warn, 1 fail" in text


async def test_a_check_that_hangs_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(_: Patient) -> list[Finding]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr("open_persona.doctor.examination.CHECK_DEADLINE_S", 0.05)
    assert (await one(hangs, settings(tmp_path))).level == "fail"
