"""axe-core, the judge of a page's accessibility: from npm into ``.tools`` of the checkout, in exactly this version."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from open_persona.prerequisites import NPM, require
from open_persona.toolchain import tools_folder

VERSION = "4.14.1"
FETCH_S = 300


def axe_source() -> str:
    """The script, fetched if it is not there."""
    tools = tools_folder(Path())
    target = tools / f"axe-core-{VERSION}"
    if not target.is_dir():
        require([NPM])
        tools.mkdir(parents=True, exist_ok=True)
        with (tools / ".axe.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_dir():
                _fetch(target.with_name(f".part-{target.name}"), target)
    return (target / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


async def violations(page: Page, source: str) -> list[str]:
    """What axe finds on the page, a line for each rule and the first places. The page's policy must be bypassed."""
    await page.add_script_tag(content=source)
    found: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {[node['target'] for node in one['nodes']][:5]}"
        for one in found["violations"]
    ]


def _fetch(partial: Path, target: Path) -> None:
    partial.mkdir(exist_ok=True)
    (partial / "package.json").write_text('{"name": "judge", "private": true}')
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", f"axe-core@{VERSION}"]
    subprocess.run(command, cwd=partial, check=True, capture_output=True, timeout=FETCH_S)
    partial.rename(target)
