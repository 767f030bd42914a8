"""Which ports are free, and who holds the others."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from open_persona.ports import free_ports, holder_of, is_taken


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_listened_port_is_taken_and_its_holder_known(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert is_taken("127.0.0.1", port)
    assert f"(pid {os.getpid()})" in holder_of(port)


def test_a_closed_port_is_free(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    assert not is_taken("127.0.0.1", port)
    assert holder_of(port) == ""


def test_free_ports_differ_and_are_free() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert not any(is_taken("127.0.0.1", port) for port in ports)
