"""Faults planted in a folder that keeps every rule: each is found once, with file, line and what to do."""

from __future__ import annotations

import inspect

import pytest

from hub import validate as hub_rules
from open_persona.validate.rules import CATALOG_RULES, catalog
from tests.open_persona.validate.sample import TOOL, Checkout, at, only

MANIFEST, README, SERVER = (f"mcp_servers/sample/{name}" for name in ("manifest.yaml", "README.md", "server.py"))
pytestmark = pytest.mark.requirement("validate:planted-faults")


def test_the_sample_itself_keeps_every_rule(checkout: Checkout) -> None:
    examined = checkout.judged(TOOL)
    assert (examined.problems, examined.waived, examined.notes) == ((), (), ())


def test_a_manifest_that_is_no_yaml(checkout: Checkout) -> None:
    checkout.change("manifest.yaml", "title: Sample", "title: [Sample")
    problem = only(checkout.judged())
    assert at(problem)[:2] == ("manifest-valid", MANIFEST)
    assert problem.line in {4, 5}


def test_a_field_that_is_not_known(checkout: Checkout) -> None:
    checkout.change("manifest.yaml", "title: Sample", "title: Sample\ncolour: red")
    problem = only(checkout.judged())
    assert at(problem) == ("manifest-valid", MANIFEST, 4)
    assert "colour" in problem.what
    assert "docs/reference/manifest.md" in problem.mend


def test_a_name_that_is_not_the_folders(checkout: Checkout) -> None:
    checkout.change("manifest.yaml", "name: sample", "name: simple")
    problem = only(checkout.judged(TOOL))
    assert at(problem) == ("name-is-folder", MANIFEST, 2)
    assert "Rename the folder" in problem.mend


def test_a_name_that_another_begins(checkout: Checkout) -> None:
    other = (checkout.folder / "manifest.yaml").read_text().replace("name: sample", "name: sam")
    checkout.write("../sam/manifest.yaml", other.replace("7050", "7051"))
    assert checkout.judged(TOOL).problems == ()
    checkout.folder.rename(checkout.root / "sam_ple")
    checkout = Checkout(checkout.base, "sam_ple")
    checkout.change("manifest.yaml", "name: sample", "name: sam_ple")
    found = [at(one) for one in checkout.judged().problems]
    assert ("name-is-no-prefix", "mcp_servers/sam_ple/manifest.yaml", 2) in found


def test_a_port_that_another_has(checkout: Checkout) -> None:
    other = (checkout.folder / "manifest.yaml").read_text().replace("name: sample", "name: early")
    checkout.write("../early/manifest.yaml", other)
    problem = only(checkout.judged(TOOL))
    assert at(problem) == ("port-is-unique", MANIFEST, checkout.line("manifest.yaml", "port: 7050"))
    assert "'early'" in problem.what


def test_a_tool_that_passes_for_one_of_opencodes(checkout: Checkout) -> None:
    checkout.folder.rename(checkout.root / "external")
    checkout = Checkout(checkout.base, "external")
    checkout.change("manifest.yaml", "name: sample", "name: external")
    checkout.change("manifest.yaml", "find_samples", "directory")
    found = [at(one) for one in checkout.judged().problems]
    assert ("tool-is-not-opencodes", "mcp_servers/external/manifest.yaml", 14) in found


PROGRAM = "transport: {type: command, port: 7050, command: [serve, '{PLACE}']}"
REMOTE = "transport: {type: http, url: 'https://mcp.example/mcp', headers: {NAME: 'Bearer {api_key}'}}"


@pytest.mark.parametrize(
    ("transport", "env", "rule", "line"),
    [
        (PROGRAM.replace("PLACE", "api_key"), "SAMPLE_KEY", "arguments-hold-no-secret", "transport:"),
        (PROGRAM.replace("PLACE", "other"), "SAMPLE_KEY", "arguments-hold-no-secret", "transport:"),
        (PROGRAM.replace("{PLACE}", "now"), "LD_PRELOAD", "variables-are-free", "env:"),
        (REMOTE.replace("NAME", "X-Key"), "SAMPLE_KEY", "variables-are-free", "env:"),
        (REMOTE.replace("NAME", "Content-Length"), "", "headers-can-be-sent", "transport:"),
    ],
)
def test_a_transport_that_the_hub_refuses(checkout: Checkout, transport: str, env: str, rule: str, line: str) -> None:
    checkout.change("manifest.yaml", "transport: {type: python, port: 7050}", transport)
    checkout.change("manifest.yaml", "    required: true\n", f"    required: true\n    env: '{env}'\n")
    checkout.change("manifest.yaml", "tools:", f"waivers: {{{rule}: It is well.}}\ntools:")
    problem, waiver = checkout.judged().problems
    assert at(problem) == (rule, MANIFEST, checkout.line("manifest.yaml", line))
    assert problem.level == "error"
    assert "can't be waived: the hub enforces it" in waiver.what


def test_every_rule_of_the_hub_is_one_of_validates() -> None:
    source = inspect.getsource(catalog)
    assert [rule.__name__ for rule in hub_rules.RULES if f"_rules.{rule.__name__}(" not in source] == []
    assert len(CATALOG_RULES) == len(hub_rules.RULES) + 1


def test_a_port_that_another_program_holds(checkout: Checkout) -> None:
    assert checkout.judged(TOOL, port="own").problems == ()
    assert at(only(checkout.judged(TOOL, port="foreign"))) == ("port-is-free-or-its-own", MANIFEST, 6)


def test_no_tools_stated(checkout: Checkout) -> None:
    checkout.change("manifest.yaml", "tools:\n  find_samples: read\n", "")
    assert at(only(checkout.judged()))[:2] == ("tools-are-stated", MANIFEST)


def test_a_call_that_may_take_ten_minutes(checkout: Checkout) -> None:
    checkout.change("manifest.yaml", "timeout_s: 25", "timeout_s: 600")
    assert at(only(checkout.judged(TOOL))) == ("limits-are-sane", MANIFEST, 15)


def test_a_check_that_is_longer_than_the_time_between_two(checkout: Checkout) -> None:
    checkout.change("manifest.yaml", "timeout_s: 5,", "timeout_s: 50,")
    assert at(only(checkout.judged(TOOL))) == ("probe-is-sane", MANIFEST, 16)


@pytest.mark.parametrize(("before", "after"), [("interval_s: 30", "interval_s: 3000"), ("down: 3", "down: 300")])
def test_a_probe_that_never_notices(checkout: Checkout, before: str, after: str) -> None:
    checkout.change("manifest.yaml", before, after)
    assert at(only(checkout.judged(TOOL))) == ("probe-is-sane", MANIFEST, 16)


def test_a_secret_setting_without_help(checkout: Checkout) -> None:
    checkout.change("manifest.yaml", "    description: In Sample under Settings > API.\n", "")
    problem = only(checkout.judged(TOOL))
    assert at(problem) == ("settings-are-explained", MANIFEST, 8)
    assert "`help_url`" in problem.mend


def test_a_setting_whose_title_is_its_key(checkout: Checkout) -> None:
    checkout.change("manifest.yaml", "title: API key", "title: api_key")
    assert at(only(checkout.judged(TOOL))) == ("settings-are-explained", MANIFEST, 8)


def test_a_setting_that_is_never_used(checkout: Checkout) -> None:
    checkout.change("manifest.yaml", "tools:\n", "  - {key: colour, title: Colour}\ntools:\n")
    checkout.change("README.md", "`api_key`", "`colour`, `api_key`")
    problem = only(checkout.judged(TOOL))
    assert at(problem) == ("settings-are-used", MANIFEST, 13)
    assert 'get("colour")' in problem.mend


@pytest.mark.parametrize(
    "code",
    [
        'CallerSettings.of(ctx, INTEGRATION).get("colour")',
        'held: CallerSettings = CallerSettings.of(ctx, INTEGRATION)\n        held.require("api_key", "colour")',
        'headers["x-open-persona-setting-colour"]',
    ],
)
def test_a_setting_that_is_not_declared(checkout: Checkout, code: str) -> None:
    checkout.change("server.py", "        return words", f"        {code}\n        return words")
    problem = only(checkout.judged(TOOL))
    assert at(problem)[:2] == ("settings-are-declared", SERVER)
    assert problem.line == checkout.line("server.py", code.splitlines()[-1].strip())
    assert "'colour'" in problem.what


def test_a_dictionary_is_no_settings(checkout: Checkout) -> None:
    checkout.change("server.py", "        return words", '        return {"a": words}.get("colour", words)')
    assert checkout.judged(TOOL).problems == ()


@pytest.mark.parametrize("name", ["ABOUT.md", "../../../outside.md"])
def test_a_page_that_is_not_there(checkout: Checkout, name: str) -> None:
    checkout.change("manifest.yaml", "documentation: README.md", f"documentation: {name}")
    problem = only(checkout.judged(TOOL))
    assert at(problem) == ("documentation-is-there", MANIFEST, 5)


def test_a_page_without_a_heading(checkout: Checkout) -> None:
    checkout.change("README.md", "## Limits\n\nNone.\n", "```sh\n## Limits\n```\n")
    problem = only(checkout.judged(TOOL))
    assert at(problem) == ("readme-has-its-headings", README, 1)
    assert "Limits is missing" in problem.what


def test_a_heading_with_nothing_below_it(checkout: Checkout) -> None:
    checkout.change("README.md", "## Limits\n\nNone.\n", "## Limits\n")
    assert at(only(checkout.judged(TOOL))) == ("readme-has-its-headings", README, 15)


def test_headings_out_of_order(checkout: Checkout) -> None:
    checkout.change("README.md", "## Settings", "## X")
    checkout.change("README.md", "## Tools", "## Settings")
    checkout.change("README.md", "## X", "## Tools")
    assert at(only(checkout.judged(TOOL))) == ("readme-has-its-headings", README, 3)


def test_a_tool_that_the_page_does_not_name(checkout: Checkout) -> None:
    checkout.change("README.md", "`find_samples`", "It")
    assert at(only(checkout.judged(TOOL))) == ("readme-names-tools-and-settings", README, 11)


def test_no_tests(checkout: Checkout) -> None:
    checkout.test_file.unlink()
    problem = only(checkout.judged(TOOL))
    assert at(problem) == ("tests-are-there", MANIFEST, 2)
    assert "tests/mcp_servers/sample/test_server.py" in problem.mend


def test_tests_that_do_not_import_it(checkout: Checkout) -> None:
    checkout.test_file.write_text("def test_nothing() -> None:\n    pass\n")
    assert at(only(checkout.judged(TOOL))) == ("tests-are-there", "tests/mcp_servers/sample/test_server.py", 1)


def test_no_server(checkout: Checkout) -> None:
    (checkout.folder / "server.py").unlink()
    found = {at(one) for one in checkout.judged().problems}
    assert found == {("server-is-there", MANIFEST, 6), ("settings-are-used", MANIFEST, 8)}


def test_a_module_that_is_no_python(checkout: Checkout) -> None:
    checkout.write("client.py", "def broken(:\n")
    assert at(only(checkout.judged(TOOL))) == ("modules-parse", "mcp_servers/sample/client.py", 1)


def test_a_module_of_401_lines(checkout: Checkout) -> None:
    checkout.write("client.py", "x = 1\n" * 401)
    assert at(only(checkout.judged(TOOL))) == ("modules-are-short", "mcp_servers/sample/client.py", 401)


@pytest.mark.parametrize(
    "line", ["from hub.wire import Reason", "import sidecar", "from mcp_servers import other", "import tests.fakes"]
)
def test_an_import_from_elsewhere(checkout: Checkout, line: str) -> None:
    checkout.write("client.py", f"def late() -> None:\n    {line}\n")
    assert at(only(checkout.judged(TOOL))) == ("imports-stay-inside", "mcp_servers/sample/client.py", 2)


def test_own_modules_and_the_kit_are_no_import_from_elsewhere(checkout: Checkout) -> None:
    checkout.write("client.py", "from mcp_servers import kit\nimport mcp_servers.sample.server\nfrom . import hub\n")
    assert checkout.judged(TOOL).problems == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [("old.pyc", b"\0"), ("server.py~", b""), ("data.bin", b"\0" * 300_000), ("data.csv", b"a,b\n" * 300_000)],
)
def test_a_file_that_does_not_belong(checkout: Checkout, name: str, content: bytes) -> None:
    checkout.write(name, content)
    problem = only(checkout.judged(TOOL))
    assert at(problem) == ("no-stray-files", f"mcp_servers/sample/{name}", 1)


def test_a_folder_of_tools_is_told_once(checkout: Checkout) -> None:
    checkout.write("node_modules/a/one.js", "1")
    checkout.write("node_modules/b/two.js", "2")
    checkout.write("__pycache__/server.pyc", "what running it leaves behind")
    assert at(only(checkout.judged(TOOL))) == ("no-stray-files", "mcp_servers/sample/node_modules", 1)
