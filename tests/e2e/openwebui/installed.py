"""The real Open WebUI in the checkout's tools folder, put there by the product's own installer."""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from open_persona.settings import PREFIX, StackSettings
from open_persona.webui.installation import Installation
from open_persona.webui.package import SOURCE
from open_persona.webui.pins import environment_folder

DEADLINE_S = 3600


@cache
def installed() -> Path:
    """The command ``open-webui``, installed once per checkout, with this checkout's ``openwebui/`` in it."""
    settings = StackSettings.from_environment({"HOME": "/", **_torch_index()})
    folder = environment_folder(settings.home)

    def say(line: str) -> None:
        print(line, file=sys.__stderr__, flush=True)

    installation = Installation(folder, os.environ, say, settings.torch_index)
    with ThreadPoolExecutor(1) as thread:  # a test's own event loop may run in this one
        return thread.submit(lambda: asyncio.run(installation.prepare(SOURCE))).result(DEADLINE_S)


def _torch_index() -> dict[str, str]:
    name = f"{PREFIX}TORCH_INDEX"
    return {name: os.environ[name]} if name in os.environ else {}


@pytest.fixture(scope="session")
def open_webui_program() -> Path:
    """What :func:`installed` gives."""
    return installed()
