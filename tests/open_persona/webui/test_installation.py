"""Open WebUI's environment, with stand-in wheels: said first, made once, and again after it was interrupted."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from open_persona.errors import FetchFailed, ToolMissing
from open_persona.webui import pythons
from open_persona.webui.installation import INSTALLING, STAMP, Installation
from open_persona.webui.pip_run import LOG, site_packages
from open_persona.webui.torch_build import TorchBuild, read_report
from tests.fakes.asgi_server import serve_app
from tests.open_persona.webui.wheels import wheel

BOUND_S = 120.0
PINS = "open-webui==0.12.4\ntorch==2.13.0\nneeded==1.0\n"


class Place(NamedTuple):
    """Where a test installs, and from what."""

    wheels: Path
    folder: Path
    ours: Path
    constraints: Path
    said: list[str]

    def installation(self, index: str = "", **environment: str) -> Installation:
        given: Mapping[str, str] = {**os.environ, **offline(self.wheels), **environment}
        return Installation(self.folder, given, self.said.append, SecretStr(index), self.constraints)

    async def prepare(self, index: str = "", **environment: str) -> Path:
        async with asyncio.timeout(BOUND_S):
            return await self.installation(index, **environment).prepare(self.ours)


def offline(wheels: Path) -> dict[str, str]:
    """pip's own settings, so that it finds the stand-ins and nothing else."""
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("wheels", "ours"):
        (tmp_path / name).mkdir()
    (tmp_path / "ours" / "__init__.py").write_text("")
    (tmp_path / "ours" / "start.py").write_text("")
    (tmp_path / "constraints.txt").write_text(PINS)
    wheel(tmp_path / "wheels", "open-webui", "0.12.4", requires=["torch", "needed"])
    wheel(tmp_path / "wheels", "open-webui", "0.13.0", requires=["torch", "needed"])
    wheel(tmp_path / "wheels", "torch", "2.13.0+cpu")
    wheel(tmp_path / "wheels", "needed", "1.0")
    wheel(tmp_path / "wheels", "needed", "2.0")
    return Place(
        tmp_path / "wheels",
        tmp_path / "tools" / "open-webui-0.12.4",
        tmp_path / "ours",
        tmp_path / "constraints.txt",
        [],
    )


def installed(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".dist-info") for path in site_packages(folder).glob("*.dist-info"))


@pytest.mark.requirement("webui:installed")
async def test_it_says_its_size_first_and_installs_the_pinned_versions_once(place: Place) -> None:
    program = await place.prepare()
    assert "0.6 GB to fetch and 3 GB on disk" in place.said[0]
    assert "OPEN_PERSONA_TORCH_INDEX" in place.said[1]
    assert "Fetching torch 2.13.0+cpu ..." in place.said
    assert {"needed-1.0", "open_webui-0.12.4", "torch-2.13.0+cpu"} <= set(installed(place.folder))
    assert subprocess.run([program], check=True, capture_output=True, text=True).stdout == "stand-in\n"
    place.said.clear()
    assert await place.prepare() == program
    assert place.said == []


@pytest.mark.requirement("webui:installed")
async def test_ours_is_put_in_at_every_start(place: Place) -> None:
    await place.prepare()
    (place.ours / "start.py").write_text("NEW = 1\n")
    await place.prepare()
    assert (site_packages(place.folder) / "openwebui" / "start.py").read_text() == "NEW = 1\n"


@pytest.mark.requirement("webui:resumed")
async def test_changed_pins_are_installed_over_it_and_a_moved_one_is_made_anew(place: Place) -> None:
    await place.prepare()
    place.said.clear()
    place.constraints.write_text(PINS.replace("needed==1.0", "needed==2.0"))
    await place.prepare()
    assert "needed-2.0" in installed(place.folder)
    assert "Making the environment ..." not in place.said
    moved = place._replace(folder=place.folder.with_name("moved"), said=[])
    place.folder.rename(moved.folder)
    program = await moved.prepare()
    assert "Making the environment ..." in moved.said
    assert str(place.folder) not in program.read_text()


@pytest.mark.requirement("webui:resumed")
async def test_one_that_was_interrupted_leaves_no_pip_and_the_next_run_goes_on(place: Place) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def links(_: Request) -> Response:
        return HTMLResponse("".join(f'<a href="{file.name}">{file.name}</a>' for file in place.wheels.iterdir()))

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name.startswith("needed"):
            asked.set()
            await go_on.wait()
        return FileResponse(place.wheels / name)

    app = Starlette(routes=[Route("/simple/{project}/", links), Route("/simple/{project}/{name}", file)])
    async with serve_app(app) as url:
        slow = {"PIP_NO_INDEX": "0", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": f"{url}/simple", "PIP_NO_CACHE_DIR": "1"}
        first = asyncio.create_task(place.prepare(**slow))
        async with asyncio.timeout(BOUND_S):
            await asyncio.wait({first, asyncio.create_task(asked.wait())}, return_when=asyncio.FIRST_COMPLETED)
        assert not first.done()
        assert not place.installation().is_whole()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert (place.folder / STAMP).read_text() == INSTALLING
        assert place.said[-1].startswith("Interrupted. What was fetched is kept")
        go_on.set()
        await place.prepare(**slow)
    assert place.installation().is_whole()


@pytest.mark.requirement("webui:resumed")
async def test_a_failed_step_is_told_in_pips_words_without_noise(place: Place) -> None:
    next(place.wheels.glob("needed-1.0*")).unlink()
    gone = (place.wheels.parent / "gone").as_uri()
    with pytest.raises(FetchFailed) as caught:
        await place.prepare(PIP_FIND_LINKS=f"{place.wheels} {gone}")
    message = str(caught.value)
    assert "ERROR" in message
    assert "needed" in message
    assert "run the same command again" in message
    assert "is ignored" not in message
    assert "is ignored" not in (place.folder / LOG).read_text()
    wheel(place.wheels, "needed", "1.0")
    await place.prepare()
    assert place.installation().is_whole()


@pytest.mark.requirement("webui:torch-index")
async def test_torch_alone_comes_from_the_named_index_and_its_password_is_not_shown(place: Place) -> None:
    torch = place.wheels.parent / "index" / "torch"
    torch.mkdir(parents=True)
    shutil.move(next(place.wheels.glob("torch-*")), torch)
    asked: list[str] = []

    async def links(request: Request) -> Response:
        asked.append(request.path_params["project"])
        return HTMLResponse("".join(f'<a href="{file.name}">{file.name}</a>' for file in torch.iterdir()))

    async def file(request: Request) -> Response:
        return FileResponse(torch / request.path_params["name"])

    app = Starlette(routes=[Route("/{project}/", links), Route("/{project}/{name}", file)])
    async with serve_app(app) as url:
        index = url.replace("http://", "http://me:canary@")
        await place.prepare(index, PIP_NO_INDEX="0", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")
    assert set(asked) == {"torch"}
    assert "canary" not in (place.folder / LOG).read_text()
    assert "canary" not in "".join(place.said)


@pytest.mark.requirement("webui:installed")
async def test_two_at_once_install_once(place: Place) -> None:
    other = Place(*place[:4], said=[])
    first, second = await asyncio.gather(place.prepare(), other.prepare())
    assert first == second
    said = [place.said, other.said]
    assert sum(any("Fetching Open WebUI" in line for line in lines) for lines in said) == 1
    assert sum(any("Another open-persona" in line for line in lines) for lines in said) == 1


@pytest.mark.requirement("webui:room")
async def test_without_room_nothing_is_fetched(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_persona.webui.installation.SMALL_BYTES", 10**18)
    with pytest.raises(FetchFailed, match=r"GB free, and Open WebUI needs about"):
        await place.prepare()
    assert not place.folder.exists()


@pytest.mark.requirement("webui:room")
async def test_the_cuda_build_is_named_and_needs_its_room(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_persona.webui.installation.CUDA_BYTES", 10**18)
    monkeypatch.setattr("open_persona.webui.torch_build.sys.platform", "linux")
    next(place.wheels.glob("torch-*")).unlink()
    wheel(place.wheels, "torch", "2.13.0", requires=["nvidia-cublas-cu12"])
    with pytest.raises(FetchFailed, match="GB free"):
        await place.prepare()
    assert "CUDA build" in place.said[-1]
    assert not list(site_packages(place.folder).glob("torch*"))


def test_a_report_of_another_shape_is_an_error(tmp_path: Path) -> None:
    report = tmp_path / "torch.json"
    report.write_text('{"install": []}')
    with pytest.raises(FetchFailed, match="which torch"):
        read_report(report)
    report.write_text('{"install": [{"metadata": {"version": "2.13.0+cpu"}}]}')
    assert read_report(report) == TorchBuild("2.13.0+cpu", cuda=False)


@pytest.mark.requirement("webui:python")
def test_a_python_that_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert pythons.fitting_python({"PATH": ""})
    monkeypatch.setattr(pythons, "FITTING", ((3, 1), (3, 2)))
    with pytest.raises(ToolMissing, match=r"runs on Python 3\.1 or 3\.2"):
        pythons.fitting_python({"PATH": str(tmp_path)})
