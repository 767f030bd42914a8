"""What must not be reachable through a page's address, whatever form it comes in."""

from __future__ import annotations

import asyncio

import httpcore
import pytest

from mcp_servers.web.internet import ForbiddenAddress, PublicNetwork, SystemInternet, UnknownHost
from tests.fakes.websites import SITE
from tests.mcp_servers.web.conftest import Web


@pytest.mark.requirement("web:public-only")
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://100.64.1.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fd00:ec2::254]/",
        "http://0.0.0.0/",
    ],
)
async def test_an_address_that_is_not_public_is_never_connected_to(web: Web, url: str) -> None:
    code, text = await web.failure(url)
    assert code == "invalid_argument"
    assert "not on the public internet" in text
    assert web.internet.connected == []


@pytest.mark.requirement("web:public-only")
@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["10.0.0.5"], [SITE, "10.0.0.5"], ["fe80::1"], ["169.254.169.254"]]
)
async def test_a_name_is_judged_by_all_that_it_resolves_to(web: Web, addresses: list[str]) -> None:
    web.internet.site("inside.example", addresses)
    code, _ = await web.failure("http://inside.example/")
    assert code == "invalid_argument"
    assert web.internet.connected == []


@pytest.mark.requirement("web:no-rebinding")
async def test_a_name_is_resolved_once_and_the_checked_address_connected_to(web: Web) -> None:
    web.internet.site("rebind.example", [SITE], ["127.0.0.1"])
    web.internet.serve("/", "<p>public</p>")

    assert (await web.item("http://rebind.example/"))["text"] == "public"
    assert web.internet.lookups == ["rebind.example"]
    assert web.internet.connected == [(SITE, 80)]


@pytest.mark.requirement("web:no-rebinding")
async def test_a_name_that_changes_to_a_private_address_before_a_redirect_is_refused(web: Web) -> None:
    web.internet.site("rebind.example", [SITE], ["10.0.0.1"])
    web.internet.redirect("/", "/again")
    web.internet.serve("/again", "<p>private</p>")

    code, _ = await web.failure("http://rebind.example/")

    assert code == "upstream_unavailable"
    assert [path for path, _ in web.internet.requests] == ["/"]


@pytest.mark.requirement("web:redirects")
@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/",
        "//[::1]/",
        "http://inside.example/",
        "http://site.example:8080/",
        "http://user:secret@site.example/",
        "file:///etc/passwd",
        "ftp://site.example/",
        "http://[broken/",
    ],
)
async def test_a_redirect_is_checked_like_the_first_address(web: Web, location: str) -> None:
    web.internet.site("inside.example", ["192.168.0.1"])
    web.internet.redirect("/", location)

    code, text = await web.failure("http://site.example/")

    assert code == "upstream_unavailable"
    assert "redirects to an address that is not read here" in text
    assert location not in text
    assert web.internet.connected == [(SITE, 80)]


@pytest.mark.requirement("web:redirects")
async def test_five_redirects_are_followed_and_no_more(web: Web) -> None:
    for number in range(7):
        web.internet.redirect(f"/{number}", f"/{number + 1}", status=[301, 302, 303, 307, 308][number % 5])
    web.internet.serve("/7", "<p>the end</p>")

    item = await web.item("http://site.example/2")
    code, text = await web.failure("http://site.example/1")

    assert (item["url"], item["text"]) == ("http://site.example/7", "the end")
    assert code == "upstream_unavailable"
    assert "again and again" in text


@pytest.mark.requirement("web:urls")
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://site.example/", "only http:// and https://"),
        ("file:///etc/passwd", "only http:// and https://"),
        ("site.example", "only http:// and https://"),
        ("http:///x", "only http:// and https://"),
        ("http://user@site.example/", "user name or password"),
        ("http://user:secret@site.example/", "user name or password"),
        ("http://site.example:8080/", "only the ports 80 and 443"),
        ("http://site.example:22/", "only the ports 80 and 443"),
        ("http://[broken/", "no valid URL"),
        ("http://[fe80::1%25eth0]/", "no valid URL"),
        ("http://a\nb.example/", "no valid URL"),
        ("https://site.example/" + "x" * 1990, "longer than 2000"),
        ("http://nowhere.example/", "no such host"),
    ],
)
async def test_an_address_of_another_kind_is_refused_with_the_reason(web: Web, url: str, says: str) -> None:
    code, text = await web.failure(url)
    assert code == "invalid_argument"
    assert says in text or "at most 2000" in text
    assert "secret" not in text
    assert web.internet.connected == []


async def test_other_spellings_of_loopback_end_at_the_real_resolver() -> None:
    network = PublicNetwork(SystemInternet())
    for host in ("127.1", "2130706433", "0x7f.1", "localhost", "localhost."):
        with pytest.raises((ForbiddenAddress, UnknownHost)):
            await network.connect_tcp(host, 80, timeout=1)
    with pytest.raises(ForbiddenAddress):
        await network.connect_tcp("93.184.216.34", 22, timeout=1)


async def test_the_next_address_is_tried_where_the_first_is_silent(web: Web) -> None:
    web.internet.site("two.example", ["93.184.216.99", SITE])
    web.internet.serve("/", "<p>here</p>")
    assert (await web.item("http://two.example/"))["text"] == "here"
    web.internet.site("none.example", ["93.184.216.99"])
    assert (await web.failure("http://none.example/"))[0] == "upstream_unavailable"


async def test_a_resolver_that_hangs_ends_at_the_deadline(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(web.internet, "resolve", hang)
    async with asyncio.timeout(10):
        assert (await web.failure("http://site.example/"))[0] == "timeout"


async def test_a_connection_that_hangs_ends_at_the_deadline(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(address: str, port: int, timeout: float | None) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectTimeout("too long")

    monkeypatch.setattr(web.internet, "connect", connect)
    assert (await web.failure("http://site.example/"))[0] == "timeout"
