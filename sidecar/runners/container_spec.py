"""What a runner's container is made from: one pure function from spec, settings and image to Docker's own body.

The spec hash says whether a container that is there is what would be made today. It covers the image's id, the whole
body and the doors' addresses; of the token key it knows the id alone, and of the opencode config nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from pydantic import SecretStr

from sidecar.identity import instance_id
from sidecar.runners.base import RunnerSpec
from sidecar.runners.process import SWITCHES
from sidecar.settings import HUB_ALIAS, SIDECAR_ALIAS, Settings

PORT: Final = 4096
COMMAND: Final = ("opencode", "serve", "--hostname", "0.0.0.0", "--port", str(PORT))  # noqa: S104 - its network is its own
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOME: Final = "/home/runner"
CONFIG_FILE: Final = "/opencode/config/open-persona.json"
TMPFS: Final = {
    "/tmp": "rw,noexec,nosuid,nodev,size=256m,mode=1777",  # noqa: S108 - a mount of the container's own
    HOME: "rw,noexec,nosuid,nodev,size=64m,mode=1777",
}

NO_RESOLVER: Final = "192.0.2.1"
"""An address that is nobody's (RFC 5737). Docker answers for the doors' names itself, and would pass other names on to
the host's resolver, through which data can leave; some versions do so for internal networks too (CVE-2024-29018)."""

RUNNER: Final = "open-persona.runner"
NETWORK: Final = "open-persona.network"
WORKSPACE: Final = "open-persona.workspace"
KEYSIG: Final = "open-persona.keysig"
INSTANCE: Final = "open-persona.instance"
SPEC: Final = "open-persona.spec"

Body = Mapping[str, object]


@dataclass(frozen=True)
class Surroundings:
    """What a container needs besides its spec.

    ``user`` is ``uid:gid``; ``gateway`` is the host as its network sees it, None where the doors are containers.
    """

    settings: Settings
    image_id: str
    user: str
    gateway: IPv4Address | None = None


@dataclass(frozen=True)
class ContainerSpec:
    """``body`` is that of ``POST /containers/create``; ``hash``, 16 hex digits, is its label ``open-persona.spec``."""

    name: str
    body: Body = field(repr=False)
    hash: str


def network_name(workspace: str) -> str:
    return f"open-persona-net-{workspace}"


def container_spec(spec: RunnerSpec, around: Surroundings) -> ContainerSpec:
    """The hardened container of ``spec``: it can write to its own folders and two tmpfs, and holds no capability."""
    instance = instance_id(around.settings.token_key)
    unnamed = SecretStr(instance)
    told = json.dumps(
        {
            "image": around.image_id,
            "body": _body(spec, around, token=unnamed, password=unnamed),
            "doors": [around.settings.public_url, around.settings.gateway],
        },
        sort_keys=True,
        separators=(",", ":"),
    )
    spec_hash = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    body = _body(spec, around, token=spec.token, password=spec.password)
    return ContainerSpec(spec.name, {**body, "Labels": {**_labels(spec, instance), SPEC: spec_hash}}, spec_hash)


def _body(spec: RunnerSpec, around: Surroundings, *, token: SecretStr, password: SecretStr) -> dict[str, object]:
    environment = _environment(token, password)
    return {
        "Image": around.settings.runner_image,
        "User": around.user,
        "Hostname": "runner",
        "WorkingDir": "/workspace",
        "Cmd": list(COMMAND),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": _labels(spec, instance_id(around.settings.token_key)),
        "HostConfig": _host_config(spec, around),
    }


def _labels(spec: RunnerSpec, instance: str) -> dict[str, str]:
    return {RUNNER: "1", WORKSPACE: spec.workspace_hash, KEYSIG: spec.key_sig, INSTANCE: instance}


def _environment(token: SecretStr, password: SecretStr) -> dict[str, str]:
    """All that opencode sees beside the image's own; it holds no provider key and no setting of an integration."""
    return {
        **{f"XDG_{kind.upper()}_HOME": f"/opencode/{kind}" for kind in ("config", "state", "cache", "data")},
        **dict.fromkeys(SWITCHES, "1"),
        "HOME": HOME,
        "TMPDIR": "/tmp",  # noqa: S108 - see TMPFS
        "LANG": "C.UTF-8",
        "PATH": PATH,
        "OPENCODE_CONFIG": CONFIG_FILE,
        "OPENCODE_SERVER_PASSWORD": password.get_secret_value(),
        "OPEN_PERSONA_RUNNER_TOKEN": token.get_secret_value(),
    }


def _host_config(spec: RunnerSpec, around: Surroundings) -> dict[str, object]:
    settings = around.settings
    memory = settings.runner_memory_mb * 2**20
    config: dict[str, object] = {
        "NetworkMode": network_name(spec.workspace_hash),
        "Init": True,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": settings.runner_pids,
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": round(settings.runner_cpus * 10**9),
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
        "Tmpfs": dict(TMPFS),
        "Mounts": _mounts(spec),
        "Dns": [NO_RESOLVER],
    }
    if around.gateway is not None:
        config["ExtraHosts"] = [f"{alias}:{around.gateway}" for alias in (SIDECAR_ALIAS, HUB_ALIAS)]
    return config


def _mounts(spec: RunnerSpec) -> list[dict[str, object]]:
    """Folders alone: a single mounted file would stay the old one once it is replaced. Docker makes none of them."""
    targets = {"/workspace": spec.workspace}
    targets |= {f"/opencode/{kind}": spec.private / kind for kind in ("config", "state", "cache", "data")}
    return [
        {"Type": "bind", "Source": str(source.absolute()), "Target": target, "ReadOnly": target == "/opencode/config"}
        for target, source in targets.items()
    ]
