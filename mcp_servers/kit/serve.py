"""Run an integration's app as a process: host, port and log level come from the environment."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping

import uvicorn
from starlette.applications import Starlette

logger = logging.getLogger(__name__)

HOST_ENV = "OPEN_PERSONA_MCP_HOST"
PORT_ENV = "OPEN_PERSONA_MCP_PORT"
LOG_LEVEL_ENV = "OPEN_PERSONA_MCP_LOG_LEVEL"

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def serve(build: Callable[[], Starlette], *, name: str, default_port: int) -> None:
    """Build the app and serve it until SIGTERM or SIGINT. Exits with status 1 and one clear line if it cannot."""
    logging.basicConfig(level=log_level(os.environ), format="%(levelname)s %(name)s: %(message)s", force=True)
    # These write URLs, headers or whole answers below WARNING: they hold what a user asked for.
    for chatty in ("httpx", "httpcore", "mcp", "sse_starlette"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    host = os.environ.get(HOST_ENV, "127.0.0.1")
    try:
        listener = listen(host, _port(os.environ.get(PORT_ENV), default_port))
    except (OSError, ValueError) as error:
        logger.error("%s cannot start: %s", name, error)
        sys.exit(1)
    config = uvicorn.Config(
        build(),
        log_level=logging.WARNING,
        access_log=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=75,
        ws="none",
    )
    logger.info("%s listens on %s:%d", name, *listener.getsockname()[:2])
    uvicorn.Server(config).run(sockets=[listener])


def log_level(environ: Mapping[str, str]) -> str:
    """The level that the environment asks for; INFO where it names none that exists."""
    level = environ.get(LOG_LEVEL_ENV, "").upper()
    return level if level in _LEVELS else "INFO"


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to ``host:port``. Raises OSError whose text names the address and what is wrong."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(f"port {port} on {host} is taken by another program") from error
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listener


def _port(value: str | None, default: int) -> int:
    if not value:
        return default
    if not value.isdigit() or not 0 <= int(value) <= 65535:
        raise ValueError(f"{PORT_ENV} is {value!r}: give a port number from 0 to 65535")
    return int(value)
