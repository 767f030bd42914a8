"""One seeder at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from openwebui.seed_lock import FILE, SeedLock
from openwebui.seed_state import SeedState, judge

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys
from pathlib import Path
from openwebui.seed_lock import SeedLock
from openwebui.seed_state import SeedState
lock = SeedLock(Path(sys.argv[1]))
assert lock.take()
lock.tell(SeedState("seeded", "now", "r1", ""))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.requirement("seed:one_at_a_time")
def test_a_second_one_waits_and_takes_over_when_the_first_is_killed(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    second = SeedLock(tmp_path)
    try:
        assert first.stdout is not None and first.stdout.readline() == b"held\n"
        assert not second.take()
        assert second.told() == SeedState("seeded", "now", "r1", "")
    finally:
        first.kill()
        first.communicate(timeout=10)
    assert second.take() and second.held
    second.release()


@pytest.mark.requirement("seed:one_at_a_time")
def test_a_shorter_state_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    lock = SeedLock(tmp_path)
    assert lock.take()
    for problem in ("a long problem", ""):
        lock.tell(SeedState("waiting", "now", "", problem))
        assert lock.told().problem == problem
    lock.release()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "other"}'])
def test_a_file_that_says_nothing_is_a_seeding_that_has_not_begun(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert SeedLock(tmp_path).told() == SeedState()


def test_a_failure_counts_before_a_wait() -> None:
    assert judge(["Broken."], ["Waiting."], "r", "now") == SeedState("failed", "now", "r", "Broken. Waiting.")
    assert judge([], ["Waiting."], "r", "now").state == "waiting"
    assert judge([], [], "r", "now") == SeedState("seeded", "now", "r", "")


@pytest.mark.requirement("seed:one_at_a_time")
def test_a_file_system_without_locks_is_told_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    def close(file: int, close: object = os.close) -> None:
        closed.append(file)
        close(file)  # type: ignore[operator]

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(os, "close", close)
    lock = SeedLock(tmp_path)
    with pytest.raises(OSError, match="No locks"):
        lock.take()
    assert len(closed) == 1
    assert not lock.held
