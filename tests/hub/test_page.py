"""The status page: what is wrong comes first, and hostile text stays text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hub.board import Board
from hub.catalog import Catalog, Integration
from hub.manifest_file import Fault
from hub.page import ago, overall, percent, render_page, with_code
from hub.state import Standing
from hub.tools import Tool
from tests.hub.servers import manifest_at

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOSTILE = "</style></script><img src=x onerror=alert(1)>\"'`{{7*7}}"


def board_of(*integrations: Integration) -> Board:
    return Board(Catalog(integrations), "boot", disabled=frozenset(), mcp_host="127.0.0.1", now=lambda: NOW)


@pytest.mark.requirement("hub:page-escapes")
def test_hostile_text_is_escaped_wherever_it_comes_from() -> None:
    manifest = manifest_at("http://x", title=HOSTILE[:80], description=HOSTILE)
    board = board_of(
        Integration("demo", manifest), Integration("evil", None, (Fault("evil/manifest.yaml", 3, HOSTILE),))
    )
    tools = (Tool(HOSTILE, "f", HOSTILE), Tool("echo", "f", HOSTILE))
    standing = Standing(
        health="degraded",
        reason="tools_mismatch",
        detail=HOSTILE,
        action=HOSTILE,
        protocol=HOSTILE,
        tools=tools,
        last_ok_at=NOW,
        tools_changed_at=NOW,
        changed_tools=(HOSTILE,),
    )
    board.settle("demo", standing)
    html, policy = render_page(board, NOW)
    assert "<img" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") >= 8
    assert "49" not in html.split("<main")[1]
    assert (html.count("</style>"), html.count("</script>"), html.count("<script")) == (1, 1, 1)
    assert "unsafe" not in policy
    assert policy.split("script-src 'nonce-")[1].split("'")[0] in html


def test_each_page_has_a_nonce_of_its_own() -> None:
    board = board_of()
    assert render_page(board, NOW)[1] != render_page(board, NOW)[1]


@pytest.mark.requirement("hub:page-what-to-do")
def test_what_is_wrong_comes_first_with_what_to_do() -> None:
    fault = Fault("broken/manifest.yaml", 4, "transport.port: too small")
    board = board_of(
        Integration("broken", None, (fault,)),
        Integration("down", manifest_at("http://x", name="down")),
        Integration("fine", manifest_at("http://y", name="fine")),
    )
    board.settle("fine", Standing(health="healthy", last_ok_at=NOW))
    board.settle("down", Standing(health="down", reason="refused", action="Start `it`."))
    html, _ = render_page(board, NOW)
    assert "2 of 3 integrations need attention" in html
    top, cards = html.split('class="cards"')
    assert "Start <code>it</code>." in top
    assert "Mend broken/manifest.yaml:4: transport.port: too small" in top
    assert "fine" not in top.split("<main")[1]
    assert cards.index('id="i-down"') < cards.index('id="i-broken"') < cards.index('id="i-fine"')


@pytest.mark.requirement("hub:page-what-to-do")
def test_a_fault_beside_a_version_that_serves_is_shown_where_people_look() -> None:
    faults = (Fault("fine/manifest.yaml", 4, "port: too small"), Fault("fine/manifest.yaml", 9, HOSTILE))
    board = board_of(Integration("fine", manifest_at("http://y", name="fine"), faults))
    board.settle("fine", Standing(health="healthy", last_ok_at=NOW))
    html, _ = render_page(board, NOW)
    assert "1 of 1 integrations needs attention" in html
    top, cards = html.split('class="cards"')
    assert "Faulty manifest" in top
    assert "Mend fine/manifest.yaml:4: port: too small (and 1 more). Until then its last good version serves." in top
    assert '<span class="badge healthy">Healthy</span>' in cards
    assert "fine/manifest.yaml:4: port: too small\nfine/manifest.yaml:9: " in cards
    assert "<img" not in html
    board.settle("fine", Standing(health="down", reason="refused", action="Start it."))
    assert "Start it. Mend fine/manifest.yaml:4" in render_page(board, NOW)[0]


def test_the_page_asks_no_other_host() -> None:
    html, policy = render_page(board_of(Integration("demo", manifest_at("http://elsewhere.example"))), NOW)
    assert "://" not in html
    assert policy.startswith("default-src 'none'")


def test_no_integrations_is_explained() -> None:
    assert "OPEN_PERSONA_MCP_SERVERS_DIR" in render_page(board_of(), NOW)[0]


def test_words_for_times_and_shares() -> None:
    assert [ago(NOW - timedelta(seconds=seconds), NOW) for seconds in (-5, 0, 59, 60, 7200, 200_000)] == [
        "just now", "just now", "59 s ago", "1 min ago", "2 h ago", "2 d ago"
    ]  # fmt: skip
    assert ago(None, NOW) == "never"
    assert [percent(share) for share in (None, 0.0, 0.00001, 0.5, 0.99999, 1.0)] == [
        "–", "0%", "0.1%", "50.0%", "99.9%", "100%"
    ]  # fmt: skip


def test_the_sentence_at_the_top() -> None:
    assert overall(["healthy", "disabled"]) == ("healthy", "The one integration answers")
    assert overall(["healthy", "degraded"]) == ("degraded", "1 of 2 integrations needs attention")
    assert overall(["invalid", "healthy"])[0] == "down"
    assert overall(["starting", "healthy"])[0] == "starting"
    assert overall(["healthy", "healthy"], outdated=2) == ("degraded", "2 of 2 integrations need attention")


def test_backticks_become_code_and_nothing_else_does() -> None:
    assert with_code("run `a <b>` & `c`") == "run <code>a &lt;b&gt;</code> &amp; <code>c</code>"
