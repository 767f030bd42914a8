"""The firewall on this machine, for the bridges of one test alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "deploy" / "firewall"


@contextmanager
def firewall(bridges: str, *arguments: str) -> Iterator[None]:
    """``deploy/firewall install`` for interfaces like ``bridges``; removed at the end. Skips where it can't be."""
    if os.geteuid() != 0:
        pytest.skip("only root can install the firewall")
    if "OPEN-PERSONA" in run("status"):
        pytest.skip("the firewall of this machine is in use")
    run("install", "--bridges", bridges, *arguments)
    try:
        yield
    finally:
        run("remove")


def run(*arguments: str) -> str:
    return subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60, check=True).stdout
