"""Keeps one command from outliving its parent: run as ``python -I -S keeper.py COMMAND …``.

The command gets a process group of its own. When the keeper's standard input closes (the parent is gone, however it
ended) or the keeper is told to stop, the whole group ends: TERM, then KILL after a grace. Standard library alone, so
that it starts in a few milliseconds.
"""

import ctypes
import os
import select
import signal
import sys
import time

GRACE_S = 3.0
PR_SET_PDEATHSIG = 1


def _die_with_keeper() -> None:
    """In the child: a group of its own, and on Linux the kernel's word that it ends when the keeper is killed."""
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _end_group(group: int) -> None:
    """Ends what is left of the group; the child itself is reaped on the way."""
    deadline = time.monotonic() + GRACE_S
    alive = _signal_group(group, signal.SIGTERM)
    while alive and time.monotonic() < deadline:
        try:
            os.waitpid(group, os.WNOHANG)
        except ChildProcessError:
            pass
        time.sleep(0.02)
        alive = _signal_group(group, 0)
    _signal_group(group, signal.SIGKILL)


def main(command: list[str]) -> int:
    """Runs ``command`` to its end, or until standard input closes. Returns its exit status."""
    child = os.fork()
    if child == 0:
        _die_with_keeper()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        try:
            os.execvpe(command[0], command, os.environ)
        except OSError as error:
            os.write(2, f"keeper: {command[0]}: {error.strerror}\n".encode())
        os._exit(127)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    stop = False
    while not stop:
        ready, _, _ = select.select([0, wake_read], [], [])
        if 0 in ready and not os.read(0, 64):
            stop = True
        if wake_read in ready:
            stop = stop or any(number != signal.SIGCHLD for number in os.read(wake_read, 64))
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            _end_group(child)
            return os.waitstatus_to_exitcode(status) & 0xFF
    _end_group(child)
    return 143


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
