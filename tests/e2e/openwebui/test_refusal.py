"""The stock ``open-webui serve`` on a copy of Open WebUI in which the patched function has moved."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.openwebui.installed import installed

pytestmark = pytest.mark.real

START_S = 120


def copied(folder: Path) -> Path:
    """Open WebUI's package as links to its files, so that one of them can be another."""
    [package] = installed().parent.parent.glob("lib/python3*/site-packages/open_webui")
    shutil.copytree(package, folder / "open_webui", copy_function=os.symlink, ignore=shutil.ignore_patterns("frontend"))
    return folder / "open_webui"


@pytest.mark.requirement("webui:refuses-to-load")
def test_a_changed_signature_ends_the_start_with_its_name(tmp_path: Path) -> None:
    module = copied(tmp_path) / "utils" / "headers.py"
    source = module.read_text()
    changed = source.replace("    config=None,\n    metadata: dict | None = None,\n", "    settings=None,\n")
    assert changed != source
    module.unlink()
    module.write_text(changed)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tmp_path),
        "DATA_DIR": str(tmp_path / "data"),
        "WEBUI_SECRET_KEY": "a secret key for this test alone",
        "OFFLINE_MODE": "True",
        "HF_HUB_OFFLINE": "1",
        "RAG_EMBEDDING_ENGINE": "openai",
    }
    (tmp_path / "data").mkdir()
    command = [str(installed()), "serve", "--host", "127.0.0.1", "--port", "1"]
    ended = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=START_S, check=False
    )
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "Open Persona can't be put into Open WebUI: open_webui.routers.openai.get_headers_and_cookies takes "
        "(request, url, key, settings, user), where (request, url, key, config, metadata, user) is expected."
    )
