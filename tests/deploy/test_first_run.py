"""The first run: what it makes, what it never changes, and what it refuses."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from socket import create_server

import pytest

from deploy.first_run import main
from deploy.state import FOLDERS, GIVEN, MADE, OWNER, Refused, read_env
from tests.deploy.compose_file import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() not in (0, OWNER), reason="needs root or user 1000")


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    """Stands for Docker's: only its group is looked at."""
    path = tmp_path / "docker.sock"
    path.touch()
    return path


def first_run(tmp_path: Path, socket: Path, *more: str, **environment: str) -> dict[str, str]:
    """Gives what the env file says afterwards."""
    arguments = ["--env-file", str(tmp_path / "env"), "--state-dir", str(tmp_path / "state"), "--no-build", *more]
    main(arguments, {"OPEN_PERSONA_DOCKER_SOCKET": str(socket), **environment})
    return read_env(tmp_path / "env")


def modes(folder: Path) -> set[tuple[int, int]]:
    return {(path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()}


@pytest.mark.requirement("compose:first_run")
def test_it_makes_folders_secrets_and_settings_for_user_1000_alone(tmp_path: Path, socket: Path) -> None:
    settings = first_run(tmp_path, socket)
    state = tmp_path / "state"
    assert settings["OPEN_PERSONA_STATE_DIR"] == str(state)
    assert settings["OPEN_PERSONA_DOCKER_GID"] == str(socket.stat().st_gid)
    assert sorted(path.name for path in state.iterdir()) == sorted(FOLDERS)
    assert modes(state) == {(OWNER, 0o700)}
    assert modes(state / "secrets") == {(OWNER, 0o600)}
    sizes = {path.name: path.stat().st_size for path in (state / "secrets").iterdir()}
    assert {name for name, size in sizes.items() if size >= 40} == set(MADE)
    assert {name for name, size in sizes.items() if not size} == set(GIVEN)
    values = {(state / "secrets" / name).read_text() for name in MADE}
    assert len(values) == len(MADE)
    assert not [value for value in values if value in (tmp_path / "env").read_text()]


@pytest.mark.requirement("compose:first_run")
def test_a_second_run_changes_nothing_and_takes_up_a_key_that_was_not_there(tmp_path: Path, socket: Path) -> None:
    first_run(tmp_path, socket)
    env, secrets = tmp_path / "env", tmp_path / "state" / "secrets"
    env.write_text(env.read_text().replace("OPEN_PERSONA_RUNNER_CPUS=", "# mine\nOPEN_PERSONA_RUNNER_CPUS=0.5\n#"))
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    first_run(tmp_path, socket, OPEN_PERSONA_DEFAULT_OPENAI_API_KEY="sk-one", OPEN_PERSONA_TOKEN_KEY="other")
    after = {path.name: path.read_text() for path in secrets.iterdir()}
    assert after == before | {"OPEN_PERSONA_DEFAULT_OPENAI_API_KEY": "sk-one"}
    first_run(tmp_path, socket, OPEN_PERSONA_DEFAULT_OPENAI_API_KEY="sk-two")
    assert (secrets / "OPEN_PERSONA_DEFAULT_OPENAI_API_KEY").read_text() == "sk-one"
    assert read_env(env)["OPEN_PERSONA_RUNNER_CPUS"] == "0.5"
    assert env.read_text().count("OPEN_PERSONA_STATE_DIR") == 1


@pytest.mark.requirement("compose:first_run")
def test_a_lost_key_of_open_webui_is_not_made_anew_beside_its_database(tmp_path: Path, socket: Path) -> None:
    first_run(tmp_path, socket)
    (tmp_path / "state" / "open-webui" / "webui.db").touch()
    (tmp_path / "state" / "secrets" / "WEBUI_SECRET_KEY").unlink()
    with pytest.raises(Refused, match="Restore it from your backup"):
        first_run(tmp_path, socket)
    assert not (tmp_path / "state" / "secrets" / "WEBUI_SECRET_KEY").exists()


@pytest.mark.requirement("compose:first_run")
@pytest.mark.parametrize(
    ("folder", "why"),
    [
        (str(ROOT / "state"), "git work tree"),
        ("state", "absolute"),
        ("/root/x", "in /root"),
        ("/var/tmp/a b", "blanks"),
    ],
)
def test_a_place_that_would_not_do_is_refused(tmp_path: Path, socket: Path, folder: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        main(["--env-file", str(tmp_path / "env"), "--state-dir", folder], {"OPEN_PERSONA_DOCKER_SOCKET": str(socket)})
    assert not (tmp_path / "env").exists()


@pytest.mark.requirement("compose:first_run")
def test_another_folder_than_the_one_in_use_is_refused(tmp_path: Path, socket: Path) -> None:
    first_run(tmp_path, socket)
    with pytest.raises(Refused, match="already"):
        main(["--env-file", str(tmp_path / "env"), "--state-dir", str(tmp_path / "other")], {})


@pytest.mark.requirement("compose:first_run")
def test_integrations_that_the_services_could_not_read_are_refused_first(tmp_path: Path, socket: Path) -> None:
    folder = tmp_path / "mcp_servers" / "weather"
    folder.mkdir(parents=True)
    (folder / "server.py").touch(0o600)
    env = tmp_path / "env"
    env.write_text(f"OPEN_PERSONA_MCP_SERVERS_DIR={folder.parent}\n")
    if os.geteuid() == 0:
        with pytest.raises(Refused, match=r"server\.py. Run: chmod"):
            first_run(tmp_path, socket)
        assert not (tmp_path / "state").exists()
        (folder / "server.py").chmod(0o644)
    first_run(tmp_path, socket)
    assert (tmp_path / "state").exists()


@pytest.mark.requirement("compose:first_run")
@pytest.mark.parametrize(
    ("docker", "why"),
    [
        ("", "no docker command"),
        ("echo 'permission denied' >&2; exit 1", "permission denied"),
        ('test "$1" = version', "no docker compose v2"),
    ],
)
def test_without_docker_nothing_is_made(
    tmp_path: Path, socket: Path, monkeypatch: pytest.MonkeyPatch, docker: str, why: str
) -> None:
    if docker:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{docker}\n")
        (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    arguments = ["--env-file", str(tmp_path / "env"), "--state-dir", str(tmp_path / "state")]
    with pytest.raises(Refused, match=why):
        main(arguments, {"OPEN_PERSONA_DOCKER_SOCKET": str(socket)})
    assert not {"env", "state"} & {path.name for path in tmp_path.iterdir()}


@pytest.mark.requirement("compose:first_run")
def test_a_port_that_another_program_holds_is_named(
    tmp_path: Path, socket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        (tmp_path / "env").write_text(f"OPEN_PERSONA_HUB_PORT={port}\n")
        first_run(tmp_path, socket)
    told = f"Port {port} is taken by another program. Choose another in .env: OPEN_PERSONA_HUB_PORT="
    assert told in capsys.readouterr().out
    first_run(tmp_path, socket)
    assert f"Port {port}" not in capsys.readouterr().out


@pytest.mark.requirement("compose:first_run")
def test_the_command_runs_anywhere_with_the_systems_python_alone(tmp_path: Path, socket: Path) -> None:
    command = [str(ROOT / "deploy" / "first-run"), "--env-file", str(tmp_path / "env")]
    command += ["--state-dir", str(tmp_path / "state"), "--no-build"]
    environment = {"PATH": os.environ["PATH"], "OPEN_PERSONA_DOCKER_SOCKET": str(socket), "PYTHONNOUSERSITE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "docker compose up -d --wait" in done.stdout
    assert "deploy/firewall install" in done.stdout
    refused = subprocess.run(
        [*command, "--state-dir", "x"], env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("first-run: ")
    assert "Traceback" not in refused.stderr


@pytest.mark.requirement("compose:secrets")
def test_with_secrets_fills_in_what_is_not_set(tmp_path: Path) -> None:
    script = (ROOT / "deploy" / "with-secrets").read_text().replace("/run/secrets", str(tmp_path / "given"))
    (tmp_path / "given").mkdir()
    for name, text in {"OPEN_A": "one two", "OPEN_B": "file", "OPEN_EMPTY": "", "not-a-name": "x"}.items():
        (tmp_path / "given" / name).write_text(text)
    command = ["sh", "-c", script, "with-secrets", "env"]
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"], "OPEN_B": "set"}, capture_output=True, text=True, check=True
    )
    told = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert (told["OPEN_A"], told["OPEN_B"]) == ("one two", "set")
    assert not {"OPEN_EMPTY", "not-a-name"} & told.keys()
