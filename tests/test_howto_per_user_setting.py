"""The how-to page on per-user settings, done as it is written: on a copy of the code, with a value sent through."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "how-to" / "add-a-per-user-setting.md").read_text(encoding="utf-8")
DIFF = re.compile(r"```diff (\S+)\n(.*?)```", re.DOTALL)

PROOF = """
from pydantic import SecretStr
from openwebui import headers, outgoing, provider_tools
from sidecar.identity import parse_identity

assert outgoing.ORCID_FIELD == "orcid"
own, for_all = provider_tools.provider_tools()
assert "ORCID iD" in own.content and "ORCID iD" not in for_all.content
scope = {}
exec(own.content, scope)
assert "orcid" in scope["Tools"].UserValves.model_fields

def sent(value):
    found = headers.persona_headers("izzy", None, {}, {}, SecretStr(value))
    return parse_identity({"x-openwebui-user-id": "u1", **found})

assert sent("0000-0002-1825-0097").orcid == "0000-0002-1825-0097"
assert sent("broken\\nvalue").orcid == ""
assert "1825" not in repr(sent("0000-0002-1825-0097"))
"""


def edits() -> list[tuple[str, str, str]]:
    """(file, the lines that are there, the lines that shall be there) of each diff on the page."""
    found = []
    for name, body in DIFF.findall(PAGE):
        lines = body.splitlines()
        before = [line[1:] for line in lines if not line.startswith("+")]
        after = [line[1:] for line in lines if not line.startswith("-")]
        found.append((name, "\n".join(before), "\n".join(after)))
    return found


@pytest.mark.requirement("docs:per-user-setting")
def test_the_page_done_as_it_is_written_brings_the_value_to_the_sidecar(tmp_path: Path) -> None:
    for package in ("openwebui", "sidecar", "hub"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert len(edits()) == 9
    for name, before, after in edits():
        file = tmp_path / name
        text = file.read_text(encoding="utf-8")
        assert text.count(before) == 1, (name, before)
        file.write_text(text.replace(before, after), encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-c", PROOF], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_names_only_files_and_words_that_exist() -> None:
    for name in set(re.findall(r"`((?:openwebui|sidecar|tests)/[\w/]+\.py)`", PAGE)):
        assert (ROOT / name).is_file(), name
    for name, words in (
        ("openwebui/settings.py", "PROVIDERS"),
        ("sidecar/settings.py", "ProviderName"),
        ("sidecar/identity.py", "KEY_HEADERS"),
        ("sidecar/identity.py", "def key_sig"),
    ):
        assert words in (ROOT / name).read_text(encoding="utf-8")
