"""The spawner's socket: its own user's and group's, and taken over only from one that is dead."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from spawner.errors import SocketError
from spawner.listening import listen


@pytest.mark.requirement("spawner:socket")
def test_it_is_open_to_its_user_and_group_alone(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with listen(path), socket.socket(socket.AF_UNIX) as client:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        client.connect(str(path))


@pytest.mark.requirement("spawner:socket")
def test_one_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    listen(path).close()
    with listen(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.requirement("spawner:socket")
def test_one_that_is_in_use_stays(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with listen(path), socket.socket(socket.AF_UNIX) as client:
        with pytest.raises(SocketError, match="another spawner"):
            listen(path)
        client.connect(str(path))


@pytest.mark.requirement("spawner:socket")
@pytest.mark.parametrize("place", ["missing/docker.sock", "file"])
def test_a_place_that_cannot_be_had_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(SocketError, match=place):
        listen(tmp_path / place)
    assert (tmp_path / "file").read_text() == "kept"
