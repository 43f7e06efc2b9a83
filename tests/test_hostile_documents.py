"""Hostile files end within the limits, in plain words, and leave nothing behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.documents import read_document
from rag.errors import RAGError
from rag.settings import ReadingLimits
from rag.types import Document
from tests.hostile_documents import (
    GOOD,
    HOSTILE,
    SLOW,
    cyclic_tree,
    laughs,
    pdf_with_pages,
    zipped,
)
from tests.test_documents import children, word_with

LIMITS = ReadingLimits(
    seconds=20, seconds_per_page=1.5, memory_bytes=400_000_000, unpacked_bytes=50_000_000
)
# What the parent may grow by: the file, the text of it, and what Python keeps back.
GROWTH_BYTES = 100_000_000


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Nothing stays behind, and it ends in time."""
    before, start = resident(), time.monotonic()
    yield
    # Starting a process on a busy machine is not in the limit.
    assert time.monotonic() - start < LIMITS.seconds + 20
    assert resident() - before < GROWTH_BYTES
    assert children() == []


def resident() -> int:
    """The resident memory of this process in bytes."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        pytest.skip("this platform has no /proc")
    return int(status.read_text().split()[1]) * 4096


def outcome(content: bytes, name: str, limits: ReadingLimits = LIMITS) -> Document | RAGError:
    try:
        return read_document(content, name, limits)
    except RAGError as error:
        return error


def refused(content: bytes, name: str, *words: str, limits: ReadingLimits = LIMITS) -> None:
    error = outcome(content, name, limits)
    assert isinstance(error, RAGError)
    assert error.message.startswith(name)
    assert error.hint
    assert any(word in error.message for word in words), error.message


def test_a_page_that_takes_too_long_is_given_up_and_the_rest_is_read() -> None:
    document = outcome(pdf_with_pages(0, 1, 0, 0, streams=[GOOD, SLOW]), "slow.pdf")
    assert isinstance(document, Document)
    assert [page.text for page in document.pages] == ["a good page", "", *["a good page"] * 2]
    assert document.pages_read == 3
    assert document.notices == (
        "3 of 4 pages were read: page 2 took longer than 1.5 seconds to read.",
    )


def test_a_document_of_slow_pages_ends_in_time() -> None:
    document = outcome(pdf_with_pages(0, *[1] * 50, streams=[GOOD, SLOW]), "slow.pdf")
    assert isinstance(document, Document)
    assert len(document.pages) == 51
    assert document.pages_read == 1
    assert all(page.problem for page in document.pages[1:])


def test_a_pdf_with_only_slow_pages_is_refused() -> None:
    refused(pdf_with_pages(0, streams=[SLOW]), "slow.pdf", "took longer than 1.5 seconds")


def test_three_thousand_pages_that_share_a_stream() -> None:
    refused(HOSTILE["pages-3000.pdf"](), "many.pdf", "3,000 pages")


def test_a_stream_that_unpacks_without_end() -> None:
    document = outcome(pdf_with_pages(0, 1, streams=[GOOD, b" " * 60_000_000]), "bomb.pdf")
    assert isinstance(document, Document)
    assert document.pages_read == 1
    assert "unpacks to more than is allowed" in document.pages[1].problem


def test_a_page_tree_that_holds_itself() -> None:
    refused(cyclic_tree(), "cycle.pdf", "damaged")


def test_a_word_document_of_a_hundred_megabytes() -> None:
    refused(HOSTILE["huge.docx"](), "bomb.docx", "unpacks to more")


def test_a_directory_that_lies_about_sizes() -> None:
    for name in ("lie.docx", "lie.xlsx", "lie.pptx"):
        refused(HOSTILE[name](), name, "damaged")


def test_too_many_entries() -> None:
    refused(HOSTILE["entries.docx"](), "many.docx", "unpacks to more")


@pytest.mark.parametrize("part", ["document", "styles"])
def test_a_billion_laughs_and_deep_nesting(part: str) -> None:
    deep = b"<p>" * 100_000 + b"</p>" * 100_000
    for content in (laughs("document", "<p><t>{}</t></p>"), deep):
        entries = {"word/document.xml": b"<document/>", f"word/{part}.xml": content}
        refused(zipped(entries), "bomb.docx", "damaged", "no text")


def test_deep_html_is_read_or_refused() -> None:
    for tag in ("div", "table><tr><td", "ul><li", "b"):
        result = outcome(b"first " + f"<{tag}>".encode() * 50_000 + b"last", "deep.html")
        assert isinstance(result, Document)
        assert "first" in result.pages[0].text
        assert "last" in result.pages[0].text or "Its end was not read" in result.notices[0]


def test_html_that_is_cut_for_lack_of_memory_says_so() -> None:
    limits = LIMITS.model_copy(update={"memory_bytes": 200_000_000})
    result = outcome(b"<p>w" * 800_000, "large.html", limits)
    if isinstance(result, RAGError):
        assert "memory" in result.message
    else:
        assert "Its end was not read" in result.notices[0]


def test_too_little_memory_is_said() -> None:
    limits = LIMITS.model_copy(update={"memory_bytes": 200_000_000})
    content = zipped({"word/document.xml": b"<w>" + b"<p/>" * 4_000_000 + b"</w>"})
    refused(content, "large.docx", "memory", limits=limits)


def test_long_runs_of_blanks_take_no_time() -> None:
    for content, name in (
        (b"a" + b" " * 5_000_000 + b"b", "a.txt"),
        (b"<p>a" + b"<b> </b>" * 300_000 + b"b", "a.html"),
    ):
        result = outcome(content, name)
        assert isinstance(result, Document)
        assert result.pages[0].text == "a b"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
def test_the_least_memory_is_enough_for_a_small_file() -> None:
    limits = LIMITS.model_copy(update={"memory_bytes": 200_000_000})
    for content, name in (
        (pdf_with_pages(0, streams=[GOOD]), "a.pdf"),
        (word_with("<w:p><w:r><w:t>text</w:t></w:r></w:p>"), "a.docx"),
    ):
        assert isinstance(outcome(content, name, limits), Document)
