"""The seeder in the stock Open WebUI, with a real hub, real integrations and a real sidecar.

One Open WebUI serves all tests: it needs most of a minute to start. It starts with nothing else there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from openwebui.field_names import field_of
from openwebui.seed_memory import KEY
from openwebui.status_line import MARK
from tests.e2e.openwebui.services import SIDECAR_KEY, Services, restart
from tests.e2e.openwebui.stock_webui import WebUI, eventually, stock_webui
from tests.e2e.process.deployment import free_port

pytestmark = pytest.mark.real

MINUTE = 60.0
BEARER = {"authorization": f"Bearer {SIDECAR_KEY}"}
WEATHER_KEY = {
    "key": "api_key",
    "title": "API key",
    "secret": True,
    "required": True,
    "help_url": "https://w.example/k",
}
ODD_KEYS = ("class", "model_config", "model_dump", "schema", "copy", "str", "constructor", "class_", "from_orm")
HOSTILE = 'Key from main"""\n\'; import os; os._exit(1) #\\'
PUBLIC = ("user", "*", "read")


@dataclass
class Stage:
    """Open WebUI and all that it is connected to."""

    webui: WebUI
    services: Services

    def status(self) -> dict[str, Any]:
        answer = self.webui.api.get(f"{self.webui.url}/open-persona/status", headers=BEARER)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def seeded(self) -> None:
        """Starts what is missing; returns when all is seeded."""
        self.services.start()
        eventually(lambda: self.status()["seed"]["state"] == "seeded", within=MINUTE, what="seeded")
        if not self.webui.rows("select id from user"):
            self.webui.sign_up()

    def tool(self, tool_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.webui.get(f"/api/v1/tools/id/{tool_id}")
        return found

    def description(self, tool_id: str) -> str:
        return str(self.tool(tool_id)["meta"]["description"])

    def says(self, tool_id: str, line: str) -> None:
        """Returns when the last line of the tool's description starts so."""
        eventually(
            lambda: self.description(tool_id).splitlines()[-1].startswith(f"{MARK}{line}"),
            within=MINUTE,
            what=f"{tool_id} says {line!r}",
        )

    def visible(self, client: httpx.Client) -> set[str]:
        """The tools that a user sees."""
        return {tool["id"] for tool in self.webui.get("/api/v1/tools/", client)}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    services = Services(tmp_path_factory.mktemp("services"))
    services.add("weather", title="Weather", settings=[WEATHER_KEY])
    services.add("odd", title=HOSTILE, settings=[{"key": key, "title": f"{HOSTILE} {key}"} for key in ODD_KEYS])
    try:
        with stock_webui(tmp_path_factory.mktemp("webui"), free_port(), services.for_webui) as webui:
            yield Stage(webui, services)
    finally:
        services.stop()


@pytest.mark.requirement("seed:nothing_there_yet")
def test_it_starts_with_an_empty_database_and_neither_hub_nor_sidecar(stage: Stage) -> None:
    hub = stage.services.hub_url  # what is waited for is told once all that can be seeded is
    found = eventually(
        lambda: hub in (s := stage.status())["seed"]["problem"] and s, within=MINUTE, what="it says what it waits for"
    )
    assert stage.webui.rows("select id from user") == []
    assert found["seed"]["state"] == "waiting"
    assert found["tools"] == ["open_persona_provider_defaults", "open_persona_provider_keys"]
    assert found["models"] == ["open-persona/build", "open-persona/plan"]
    refused = httpx.get(
        f"{stage.webui.url}/open-persona/status", headers={"authorization": "Bearer x"}, trust_env=False
    )
    assert refused.status_code == 401


@pytest.mark.requirement("seed:all")
def test_what_hub_and_sidecar_say_is_there_without_a_restart(stage: Stage) -> None:
    stage.seeded()
    user = stage.webui.add_user("bea")
    found = stage.status()
    assert {"open_persona_integration_weather", "open_persona_integration_odd"} <= set(found["tools"])
    assert {"open-persona/grant-draft", "open-persona/izzy", "grant-draft", "izzy"} <= set(found["models"])
    listed = {model["id"]: model for model in stage.webui.get("/api/models", user)["data"]}
    assert {"izzy", "grant-draft", "open-persona/izzy", "open-persona/plan"} <= set(listed)
    assert listed["open-persona/izzy"]["info"]["meta"]["hidden"] is True
    assert listed["izzy"]["info"]["meta"]["capabilities"]["builtin_tools"] is False
    assert listed["izzy"]["info"]["meta"]["suggestion_prompts"]
    assert stage.visible(user) == {
        "open_persona_provider_keys",
        "open_persona_integration_weather",
        "open_persona_integration_odd",
    }
    spec = stage.webui.get("/api/v1/tools/id/open_persona_integration_weather/valves/user/spec", user)
    field = spec["properties"]["api_key"]
    assert (field["title"], field["input"]) == ("API key", {"type": "password"})
    assert field["description"] == "Required. Help: https://w.example/k"


@pytest.mark.requirement("seed:any_key")
def test_any_key_and_any_title_works_from_the_manifest_to_the_stored_value(stage: Stage) -> None:
    stage.seeded()
    user = stage.webui.add_user("cas")
    path = "/api/v1/tools/id/open_persona_integration_odd/valves/user"
    spec = stage.webui.get(f"{path}/spec", user)["properties"]
    assert {name: entry["title"] for name, entry in spec.items()} == {
        field_of(key): f"{HOSTILE} {key}" for key in ODD_KEYS
    }
    stage.webui.post(f"{path}/update", {field_of(key): f"value of {key}" for key in ODD_KEYS}, user)
    assert stage.webui.get(path, user) == {field_of(key): f"value of {key}" for key in ODD_KEYS}


@pytest.mark.requirement("seed:defaults_for_admins")
def test_only_admins_and_their_group_set_the_default_keys_and_the_status_says_whose_are_set(stage: Stage) -> None:
    stage.seeded()
    user, member = stage.webui.add_user("dan"), stage.webui.add_user("eve")
    path = "/api/v1/tools/id/open_persona_provider_defaults/valves"
    group = next(each for each in stage.webui.get("/api/v1/groups/") if each["name"] == "open_persona_admins")
    assert not group["permissions"]
    eve = stage.webui.get("/api/v1/auths/", member)["id"]
    stage.webui.post(f"/api/v1/groups/id/{group['id']}/users/add", {"user_ids": [eve]})
    assert user.get(f"{stage.webui.url}{path}").status_code == 401
    stage.webui.post(f"{path}/update", {"anthropic_api_key": "sk-default"}, member)
    stage.webui.post(
        "/api/v1/tools/id/open_persona_provider_keys/valves/user/update", {"openai_api_key": "sk-dan"}, user
    )
    keys = stage.status()["keys"]
    assert keys["defaults"] == ["anthropic"]
    assert [(each["user"], each["set"]) for each in keys["users"]] == [("dan", ["openai"])]
    assert "sk-" not in str(stage.status())


@pytest.mark.requirement("seed:other_connections")
def test_other_connections_keep_their_place_and_settings(stage: Stage) -> None:
    stage.seeded()
    before = stage.webui.get("/openai/config")
    ours = before["OPENAI_API_BASE_URLS"].index(f"http://127.0.0.1:{stage.services.sidecar_port}/v1")
    others = {"prefix_id": "b", "headers": {"x-of-b": "1"}, "model_ids": ["m"], "enable": True}
    changed = {
        "ENABLE_OPENAI_API": True,
        "OPENAI_API_BASE_URLS": ["http://127.0.0.1:9/a", "http://127.0.0.1:9/b"],
        "OPENAI_API_KEYS": ["key-a", "key-b"],
        "OPENAI_API_CONFIGS": {"0": {"model_ids": ["n"]}, "1": others},
    }
    stage.webui.post("/openai/config/update", changed)
    eventually(lambda: len(stage.webui.get("/openai/config")["OPENAI_API_KEYS"]) == 3, within=MINUTE, what="ours again")
    after = stage.webui.get("/openai/config")
    assert after["OPENAI_API_BASE_URLS"][:2] == changed["OPENAI_API_BASE_URLS"]
    assert after["OPENAI_API_KEYS"] == ["key-a", "key-b", SIDECAR_KEY]
    assert after["OPENAI_API_CONFIGS"]["0"] == {"model_ids": ["n"]}
    assert after["OPENAI_API_CONFIGS"]["1"] == others
    assert after["OPENAI_API_CONFIGS"]["2"] == before["OPENAI_API_CONFIGS"][str(ours)]
    assert "open-persona/izzy" in {model["id"] for model in stage.webui.get("/api/models")["data"]}


@pytest.mark.requirement("seed:health_line")
def test_the_last_line_of_the_description_follows_the_health(stage: Stage) -> None:
    stage.seeded()
    tool_id = "open_persona_integration_weather"
    stage.says(tool_id, "healthy")
    tool = stage.tool(tool_id)
    tool["meta"]["description"] = f"Ask Bea before you use it.\n\n{tool['meta']['description'].splitlines()[-1]}"
    stage.webui.post(f"/api/v1/tools/id/{tool_id}/update", tool)
    history = stage.webui.rows("select id from tool_history")
    stage.services.integrations.stop()
    stage.says(tool_id, "down: it refuses connections. ")
    stage.services.integrations.start()
    stage.says(tool_id, "healthy")
    assert stage.description(tool_id) == f"Ask Bea before you use it.\n\n{MARK}healthy"
    assert stage.webui.rows("select id from tool_history") == history
    stage.services.hub.stop()
    stage.says(tool_id, "unknown")
    stage.services.hub.start()
    stage.says(tool_id, "healthy")


@pytest.mark.requirement("seed:gone_and_back")
def test_the_tool_of_a_gone_integration_is_hidden_and_comes_back_as_it_was(stage: Stage) -> None:
    stage.services.add("passing", title="Passing", settings=[{"key": "token", "title": "Token", "secret": True}])
    stage.seeded()
    tool_id = "open_persona_integration_passing"
    eventually(lambda: tool_id in stage.status()["tools"], within=MINUTE, what="the new tool")
    user = stage.webui.add_user("fay")
    fay = stage.webui.get("/api/v1/auths/", user)["id"]
    grants = [{"principal_type": "user", "principal_id": fay, "permission": "read"}]
    stage.webui.post(f"/api/v1/tools/id/{tool_id}/access/update", {"access_grants": grants})
    values = f"/api/v1/tools/id/{tool_id}/valves/user"
    stage.webui.post(f"{values}/update", {"token": "fays"}, user)
    stage.services.remove("passing")
    stage.says(tool_id, "gone")
    assert tool_id not in stage.visible(user)
    assert stage.tool(tool_id)["access_grants"] == []
    stage.services.add("passing", title="Passing", settings=[{"key": "token", "title": "Token", "secret": True}])
    stage.says(tool_id, "healthy")
    assert tool_id in stage.visible(user)
    assert stage.webui.get(values, user) == {"token": "fays"}
    assert [grant["principal_id"] for grant in stage.tool(tool_id)["access_grants"]] == [fay]


@pytest.mark.requirement("seed:admins_edits")
def test_an_admins_edits_stay_while_the_manifest_goes_on(stage: Stage) -> None:
    stage.seeded()
    izzy = stage.webui.get("/api/v1/models/model?id=izzy")
    izzy["meta"]["description"] = "Our own Izzy."
    stage.webui.post("/api/v1/models/model/update", izzy)
    stage.webui.post("/api/v1/models/model/delete", {"id": "grant-draft"})
    tool_id = "open_persona_integration_weather"
    stage.webui.post(f"/api/v1/tools/id/{tool_id}/update", {**stage.tool(tool_id), "name": "Our weather"})
    unit = {"key": "unit", "title": "Unit", "description": "C or F."}
    stage.services.add("weather", title="Weather", settings=[WEATHER_KEY, unit])
    spec = f"/api/v1/tools/id/{tool_id}/valves/user/spec"
    eventually(lambda: "unit" in stage.webui.get(spec)["properties"], within=MINUTE, what="the new field")
    assert stage.tool(tool_id)["name"] == "Our weather"
    assert stage.webui.get("/api/v1/models/model?id=izzy")["meta"]["description"] == "Our own Izzy."
    assert "grant-draft" not in stage.status()["models"]


@pytest.mark.requirement("seed:comes_back")
def test_a_deleted_tool_or_base_model_comes_back(stage: Stage) -> None:
    stage.seeded()
    stage.webui.api.delete(f"{stage.webui.url}/api/v1/tools/id/open_persona_provider_keys/delete").raise_for_status()
    stage.webui.post("/api/v1/models/model/delete", {"id": "open-persona/plan"})
    eventually(
        lambda: "open_persona_provider_keys" in (s := stage.status())["tools"] and "open-persona/plan" in s["models"],
        within=MINUTE,
        what="both are back",
    )


@pytest.mark.requirement("seed:not_ours")
def test_what_somebody_else_made_under_one_of_these_ids_is_left_alone(stage: Stage) -> None:
    stage.seeded()
    mine = {"id": "open_persona_integration_mine", "name": "Mine", "content": "class Tools:\n    pass\n"}
    stage.webui.post("/api/v1/tools/create", {**mine, "meta": {"description": "Not theirs."}})
    izzy = stage.webui.get("/api/v1/models/model?id=izzy")
    stage.webui.post("/api/v1/configs/import", {"config": {KEY: {}}})  # as if nothing had ever been seeded
    stage.services.add("mine", title="Theirs")
    state = eventually(
        lambda: (s := stage.status()["seed"])["state"] == "failed" and s, within=MINUTE, what="it is named"
    )
    assert "open_persona_integration_mine was not made by Open Persona" in state["problem"]
    found = stage.tool("open_persona_integration_mine")
    assert (found["name"], found["content"], found["meta"]["description"]) == ("Mine", mine["content"], "Not theirs.")
    eventually(
        lambda: "izzy" in str(stage.webui.rows(f"select value from config where key = '{KEY}'")),
        within=MINUTE,
        what="izzy counts as seeded",
    )
    assert stage.webui.get("/api/v1/models/model?id=izzy") == izzy
    stage.services.remove("mine")


@pytest.mark.requirement("seed:templates")
def test_a_new_template_can_be_picked_and_the_row_of_a_gone_one_stays(stage: Stage) -> None:
    stage.seeded()
    extra = stage.services.personas / "extra.md"
    extra.write_text("---\nid: extra\nname: Extra\ndescription: One more.\n---\nYou are one more.\n")
    restart(stage.services.sidecar)
    eventually(
        lambda: "open-persona/extra" in {model["id"] for model in stage.webui.get("/api/models")["data"]},
        within=MINUTE,
        what="the new base model",
    )
    extra.unlink()
    restart(stage.services.sidecar)
    eventually(
        lambda: "open-persona/extra" not in str(stage.webui.get("/openai/config")), within=MINUTE, what="it is gone"
    )
    assert "open-persona/extra" in stage.status()["models"]


@pytest.mark.requirement("seed:idempotent")
def test_two_more_starts_change_nothing(stage: Stage) -> None:
    stage.seeded()
    tool_id = "open_persona_integration_weather"
    stage.says(tool_id, "healthy")
    before = snapshot(stage)
    for _ in range(2):
        stage.webui.restart()
        stage.seeded()
        assert snapshot(stage) == before


def snapshot(stage: Stage) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the tables that the seeder writes to."""
    tables = ("tool", "model", '"group"', "config", "access_grant", "tool_history", "model_history")
    return {table: sorted(stage.webui.rows(f"select * from {table}"), key=repr) for table in tables}
