"""The one kind of container that can be made: a hardened runner on its own user's network and folders.

The body is read into models that know every field; what is sent on to Docker is written from them, never copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from spawner import names
from spawner.environment import environment_fault
from spawner.errors import Refused
from spawner.settings import SpawnerSettings
from spawner.strict_json import read_as

COMMAND: Final = ["opencode", "serve", "--hostname", "0.0.0.0", "--port", "4096"]  # noqa: S104 - inside its own network
MIB: Final = 2**20
TMPFS_TARGETS: Final = frozenset({"/tmp", "/home/runner"})  # noqa: S108 - mounts of the container's own
TMPFS_NEEDED: Final = frozenset({"rw", "noexec", "nosuid", "nodev"})
TMPFS_OPTION: Final = re.compile(r"size=([1-9][0-9]{0,5})m|mode=[01]?[0-7]{3}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RestartPolicy(_Strict):
    Name: Literal["no"]


class LogRotation(_Strict):
    max_size: Literal["1m"] = Field(alias="max-size")
    max_file: Literal["2"] = Field(alias="max-file")


class LogConfig(_Strict):
    Type: Literal["json-file"]
    Config: LogRotation


class Mount(_Strict):
    Type: Literal["bind"]
    Source: str
    Target: str
    ReadOnly: bool


class HostConfig(_Strict):
    NetworkMode: str
    Init: Literal[True]
    ReadonlyRootfs: Literal[True]
    CapDrop: Annotated[list[Literal["ALL"]], Field(min_length=1, max_length=1)]
    SecurityOpt: Annotated[list[Literal["no-new-privileges"]], Field(min_length=1, max_length=1)]
    PidsLimit: int
    Memory: int
    MemorySwap: int
    NanoCpus: int
    RestartPolicy: RestartPolicy
    LogConfig: LogConfig
    Tmpfs: dict[str, str]
    Mounts: Annotated[list[Mount], Field(max_length=5)]
    Dns: Annotated[list[Literal["192.0.2.1"]], Field(min_length=1, max_length=1)]


class ContainerBody(_Strict):
    Image: str
    User: str
    Hostname: Literal["runner"]
    WorkingDir: Literal["/workspace"]
    Cmd: list[str]
    Env: Annotated[list[str], Field(max_length=40)]
    Labels: dict[str, str]
    HostConfig: HostConfig


@dataclass(frozen=True)
class NewContainer:
    """A checked container: ``body`` is what Docker gets."""

    name: str
    workspace: str
    key_sig: str
    network: str
    body: Mapping[str, object]


def new_container(raw: object, name: str, settings: SpawnerSettings) -> NewContainer:
    """The container that ``raw`` describes, with our label.

    Raises ``Refused`` that names the first field that is not as it has to be.
    """
    parts = names.runner_parts(name)
    if parts is None:
        raise Refused("The name must be a runner's, open-persona-runner-<16 hex>-<8 hex>.")
    body = read_as(ContainerBody, raw)
    for fault in _faults(body, *parts, settings):
        raise Refused(fault)
    plain = body.model_dump(by_alias=True)
    labels = {**body.Labels, names.SPAWNER: settings.deployment}
    return NewContainer(name, *parts, body.HostConfig.NetworkMode, {**plain, "Labels": labels})


def sources(data: Path, workspace: str, key_sig: str) -> dict[str, Path]:
    """Where each mount of a runner comes from, by its target."""
    private = data / "runners" / workspace / key_sig
    kinds = ("config", "state", "cache", "data")
    return {"/workspace": data / "workspaces" / workspace, **{f"/opencode/{kind}": private / kind for kind in kinds}}


def _faults(body: ContainerBody, workspace: str, key_sig: str, settings: SpawnerSettings) -> Iterator[str]:
    host = body.HostConfig
    if body.Image != settings.runner_image:
        yield f"Image must be {settings.runner_image}."
    if body.User != settings.runner_user:
        yield f"User must be {settings.runner_user}."
    if body.Cmd != COMMAND:
        yield "Cmd must be " + " ".join(COMMAND) + "."
    if host.NetworkMode != names.network_name(workspace):
        yield "HostConfig.NetworkMode must be the network of the runner's own user, by its name."
    yield from environment_fault(body.Env)
    yield from _label_faults(body.Labels, workspace, key_sig)
    yield from _limit_faults(host, settings)
    yield from _tmpfs_faults(host.Tmpfs, settings)
    yield from _mount_faults(host.Mounts, sources(settings.data_dir, workspace, key_sig))


def _label_faults(labels: Mapping[str, str], workspace: str, key_sig: str) -> Iterator[str]:
    patterns = {
        names.RUNNER: "1",
        names.WORKSPACE: workspace,
        names.KEYSIG: key_sig,
        names.INSTANCE: "[0-9a-f]{12}",
        names.SPEC: "[0-9a-f]{16}",
    }
    if set(labels) != set(patterns):
        yield "Labels must be exactly " + ", ".join(patterns) + "."
    elif not all(re.fullmatch(pattern, labels[key]) for key, pattern in patterns.items()):
        yield "Labels must agree with the runner's name, and be hex digits."


def _limit_faults(host: HostConfig, settings: SpawnerSettings) -> Iterator[str]:
    most = {
        "Memory": settings.runner_memory_mb * MIB,
        "NanoCpus": round(settings.runner_cpus * 10**9),
        "PidsLimit": settings.runner_pids,
    }
    for field, limit in most.items():
        if not 0 < getattr(host, field) <= limit:
            yield f"HostConfig.{field} must be from 1 to {limit}."
    if host.MemorySwap != host.Memory:
        yield "HostConfig.MemorySwap must be the same as HostConfig.Memory."


def _tmpfs_faults(tmpfs: Mapping[str, str], settings: SpawnerSettings) -> Iterator[str]:
    if set(tmpfs) != TMPFS_TARGETS:
        yield "HostConfig.Tmpfs must be exactly /tmp and /home/runner."
    for text in tmpfs.values():
        options = text.split(",")
        others = [found for option in options if (found := TMPFS_OPTION.fullmatch(option))]
        sizes = [int(found[1]) for found in others if found[1]]
        known = set(options) == TMPFS_NEEDED | {found[0] for found in others} and len(options) == len(set(options))
        if not known or len(sizes) != 1 or sizes[0] > settings.runner_memory_mb:
            yield "HostConfig.Tmpfs must have the options rw,noexec,nosuid,nodev,size=<MiB>m and at most a mode."


def _mount_faults(mounts: list[Mount], allowed: Mapping[str, Path]) -> Iterator[str]:
    given = {mount.Target: mount for mount in mounts}
    if set(given) != set(allowed) or len(mounts) != len(allowed):
        yield "HostConfig.Mounts must have exactly the targets " + ", ".join(sorted(allowed)) + "."
        return
    for target, source in allowed.items():
        if given[target].Source != str(source):
            yield f"HostConfig.Mounts: {target} must come from the runner's own folder in the data directory."
        if given[target].ReadOnly != (target == "/opencode/config"):
            yield "HostConfig.Mounts: /opencode/config must be read-only, and nothing else."
