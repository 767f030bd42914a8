"""The compose file against settings, ``.env.example`` and Dockerfiles. What needs containers is in ``e2e/docker``."""

from __future__ import annotations

import re
import tomllib

import pytest

import spawner.names
from deploy.state import GIVEN, MADE
from sidecar.settings import Settings
from tests.deploy.compose_file import ROOT, SECRETS, SERVICES, interpolated

OF_COMPOSE = {"COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES"}
FIXED = {"SIDECAR_HOST", "SIDECAR_PORT", "OPENCODE_BIN", "RIPGREP_BIN", "PROCESS_SHARED", "PERSONAS_DIR"}
"""Settings that the image or the mode decides."""
DOCKERFILES = ["sidecar/Dockerfile", "hub/Dockerfile", "openwebui/Dockerfile"]


@pytest.mark.requirement("compose:env_example")
def test_the_example_names_every_variable_that_the_file_takes_and_no_other() -> None:
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^(?:# )?([A-Z_]+)=", example, re.MULTILINE)) == interpolated() | OF_COMPOSE


@pytest.mark.requirement("compose:env_example")
def test_every_variable_is_on_the_page_of_settings() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert interpolated() <= set(re.findall(r"`((?:OPEN_PERSONA|WEBUI)_[A-Z_]+)`", page))


@pytest.mark.requirement("compose:env_example")
def test_the_sidecar_can_be_told_each_of_its_settings() -> None:
    service = SERVICES["open-persona-sidecar"]
    told = {name.removeprefix("OPEN_PERSONA_") for name in (*service["environment"], *service["secrets"])}
    assert {name.upper() for name in Settings.model_fields} - FIXED <= told


@pytest.mark.requirement("compose:secrets")
def test_a_secret_is_a_file_and_goes_only_to_who_needs_it() -> None:
    assert set(SECRETS) == {*MADE, *GIVEN}
    assert all(each["file"].endswith(f"/secrets/{name}") for name, each in SECRETS.items())
    held = {name: set(service.get("secrets", ())) for name, service in SERVICES.items()}
    assert held["open-persona-hub"] == {"OPEN_PERSONA_SERVICE_KEY"}
    assert not held["open-persona-mcp"] | held["open-persona-spawner"] | held["open-persona-runner"]
    assert [name for name, secrets in held.items() if "WEBUI_SECRET_KEY" in secrets] == ["open-persona-openwebui"]
    assert [name for name, secrets in held.items() if "OPEN_PERSONA_TOKEN_KEY" in secrets] == ["open-persona-sidecar"]
    assert [
        f"{name}: {key}" for name, each in SERVICES.items() for key in each.get("environment", {}) if key in SECRETS
    ] == []


@pytest.mark.requirement("compose:hardened")
@pytest.mark.parametrize("name", [name for name in SERVICES if name != "open-persona-runner"])
def test_a_service_has_limits_and_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].startswith("1000:")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert {"mem_limit", "memswap_limit", "pids_limit", "cpus"} <= set(service)
    assert service["mem_limit"] == service["memswap_limit"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.requirement("compose:hardened")
def test_only_the_spawner_sees_dockers_socket() -> None:
    seeing = [
        name
        for name, each in SERVICES.items()
        if any(":/var/run/docker.sock" in mount for mount in each.get("volumes", ()))
    ]
    assert seeing == ["open-persona-spawner"]
    assert SERVICES["open-persona-spawner"]["network_mode"] == "none"
    for name in ("open-persona-sidecar", "open-persona-hub"):
        assert SERVICES[name]["sysctls"] == {"net.ipv4.ip_forward": "0"}


@pytest.mark.requirement("compose:folders")
def test_integrations_and_templates_are_those_of_the_checkout_and_cannot_be_written() -> None:
    mounted = [
        (name.removeprefix("open-persona-"), mount["source"], mount["target"], mount["read_only"])
        for name, service in SERVICES.items()
        for mount in service.get("volumes", ())
        if isinstance(mount, dict)
    ]
    servers = ("${OPEN_PERSONA_MCP_SERVERS_DIR:-./mcp_servers}", "/app/mcp_servers", True)
    personas = ("${OPEN_PERSONA_PERSONAS_DIR:-./sidecar/personas}", "/app/sidecar/personas", True)
    assert sorted(mounted) == [("hub", *servers), ("mcp", *servers), ("sidecar", *servers), ("sidecar", *personas)]


@pytest.mark.requirement("compose:hardened")
def test_the_hub_is_asked_by_a_name_that_no_runners_network_has() -> None:
    hub = SERVICES["open-persona-hub"]
    [name] = hub["networks"]["front"]["aliases"]
    assert name not in spawner.names.SERVICE_ALIASES
    assert name in hub["environment"]["OPEN_PERSONA_HUB_ALLOWED_HOSTS"].split(",")
    asking = {
        each: service["environment"].get("OPEN_PERSONA_HUB_URL")
        for each, service in SERVICES.items()
        if "environment" in service
    }
    assert {each: url for each, url in asking.items() if url} == dict.fromkeys(
        ("open-persona-sidecar", "open-persona-openwebui"), f"http://{name}:7000"
    )
    assert SERVICES["open-persona-sidecar"]["environment"]["OPEN_PERSONA_GATEWAY_URL"] == "http://open-persona-hub:7000"


@pytest.mark.requirement("compose:images")
@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_is_built_by_every_builder_and_runs_as_nobody_special(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"--mount|--chmod|--link|<<|^# syntax|--start-interval", text, re.MULTILINE)
    assert re.search(r"^ARG BASE_IMAGE=\S+:\S+\nFROM \$\{BASE_IMAGE\}$", text, re.MULTILINE)
    assert "\nUSER 1000:1000\n" in text
    assert "\nHEALTHCHECK " in text
    sources = re.findall(r"^COPY ((?:\S+ )+)\S+$", text, re.MULTILINE)
    assert all((ROOT / source).exists() for line in sources for source in line.split())


@pytest.mark.requirement("compose:images")
def test_the_sidecars_image_holds_what_the_project_needs() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    text = (ROOT / "sidecar" / "Dockerfile").read_text()
    installed = {word.strip("'").lower() for word in text.split()}
    assert {re.split(r"[<>=]", each)[0].lower() for each in wanted} <= installed


@pytest.mark.requirement("compose:images")
def test_both_images_share_the_layer_of_packages() -> None:
    def upto_packages(name: str) -> str:
        text = (ROOT / name).read_text()
        return text[text.index("COPY constraints.txt") : text.index("'uvicorn[standard]'")]

    assert upto_packages("hub/Dockerfile") == upto_packages("sidecar/Dockerfile")
