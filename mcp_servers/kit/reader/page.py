"""A web page as light markdown: its main part without menus and what is hidden, links kept with absolute addresses."""

from __future__ import annotations

import re
from copy import copy, deepcopy
from urllib.parse import urljoin, urlsplit

from inscriptis.css_profiles import CSS_PROFILES
from inscriptis.html_engine import Inscriptis
from inscriptis.model.config import ParserConfig
from lxml import etree
from lxml.html import HtmlElement, HTMLParser, document_fromstring

from mcp_servers.kit.reader.charset import decoded
from mcp_servers.kit.reader.job import Job, Reading, one_line, tidy

_NEVER = (
    "script", "style", "template", "noscript", "svg", "canvas", "iframe", "object", "embed", "audio", "video",
    "input", "select", "button", "textarea", "dialog", "map", "math",
)  # fmt: skip
_AROUND = ("nav", "aside", "footer")
_AROUND_ROLES = frozenset({"navigation", "banner", "contentinfo", "search", "complementary", "dialog", "alert"})
_AROUND_NAMES = re.compile(
    r"(?:site|main|page|global|top)?[-_]?(?:nav|navbar|navigation|menu|breadcrumbs?|footer|sidebar|cookies?|share|social)"
    r"(?:[-_](?:bar|list|menu|links|banner|notice|consent|wrapper|container))?"
)
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?:px|em|rem|%)?\s*(?:;|$)", re.I)
_REFRESH = re.compile(r"^\s*\d*(?:\.\d*)?\s*[;,]?\s*(?:url\s*=\s*)?['\"]?(\S+?)['\"]?\s*$", re.I)
_LONGEST_LINK = 400
_LONGEST_REFRESH = 2000
_ENOUGH = 200
"""Characters of text that a main part or a page without its surroundings has at least; else more is taken."""


def read_page(content: bytes, job: Job) -> Reading:
    """A page whose words are made by scripts gives little or no text."""
    text, damaged = decoded(content, job.charset, html=True)
    if not text.strip():
        return Reading(sections=[(0, "")], damaged=damaged)
    tree = document_fromstring(text.encode("utf-8", "replace"), parser=HTMLParser(encoding="utf-8", huge_tree=False))
    body = tree.find("body")
    reading = Reading(title=_title(tree), damaged=damaged, refresh=_refresh(tree, job.base_url))
    if body is None:
        reading.sections.append((0, ""))
        return reading
    base = tree.find(".//base[@href]")
    _keep_links(body, urljoin(job.base_url, base.get("href", "")) if base is not None else job.base_url, job.base_url)
    _drop_hidden(body)
    rendered = tidy(_render(_main_part(body)))
    reading.sections.append((0, rendered[: job.max_chars]))
    reading.stopped = len(rendered) > job.max_chars
    return reading


def _title(tree: HtmlElement) -> str | None:
    title, heading = tree.find(".//title"), tree.find(".//h1")
    texts = (
        "" if title is None else title.text_content(),
        str(tree.xpath("string(//meta[@property='og:title']/@content)")),
        "" if heading is None else heading.text_content(),
    )
    return next((line for text in texts if (line := one_line(text))), None)


def _refresh(tree: HtmlElement, base_url: str) -> str | None:
    for meta in tree.iter("meta"):
        if (meta.get("http-equiv") or "").strip().lower() == "refresh":
            found = _REFRESH.match((meta.get("content") or "")[:2000])
            url = urljoin(base_url, found[1]) if found and not found[1].isdigit() else ""
            return one_line(url, _LONGEST_REFRESH) if url.startswith(("http://", "https://")) else None
    return None


def _keep_links(body: HtmlElement, base_url: str, own_url: str) -> None:
    """Absolute http, mail and phone links with words on them stay; others keep their words alone."""
    own = own_url.partition("#")[0]
    for link in list(body.iter("a")):
        url = _absolute(base_url, (link.get("href") or "").strip())
        if not "".join(link.itertext()).strip():
            alt = next((one_line(image.get("alt")) for image in link.iter("img") if image.get("alt")), None)
            link.text = alt
            url = url if alt else ""
        useful = url.startswith(("http://", "https://", "mailto:", "tel:")) and len(url) <= _LONGEST_LINK
        if useful and url.partition("#")[0] != own:
            link.set("href", url.replace(" ", "%20").replace(")", "%29"))
        else:
            link.attrib.pop("href", None)


def _absolute(base_url: str, href: str) -> str:
    try:
        url = urljoin(base_url, href)
        urlsplit(url)
    except ValueError:
        return ""
    return url


def _drop_hidden(body: HtmlElement) -> None:
    """What no reader of the page sees must not be read to a model either."""
    for element in list(body.iter(etree.Element)):
        if element is not body and (
            element.tag in _NEVER
            or "hidden" in element.attrib
            or element.get("aria-hidden", "").lower() == "true"
            or _HIDDEN.search(element.get("style", ""))
        ):
            _drop(element)


def _main_part(body: HtmlElement) -> HtmlElement:
    whole = deepcopy(body)
    for element in list(body.iter(etree.Element)):
        if element is not body and _is_around(element):
            _drop(element)
    if len(_words(body)) < _ENOUGH < len(_words(whole)):
        body = whole
    mains = body.xpath(".//main | .//*[@role='main']") or body.xpath(".//article[not(//article[2])]")
    if mains and len(_words(mains[0])) >= min(_ENOUGH, len(_words(body)) // 3):
        part: HtmlElement = mains[0]
        part.tail = None
        return part
    return body


def _is_around(element: HtmlElement) -> bool:
    if element.tag in _AROUND or element.get("role", "").lower() in _AROUND_ROLES:
        return True
    if element.tag == "header":
        return not any(parent.tag in ("main", "article", "section") for parent in element.iterancestors())
    if element.tag not in ("div", "ul", "ol", "section", "p"):
        return False
    names = f"{element.get('class', '')} {element.get('id', '')}".lower().split()
    return any(_AROUND_NAMES.fullmatch(name) for name in names)


def _drop(element: HtmlElement) -> None:
    """Without its tail: that is the text after it."""
    if element.getparent() is not None:
        element.drop_tree()


def _words(element: HtmlElement) -> str:
    return " ".join("".join(element.itertext()).split())


def _render(part: HtmlElement) -> str:
    styles = CSS_PROFILES["strict"].copy()
    for level in range(1, 7):
        heading = copy(styles[f"h{level}"])
        heading.prefix = f"{'#' * level} "
        styles[f"h{level}"] = heading
    config = ParserConfig(css=styles, display_links=True, table_cell_separator=" | ")
    return str(Inscriptis(part, config).get_text())
