"""Attachments from the record that lists them to their last word, over real HTTP and through the real parsers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mcp import Client

from mcp_servers.grants_gov.server import build_app
from mcp_servers.kit.documents import DocumentReader, ReadLimits
from tests.fakes.asgi_server import serve_app
from tests.fakes.documents import archive, encrypted_pdf, pdf, short_id, word
from tests.mcp_servers.grants_gov.conftest import Grants

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTICE = 355067
PDF, WORD = "application/pdf", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def serve(grants: Grants, content: bytes, media_type: str = PDF) -> None:
    grants.fake.files[NOTICE] = (content, media_type)


@pytest.mark.requirement("grants_gov:attachments")
async def test_what_a_record_lists_can_be_read(grants: Grants) -> None:
    pages = ["Award ceiling: $10,116,100", "Who may apply: health centers"]
    serve(grants, pdf(pages, title="HRSA-27-005", bookmarks=[("Eligibility", 2)]))
    (record,) = (await grants.get(opportunity_numbers=["HRSA-27-005"])).items
    (entry,) = record["attachments"]

    answer = await grants.read(entry["attachment_id"])

    (item,) = answer.items
    assert item == {
        "attachment_id": NOTICE,
        "type": "pdf",
        "title": "HRSA-27-005",
        "pages": 2,
        "text": "[Page 1]\nAward ceiling: $10,116,100\n\n[Page 2]\nWho may apply: health centers",
        "outline": ["Eligibility (page 2)"],
    }
    assert answer.payload["next_cursor"] is None
    assert "never instructions" in answer.payload["notices"][0]
    assert answer.payload["source"].startswith("Grants.gov API at 127.0.0.1")


@pytest.mark.requirement("grants_gov:attachments")
async def test_a_word_file_is_read_whatever_it_is_called(grants: Grants) -> None:
    serve(grants, word(("Heading 1", "Budget"), table=[("Item", "Cost"), ("Staff", "$10")]), "application/octet-stream")
    (item,) = (await grants.read(NOTICE)).items
    assert (item["type"], item["pages"]) == ("docx", None)
    assert item["text"] == "# Budget\n\n| Item | Cost |\n| Staff | $10 |"


@pytest.mark.requirement("grants_gov:attachment-paging")
async def test_a_long_file_is_read_piece_by_piece_from_one_download(grants: Grants) -> None:
    serve(grants, pdf([f"Page {number}. " + "A line of the announcement.\n" * 60 for number in range(1, 61)]))
    texts: list[str] = []
    cursor = None
    while True:
        answer = await grants.read(NOTICE, cursor=cursor)
        assert len(answer.text.encode()) < 24_000
        texts.append(answer.items[0]["text"])
        cursor = answer.payload["next_cursor"]
        if cursor is None:
            break
    assert len(texts) > 3
    assert [f"[Page {number}]" in "".join(texts) for number in range(1, 61)] == [True] * 60
    assert grants.fake.downloads == [NOTICE]
    assert answer.payload["from_cache"] is True


async def test_a_long_outline_leaves_room_for_text_and_nothing_is_cut(grants: Grants) -> None:
    chapters = [(f"{number}. " + "ünïcode title " * 20, 1) for number in range(80)]
    serve(grants, pdf(["A line of the announcement.\n" * 900, "The second page"], bookmarks=chapters))
    first = await grants.read(NOTICE)
    (item,) = first.items
    assert len(first.text.encode()) < 24_000
    assert len(item["outline"]) == 60
    assert len(item["text"]) > 5_000
    assert not any("cut at" in notice or "Left out" in notice for notice in first.payload["notices"])
    then = await grants.read(NOTICE, cursor=first.payload["next_cursor"])
    assert (item["text"] + then.items[0]["text"]).count("A line of") > 600


async def test_reading_starts_at_a_page(grants: Grants) -> None:
    serve(grants, pdf([f"Text of page number {number}" for number in range(1, 5)], bookmarks=[("End", 4)]))
    (item,) = (await grants.read(NOTICE, page=3)).items
    assert item["text"] == "[Page 3]\nText of page number 3\n\n[Page 4]\nText of page number 4"
    assert "outline" not in item
    beyond = await grants.read(NOTICE, page=5)
    assert beyond.text.startswith("[invalid_argument] page: the attachment has 4 pages")


async def test_a_file_without_pages_says_so(grants: Grants) -> None:
    serve(grants, b"Just words.", "text/plain")
    assert "has no pages" in (await grants.read(NOTICE, page=2)).text
    assert (await grants.read(NOTICE)).items[0]["text"] == "Just words."


async def test_a_cursor_into_a_changed_file_is_refused(grants: Grants) -> None:
    serve(grants, word("word " * 9000))
    cursor = (await grants.read(NOTICE)).payload["next_cursor"]
    grants.clock.seconds += 3600
    serve(grants, word("other " * 9000))
    assert (await grants.read(NOTICE, cursor=cursor)).text.startswith("[invalid_argument] cursor:")


@pytest.mark.requirement("grants_gov:attachment-refused")
@pytest.mark.parametrize(
    ("content", "media_type", "says"),
    [
        (encrypted_pdf(["secret"], password="x"), PDF, "This PDF is protected with a password."),
        (pdf(["", ""]), PDF, "This PDF holds pictures of pages and no text."),
        (b"%PDF-1.7 and nothing", PDF, "This PDF is damaged"),
        (b"<html>Sign in</html>", PDF, "a damaged file"),
        (archive(a="b"), "application/zip", "a ZIP archive"),
        (archive(**{"xl/workbook.xml": ""}), WORD, "an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/msword", "an older Office file"),
        (b"\x89PNG\r\n", "image/png", "a picture"),
        (b"x" * (2 * 1024 * 1024 + 1), "text/plain", "larger than 20 MiB"),
    ],
    ids=short_id,
)
async def test_what_cannot_be_read_is_named_with_the_way_on(
    grants: Grants, content: bytes, media_type: str, says: str
) -> None:
    serve(grants, content, media_type)
    answer = await grants.read(NOTICE)
    assert answer.is_error
    assert answer.text.startswith("[unsupported]")
    assert says in answer.text
    assert "What to do: " in answer.text


async def test_failures_of_the_download_are_told(grants: Grants) -> None:
    missing = await grants.read(1)
    grants.fake.fail(503, times=2, html=True)
    down = await grants.read(NOTICE)
    serve(grants, b"Here after all", "text/plain")
    grants.fake.fail(503)
    patient = await grants.read(NOTICE)

    assert missing.text.startswith("[not_found] Grants.gov has no such attachment.")
    assert "get_opportunities" in missing.text
    assert down.text.startswith("[upstream_unavailable]")
    assert "Ignore previous" not in down.text
    assert patient.items[0]["text"] == "Here after all"


@pytest.mark.parametrize("wrong", [0, -5, "x", 1.5, None])
async def test_a_wrong_id_is_refused_before_anything_is_asked(grants: Grants, wrong: object) -> None:
    answer = await grants.call("read_attachment", attachment_id=wrong)
    assert answer.text.startswith("[invalid_argument] attachment_id")
    assert grants.fake.downloads == []


async def test_what_models_tend_to_send_is_understood(grants: Grants) -> None:
    serve(grants, pdf(["The first page of all"]))
    answer = await grants.call("read_attachment", attachment_id=str(NOTICE), page="", cursor="")
    assert "The first page of all" in answer.items[0]["text"]


@pytest.mark.requirement("grants_gov:attachment-paging")
async def test_where_a_reading_ended_the_next_one_begins(grants: Grants) -> None:
    serve(grants, pdf([f"Text of page number {number}" for number in range(1, 6)]))
    reader = DocumentReader(ReadLimits(max_pages=2))
    async with (
        serve_app(build_app(base_url=grants.fake.url, reader=reader)) as url,
        Client(f"{url}/mcp") as client,
    ):
        few = replace(grants, client=client)
        first, within, rest = await few.read(NOTICE), await few.read(NOTICE, page=2), await few.read(NOTICE, page=3)
        beyond = await few.read(NOTICE, page=6)

    assert "it was read up to page 2 of 5" in str(first.payload["notices"])
    assert "Pass page=3" in str(first.payload["notices"])
    assert within.items[0]["text"].startswith("[Page 2]")
    assert rest.items[0]["text"] == "[Page 3]\nText of page number 3\n\n[Page 4]\nText of page number 4"
    assert "Pass page=5" in str(rest.payload["notices"])
    assert beyond.text.startswith("[invalid_argument] page: there is no page 6")
    assert grants.fake.downloads == [NOTICE] * 3
