"""Fetching the judges: once, taken up after an interruption, and told when it cannot be done. npm is a stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.tools import JudgesMissing, ensure_judges

NPM = """#!/bin/sh
echo "$1" >> "$NPM_LOG"
[ -e "$NPM_BROKEN" ] && [ "$1" = rebuild ] && { echo "no network" >&2; exit 1; }
n=node_modules
mkdir -p $n/node/bin $n/@modelcontextprotocol/conformance/dist $n/@modelcontextprotocol/inspector/clients/launcher/build
touch $n/node/bin/node $n/@modelcontextprotocol/conformance/dist/index.js
touch $n/@modelcontextprotocol/inspector/clients/launcher/build/index.js
"""


@pytest.mark.requirement("conformance:tools")
def test_an_interrupted_fetch_is_taken_up_and_a_whole_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text(NPM)
    npm.chmod(0o755)
    broken, log = tmp_path / "broken", tmp_path / "log"
    broken.touch()
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    monkeypatch.setenv("NPM_BROKEN", str(broken))
    monkeypatch.setenv("NPM_LOG", str(log))
    said: list[str] = []
    with pytest.raises(JudgesMissing, match="no network"):
        ensure_judges(said.append, tmp_path / "tools")
    assert not list((tmp_path / "tools").glob("judges-*"))
    broken.unlink()
    judges = ensure_judges(said.append, tmp_path / "tools")
    assert judges.node.is_file()
    assert "Fetching" in said[0]
    assert "Fetched" in said[-1]
    calls, lines = log.read_text().split(), len(said)
    assert calls == ["install", "rebuild"] * 2
    assert ensure_judges(said.append, tmp_path / "tools") == judges
    assert (log.read_text().split(), len(said)) == (calls, lines)
