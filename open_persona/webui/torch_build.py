"""Which build of torch pip offers here: the small one for the CPU, or the CUDA build of several GB."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from open_persona.errors import FetchFailed
from open_persona.webui.pip_run import Pip

SETTING = "OPEN_PERSONA_TORCH_INDEX"
REPORT = "torch.json"
_CUDA = ("nvidia-", "cuda-")


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore")

    version: str
    requires_dist: tuple[str, ...] = ()


class _Found(BaseModel):
    model_config = ConfigDict(extra="ignore")

    metadata: _Metadata


class _Report(BaseModel):
    """The part of pip's installation report (its format version 1) that is looked at."""

    model_config = ConfigDict(extra="ignore")

    install: tuple[_Found, ...]


@dataclass(frozen=True)
class TorchBuild:
    """``cuda``: it brings NVIDIA's libraries along."""

    version: str
    cuda: bool


async def offered(pip: Pip, requirement: str, index: SecretStr | None) -> TorchBuild:
    """The build that would be installed; nothing is. Raises ``FetchFailed``."""
    report = pip.folder / REPORT
    look = ("install", "--dry-run", "--ignore-installed", "--no-deps", "--report", str(report))
    await pip.run(*look, requirement, index=index)
    return read_report(report)


def read_report(report: Path) -> TorchBuild:
    """Raises ``FetchFailed`` when it is not of the known shape."""
    try:
        [torch] = _Report.model_validate_json(report.read_bytes()).install
    except (OSError, ValueError, ValidationError):
        raise FetchFailed("pip did not tell which torch it offers. Run the same command again.") from None
    wanted = torch.metadata.requires_dist
    cuda = sys.platform == "linux" and any(name.startswith(_CUDA) for name in wanted)
    return TorchBuild(torch.metadata.version, cuda)
