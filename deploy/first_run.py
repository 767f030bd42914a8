"""``deploy/first-run``: the state folder, its secrets, ``.env`` and the images. What is there stays as it is."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.state import (
    DATABASE,
    GIVEN,
    MADE,
    ROOT,
    STATE_DIR,
    WEBUI_SECRET_KEY,
    Refused,
    check_owner,
    check_readable,
    checked_state_dir,
    default_state_dir,
    give,
    make_folders,
    read_env,
    say,
)

DOCKER_SOCKET = "OPEN_PERSONA_DOCKER_SOCKET"
STAND_INS = {
    "OPEN_PERSONA_DEBIAN_BASE": "debian:bookworm",
    "OPEN_PERSONA_PYTHON_BASE": "python:3.11",
    "OPEN_PERSONA_WEBUI_BASE": "open-webui:0.12.4",
}
"""What ``deploy/make-base-images`` makes, in its namespace."""

MOUNTED = {"OPEN_PERSONA_MCP_SERVERS_DIR": "mcp_servers", "OPEN_PERSONA_PERSONAS_DIR": "sidecar/personas"}
"""Folders that the services read in place, and the variables that name others."""

PORTS = {"OPEN_PERSONA_WEBUI_PORT": "3000", "OPEN_PERSONA_SIDECAR_PORT": "8000", "OPEN_PERSONA_HUB_PORT": "7000"}


def main(arguments: list[str], environment: Mapping[str, str]) -> None:
    """Raises ``Refused``."""
    asked = _parsed(arguments)
    check_owner()
    known = read_env(asked.env_file)
    state = _state_dir(asked.state_dir, known, environment)
    group = _docker_group(known, environment)
    for variable, folder in MOUNTED.items():
        check_readable(ROOT / (known.get(variable) or folder))
    if not asked.no_build:
        _check_docker()
    if asked.stand_ins:
        _make_stand_ins()
    make_folders(state)
    made = make_secrets(state, environment)
    wanted = {
        "COMPOSE_PROJECT_NAME": "open-persona",
        STATE_DIR: str(state),
        "OPEN_PERSONA_DOCKER_GID": str(group),
        **_share_of_cpus(),
        **(_stand_ins(environment) if asked.stand_ins else {}),
        **({"OPEN_PERSONA_DEMO": "1", "COMPOSE_PROFILES": "demo"} if asked.demo else {}),
    }
    added = add_to_env(asked.env_file, wanted)
    say(f"State: {state}" + (f" (new secrets: {', '.join(made)})" if made else " (its secrets are as they were)"))
    say(f"Settings: {asked.env_file}" + (f" (new: {', '.join(added)})" if added else " (as it was)"))
    if not asked.no_build:
        _build_images(asked.env_file)
    _tell_next(state, {**environment, **read_env(asked.env_file)})


def make_secrets(state: Path, environment: Mapping[str, str]) -> list[str]:
    """The files that are missing; gives the names of those that hold something. Raises ``Refused``.

    An optional secret that the environment holds is put into its file while that is empty.
    """
    folder = state / "secrets"
    if (state / DATABASE).exists() and not (folder / WEBUI_SECRET_KEY).exists():
        raise Refused(
            f"{folder / WEBUI_SECRET_KEY} is gone, and {state / DATABASE} holds keys that only it can read. Restore it "
            "from your backup (deploy/restore)."
        )
    made = []
    for name in (*MADE, *GIVEN):
        file = folder / name
        value = secrets.token_urlsafe(32) if name in MADE else environment.get(name, "")
        if not file.exists() or (name in GIVEN and value and not file.stat().st_size):
            _write_private(file, value)
            made += [name] if value else []
        give(file, 0o600)
    return made


def add_to_env(file: Path, wanted: Mapping[str, str]) -> list[str]:
    """Adds the variables that the file lacks, and gives their names. What it says already stays."""
    known = read_env(file)
    lacking = {name: value for name, value in wanted.items() if name not in known}
    if lacking:
        before = (
            file.read_text()
            if file.exists()
            else "# Made by deploy/first-run. .env.example tells what can stand here.\n"
        )
        lines = "".join(f"{name}={value}\n" for name, value in lacking.items())
        file.write_text(before + ("" if before.endswith("\n") else "\n") + lines)
    return list(lacking)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deploy/first-run", description=__doc__.replace("``", "") if __doc__ else "")
    parser.add_argument("--state-dir", type=Path, help="where all state is kept; never in a git work tree")
    parser.add_argument("--env-file", type=Path, default=ROOT / ".env", help="where the settings go (default: .env)")
    parser.add_argument("--demo", action="store_true", help="with the demo model, which needs no key")
    parser.add_argument(
        "--stand-ins", action="store_true", help="make the base images first, where no registry can be reached"
    )
    parser.add_argument("--no-build", action="store_true", help="leave the images as they are")
    return parser.parse_args(arguments)


def _state_dir(asked: Path | None, known: Mapping[str, str], environment: Mapping[str, str]) -> Path:
    held = known.get(STATE_DIR)
    if held and asked and Path(held) != asked:
        raise Refused(f"{STATE_DIR} is {held} in .env already. Change it there, or leave --state-dir out.")
    return checked_state_dir(Path(held) if held else asked or default_state_dir(environment))


def _write_private(file: Path, value: str) -> None:
    """Whole or not at all, and never readable by others."""
    scratch = file.with_name(f".{file.name}.new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as target:
        target.write(value)
        target.flush()
        os.fsync(target.fileno())
    scratch.replace(file)


def _docker_group(known: Mapping[str, str], environment: Mapping[str, str]) -> int:
    socket = Path(known.get(DOCKER_SOCKET) or environment.get(DOCKER_SOCKET) or "/var/run/docker.sock")
    try:
        return socket.stat().st_gid
    except OSError:
        raise Refused(f"There is no {socket}. Install and start Docker, or set {DOCKER_SOCKET} in .env.") from None


def _share_of_cpus() -> dict[str, str]:
    """Docker refuses a limit above what the machine has."""
    cpus = str(min(2, os.cpu_count() or 1))
    return {"OPEN_PERSONA_RUNNER_CPUS": cpus, "OPEN_PERSONA_WEBUI_CPUS": cpus}


def _stand_ins(environment: Mapping[str, str]) -> dict[str, str]:
    namespace = environment.get("NS") or "open-persona-base"
    return {name: f"{namespace}/{image}" for name, image in STAND_INS.items()}


def _make_stand_ins() -> None:
    if subprocess.run([str(ROOT / "deploy" / "make-base-images")], check=False).returncode != 0:  # noqa: S603
        raise Refused("The base images could not be made; see above.")


def _check_docker() -> None:
    """Before anything is made. Raises ``Refused``."""
    try:
        asked = _docker("version", "--format", "{{.Server.Version}}")
        if asked.returncode != 0:
            told = (asked.stderr.strip().splitlines() or ["no answer"])[-1]
            raise Refused(
                f"Docker can't be used: {told}\nIs it running? Only root and the group of its socket may use it."
            )
        if _docker("compose", "version").returncode != 0:
            raise Refused("There is no docker compose v2. Install it; on Debian 12: sudo deploy/get-compose")
    except FileNotFoundError:
        raise Refused("There is no docker command. Install Docker.") from None


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607


def _build_images(env_file: Path) -> None:
    """All of them: ``up`` builds those of its services by itself, but none for the runners."""
    command = ["docker", "compose", "--env-file", str(env_file), "-f", str(ROOT / "docker-compose.yml")]
    if subprocess.run([*command, "--profile", "image", "build"], check=False).returncode != 0:  # noqa: S603
        raise Refused("The images could not be built; see above. Run it again: what was built is kept.")


def _tell_next(state: Path, settings: Mapping[str, str]) -> None:
    ports = {name: settings.get(name) or port for name, port in PORTS.items()}
    for name, port in ports.items():
        if port.isdigit() and _held_by_another(int(port), settings["COMPOSE_PROJECT_NAME"]):
            say(f"\nPort {port} is taken by another program. Choose another in .env: {name}=<port>")
    sudo = "sudo " if "SUDO_USER" in settings else ""
    say(
        f"""
Next:
  {sudo}docker compose up -d --wait   # a minute or two
  sudo deploy/firewall install   # keeps runners off this machine; "sudo deploy/firewall check" tells whether it does

Then open http://localhost:{ports["OPEN_PERSONA_WEBUI_PORT"]} and sign up: the first one is the admin.
A key for all users goes into its file in {state / "secrets"}; each user can enter own ones in Open WebUI."""
    )


def _held_by_another(port: int, project: str) -> bool:
    """Whether something listens there that is no container of this deployment."""
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return False
    filters = ("--filter", f"publish={port}", "--filter", f"label=com.docker.compose.project={project}")
    try:
        return not _docker("ps", "-q", *filters).stdout.strip()
    except FileNotFoundError:
        return True


def run() -> None:
    """Exit code 1 and one line on stderr where it is refused."""
    try:
        main(sys.argv[1:], dict(os.environ))
    except Refused as error:
        sys.exit(f"first-run: {error}")


if __name__ == "__main__":
    run()
