"""What counts as a secret in a folder, and what does not. They are put together here, so that this file has none."""

from __future__ import annotations

import pytest

from tests.open_persona.validate.sample import TOOL, Checkout, at, only

RANDOM = "q7Zt9LmX2vBn8RkW" + "4cYp6HsD3fGj5TaE"
HEX = "9f86d081884c7d65" + "9a2feaa0c55ad015"
PLANTED = {
    "AWS": "AKIA" + "IOSFODNN7" + "QRSTUVW",
    "model provider": "sk-" + "ant-api03-" + RANDOM,
    "GitHub": "ghp_" + RANDOM + "abcd",
    "Slack": "xoxb-" + "2482910472-" + RANDOM[:12],
    "Google": "AIza" + RANDOM + "abc",
    "private key": "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
    "JWT": "eyJ" + RANDOM[:16] + ".eyJ" + RANDOM[:20] + "." + RANDOM[:20],
    "address": "https://ann:" + "hunter2hunter2" + "@api.service.org/v1",
    "python name": f'API_KEY = "{RANDOM}"',
    "python annotation": f'api_token: str = "{HEX}"',
    "yaml": f"private_key: {RANDOM}",
    "header": f"Authorization: Bearer {RANDOM}",
    "header by dashes": f"X-Api-Key: {HEX}",
    "query": f"url: https://mcp.service.org/mcp?key={RANDOM}",
    "json": f'{{"client_secret": "{HEX}"}}',
}
INNOCENT = (
    'API_KEY = os.environ["OPEN_PERSONA_SAMPLE_API_KEY"]',
    "token = settings.access_token_of_the_user_2_and_3",
    '(key_id, private_key) = CallerSettings.of(ctx, INTEGRATION).require("api_key_id", "api_private_key")',
    "api_private_key: shown once, looks like 019c24d3-…",
    'api_key = "your-api-key-goes-here-123456"',
    'secret = "alice-private-key-of-the-tests"',
    "help_url: https://help.instrumentl.com/en/articles/10020925-api-integration",
    "password: ${SAMPLE_PASSWORD_FROM_THE_ENVIRONMENT_1}",
    'KEY_ENV = "OPEN_PERSONA_SAMPLE_API_KEY_NUMBER_2"',
    "postgresql://user:password@localhost/db",
    "sk-…, AKIA…, ghp_… are how keys begin",
    "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b of the specification",
    "author: JaneDoe1984SmithAndSons2x",
    'headers = {"Authorization": f"Bearer {token_of_the_caller_2_and_3}"}',
    'token_count = "12345678901234567890123"',
)


@pytest.mark.requirement("validate:secrets")
@pytest.mark.parametrize("what", PLANTED)
def test_a_secret_is_found_and_not_repeated(checkout: Checkout, what: str) -> None:
    name = "client.py" if what.startswith("python") else "notes.yaml"
    checkout.write(name, f"# one\n{PLANTED[what]}\n" if name == "notes.yaml" else f'"""One."""\n{PLANTED[what]}\n')
    problem = only(checkout.judged(TOOL))
    assert at(problem) == ("no-secret", f"mcp_servers/sample/{name}", 2)
    assert "replaced by its service" in problem.mend
    for text in (RANDOM, HEX, "hunter2"):
        assert text[:10] not in problem.model_dump_json()


@pytest.mark.requirement("validate:secrets")
@pytest.mark.parametrize("name", [".env", ".env.local", "server.pem", "id_rsa"])
def test_a_file_of_secrets_is_found_by_its_name(checkout: Checkout, name: str) -> None:
    checkout.write(name, "")
    assert at(only(checkout.judged(TOOL))) == ("no-secret", f"mcp_servers/sample/{name}", 1)


HTTP = "transport: {type: http, url: 'https://mcp.service.org/mcp', headers: {X-Access: 'VALUE', X-User: '{api_key}'}}"


@pytest.mark.requirement("validate:secrets")
@pytest.mark.parametrize(
    ("header", "example", "field"),
    [(RANDOM, "", "transport.headers.X-Access"), ("now", RANDOM, "settings.0.example"), ("{api_key}", "shown", "")],
)
def test_a_key_in_the_manifest_itself_is_found(checkout: Checkout, header: str, example: str, field: str) -> None:
    checkout.change("manifest.yaml", "transport: {type: python, port: 7050}", HTTP.replace("VALUE", header))
    checkout.change("manifest.yaml", "    required: true\n", f"    required: true\n    example: '{example}'\n")
    found = [problem for problem in checkout.judged().problems if problem.rule == "no-secret"]
    assert [problem.what for problem in found] == [f"what looks like a key, as {field}"] * bool(field)
    line = "transport:" if header == RANDOM else "example:"
    assert [problem.line for problem in found] == [checkout.line("manifest.yaml", line)] * bool(field)


def test_an_example_of_one_may_stay(checkout: Checkout) -> None:
    checkout.write(".env.example", "SAMPLE_API_KEY=\n")
    assert checkout.judged(TOOL).problems == ()


@pytest.mark.requirement("validate:secrets")
@pytest.mark.parametrize("line", INNOCENT)
@pytest.mark.parametrize("name", ["notes.md", "client.py"])
def test_it_does_not_cry_wolf(checkout: Checkout, line: str, name: str) -> None:
    checkout.write(name, f"# {line}\n" if name.endswith(".py") else f"{line}\n")
    assert checkout.judged(TOOL).problems == ()
