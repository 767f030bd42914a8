"""What a runner is made from, out of the settings: its name, its folders, its token and its password."""

from __future__ import annotations

from sidecar.identity import runner_name, runner_password, runner_token
from sidecar.runners.base import RunnerSpec
from sidecar.settings import Settings


def specify(settings: Settings, user: str, key_sig: str, config_text: str) -> RunnerSpec:
    """The spec of the user's runner (by workspace hash) for one key set; the same words give the same secrets."""
    name, home = runner_name(user, key_sig), settings.home
    return RunnerSpec(
        name=name,
        workspace_hash=user,
        key_sig=key_sig,
        workspace=home / "workspaces" / user,
        private=home / "runners" / user / key_sig,
        config_text=config_text,
        token=runner_token(settings.token_key, name),
        password=runner_password(settings.token_key, name),
    )
