"""The kit's README is true: its example runs, and it names every module."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from mcp_servers import kit
from tests.fakes.asgi_server import serve_app
from tests.mcp_servers.mcp_session import connected, failure_of

FOLDER = Path(kit.__file__).parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")

MANIFEST = """\
manifest_version: 1
name: weather
title: Weather
description: The weather.
transport: {type: python, port: 7999}
settings: [{key: api_key, title: API key, secret: true, required: true}]
tools: {forecast: read}
"""


async def test_the_example_is_a_whole_server(tmp_path: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    folder = tmp_path / "weather"
    folder.mkdir()
    (folder / "manifest.yaml").write_text(MANIFEST)
    (folder / "server.py").write_text(example)
    spec = importlib.util.spec_from_file_location("weather_server", folder / "server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    async with serve_app(module.build_app()) as url, connected(url) as client:
        code, text = failure_of(await client.call_tool("forecast", {"city": "Oslo"}))
    assert code == "missing_credentials"
    assert "“API key” is not set" in text


def test_every_module_is_named() -> None:
    modules = {file.stem for file in FOLDER.glob("*.py")} - {"__init__"}
    assert {name for name in modules if f"`{name}`" not in README} == set()
