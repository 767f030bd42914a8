"""One page from the public internet: redirects followed by hand, each stop checked like the first."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from email.message import Message

import httpcore
import httpx

from mcp_servers.kit.clock import Clock, Deadline
from mcp_servers.kit.errors import (
    AccessForbidden,
    InvalidArgument,
    NotFound,
    RateLimited,
    Unsupported,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from mcp_servers.kit.filetype import promised_type
from mcp_servers.kit.lanes import Lanes
from mcp_servers.kit.retry import retry_after_s
from mcp_servers.web.body import ACCEPTED, BadEncoding, TooBig, read_body
from mcp_servers.web.internet import PORTS, ForbiddenAddress, Internet, PublicNetwork, SystemInternet, UnknownHost

MAX_URL_CHARS = 2000
USER_AGENT = "open-persona (reads a single page that a person asked for)"
OTHER_SOURCE = "Go on without this page and say so, or try another source."

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MIB = 1024 * 1024
_LONGEST_CHARSET = 40
"""It goes into an argument of the reading process, of which there is a largest size."""


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes of one fetch. ``total_s`` is over all redirects; files are PDF and Word documents."""

    total_s: float = 12.0
    connect_s: float = 5.0
    idle_s: float = 6.0
    page_bytes: int = 5 * _MIB
    file_bytes: int = 15 * _MIB
    redirects: int = 5


@dataclass(frozen=True)
class Page:
    """What a server answered at ``url``, which may be another than was asked for."""

    url: str
    content: bytes
    media_type: str
    charset: str


class PageFetcher:
    """Fetches pages. It has no cookies, sends no referrer, uses no proxy, and knows nothing of earlier fetches."""

    def __init__(
        self,
        clock: Clock,
        *,
        internet: Internet | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._clock = clock
        self._network = PublicNetwork(internet or SystemInternet())
        self._limits = limits or Limits()
        self._tls = tls or httpx.create_ssl_context()
        # Nobody's server shall be flooded by a model that asks in a loop.
        self._lanes = Lanes(rate=2, burst=6, concurrency=3, clock=clock)

    async def fetch(self, url: str, deadline: Deadline) -> Page:
        """The page at ``url``. Raises InvalidArgument, Unsupported, AccessForbidden or an UpstreamError."""
        until = Deadline(self._clock, min(self._limits.total_s, deadline.remaining()))
        target = checked_url(url)
        try:
            async with asyncio.timeout(until.remaining()):
                found = await self._one(target, until)
                for _ in range(self._limits.redirects):
                    if isinstance(found, Page):
                        return found
                    found = await self._after_redirect(found, until)
        except TimeoutError as error:
            raise UpstreamTimeout("The page did not come in time.", what_to_do=OTHER_SOURCE) from error
        if isinstance(found, Page):
            return found
        raise UpstreamRefused("The site redirects again and again.", what_to_do=OTHER_SOURCE)

    async def _after_redirect(self, location: str, until: Deadline) -> Page | str:
        try:
            return await self._one(checked_url(location), until)
        except InvalidArgument as error:
            raise UpstreamRefused(
                "The site redirects to an address that is not read here.", what_to_do=OTHER_SOURCE
            ) from error

    async def _one(self, url: httpx.URL, until: Deadline) -> Page | str:
        """One request on a connection of its own: the page, or the address that it redirects to."""
        times = {"connect": self._limits.connect_s, "read": self._limits.idle_s, "write": self._limits.idle_s}
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=_port(url), target=url.raw_path)
        try:
            async with (
                self._lanes.slot(url.host, until),
                httpcore.AsyncConnectionPool(
                    ssl_context=self._tls, network_backend=self._network, max_keepalive_connections=0
                ) as pool,
                pool.stream("GET", target, headers=_headers(url), extensions={"timeout": times}) as response,
            ):
                return await self._judged(url, response)
        except ForbiddenAddress as error:
            raise _forbidden() from error
        except UnknownHost as error:
            raise InvalidArgument(
                "url", "there is no such host", what_to_do="Check the spelling of the URL."
            ) from error
        except (httpcore.TimeoutException, TimeoutError) as error:
            raise UpstreamTimeout("The site did not answer in time.", what_to_do=OTHER_SOURCE) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
            raise UpstreamUnavailable(f"The site could not be read{_why(error)}.", what_to_do=OTHER_SOURCE) from error

    async def _judged(self, url: httpx.URL, response: httpcore.Response) -> Page | str:
        headers = httpx.Headers(response.headers)
        if response.status in _REDIRECTS and "location" in headers:
            return _joined(url, headers["location"])
        self._check_status(response.status, headers)
        media_type, charset = _content_type(headers.get("content-type", ""))
        promised = promised_type(media_type)
        if promised is not None and promised.kind is None:
            raise Unsupported(f"This address is {promised.name}, no page.", what_to_do=_READABLE)
        is_file = promised is not None and promised.kind in ("pdf", "docx")
        most = self._limits.file_bytes if is_file else self._limits.page_bytes
        try:
            content = await read_body(response.aiter_stream(), headers.get("content-encoding", ""), most)
        except TooBig as error:
            raise Unsupported(f"The page is larger than {most // _MIB} MiB.", what_to_do=OTHER_SOURCE) from error
        except BadEncoding as error:
            raise UpstreamRefused("The site sent the page in a damaged form.", what_to_do=OTHER_SOURCE) from error
        return Page(str(url), content, media_type, charset)

    def _check_status(self, status: int, headers: httpx.Headers) -> None:
        match status:
            case 204 | 205:
                raise Unsupported(f"The site answered without any content (HTTP {status}).", what_to_do=OTHER_SOURCE)
            case 401 | 403 | 407 | 451:
                raise AccessForbidden(
                    f"The site does not show this page to us (HTTP {status}).",
                    what_to_do="It needs a login or keeps programs out. Give the user the link, or use another source.",
                )
            case 404 | 410:
                raise NotFound(
                    "The site has no such page.", what_to_do="Check the URL, or look on the site's main page."
                )
            case 429:
                wait = retry_after_s(headers.get("retry-after"), self._clock.now())
                raise RateLimited("The site gets too many calls.", retry_after_s=wait)
            case 408:
                raise UpstreamTimeout("The site did not answer in time.", what_to_do=OTHER_SOURCE)
            case _ if status >= 500:
                raise UpstreamUnavailable(f"The site has a fault of its own (HTTP {status}).", what_to_do=OTHER_SOURCE)
            case _ if status not in (200, 203):
                raise UpstreamRefused(f"The site gave no page (HTTP {status}).", what_to_do=OTHER_SOURCE)


_READABLE = "Only HTML, plain text, PDF and Word (.docx) can be read. Give the user the link."


def checked_url(text: str) -> httpx.URL:
    """``text`` as a URL that may be asked for, without its fragment. Raises InvalidArgument for any other.

    Addresses are not judged here but where the connection is made, names and literals alike.
    """
    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, ValueError) as error:
        raise _bad_url("this is no valid URL") from error
    if "%" in url.host:
        raise _bad_url("this is no valid URL")
    if url.scheme not in _DEFAULT_PORTS or not url.host:
        raise _bad_url("only http:// and https:// addresses can be read")
    if url.userinfo:
        raise _bad_url("a URL with a user name or password in it is not read")
    if _port(url) not in PORTS:
        raise _bad_url("only the ports 80 and 443 are read")
    if len(str(url)) > MAX_URL_CHARS:
        raise _bad_url(f"it is longer than {MAX_URL_CHARS} characters")
    return url.copy_with(fragment=None)


def _joined(url: httpx.URL, location: str) -> str:
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, ValueError):
        return location


def _port(url: httpx.URL) -> int:
    return url.port or _DEFAULT_PORTS.get(url.scheme, 0)


def _headers(url: httpx.URL) -> list[tuple[bytes, bytes]]:
    return [
        (b"Host", url.netloc),
        (b"User-Agent", USER_AGENT.encode()),
        (b"Accept", b"text/html,application/xhtml+xml,text/plain;q=0.9,application/pdf;q=0.8,*/*;q=0.1"),
        (b"Accept-Language", b"en,*;q=0.5"),
        (b"Accept-Encoding", ACCEPTED.encode()),
        (b"Connection", b"close"),
    ]


def _content_type(value: str) -> tuple[str, str]:
    message = Message()
    message["content-type"] = value.replace("\r", " ").replace("\n", " ")
    charset = message.get_param("charset")
    media_type = message.get_content_type() if value.strip() else ""
    return media_type, charset[:_LONGEST_CHARSET] if isinstance(charset, str) else ""


def _bad_url(problem: str) -> InvalidArgument:
    return InvalidArgument("url", problem, what_to_do="Pass the full address of a public page, such as https://….")


def _forbidden() -> InvalidArgument:
    return InvalidArgument(
        "url",
        "this address is not on the public internet",
        what_to_do="Only public pages can be read. Do not try other spellings of the same address.",
    )


def _why(error: Exception) -> str:
    return ": its certificate is not valid" if "CERTIFICATE_VERIFY_FAILED" in str(error) else ""
