"""Debian's Chromium, headless, driven by Playwright."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""As root, and without looking for anything outside of this machine."""

INSTALL_S = 600


def chromium() -> str:
    """The path of Chromium, installed from Debian's packages where it is missing."""
    if (found := shutil.which("chromium")) is None:
        install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core")
        for command in (("apt-get", "update", "-qq"), install):
            subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_S)
        found = shutil.which("chromium")
    assert found, "Chromium could not be installed"
    return found


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """A browser; each of its contexts is somebody with cookies of their own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()
