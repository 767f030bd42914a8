"""Each how-to page is followed as it is written, with the real services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import blocks_of
from tests.docs.reader import ROOT, Reader

PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
RUN = [page for page in PAGES if blocks_of(page)]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader.at(tmp_path)
    try:
        yield reader
    finally:
        reader.close()


@pytest.mark.real
@pytest.mark.requirement("docs:how-to")
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_a_page_works_as_it_is_written(reader: Reader, page: Path) -> None:
    for block in blocks_of(page):
        reader.follow(block)


@pytest.mark.requirement("docs:how-to")
@pytest.mark.parametrize(
    "name",
    [
        "add-an-integration",
        "add-a-persona",
        "end-of-data",
        "isolate-runners",
        "find-what-is-wrong",
        "read-the-status-page",
    ],
)
def test_the_page_is_among_those_that_are_run(name: str) -> None:
    assert name in {page.stem for page in RUN}
