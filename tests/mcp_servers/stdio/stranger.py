"""A stdio MCP server as a stranger might write it: the handshake era alone, standard library alone.

``STRANGER`` in its environment makes it misbehave: ``crash``, ``silent``, or ``modern`` (the modern era alone).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODE = os.environ.get("STRANGER", "")
cancelled: list[object] = []
answers: list[object] = []


def write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(value: object) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": json.dumps(value)}]}


def whoami(arguments: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return text({"pid": os.getpid(), "env": dict(os.environ), "argv": sys.argv[1:], "cwd": str(Path.cwd())})


def count(arguments: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    token = params.get("_meta", {}).get("progressToken")
    for step in range(1, 4):
        about = {"progressToken": token, "progress": step, "total": 3, "message": f"at {step}"}
        write({"method": "notifications/progress", "params": about})
    return text(token is not None)


def shout(arguments: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    sys.stderr.write(arguments["words"] + "\n")
    sys.stderr.flush()
    print("no JSON at all", arguments["words"], flush=True)
    return text("shouted")


def family(arguments: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
    children = [subprocess.Popen(sleeping, start_new_session=apart) for apart in (False, True)]
    return text([os.getpid(), *(child.pid for child in children)])


def sleep(arguments: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    print("sleeping", file=sys.stderr, flush=True)
    time.sleep(arguments["seconds"])
    return text("slept")


def asked(arguments: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    write({"id": "mine", "method": arguments["method"], "params": {}})
    while not answers:
        take(json.loads(sys.stdin.readline()))
    return text(answers.pop())


def pester(arguments: dict[str, Any], params: dict[str, Any]) -> None:
    """Asks and asks, and reads nothing."""
    while True:
        write({"id": "x" * 100_000, "method": "ping"})


CALLS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any] | None]] = {
    "whoami": whoami,
    "count": count,
    "wait": lambda _, __: None,
    "cancelled": lambda _, __: text(cancelled),
    "crash": lambda _, __: os._exit(3),
    "shout": shout,
    "family": family,
    "big": lambda arguments, _: text("x" * int(arguments["size"])),
    "asked": asked,
    "sleep": sleep,
    "pester": pester,
    "odd": lambda _, __: {"content": "no list"},
}


def take(message: dict[str, Any]) -> None:
    method, number, params = message.get("method"), message.get("id"), message.get("params", {})
    if method is None:
        answers.append({key: message[key] for key in ("result", "error") if key in message})
    elif method == "notifications/cancelled":
        cancelled.append(params["requestId"])
    elif method == "initialize" and MODE != "modern":
        info = {"name": "stranger", "version": "1"}
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
        write({"id": number, "result": result})
    elif method == "tools/list" or (method == "server/discover" and MODE == "modern"):
        assert MODE != "modern" or "io.modelcontextprotocol/protocolVersion" in params["_meta"]
        tools = [{"name": name, "description": name, "inputSchema": {"type": "object"}} for name in CALLS]
        half = len(tools) // 2
        page = {"tools": tools[half:]} if "cursor" in params else {"tools": tools[:half], "nextCursor": "2"}
        write({"id": number, "result": page})
    elif method == "tools/call":
        try:
            answer = CALLS[params["name"]](params["arguments"], params)
            if answer is not None:
                write({"id": number, "result": answer})
        except KeyError:
            write({"id": number, "error": {"code": -32602, "message": "no such tool"}})
    elif number is not None:
        write({"id": number, "error": {"code": -32601, "message": "Method not found"}})


def main() -> None:
    if MODE == "crash":
        sys.exit("a fault with a traceback")
    if MODE == "silent":
        time.sleep(600)
    for line in sys.stdin:
        take(json.loads(line))


if __name__ == "__main__":
    main()
