"""Bad requests: each a 4xx in OpenAI's shape that names the field, before a runner is started."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.e2e.process.deployment import Deployment, meta_header, running_deployment, switched_on

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with running_deployment(
        tmp_path_factory.mktemp("bad"), integrations={"alpha": {"search": "read"}}
    ) as running:
        yield running


async def post(deployment: Deployment, body: object, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await deployment.client.post(
        f"{deployment.url}/v1/chat/completions", content=content, headers=deployment.headers(**headers)
    )


GOOD = {"model": "open-persona/izzy", "messages": [{"role": "user", "content": "hi"}]}


def said(content: object) -> dict[str, object]:
    return {**GOOD, "messages": [{"role": "user", "content": content}]}


PIXEL = "data:image/png;base64,iVBORw0KGgo="
CASES: dict[str, tuple[object, dict[str, str], int, str]] = {
    "wrong JSON": (b"{", {}, 400, "body"),
    "no messages": ({"model": "open-persona/izzy"}, {}, 400, "messages"),
    "empty messages": ({**GOOD, "messages": []}, {}, 400, "messages"),
    "unknown model": ({**GOOD, "model": "gpt-9"}, {}, 400, "model"),
    "wrong type": ({**GOOD, "stream": "yes"}, {}, 400, "stream"),
    "20 MB": (b" " * 20_000_000, {}, 413, "body"),
    "broken meta": (GOOD, {"x-openpersona-meta-b64": "%%%"}, 400, "x-openpersona-meta-b64"),
    "oversized meta": (GOOD, {"x-openpersona-meta-b64": "A" * 40_000}, 400, "x-openpersona-meta-b64"),
    "wrong type in meta": (
        GOOD,
        {"x-openpersona-meta-b64": meta_header({"integrations": {"alpha": {"enabled": "yes"}}})},
        400,
        "open_persona.integrations.alpha.enabled",
    ),
    "unknown template": (
        GOOD,
        {"x-openpersona-meta-b64": meta_header({"persona": {"template": "nobody"}})},
        400,
        "open_persona.persona.template",
    ),
    "unknown integration": (
        GOOD,
        {"x-openpersona-meta-b64": meta_header(switched_on("nothing"))},
        400,
        "open_persona.integrations.nothing",
    ),
    "unknown model in meta": (
        GOOD,
        {"x-openpersona-meta-b64": meta_header({"model": "openai/gpt-9"})},
        400,
        "open_persona.model",
    ),
    "an image": (said([{"type": "image_url", "image_url": {"url": PIXEL}}]), {}, 400, "messages"),
    "a file": (said([{"type": "file", "file": {}}]), {}, 400, "messages[0].content[0].type"),
}


@pytest.mark.requirement("requests:bad-input")
@pytest.mark.parametrize("case", CASES)
async def test_a_bad_request_names_its_field(deployment: Deployment, case: str) -> None:
    body, headers, status, param = CASES[case]
    response = await post(deployment, body, **headers)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert error["message"]
    assert deployment.services.turns.pool.live == ()


@pytest.mark.requirement("requests:key-first")
@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Basic x"])
async def test_without_the_key_nothing_else_is_read(deployment: Deployment, authorization: str) -> None:
    headers = {"authorization": authorization, "x-openpersona-meta-b64": "%%%"}
    for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models")):
        response = await deployment.client.request(method, deployment.url + path, headers=headers, content=b"{")
        assert response.status_code == 401
        assert response.json()["error"]["type"] == "authentication_error"


async def test_a_missing_user_id_is_named(deployment: Deployment) -> None:
    response = await deployment.client.post(
        f"{deployment.url}/v1/chat/completions",
        json=GOOD,
        headers={"authorization": deployment.headers()["authorization"]},
    )
    assert (response.status_code, response.json()["error"]["param"]) == (400, "x-openwebui-user-id")


async def test_health_and_models(deployment: Deployment) -> None:
    assert (await deployment.client.get(f"{deployment.url}/healthz")).json()["status"] == "ok"
    models = await deployment.client.get(f"{deployment.url}/v1/models", headers=deployment.headers())
    ids = [model["id"] for model in models.json()["data"]]
    assert ids == ["open-persona/build", "open-persona/plan", "open-persona/grant-draft", "open-persona/izzy"]


@pytest.mark.requirement("tasks:no-runner")
@pytest.mark.parametrize("task", ["title_generation", "tags_generation", "follow_up_generation"])
async def test_a_background_task_starts_no_runner(deployment: Deployment, task: str) -> None:
    prompt = "### Task:\nmake one\n<chat_history>\nUSER: grants for food banks\nASSISTANT: three\n</chat_history>"
    response = await post(deployment, said(prompt), **{"x-openwebui-task": task})
    assert response.status_code == 200
    assert isinstance(json.loads(response.json()["choices"][0]["message"]["content"]), dict)
    assert deployment.services.turns.pool.live == ()


@pytest.mark.requirement("runner:one-person")
async def test_process_mode_refuses_a_second_user(deployment: Deployment) -> None:
    assert (await deployment.chat("hi", user="ann", stream=False)).status == 200
    refused = await deployment.chat("hi", user="bob", stream=False)
    assert refused.status == 403
    assert "OPEN_PERSONA_PROCESS_SHARED" in str(refused.error["message"])
