"""Files through the upstream client: the same patience and bounds as for records."""

from __future__ import annotations

import httpx
import pytest

from mcp_servers.kit.errors import AnswerTooBig, NotFound, UpstreamUnavailable
from mcp_servers.kit.upstream import Request
from tests.mcp_servers.kit.stepped_clock import SteppedClock
from tests.mcp_servers.kit.test_upstream import Script, client

PDF = {"content-type": "Application/PDF; name=x"}


@pytest.mark.requirement("mcp-kit:downloads")
async def test_a_file_comes_as_it_is_with_its_type() -> None:
    script = Script(httpx.Response(503), httpx.Response(200, headers=PDF, content=b"\x00bytes"))
    upstream = client(script, SteppedClock())

    file = await upstream.download(Request("files/7"))

    assert (file.content, file.media_type, file.provenance.source) == (b"\x00bytes", "application/pdf", "Demo")
    assert [request.url.path for request in script.asked] == ["/base/files/7"] * 2
    await upstream.aclose()


@pytest.mark.requirement("mcp-kit:downloads")
@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (httpx.Response(404), NotFound),
        (httpx.Response(500), UpstreamUnavailable),
        (httpx.Response(200, content=bytes(101)), AnswerTooBig),
    ],
)
async def test_a_file_that_does_not_come_fails_as_a_record_does(
    reply: httpx.Response, failure: type[Exception]
) -> None:
    upstream = client(Script(reply), SteppedClock(), max_response_bytes=100)
    with pytest.raises(failure):
        await upstream.download(Request("files/7"))
    await upstream.aclose()
