"""What somebody who took over the sidecar would ask for. Each entry changes one thing of a body that is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Json = dict[str, Any]
Change = Callable[[Json], object]

OTHER: Final = "fedcba9876543210"


def _top(**fields: object) -> Change:
    return lambda body: body.update(fields)


def _host(**fields: object) -> Change:
    return lambda body: body["HostConfig"].update(fields)


def _mount(index: int, **fields: object) -> Change:
    return lambda body: body["HostConfig"]["Mounts"][index].update(fields)


def _more_mounts(source: str, target: str) -> Change:
    mount = {"Type": "bind", "Source": source, "Target": target, "ReadOnly": False}
    return lambda body: body["HostConfig"]["Mounts"].append(mount)


def _elsewhere(index: int, change: Callable[[str], str]) -> Change:
    def apply(body: Json) -> None:
        mount = body["HostConfig"]["Mounts"][index]
        mount["Source"] = change(mount["Source"])

    return apply


def _env(*variables: str) -> Change:
    return lambda body: body["Env"].extend(variables)


def _label(name: str, value: str) -> Change:
    return lambda body: body["Labels"].update({name: value})


def _tmpfs(target: str, options: str) -> Change:
    return lambda body: body["HostConfig"]["Tmpfs"].update({target: options})


def _without(*path: str) -> Change:
    def apply(body: Json) -> None:
        for part in path[:-1]:
            body = body[part]
        del body[path[-1]]

    return apply


CONTAINERS: Final[Mapping[str, Change]] = {
    # Power over the host
    "privileged": _host(Privileged=True),
    "privileged-false": _host(Privileged=False),
    "cap-add": _host(CapAdd=["SYS_ADMIN"]),
    "cap-drop-some": _host(CapDrop=["NET_RAW"]),
    "cap-drop-none": _host(CapDrop=[]),
    "cap-drop-gone": _without("HostConfig", "CapDrop"),
    "seccomp-off": _host(SecurityOpt=["no-new-privileges", "seccomp=unconfined"]),
    "apparmor-off": _host(SecurityOpt=["apparmor=unconfined"]),
    "new-privileges": _host(SecurityOpt=["no-new-privileges:false"]),
    "no-security-options": _without("HostConfig", "SecurityOpt"),
    "writable-root": _host(ReadonlyRootfs=False),
    "writable-root-left-out": _without("HostConfig", "ReadonlyRootfs"),
    "host-pids": _host(PidMode="host"),
    "host-ipc": _host(IpcMode="host"),
    "host-uts": _host(UTSMode="host"),
    "host-users": _host(UsernsMode="host"),
    "host-cgroups": _host(CgroupnsMode="host"),
    "cgroup-parent": _host(CgroupParent="/"),
    "devices": _host(Devices=[{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rwm"}]),
    "device-requests": _host(DeviceRequests=[{"Count": -1, "Capabilities": [["gpu"]]}]),
    "device-rules": _host(DeviceCgroupRules=["a *:* rwm"]),
    "sysctls": _host(Sysctls={"net.ipv4.ip_forward": "1"}),
    "runtime": _host(Runtime="io.containerd.runc.v2"),
    "masked-paths": _host(MaskedPaths=[], ReadonlyPaths=[]),
    "group-add": _host(GroupAdd=["docker"]),
    "oom-score": _host(OomScoreAdj=-1000),
    "ulimits": _host(Ulimits=[{"Name": "nofile", "Soft": 1, "Hard": 1}]),
    "root": _top(User="0:0"),
    "root-by-name": _top(User="root"),
    "no-user": _top(User=""),
    # The network
    "host-network": _host(NetworkMode="host"),
    "default-network": _host(NetworkMode="default"),
    "bridge-network": _host(NetworkMode="bridge"),
    "no-network-named": _without("HostConfig", "NetworkMode"),
    "another-users-network": _host(NetworkMode=f"open-persona-net-{OTHER}"),
    "a-containers-network": _host(NetworkMode="container:open-persona-sidecar"),
    "ports": _host(PortBindings={"4096/tcp": [{"HostPort": "4096"}]}),
    "all-ports": _host(PublishAllPorts=True),
    "extra-hosts": _host(ExtraHosts=["open-persona-sidecar:1.2.3.4"]),
    "dns": _host(Dns=["8.8.8.8"]),
    "links": _host(Links=["open-persona-sidecar:s"]),
    "more-networks": _top(NetworkingConfig={"EndpointsConfig": {"bridge": {}}}),
    "mac-address": _top(MacAddress="02:42:ac:11:00:02"),
    # Files
    "binds": _host(Binds=["/:/host"]),
    "docker-socket": _more_mounts("/var/run/docker.sock", "/var/run/docker.sock"),
    "root-mounted": _elsewhere(0, lambda _: "/"),
    "another-users-files": _elsewhere(0, lambda source: source[:-16] + OTHER),
    "all-users-files": _elsewhere(0, lambda source: source[:-17]),
    "dot-dot": _elsewhere(0, lambda source: source + "/../../../etc"),
    "trailing-slash": _elsewhere(0, lambda source: source + "/"),
    "relative": _elsewhere(0, lambda source: source[1:]),
    "config-writable": _mount(1, ReadOnly=False),
    "config-by-default-writable": lambda body: body["HostConfig"]["Mounts"][1].pop("ReadOnly"),
    "another-target": _mount(0, Target="/usr/bin"),
    "same-target-twice": _mount(2, Target="/workspace"),
    "one-mount-missing": lambda body: body["HostConfig"]["Mounts"].pop(),
    "volume": _mount(0, Type="volume"),
    "propagation": _mount(0, BindOptions={"Propagation": "rshared"}),
    "volume-driver": _mount(0, VolumeOptions={"DriverConfig": {"Name": "local"}}),
    "volumes": _top(Volumes={"/host": {}}),
    "volumes-from": _host(VolumesFrom=["open-persona-sidecar"]),
    "tmpfs-elsewhere": _tmpfs("/usr", "rw,noexec,nosuid,nodev,size=1m"),
    "tmpfs-exec": _tmpfs("/tmp", "rw,exec,nosuid,nodev,size=1m"),
    "tmpfs-suid": _tmpfs("/tmp", "rw,noexec,suid,nodev,size=1m"),
    "tmpfs-endless": _tmpfs("/tmp", "rw,noexec,nosuid,nodev"),
    "tmpfs-huge": _tmpfs("/tmp", "rw,noexec,nosuid,nodev,size=99999m"),
    "tmpfs-setuid-mode": _tmpfs("/tmp", "rw,noexec,nosuid,nodev,size=1m,mode=4777"),
    "storage-options": _host(StorageOpt={"size": "1T"}),
    # What runs
    "another-image": _top(Image="opbase/debian:bookworm"),
    "image-by-id": _top(Image="sha256:" + "0" * 64),
    "another-command": _top(Cmd=["sh", "-c", "id"]),
    "command-longer": lambda body: body["Cmd"].append("--print-logs"),
    "entrypoint": _top(Entrypoint=["sh"]),
    "healthcheck": _top(Healthcheck={"Test": ["CMD", "sh"]}),
    "on-build": _top(OnBuild=["RUN id"]),
    "shell": _top(Shell=["sh"]),
    "stop-signal": _top(StopSignal="SIGKILL"),
    "tty": _top(Tty=True),
    "stdin": _top(OpenStdin=True, AttachStdin=True),
    "host-name": _top(Hostname="open-persona-sidecar"),
    "domain-name": _top(Domainname="x"),
    "working-dir": _top(WorkingDir="/"),
    "no-init": _host(Init=False),
    "restart-always": _host(RestartPolicy={"Name": "always"}),
    "auto-remove": _host(AutoRemove=True),
    "ld-preload": _env("LD_PRELOAD=/workspace/x.so"),
    "bun-options": _env("BUN_OPTIONS=--preload=/workspace/x.js"),
    "path-into-the-workspace": lambda body: body.update(
        Env=[variable for variable in body["Env"] if not variable.startswith("PATH=")] + ["PATH=/workspace:/bin"]
    ),
    "variable-twice": _env("HOME=/home/runner"),
    "variable-without-value": _env("PATH"),
    "variable-with-newline": _env("LANG=C.UTF-8\nLD_PRELOAD=/x"),
    "variable-named-as-one": _env("OPENCODE_PURE =1"),
    "provider-key": _env("OPENAI_API_KEY=x"),
    "another-config": _env("OPENCODE_CONFIG_CONTENT={}"),
    # Limits
    "memory-more": _host(Memory=2**40, MemorySwap=2**40),
    "memory-endless": _host(Memory=0, MemorySwap=0),
    "memory-negative": _host(Memory=-1, MemorySwap=-1),
    "swap-endless": _host(MemorySwap=-1),
    "swap-left-out": _without("HostConfig", "MemorySwap"),
    "cpus-more": _host(NanoCpus=64 * 10**9),
    "cpus-endless": _host(NanoCpus=0),
    "cpu-quota": _host(CpuQuota=-1),
    "pids-endless": _host(PidsLimit=-1),
    "pids-more": _host(PidsLimit=100_000),
    "pids-as-true": _host(PidsLimit=True),
    "pids-as-text": _host(PidsLimit="256"),
    "oom-killer-off": _host(OomKillDisable=True),
    "shm": _host(ShmSize=2**40),
    "log-driver": _host(LogConfig={"Type": "syslog", "Config": {"syslog-address": "tcp://1.2.3.4"}}),
    "log-endless": _host(LogConfig={"Type": "json-file", "Config": {}}),
    # Whose it is
    "spawner-label": _label("open-persona.spawner", "000000000000"),
    "another-label": _label("com.docker.compose.project", "open-persona"),
    "another-users-label": _label("open-persona.workspace", OTHER),
    "another-key-set": _label("open-persona.keysig", "00000000"),
    "label-with-newline": _label("open-persona.spec", "fedcba9876543210\n"),
    "no-labels": _without("Labels"),
    # Shapes
    "null-host-config": _top(HostConfig=None),
    "list-host-config": _top(HostConfig=[]),
    "lower-case-field": lambda body: body["HostConfig"].update(privileged=True),
    "name-in-body": _top(Name="x"),
    "platform": _top(Platform="linux"),
}
"""More than a hundred changes, by what they are after."""

NETWORKS: Final[Mapping[str, Change]] = {
    "not-internal": _top(Internal=False),
    "internal-left-out": _without("Internal"),
    "another-driver": _top(Driver="host"),
    "macvlan": _top(Driver="macvlan", Options={"parent": "eth0"}),
    "attachable": _top(Attachable=True),
    "ingress": _top(Ingress=True),
    "swarm-scope": _top(Scope="swarm"),
    "config-from": _top(ConfigFrom={"Network": "bridge"}),
    "config-only": _top(ConfigOnly=True),
    "ipv6": _top(EnableIPv6=True),
    "not-our-name": _top(Name="bridge2"),
    "name-of-another-user": _top(Name=f"open-persona-net-{OTHER}"),
    "name-with-newline": lambda body: body.update(Name=body["Name"] + "\n"),
    "bridge-docker0": _top(Options={"com.docker.network.bridge.name": "docker0"}),
    "bridge-not-named": _top(Options={}),
    "host-binding": lambda body: body["Options"].update({"com.docker.network.bridge.host_binding_ipv4": "0.0.0.0"}),
    "masquerade": lambda body: body["Options"].update({"com.docker.network.bridge.enable_ip_masquerade": "true"}),
    "subnet-elsewhere": lambda body: body["IPAM"].update(Config=[{"Subnet": "192.168.0.0/28"}]),
    "subnet-too-wide": lambda body: body["IPAM"].update(Config=[{"Subnet": "10.0.0.0/8"}]),
    "subnet-with-host-bits": lambda body: body["IPAM"].update(Config=[{"Subnet": "10.213.0.1/28"}]),
    "two-subnets": lambda body: body["IPAM"]["Config"].append({"Subnet": "10.213.1.0/28"}),
    "no-subnet": lambda body: body["IPAM"].update(Config=[]),
    "no-ipam": _without("IPAM"),
    "gateway": lambda body: body["IPAM"]["Config"][0].update(Gateway="10.213.0.5"),
    "ipam-driver": lambda body: body["IPAM"].update(Driver="null"),
    "ipam-options": lambda body: body["IPAM"].update(Options={"a": "b"}),
    "network-spawner-label": _label("open-persona.spawner", "000000000000"),
    "network-of-another": _label("open-persona.workspace", OTHER),
    "duplicates": _top(CheckDuplicate=False),
}
