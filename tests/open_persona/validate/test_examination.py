"""The command over whole folders, with servers that are really started; what ships; and what is printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mcp.server import MCPServer
from rich.console import Console

from hub.manifest import Manifest
from hub.manifest_file import read_manifest
from mcp_servers.kit.app import create_app
from open_persona.errors import BadArgument
from open_persona.ports import free_ports
from open_persona.settings import INTEGRATIONS, StackSettings
from open_persona.validate import listing
from open_persona.validate.command import validate
from open_persona.validate.examination import examine, folders_of
from open_persona.validate.listing import ask_own, port_state
from open_persona.validate.personas import PersonaFolder
from open_persona.validate.problems import Examined
from open_persona.validate.report import document_of, show
from tests.fakes.asgi_server import serve_app
from tests.open_persona.validate.sample import Checkout, at, only

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.requirement("validate:shipped")
async def test_what_ships_keeps_every_rule_and_waives_none() -> None:
    examined = await examine(INTEGRATIONS, PersonaFolder())
    assert [one for one in examined if one.problems or one.waived or one.notes] == []
    assert {one.kind for one in examined} == {"integration", "persona"}
    assert len(examined) == len(folders_of(INTEGRATIONS)) + len(list((ROOT / "sidecar" / "personas").glob("*.md")))


@pytest.mark.requirement("validate:asks-the-server")
async def test_a_fault_in_the_code_is_found_by_asking_the_server(checkout: Checkout) -> None:
    checkout.change("server.py", "READ, Integration", "WRITE, Integration")
    checkout.change("server.py", "annotations=READ", "annotations=WRITE")
    checkout.change("server.py", ', Field(description="Words to look for")', ", Field(max_length=9)")
    (examined,) = await examine(checkout.root, PersonaFolder(), ["sample"])
    server, line = "mcp_servers/sample/server.py", checkout.line
    assert [at(one) for one in examined.problems] == [
        ("arguments-are-typed", server, line("server.py", "words: Annotated")),
        ("tools-are-annotated", server, line("server.py", "def find_samples")),
    ]
    assert not (checkout.folder / "__pycache__").exists()


@pytest.mark.requirement("validate:asks-the-server")
async def test_a_server_that_ends_at_once_is_told_with_its_last_words(checkout: Checkout) -> None:
    checkout.change("server.py", "def build_app", "raise RuntimeError('no luck')\n\n\ndef build_app")
    (examined,) = await examine(checkout.root, PersonaFolder(), ["sample"])
    problem = only(examined)
    assert problem.rule == "server-answers"
    assert "RuntimeError: no luck" in problem.what


@pytest.mark.requirement("validate:asks-the-server")
async def test_a_server_that_writes_a_lot_is_asked_all_the_same(checkout: Checkout) -> None:
    checkout.change("server.py", "def build_app", "print('x' * 1_000_000)\n\n\ndef build_app")
    (examined,) = await examine(checkout.root, PersonaFolder(), ["sample"])
    assert examined.problems == ()


@pytest.mark.requirement("validate:asks-the-server")
async def test_a_server_that_hangs_is_ended(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "START_S", 1.0)
    monkeypatch.setattr(listing, "STOP_S", 0.3)
    code = "import os, pathlib, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code += "pathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))\ntime.sleep(60)\n"
    checkout.write("server.py", code)
    (examined,) = await examine(checkout.root, PersonaFolder(), ["sample"])
    (found,) = [one for one in examined.problems if one.rule == "server-answers"]
    assert "does not listen" in found.what
    pid = int((checkout.folder / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.requirement("validate:asks-the-server")
async def test_a_server_gets_none_of_our_keys(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPEN_PERSONA_DEFAULT_OPENAI_API_KEY", "k")
    monkeypatch.setenv("SOME_TOKEN", "t")
    checkout.change(
        "server.py",
        "def build_app",
        "import os\nprint(*os.environ, file=__import__('sys').stderr)\nraise SystemExit(1)\n\n\ndef build_app",
    )
    found = await ask_own(checkout.folder, examined_manifest(checkout))
    assert "PATH" in found.problem
    assert "OPENAI" not in found.problem
    assert "SOME_TOKEN" not in found.problem


def examined_manifest(checkout: Checkout) -> Manifest:
    manifest = read_manifest(checkout.folder).manifest
    assert manifest is not None
    return manifest


async def test_who_holds_a_port(checkout: Checkout) -> None:
    (port,) = free_ports(1)
    checkout.change("manifest.yaml", "7050", str(port))
    manifest = examined_manifest(checkout)
    assert await port_state(manifest, "127.0.0.1") == "free"
    for name, state in (("sample", "own"), ("other", "foreign")):
        async with serve_app(create_app(MCPServer[None](name), name=name), port=port):
            assert await port_state(manifest, "127.0.0.1") == state


async def test_a_name_that_is_neither_is_refused(checkout: Checkout) -> None:
    with pytest.raises(BadArgument, match=r"no persona 'smaple'. There are: sample, grant-draft, izzy\."):
        await examine(checkout.root, PersonaFolder(), ["smaple"])
    with pytest.raises(BadArgument, match="OPEN_PERSONA_MCP_SERVERS_DIR"):
        await examine(checkout.base / "nowhere", PersonaFolder())


async def test_a_server_of_somebody_elses_is_asked_only_where_it_runs(checkout: Checkout) -> None:
    (port,) = free_ports(1)
    checkout.change(
        "manifest.yaml", "{type: python, port: 7050}", f'{{type: http, url: "http://127.0.0.1:{port}/mcp"}}'
    )
    (examined,) = await examine(checkout.root, PersonaFolder(), ["sample"])
    assert "--running" in examined.notes[0]
    (examined,) = await examine(checkout.root, PersonaFolder(), ["sample"], running=True)
    assert "refused" in next(one.what for one in examined.problems if one.rule == "server-answers")


@pytest.mark.requirement("validate:personas")
@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("no front matter", 1, "front matter"),
        ("---\nid: helper\nname: H\ndescription: D\ncolour: red\n---\ncore\n", 5, "colour"),
        ("---\nid: other\nname: H\ndescription: D\n---\ncore\n", 2, "must be the file's name"),
        ("---\nid: helper\nname: H\ndescription: D\nmemory: true\n---\ncore\n", 5, "MEMORY_TEMPLATES"),
        ("---\nid: helper\nname: H\ndescription: D\n---\n\n", 6, "no text"),
    ],
)
async def test_a_template_with_a_fault(checkout: Checkout, text: str, line: int, what: str) -> None:
    directory = checkout.base / "sidecar" / "personas"
    directory.mkdir(parents=True)
    (directory / "helper.md").write_text(text)
    (examined,) = await examine(checkout.root, PersonaFolder(directory), ["helper"])
    problem = only(examined)
    assert at(problem) == ("template-loads", "sidecar/personas/helper.md", line)
    assert what in problem.what
    assert "docs/reference/persona-templates.md" in problem.mend


@pytest.mark.requirement("validate:personas")
async def test_each_template_is_judged_though_one_is_broken(checkout: Checkout) -> None:
    directory = checkout.base / "sidecar" / "personas"
    directory.mkdir(parents=True)
    (directory / "a.md").write_text("broken")
    (directory / "b.md").write_text("---\nid: b\nname: B\ndescription: D\nmemory: true\n---\ncore\n")
    settings = PersonaFolder.of({"OPEN_PERSONA_PERSONAS_DIR": str(directory), "OPEN_PERSONA_MEMORY_TEMPLATES": "b"})
    found = {one.name: one for one in await examine(checkout.root, settings, ["a", "b"])}
    assert (found["a"].errors, found["b"].errors) == (1, 0)
    assert only(found["b"]).rule == "core-says-it-is-locked"


@pytest.mark.requirement("validate:output")
async def test_people_read_it_in_80_columns_and_programs_as_json(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.change("README.md", "`find_samples`", "It")
    checkout.change("manifest.yaml", "timeout_s: 25", "timeout_s: 500")
    settings = StackSettings(home=checkout.base, mcp_servers_dir=checkout.root)
    out = Console(width=100, highlight=False)
    assert await validate(settings, {}, out, ["sample"], running=False, as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fail  sample"
    assert "      mcp_servers/sample/README.md:11" in lines
    assert any(line.startswith("        [readme-names-tools-and-settings] ") for line in lines)
    assert lines[-1] == "1 integration, 0 personas: 2 problems, 0 warnings, 0 waived"
    assert max(map(len, lines)) <= 80
    assert await validate(settings, {}, out, ["sample"], running=False, as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["errors"], document["warnings"]) == (2, 0)
    (examined,) = document["examined"]
    assert {frozenset(problem) for problem in examined["problems"]} == {
        frozenset({"rule", "level", "file", "line", "what", "mend"})
    }


@pytest.mark.requirement("validate:output")
async def test_a_warning_alone_fails_nothing(checkout: Checkout) -> None:
    text = (checkout.folder / "manifest.yaml").read_text()
    checkout.write("manifest.yaml", f"{text}waivers: {{limits-are-sane: Because.}}\n")
    settings = StackSettings(home=checkout.base, mcp_servers_dir=checkout.root)
    assert await validate(settings, {}, Console(quiet=True), ["sample"], running=False, as_json=False) == 0


def test_waived_problems_and_notes_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show([Examined(kind="integration", name="sample", notes=("its tools were not looked at",))], Console(width=100))
    assert "Note: its tools were not looked at" in capsys.readouterr().out
    assert json.loads(document_of([])) == {"errors": 0, "warnings": 0, "examined": []}


def test_the_command_knows_the_name_of_a_persona() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "open_persona.cli", "validate", "izzy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok    izzy\n")
