from __future__ import annotations

from datetime import UTC, datetime

from mcp_servers.kit.documents import Document
from mcp_servers.kit.results import Provenance
from mcp_servers.kit.shelf import Shelf, Shelved
from tests.mcp_servers.kit.stepped_clock import SteppedClock


def shelved(chars: int) -> Shelved:
    document = Document("text", ((0, "x" * chars),), None, None, (), False, (), False, None)
    return Shelved(document, Provenance("Here", datetime(2026, 1, 1, tzinfo=UTC)), "place")


async def test_a_document_is_found_with_its_age_until_it_is_too_old() -> None:
    clock = SteppedClock()
    shelf = Shelf(clock, ttl_s=60)
    shelf.put("a", shelved(1))
    await clock.sleep(30)

    found = shelf.get("a")
    assert found is not None
    assert (found.place, found.provenance.from_cache, found.provenance.age_s) == ("place", True, 30)

    await clock.sleep(31)
    assert shelf.get("a") is None
    assert shelf.get("b") is None


def test_what_was_used_least_goes_first_and_one_always_stays() -> None:
    shelf = Shelf(SteppedClock(), max_chars=250)
    shelf.put("a", shelved(100))
    shelf.put("b", shelved(100))
    shelf.get("a")
    shelf.put("c", shelved(100))
    assert [name for name in "abc" if shelf.get(name)] == ["a", "c"]
    shelf.put("d", shelved(1000))
    assert [name for name in "abcd" if shelf.get(name)] == ["d"]
