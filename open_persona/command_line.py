"""What every command of ``open-persona`` has in common: its end, its errors, the key that it shows the sidecar."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager

import typer
from pydantic import SecretStr

from open_persona.errors import OpenPersonaError, ServiceUnreachable
from open_persona.secrets import load_secrets
from open_persona.settings import StackSettings
from open_persona.signals import run_until_stopped


def api_key() -> SecretStr:
    """The sidecar's API key of this home. Raises ``HomeRefused`` and ``ServiceUnreachable``."""
    home = StackSettings.from_environment(os.environ).home
    secrets = load_secrets(home, os.environ)
    if secrets is None:
        raise ServiceUnreachable(f"There are no keys in {home} yet. Start the services with 'open-persona up'.")
    return secrets.sidecar_api_key


@contextmanager
def errors_shown() -> Iterator[None]:
    """Ends the command with code 1 and the error's own words."""
    try:
        yield
    except OpenPersonaError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except OSError as error:  # of this machine's, such as a full disk or a closed pipe
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        raise typer.Exit(1) from None


def run(command: Callable[[], Coroutine[None, None, int]]) -> None:
    """Runs ``command`` to its end; what it returns is the exit code."""
    with errors_shown():
        raise typer.Exit(run_until_stopped(command()))
