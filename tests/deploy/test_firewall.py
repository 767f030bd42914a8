"""``deploy/firewall`` in a network namespace of its own: what it sets, again and again, and what it says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.docker.daemon import install

ROOT = Path(__file__).parents[2]
FIREWALL = "deploy/firewall"
OWN_NETWORK = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
"""A namespace with no rules but a test's own; root within it, whoever runs the test."""
RULES = "iptables -S; ip6tables -S"
pytestmark = [pytest.mark.real, pytest.mark.usefixtures("programs_of_firewalls")]


@pytest.fixture(scope="module")
def programs_of_firewalls() -> None:
    """iptables and nft, whichever the machine has not."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        install("iptables", "nft")
    elif not (shutil.which("iptables") and shutil.which("nft")):
        pytest.skip("iptables and nft are not installed, and only root on Debian can install them")


def shell(script: str, *, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """``script`` in a fresh network namespace; ``path`` instead of this machine's programs."""
    environment = {**os.environ, **({"PATH": path} if path else {})}
    unshare, bash = shutil.which("unshare"), shutil.which("bash")
    assert unshare
    assert bash
    command = [unshare, *OWN_NETWORK[1:], bash, "-c", script]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def programs(folder: Path, *names: str) -> str:
    """A ``PATH`` with these programs alone."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return str(folder)


@pytest.mark.requirement("firewall:rules")
def test_the_rules_are_first_and_a_second_time_changes_nothing() -> None:
    once = shell(f"{FIREWALL} install --allow tcp:8000,tcp:7000 >&2 && {RULES}")
    twice = shell(f"for _ in 1 2 3; do {FIREWALL} install --allow tcp:8000,tcp:7000 >&2; done; {RULES}")
    assert once.returncode == 0, once.stderr
    assert once.stdout == twice.stdout
    rules = once.stdout.splitlines()
    for family in (rules[: len(rules) // 2], rules[len(rules) // 2 :]):
        assert [rule for rule in family if rule.startswith("-A")] == [
            "-A INPUT -i oprun-+ -j OPEN-PERSONA",
            "-A FORWARD -i oprun-+ ! -o oprun-+ -j OPEN-PERSONA-FWD",
            "-A OPEN-PERSONA -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A OPEN-PERSONA -p tcp -m tcp --dport 8000 -j ACCEPT",
            "-A OPEN-PERSONA -p tcp -m tcp --dport 7000 -j ACCEPT",
            "-A OPEN-PERSONA -j DROP",
            "-A OPEN-PERSONA-FWD -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            "-A OPEN-PERSONA-FWD -j DROP",
        ]


@pytest.mark.requirement("firewall:rules")
def test_where_docker_has_a_place_for_rules_they_go_there_and_leave_the_other() -> None:
    done = shell(f"{FIREWALL} install >&2 && iptables -N DOCKER-USER && {FIREWALL} install >&2; iptables -S")
    hooks = [rule for rule in done.stdout.splitlines() if rule.endswith("-j OPEN-PERSONA-FWD")]
    assert hooks == ["-A DOCKER-USER -i oprun-+ ! -o oprun-+ -j OPEN-PERSONA-FWD"]


@pytest.mark.requirement("firewall:rules")
def test_a_rule_that_comes_before_is_told_and_put_behind() -> None:
    other = "iptables -I INPUT 1 -j ACCEPT"
    beaten = shell(f"{FIREWALL} install >&2; {other}; {FIREWALL} check")
    assert (beaten.returncode, "INPUT does not begin with it" in beaten.stdout) == (1, True)
    mended = shell(f"{FIREWALL} install >&2; {other}; {FIREWALL} install >&2; {FIREWALL} check; iptables -S INPUT")
    assert mended.stdout.splitlines() == [
        "In place.",
        "-P INPUT ACCEPT",
        "-A INPUT -i oprun-+ -j OPEN-PERSONA",
        "-A INPUT -j ACCEPT",
    ]


@pytest.mark.requirement("firewall:rules")
def test_removed_is_as_it_was_before() -> None:
    before = "iptables -A INPUT -p tcp --dport 22 -j ACCEPT; ip6tables -A FORWARD -j DROP; iptables -N DOCKER-USER"
    untouched = shell(f"{before}; {RULES}")
    removed = shell(f"{before}; {FIREWALL} install >&2; {FIREWALL} remove >&2; {FIREWALL} remove >&2; {RULES}")
    assert removed.stdout == untouched.stdout
    assert shell(f"{FIREWALL} install >&2; {FIREWALL} remove >&2; {FIREWALL} check").returncode == 1


@pytest.mark.requirement("firewall:rules")
def test_without_iptables_nft_does_the_same(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", "id", "grep", "cat", "nft", "basename", "dirname", "bash", "env")
    script = f"{FIREWALL} install --allow tcp:8000 >&2 && {FIREWALL} install --allow udp:53 >&2; {FIREWALL} check"
    done = shell(f"{script}; {FIREWALL} status; {FIREWALL} remove; {FIREWALL} check", path=path)
    assert done.stdout.splitlines()[0] == "In place."
    assert "udp dport 53 accept" in done.stdout
    assert "8000" not in done.stdout
    assert done.returncode == 1


@pytest.mark.requirement("firewall:says-why")
def test_without_a_firewall_program_it_says_what_to_install(tmp_path: Path) -> None:
    done = shell(f"{FIREWALL} install", path=programs(tmp_path / "bin", "id", "grep", "cat", "bash", "env"))
    assert (done.returncode, done.stderr.count("\n")) == (69, 1)
    assert "apt-get install iptables" in done.stderr


@pytest.mark.requirement("firewall:says-why")
@pytest.mark.parametrize("act", ["install", "remove", "status", "check"])
def test_who_is_not_root_is_told_the_command(act: str) -> None:
    nobody = ["unshare", "--user", FIREWALL, act]
    done = subprocess.run(nobody, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (
        77,
        f"firewall: only root can change the firewall. Run: sudo deploy/firewall {act}\n",
    )


@pytest.mark.requirement("firewall:says-why")
@pytest.mark.parametrize(
    "given",
    [
        "install --allow tcp:x",
        "install --allow 8000",
        "install --allow tcp:70000",
        "install --allow tcp:1;reboot",
        "install --allow",
        "install --bridges eth0;x",
        "install remove",
        "reinstall",
        "",
    ],
)
def test_what_it_does_not_understand_changes_nothing(given: str) -> None:
    words = " ".join(f"'{word}'" for word in given.split())
    done = shell(f"{FIREWALL} {words} >&2; echo $?; iptables -S INPUT")
    assert done.stdout.splitlines() == ["64", "-P INPUT ACCEPT"]
    assert done.stderr


@pytest.mark.requirement("firewall:says-why")
def test_the_unit_calls_this_script_and_needs_no_root() -> None:
    command = ["unshare", "--user", FIREWALL, "--unit", "--allow", "tcp:8000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert f'ExecStart="{ROOT / FIREWALL}" install --allow tcp:8000\n' in done.stdout
    assert "\nWantedBy=multi-user.target" in done.stdout
