"""The key that Open WebUI's database is tied to is made once and never silently replaced."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from open_persona.errors import HomeRefused
from open_persona.secrets import make_secrets
from open_persona.webui.secret_key import FILE, webui_secret_key


@pytest.mark.requirement("webui:secret-key")
def test_it_is_made_once_for_its_owner_alone_also_in_an_older_home(tmp_path: Path) -> None:
    make_secrets(tmp_path, {})
    kept = (tmp_path / "secrets.json").read_text()
    key = webui_secret_key(tmp_path, {})
    assert len(key.get_secret_value()) >= 32
    assert webui_secret_key(tmp_path, {}) == key
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert (tmp_path / "secrets.json").read_text() == kept
    assert key.get_secret_value() not in repr(key)


def test_the_users_own_wins_and_leaves_no_file(tmp_path: Path) -> None:
    assert webui_secret_key(tmp_path, {"WEBUI_SECRET_KEY": "mine"}).get_secret_value() == "mine"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.requirement("webui:secret-key")
def test_a_lost_key_is_not_replaced_while_there_is_a_database(tmp_path: Path) -> None:
    (tmp_path / "webui").mkdir()
    (tmp_path / "webui" / "webui.db").write_text("")
    with pytest.raises(HomeRefused, match="Restore it from your backup"):
        webui_secret_key(tmp_path, {})
    assert not (tmp_path / FILE).exists()


def test_an_empty_key_or_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(" \n")
    with pytest.raises(HomeRefused, match="is empty"):
        webui_secret_key(tmp_path, {})
    (tmp_path / FILE).write_bytes(b"\xff")
    with pytest.raises(HomeRefused, match="can't be read"):
        webui_secret_key(tmp_path, {})
