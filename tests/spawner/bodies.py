"""The bodies that the sidecar sends, as its contract with the spawner has them; each call gives a fresh copy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

WORKSPACE: Final = "0123456789abcdef"
SIG: Final = "89abcdef"
NAME: Final = f"open-persona-runner-{WORKSPACE}-{SIG}"
NETWORK: Final = f"open-persona-net-{WORKSPACE}"
INSTANCE: Final = "00112233aabb"
IMAGE: Final = "open-persona-runner:1.18.33"
MIB: Final = 2**20
SECRET: Final = "a1b2c3d4e5f60718293a4b5c6d7e8f90"


def container_body(
    data: Path, *, workspace: str = WORKSPACE, sig: str = SIG, image: str = IMAGE, user: str = "1000:1000"
) -> dict[str, Any]:
    private = f"{data}/runners/{workspace}/{sig}"
    folders = {"/workspace": f"{data}/workspaces/{workspace}"}
    folders |= {f"/opencode/{kind}": f"{private}/{kind}" for kind in ("config", "state", "cache", "data")}
    return {
        "Image": image,
        "User": user,
        "Hostname": "runner",
        "WorkingDir": "/workspace",
        "Cmd": ["opencode", "serve", "--hostname", "0.0.0.0", "--port", "4096"],
        "Env": [
            *(f"XDG_{kind.upper()}_HOME=/opencode/{kind}" for kind in ("config", "state", "cache", "data")),
            "OPENCODE_DISABLE_AUTOUPDATE=1",
            "OPENCODE_PURE=1",
            "HOME=/home/runner",
            "TMPDIR=/tmp",
            "LANG=C.UTF-8",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "OPENCODE_CONFIG=/opencode/config/open-persona.json",
            f"OPENCODE_SERVER_PASSWORD={SECRET}",
            f"OPEN_PERSONA_RUNNER_TOKEN={SECRET}",
        ],
        "Labels": {
            "open-persona.runner": "1",
            "open-persona.workspace": workspace,
            "open-persona.keysig": sig,
            "open-persona.instance": INSTANCE,
            "open-persona.spec": "fedcba9876543210",
        },
        "HostConfig": {
            "NetworkMode": f"open-persona-net-{workspace}",
            "Init": True,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": 256,
            "Memory": 1024 * MIB,
            "MemorySwap": 1024 * MIB,
            "NanoCpus": 2 * 10**9,
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
            "Tmpfs": {
                "/tmp": "rw,noexec,nosuid,nodev,size=256m,mode=1777",
                "/home/runner": "rw,noexec,nosuid,nodev,size=64m,mode=1777",
            },
            "Mounts": [
                {"Type": "bind", "Source": source, "Target": target, "ReadOnly": target == "/opencode/config"}
                for target, source in folders.items()
            ],
            "Dns": ["192.0.2.1"],
        },
    }


def network_body(*, workspace: str = WORKSPACE, subnet: str = "10.213.0.0/28") -> dict[str, Any]:
    return {
        "Name": f"open-persona-net-{workspace}",
        "Driver": "bridge",
        "Internal": True,
        "CheckDuplicate": True,
        "Options": {"com.docker.network.bridge.name": f"oprun-{workspace[:9]}"},
        "IPAM": {"Driver": "default", "Config": [{"Subnet": subnet}]},
        "Labels": {
            "open-persona.network": "1",
            "open-persona.workspace": workspace,
            "open-persona.instance": INSTANCE,
        },
    }


def make_folders(data: Path, *, workspace: str = WORKSPACE, sig: str = SIG, owner: int | None = None) -> None:
    """The folders of a runner, as the sidecar makes them; ``owner`` is the uid of those that the runner writes to."""
    private = data / "runners" / workspace / sig
    folders = [data / "workspaces" / workspace, *(private / kind for kind in ("config", "state", "cache", "data"))]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    config = private / "config" / "opencode"
    config.mkdir(exist_ok=True)
    for file in (config / "opencode.jsonc", config.parent / "open-persona.json"):
        file.write_text("{}")
    (config / ".gitignore").write_text("*\n")
    for path in (*folders, *private.rglob("*")) if owner is not None else ():
        os.chown(path, owner or 0, owner or 0)
