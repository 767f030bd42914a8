"""The container of a runner, as one pure function."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from sidecar.identity import instance_id, runner_name
from sidecar.runners.base import RunnerSpec
from sidecar.runners.container_spec import ContainerSpec, Surroundings, container_spec
from sidecar.settings import Settings

HASH, SIG = "0123456789abcdef", "89abcdef"
BODY = {"Image", "User", "Hostname", "WorkingDir", "Cmd", "Env", "Labels", "HostConfig"}
HOST_CONFIG = {
    *("NetworkMode", "Init", "ReadonlyRootfs", "CapDrop", "SecurityOpt", "PidsLimit", "Memory", "MemorySwap"),
    *("NanoCpus", "RestartPolicy", "LogConfig", "Tmpfs", "Mounts", "Dns"),
}
VARIABLES = {
    *("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "HOME", "TMPDIR", "LANG", "PATH"),
    *("OPENCODE_CONFIG", "OPENCODE_SERVER_PASSWORD", "OPEN_PERSONA_RUNNER_TOKEN", "OPENCODE_PURE"),
}


def settings_with(**changes: Any) -> Settings:
    given = {"home": Path("/data"), "runner_mode": "docker", "token_key": SecretStr("token-key"), **changes}
    return Settings(**given)


def spec_with(workspace: str = HASH, sig: str = SIG, token: str = "TOKEN", password: str = "PASSWORD") -> RunnerSpec:
    home = Path("/data")
    return RunnerSpec(
        name=runner_name(workspace, sig),
        workspace_hash=workspace,
        key_sig=sig,
        workspace=home / "workspaces" / workspace,
        private=home / "runners" / workspace / sig,
        config_text="CONFIG",
        token=SecretStr(token),
        password=SecretStr(password),
    )


def made(spec: RunnerSpec | None = None, **changes: Any) -> ContainerSpec:
    around: dict[str, Any] = {"image_id": "sha256:1", "user": "1000:1000", "gateway": None}
    around |= {key: changes.pop(key) for key in list(changes) if key in around}
    return container_spec(spec or spec_with(), Surroundings(settings=settings_with(**changes), **around))


def host_config(container: ContainerSpec) -> dict[str, Any]:
    found = container.body["HostConfig"]
    assert isinstance(found, dict)
    return found


@pytest.mark.requirement("container:body")
def test_the_body_is_the_agreed_one() -> None:
    body, host = made().body, host_config(made())
    assert set(body) == BODY
    assert set(host) == HOST_CONFIG
    assert body["Cmd"] == ["opencode", "serve", "--hostname", "0.0.0.0", "--port", "4096"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["ReadonlyRootfs"] is True
    assert host["Memory"] == host["MemorySwap"] == 1024 * 2**20
    assert host["NanoCpus"] == 2_000_000_000
    assert host["NetworkMode"] == f"open-persona-net-{HASH}"
    assert {one["Target"]: (one["Source"], one["ReadOnly"]) for one in host["Mounts"]} == {
        "/workspace": (f"/data/workspaces/{HASH}", False),
        "/opencode/config": (f"/data/runners/{HASH}/{SIG}/config", True),
        "/opencode/state": (f"/data/runners/{HASH}/{SIG}/state", False),
        "/opencode/cache": (f"/data/runners/{HASH}/{SIG}/cache", False),
        "/opencode/data": (f"/data/runners/{HASH}/{SIG}/data", False),
    }


@pytest.mark.requirement("container:body")
def test_the_labels_name_the_runner_and_its_deployment() -> None:
    container = made()
    assert container.name == f"open-persona-runner-{HASH}-{SIG}"
    assert container.body["Labels"] == {
        "open-persona.runner": "1",
        "open-persona.workspace": HASH,
        "open-persona.keysig": SIG,
        "open-persona.instance": instance_id(SecretStr("token-key")),
        "open-persona.spec": container.hash,
    }


@pytest.mark.requirement("container:body")
def test_on_a_host_the_doors_names_lead_to_the_gateway() -> None:
    host = host_config(made(gateway=IPv4Address("10.213.0.1")))
    assert set(host) == {*HOST_CONFIG, "ExtraHosts"}
    assert host["ExtraHosts"] == ["open-persona-sidecar:10.213.0.1", "open-persona-hub:10.213.0.1"]


@pytest.mark.requirement("container:secrets")
@given(token=st.text("abcdef0123456789", min_size=64, max_size=64), key=st.text(min_size=8, max_size=40))
def test_token_and_password_are_in_the_environment_alone(token: str, key: str) -> None:
    container = made(
        spec_with(token=token, password=token[::-1]),
        token_key=SecretStr(f"TK{key}"),
        service_key=SecretStr(f"SK{key}"),
        sidecar_api_key=SecretStr(f"AK{key}"),
        default_openai_api_key=SecretStr(f"OK{key}"),
    )
    environment = container.body["Env"]
    assert isinstance(environment, list)
    assert f"OPEN_PERSONA_RUNNER_TOKEN={token}" in environment
    names = {one.partition("=")[0] for one in environment}
    assert {name for name in names if not name.startswith("OPENCODE_DISABLE_")} == VARIABLES
    rest = json.dumps([{**container.body, "Env": []}, container.hash])
    everything = json.dumps(container.body, ensure_ascii=False)
    assert token not in rest
    assert token[::-1] not in rest
    assert not [prefix for prefix in ("TK", "SK", "AK", "OK") if f"{prefix}{key}" in everything]
    assert token not in repr(container)


@pytest.mark.requirement("container:hash")
@given(token=st.text("abcdef0123456789", min_size=8), password=st.text("abcdef0123456789", min_size=8))
def test_no_secret_and_no_config_text_changes_the_hash(token: str, password: str) -> None:
    assert made(spec_with(token=token, password=password)).hash == made().hash


@pytest.mark.requirement("container:hash")
@pytest.mark.parametrize(
    "change",
    [
        {"image_id": "sha256:2"},
        {"user": "1001:1001"},
        {"gateway": IPv4Address("10.213.0.17")},
        {"runner_image": "other:1"},
        {"runner_memory_mb": 2048},
        {"runner_cpus": 1.5},
        {"runner_pids": 100},
        {"token_key": SecretStr("another")},
        {"sidecar_url": "http://elsewhere:1"},
        {"hub_url": "http://127.0.0.1:7777"},
        {"gateway_url": "http://elsewhere:2"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_a_container_is_made_from_changes_the_hash(change: dict[str, Any]) -> None:
    assert made(**change).hash != made().hash


@pytest.mark.requirement("container:hash")
def test_two_users_and_two_key_sets_have_hashes_of_their_own() -> None:
    specs = [spec_with(w, s) for w in (HASH, HASH[::-1]) for s in (SIG, SIG[::-1])]
    assert len({made(one).hash for one in specs}) == 4
    assert len({made(one).name for one in specs}) == 4


def test_what_does_not_reach_the_runner_leaves_the_hash_alone() -> None:
    assert made(max_runners=3, runner_subnets=IPv4Network("10.9.0.0/16")).hash == made().hash


def test_in_containers_the_doors_have_names() -> None:
    settings = settings_with(sidecar_port=8123, hub_url="http://127.0.0.1:7123")
    assert settings.public_url == "http://open-persona-sidecar:8123"
    assert settings.gateway == "http://open-persona-hub:7123"
