"""The patch on a module that looks like Open WebUI's; the real one is in ``tests/e2e/openwebui``."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from openwebui import patch_openai_router, start
from openwebui.outgoing import Call, Outgoing
from openwebui.patch_openai_router import MovedError, install
from openwebui.request_errors import ModelAtFaultError

SIDECAR = "http://127.0.0.1:8000/v1"
CUSTOM = {"headers": {"x-openwebui-chat-id": "{{CHAT_ID}}", "X-Other": "1"}}


async def get_headers_and_cookies(
    request: Any, url: Any, key: Any = None, config: Any = None, metadata: Any = None, user: Any = None
) -> tuple[dict[str, str], dict[str, str]]:
    """As Open WebUI's, as far as it matters here."""
    custom = {name: value.replace("{{CHAT_ID}}", (metadata or {}).get("chat_id") or "") for name, value in
              ((config or {}).get("headers") or {}).items()}  # fmt: skip
    return {"Authorization": f"Bearer {key}", "X-OpenWebUI-User-Email": "a@example.org", **custom}, {}


def router(**replaced: object) -> Any:
    """A module whose completion makes the headers of one call and returns them."""
    module: Any = ModuleType("open_webui.routers.openai")

    async def generate_chat_completion(request: Any, form_data: Any, user: Any) -> Any:
        await asyncio.sleep(0)
        url, metadata = form_data.get("url", SIDECAR), form_data.get("metadata")
        made = await module.get_headers_and_cookies(request, url, "k", CUSTOM, metadata, user=user)
        return made[0]

    module.get_headers_and_cookies = get_headers_and_cookies
    module.generate_chat_completion = generate_chat_completion
    for name, value in replaced.items():
        setattr(module, name, value)
    return module


class Told:
    """In the place of what reads Open WebUI's tables."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def headers(self, _: Outgoing, call: Call) -> dict[str, str]:
        self.calls.append(call)
        return {"x-openpersona-original-model-id": call.model_id}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    told = Told()
    monkeypatch.setattr(Outgoing, "headers", lambda self, call: told.headers(self, call))  # noqa: PLW0108 - bound
    return told


def request(path: str = "/api/chat/completions", model: str = "first") -> Any:
    return SimpleNamespace(url=SimpleNamespace(path=path), state=SimpleNamespace(model_id=model))


USER = SimpleNamespace(id="u1", role="user")


async def completed(module: Any, form: Mapping[str, object], where: Any = None) -> dict[str, str]:
    found: dict[str, str] = await module.generate_chat_completion(where or request(), form, USER)
    return found


@pytest.mark.requirement("webui:headers")
async def test_a_chat_carries_who_asks_and_each_model_its_own_id(told: Told) -> None:
    module = router()
    install(module)
    metadata = {"chat_id": "c1"}
    forms = [{"model": name, "metadata": metadata} for name in ("izzy", "grant-draft")]
    answers = await asyncio.gather(*(completed(module, form) for form in forms))
    assert [one["x-openpersona-original-model-id"] for one in answers] == ["izzy", "grant-draft"]
    for one in answers:
        assert (one["x-openwebui-user-id"], one["x-openwebui-chat-id"]) == ("u1", "c1")
        assert (one["Authorization"], one["X-Other"]) == ("Bearer k", "1")
        assert not any("email" in name.lower() for name in one)


@pytest.mark.requirement("webui:only-the-sidecar")
async def test_another_connection_is_left_as_it_is(told: Told) -> None:
    module = router()
    install(module)
    answer = await completed(module, {"model": "izzy", "url": "http://other.example/v1", "metadata": {"chat_id": "c1"}})
    assert answer == {
        "Authorization": "Bearer k",
        "X-OpenWebUI-User-Email": "a@example.org",
        "x-openwebui-chat-id": "c1",
        "X-Other": "1",
    }
    assert told.calls == []


@pytest.mark.requirement("webui:only-the-sidecar")
async def test_a_list_of_models_says_nothing_of_who_asks(told: Told) -> None:
    module = router()
    install(module)
    headers, _ = await module.get_headers_and_cookies(request(), SIDECAR, "k", CUSTOM, user=USER)
    assert headers == {"Authorization": "Bearer k"}
    assert told.calls == []


@pytest.mark.requirement("webui:forgery")
async def test_metadata_of_a_client_is_dropped(told: Told) -> None:
    module = router()
    install(module)
    forged = {"chat_id": "victims", "task": "title_generation", "tool_ids": [], "user_id": "victim"}
    answer = await completed(module, {"model": "izzy", "metadata": forged}, request("/openai/chat/completions"))
    assert (answer["x-openwebui-chat-id"], answer["x-openwebui-user-id"]) == ("", "u1")
    assert told.calls[0].metadata == {}


async def test_the_route_itself_falls_back_to_the_model_of_the_request(told: Told) -> None:
    module = router()
    route = module.generate_chat_completion  # registered before the patch
    install(module)
    answer = await route(request("/openai/chat/completions", model="izzy"), {"metadata": None}, USER)
    assert answer["x-openpersona-original-model-id"] == "izzy"


async def test_a_refusal_is_an_answer_that_the_user_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi import HTTPException

    async def refuse(*_: object) -> dict[str, str]:
        raise ModelAtFaultError("Mend it.")

    monkeypatch.setattr(Outgoing, "headers", refuse)
    module = router()
    install(module)
    with pytest.raises(HTTPException) as caught:
        await completed(module, {"model": "izzy", "metadata": {}})
    assert (caught.value.status_code, caught.value.detail) == (400, "Mend it.")


@pytest.mark.requirement("webui:unreadable")
async def test_what_can_not_be_read_sends_nothing_and_shows_no_statement(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from fastapi import HTTPException

    said = "[SQL: SELECT tool.valves] sk-canary"

    async def fail(*_: object) -> dict[str, str]:
        raise RuntimeError(said)

    monkeypatch.setattr(Outgoing, "headers", fail)
    module = router()
    install(module)
    with pytest.raises(HTTPException) as raised:
        await completed(module, {"model": "izzy", "metadata": {}})
    assert raised.value.status_code == 503
    assert "Try again" in raised.value.detail
    assert "sk-canary" not in raised.value.detail + caplog.text
    assert "RuntimeError" in caplog.text


async def _without_metadata(request: Any, url: Any, key: Any = None, config: Any = None, user: Any = None) -> Any: ...


def _plain(
    request: Any, url: Any, key: Any = None, config: Any = None, metadata: Any = None, user: Any = None
) -> Any: ...


@pytest.mark.requirement("webui:refuses-to-load")
@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        (
            {"get_headers_and_cookies": _without_metadata},
            r"openai.get_headers_and_cookies takes \(request, url, key, config, user\)",
        ),
        ({"get_headers_and_cookies": _plain}, "get_headers_and_cookies takes .* no coroutine function"),
        ({"get_headers_and_cookies": None}, "openai.get_headers_and_cookies is gone"),
        ({"generate_chat_completion": _plain}, "openai.generate_chat_completion takes"),
    ],
)
def test_a_router_that_has_moved_is_refused_by_name(replaced: dict[str, object], said: str) -> None:
    module = router(**replaced)
    before = dict(vars(module))
    with pytest.raises(MovedError, match=said):
        install(module)
    assert dict(vars(module)) == before


@pytest.mark.requirement("webui:refuses-to-load")
def test_the_start_hook_ends_the_program_with_the_sentence(tmp_path: Path) -> None:
    package = tmp_path / "open_webui" / "routers"
    package.mkdir(parents=True)
    (package / "openai.py").write_text("async def get_headers_and_cookies(request, url): ...\n")
    root = str(Path(start.__file__).parents[1])
    command = [sys.executable, "-c", "import openwebui.start; import open_webui.routers.openai; print('loaded')"]
    ended = subprocess.run(
        command, env={"PYTHONPATH": f"{root}:{tmp_path}"}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert (
        "Open Persona can't be put into Open WebUI: "
        "open_webui.routers.openai.get_headers_and_cookies takes (request, url)" in ended.stderr
    )
    assert "Traceback" not in ended.stderr


def test_what_is_patched_is_what_the_doctor_looks_for() -> None:
    module = router()
    install(module)
    for name in patch_openai_router.SIGNATURES:
        assert Path(getattr(module, name).__code__.co_filename).parent == Path(patch_openai_router.__file__).parent
