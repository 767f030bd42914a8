"""One home, one stack."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from open_persona.errors import HomeInUse, HomeRefused
from open_persona.home_lock import FILE, locked

HOLDER = """
import sys
from pathlib import Path
from open_persona.home_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.requirement("stack:one-per-home")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_second_one_is_refused_with_the_pid_of_the_first_until_that_ends(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(HomeInUse, match=rf"\(pid {holder.pid}\) already runs .*OPEN_PERSONA_HOME"),
            locked(tmp_path),
        ):
            pass
        holder.send_signal(number)
        holder.wait(10)
    with locked(tmp_path):
        assert (tmp_path / FILE).read_text() == f"{os.getpid()}\n"


def test_a_lock_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(HomeRefused, match="can't be written"), locked(tmp_path):
        pass
