"""What the doctor finds in Open WebUI, asked over a real HTTP server that speaks the status route."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from open_persona.doctor.examination import examine
from open_persona.doctor.findings import Finding
from open_persona.doctor.open_webui import open_webui
from open_persona.ports import free_ports
from open_persona.settings import StackSettings
from tests.fakes.asgi_server import serve_app
from tests.open_persona.stand_ins import KEY, HubScript, view

KEYS = {f"OPEN_PERSONA_{name}": KEY for name in ("SIDECAR_API_KEY", "SERVICE_KEY", "TOKEN_KEY")}
TOOLS = ["open_persona_provider_keys", "open_persona_provider_defaults", "open_persona_integration_grants_gov"]


def status(**given: object) -> dict[str, object]:
    """What the route answers when all is well, but for what is given."""
    return {
        "webui_version": "0.12.4",
        "patched": True,
        "seed": {"state": "seeded", "at": "2026-11-26T10:00:00+00:00", "revision": "r", "problem": ""},
        "tools": TOOLS,
        "models": ["open-persona/build", "izzy"],
        "keys": {"users": [], "defaults": ["anthropic"], "environment": []},
        **given,
    }


@dataclass
class WebuiScript:
    """The three routes that are asked. ``answer``: in place of the status."""

    body: dict[str, object] = field(default_factory=status)
    answer: Response | None = None
    version: str = "0.12.4"

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": True})

    async def versions(self, _: Request) -> Response:
        return JSONResponse({"version": self.version} if self.version else {"name": "another"})

    async def told(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"detail": "no"}, 401)
        return self.answer or JSONResponse(self.body)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/health", self.health),
                Route("/api/version", self.versions),
                Route("/open-persona/status", self.told),
            ]
        )


@asynccontextmanager
async def patient(
    script: WebuiScript, tmp_path: Path, hub: HubScript | None = None, **given: object
) -> AsyncIterator[StackSettings]:
    async with AsyncExitStack() as servers:
        url = await servers.enter_async_context(serve_app(script.app()))
        hub_url = await servers.enter_async_context(serve_app((hub or HubScript([view("grants_gov")])).app()))
        yield StackSettings.model_validate({"home": tmp_path / "home", "webui_url": url, "hub_url": hub_url, **given})


async def found(settings: StackSettings, environment: dict[str, str] | None = None) -> Sequence[Finding]:
    return await examine(settings, KEYS if environment is None else environment, [open_webui])


def levels(findings: Sequence[Finding]) -> dict[str, str]:
    return {finding.check: finding.level for finding in findings}


@pytest.mark.requirement("doctor:open-webui")
async def test_all_is_well(tmp_path: Path) -> None:
    async with patient(WebuiScript(), tmp_path) as settings:
        findings = await found(settings)
    assert levels(findings) == {
        "Open WebUI": "ok",
        "Open WebUI patch": "ok",
        "Open WebUI seed": "ok",
        "Open WebUI tools": "ok",
        "default keys": "ok",
    }
    assert "0.12.4 answers at" in findings[0].message
    assert "2026-11-26" in findings[2].message


async def test_open_webui_is_optional(tmp_path: Path) -> None:
    [port] = free_ports(1)
    [finding] = await found(StackSettings(home=tmp_path, webui_port=port))
    assert (finding.level, "--webui" in finding.action) == ("warn", True)


@pytest.mark.requirement("doctor:open-webui")
@pytest.mark.parametrize(
    ("answer", "words", "action"),
    [
        (HTMLResponse("<!doctype html><title>Open WebUI</title>"), "runs without our patch", "open-persona up --webui"),
        (JSONResponse({"detail": "Not Found"}, 404), "runs without our patch", "openwebui/Dockerfile"),
        (JSONResponse(status(patched=False)), "runs without our patch", "openwebui/Dockerfile"),
        (JSONResponse({}, 500), "can't tell how it is", "log"),
        (JSONResponse({"seed": 1}), "another version's shape", "open-persona up --webui"),
    ],
)
async def test_one_without_our_patch_has_to_be_mended(
    tmp_path: Path, answer: Response, words: str, action: str
) -> None:
    async with patient(WebuiScript(answer=answer), tmp_path) as settings:
        findings = await found(settings)
    assert levels(findings) == {"Open WebUI": "ok", "Open WebUI patch": "fail"}
    assert words in findings[1].message
    assert action in findings[1].action


@pytest.mark.requirement("doctor:open-webui")
async def test_one_with_another_homes_key(tmp_path: Path) -> None:
    async with patient(WebuiScript(), tmp_path) as settings:
        other = await found(settings, {**KEYS, "OPEN_PERSONA_SIDECAR_API_KEY": "other"})
        none = await found(settings, {})
    assert "401" in other[1].message
    assert levels(other)["Open WebUI patch"] == levels(none)["Open WebUI patch"] == "fail"
    assert "OPEN_PERSONA_HOME" in other[1].action


async def test_another_program_and_another_version(tmp_path: Path) -> None:
    script = WebuiScript(version="")
    async with patient(script, tmp_path) as settings:
        [finding] = await found(settings)
        assert (finding.level, "is no Open WebUI" in finding.message) == ("warn", True)
        script.version = "9.9.9"
        assert levels(await found(settings))["Open WebUI"] == "warn"


@pytest.mark.requirement("doctor:open-webui")
@pytest.mark.parametrize(("state", "level"), [("waiting", "warn"), ("failed", "fail")])
async def test_a_seed_that_waits_or_failed_says_why(tmp_path: Path, state: str, level: str) -> None:
    seed = {"state": state, "at": None, "revision": None, "problem": "the hub\x1b[2J does not answer"}
    async with patient(WebuiScript(status(seed=seed)), tmp_path) as settings:
        finding = (await found(settings))[2]
    assert finding.level == level
    assert "the hub[2J does not answer" in finding.message


@pytest.mark.requirement("doctor:open-webui")
async def test_tools_that_are_not_there_are_named(tmp_path: Path) -> None:
    catalog = [view("grants_gov"), view("instrumentl"), view("bad", health="invalid")]
    catalog.append(view("off", admin_state="disabled"))
    script = WebuiScript(status(tools=[TOOLS[0], TOOLS[2]]))
    async with patient(script, tmp_path, HubScript(catalog)) as settings:
        finding = (await found(settings))[3]
    assert finding.level == "fail"
    assert finding.message == "not there: open_persona_provider_defaults, open_persona_integration_instrumentl"


async def test_without_a_hub_the_two_provider_tools_are_still_looked_for(tmp_path: Path) -> None:
    async with patient(WebuiScript(status(tools=[])), tmp_path, hub_url="http://127.0.0.1:9") as settings:
        finding = (await found(settings))[3]
    assert finding.message == "not there: open_persona_provider_keys, open_persona_provider_defaults"


@pytest.mark.requirement("doctor:open-webui")
async def test_whose_keys_are_set_is_told_by_name_and_provider(tmp_path: Path) -> None:
    users = [
        {"user": "bob@example.org", "id": "1", "set": ["openai", "anthropic"]},
        {"user": "Ann\n", "id": "2", "set": ["openrouter"]},
        {"user": "Carl", "id": "3", "set": []},
    ]
    keys = {"users": users, "defaults": [], "environment": ["openai"]}
    async with patient(WebuiScript(status(keys=keys)), tmp_path) as settings:
        findings = (await found(settings))[4:]
    assert [(finding.check, finding.message) for finding in findings] == [
        ("keys of bob@example.org", "openai, anthropic"),
        ("keys of Ann", "openrouter"),
        ("default keys", "openai, from Open WebUI's environment"),
    ]


async def test_no_key_at_all_is_a_warning_but_in_the_demo(tmp_path: Path) -> None:
    keys: dict[str, object] = {"users": [], "defaults": [], "environment": []}
    async with patient(WebuiScript(status(keys=keys)), tmp_path) as settings:
        assert levels(await found(settings))["keys in Open WebUI"] == "warn"
        demo = settings.model_copy(update={"demo": True})
        assert "keys in Open WebUI" not in levels(await found(demo))


async def test_an_open_webui_that_dies_meanwhile_is_told(tmp_path: Path) -> None:
    async with patient(WebuiScript(answer=PlainTextResponse("x" * 10, 502)), tmp_path) as settings:
        assert levels(await found(settings))["Open WebUI patch"] == "fail"
