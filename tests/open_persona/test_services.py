"""What the stack starts, as data."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from mcp_servers.launcher import Spec
from open_persona.errors import OpenPersonaError
from open_persona.services import Service, plan
from open_persona.settings import StackSettings
from open_persona.toolchain import Toolchain
from open_persona.webui.environment import WebuiStart

TOOLS = Toolchain(Path("/t/opencode"), Path("/t/rg"))
SPECS = [Spec("grants_gov", Path("/m/grants_gov"), 7002, (0, 0))]
ENVIRONMENT = {"PATH": "/bin", "OPEN_PERSONA_DEFAULT_OPENAI_API_KEY": "sk-canary", "PYTHONPATH": "/mine"}


WEBUI = WebuiStart(Path("/v/bin/open-webui"), SecretStr("k"), SecretStr("k"))


def planned(*, upstream: bool = False, webui: WebuiStart | None = None, **given: object) -> dict[str, Service]:
    settings = StackSettings.model_validate({"home": "/h", **given})
    services = plan(settings, TOOLS, SPECS, ENVIRONMENT, upstream=upstream, webui=webui)
    return {service.name: service for service in services}


def test_hub_integrations_and_sidecar() -> None:
    services = planned()
    assert sorted(services) == ["hub", "integrations", "sidecar"]
    assert services["sidecar"].environment["OPEN_PERSONA_OPENCODE_BIN"] == "/t/opencode"
    assert services["sidecar"].environment["OPEN_PERSONA_HUB_URL"] == "http://127.0.0.1:7000"
    assert [listener.port for listener in services["integrations"].listeners] == [7002]


@pytest.mark.requirement("stack:keys_to_the_sidecar_alone")
def test_only_the_sidecar_and_open_webui_get_the_provider_keys() -> None:
    services = planned(demo=True, webui=WEBUI)
    holders = [name for name, service in services.items() if "sk-canary" in service.environment.values()]
    assert holders == ["sidecar", "Open WebUI"]


def test_demo_adds_the_model_and_tells_the_sidecar_where_it_is() -> None:
    services = planned(demo=True, demo_port=1234)
    assert services["sidecar"].environment["OPEN_PERSONA_DEMO_BASE_URL"] == "http://127.0.0.1:1234/v1"
    assert services["demo model"].listeners[0].ready == "http://127.0.0.1:1234/healthz"
    assert "demo upstream" not in services


def test_the_demo_upstream_stands_in_only_when_asked_for() -> None:
    services = planned(demo=True, upstream=True, demo_upstream_port=1235)
    base = services["integrations"].environment["OPEN_PERSONA_GRANTS_GOV_BASE_URL"]
    assert base == "http://127.0.0.1:1235/v1/api"
    assert "demo upstream" in services


def test_bound_to_every_address_it_is_still_asked_on_loopback() -> None:
    services = planned(hub_host="0.0.0.0", hub_port=7100)
    assert services["hub"].listeners[0].ready == "http://127.0.0.1:7100/readyz"
    assert services["hub"].environment["OPEN_PERSONA_HUB_HOST"] == "0.0.0.0"


def test_settings_come_from_the_environment_and_name_what_is_wrong() -> None:
    settings = StackSettings.from_environment({"HOME": "/h", "OPEN_PERSONA_HUB_PORT": "7100", "OPEN_PERSONA_DEMO": "1"})
    assert (settings.hub, settings.demo) == ("http://127.0.0.1:7100", True)
    with pytest.raises(OpenPersonaError, match="OPEN_PERSONA_HUB_PORT"):
        StackSettings.from_environment({"HOME": "/h", "OPEN_PERSONA_HUB_PORT": "many"})
