"""What is promised of web pages, of files, and of questions that go over several integrations."""

from __future__ import annotations

from typing import Final

PAGES_AND_FILES: Final[dict[str, str]] = {
    # Files and pages, for all integrations
    "mcp-kit:charset": "text is read in the charset that a browser would read it in",
    "mcp-kit:documents": "PDF and Word files become text with pages, outline, headings and tables",
    "mcp-kit:downloads": "a file is fetched with the same retries and bounds as a record",
    "mcp-kit:hostile-files": "a file that hangs or swells its reader ends at a bound of time or memory",
    "mcp-kit:pages": "a web page becomes light markdown of its main part, without what is hidden",
    "mcp-kit:unreadable-files": "a file without text says whether it is protected, scanned, damaged or too big",
    # Attachments
    "grants_gov:attachment-paging": "a long attachment is read piece by piece from one download",
    "grants_gov:attachment-refused": "an attachment that cannot be read is named by what it is, with the way on",
    "grants_gov:attachments": "what a record lists as attachments can be read as text",
    # Web pages
    "web:fetch-page": "a page comes as text with title and links, marked as untrusted",
    "web:honest": "a request says who asks and carries no cookie, referrer or login",
    "web:manifest": "the manifest is valid, and its one tool only reads",
    "web:no-meta-refresh": "a meta refresh is told and not followed",
    "web:no-rebinding": "a name is resolved once for each connection, which goes to the checked address",
    "web:paging": "a long page is read piece by piece from one fetch",
    "web:public-addresses": "no special address counts as public, in IPv4, IPv6 or one inside the other",
    "web:public-only": "nothing but the public internet is connected to",
    "web:redirects": "at most five redirects are followed, each checked like the first address",
    "web:size": "huge pages and bombs end at the size limit",
    "web:statuses": "each status of a site has its code, without the site's words",
    "web:time": "a slow or silent site ends at the deadline",
    "web:tls": "certificates are checked against the name that was asked for",
    "web:types": "HTML, text, PDF and Word are read, all else is refused by what it is",
    "web:urls": "URLs of other schemes or ports, or with a login, are refused with the reason",
    # Scenarios over several integrations
    "scenarios:fallback": "without a key for one source, another one still answers",
    "scenarios:shortlist": "rows of two sources can be merged, and one that fails leaves a named gap",
    # How-to
    "docs:per-user-setting": "the how-to on per-user settings, done as written, brings a value to the sidecar",
}
