"""Chunks follow the text, lose nothing and keep the budget."""

import json
import re
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.chunking import chunk_document
from rag.sentences import sentences
from rag.settings import IndexSettings
from rag.types import Chunk, Document, Page
from tests.test_sentences import texts

EVALDATA = Path(__file__).parents[2] / "shared" / "evaldata"
TOKEN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W\u3400-\u9fff\uf900-\ufaff]{1,6}|[^\w\s]")


def token_spans(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
    """A stand-in tokenizer: a Chinese character, six letters or a sign is a token."""
    return [[match.span() for match in TOKEN.finditer(text)] for text in texts]


def count(text: str) -> int:
    return len(token_spans([text])[0])


def document(*texts: str, media_type: str = "text/markdown") -> Document:
    pages = tuple(Page(number, text) for number, text in enumerate(texts, start=1))
    return Document("0123456789abcdef" * 4, "a", media_type, 1, pages)


def chunked(*texts: str, tokens: int = 40, overlap: int = 0, **keywords: str) -> list[Chunk]:
    index = IndexSettings(chunk_tokens=tokens, overlap_tokens=overlap)
    return chunk_document(document(*texts, **keywords), token_spans, index)


budgets = st.integers(32, 80)
overlaps = st.integers(0, 60)


@given(st.lists(texts, min_size=1, max_size=3), budgets, overlaps)
def test_chunks_hold_the_whole_text_as_exact_slices(pages: list[str], tokens: int, overlap: int):
    """Every character that is not blank is in a chunk; offsets, ids and order are right."""
    chunks = chunked(*pages, tokens=tokens, overlap=overlap)
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.id for chunk in chunks] == [f"0123456789abcdef-{n}" for n in range(len(chunks))]
    assert [chunk.page for chunk in chunks] == sorted(chunk.page for chunk in chunks)
    for number, text in enumerate(pages, start=1):
        end, begun = 0, -1
        for chunk in (chunk for chunk in chunks if chunk.page == number):
            assert chunk.text == text[chunk.start : chunk.end] != ""
            assert chunk.start > begun
            assert chunk.end > end
            assert not text[end : chunk.start].strip()
            end, begun = chunk.end, chunk.start
        assert not text[end:].strip()


@given(texts, budgets, overlaps)
def test_chunks_keep_the_budget_and_whole_sentences(text: str, tokens: int, overlap: int):
    """No chunk is over its budget, and only a sentence over the budget is cut inside."""
    spans = sentences(text)
    starts, ends = {start for start, _ in spans}, {end for _, end in spans}
    for chunk in chunked(text, tokens=tokens, overlap=overlap):
        assert count(chunk.text) <= tokens
        for edge, whole in ((chunk.start, starts), (chunk.end, ends)):
            if edge not in whole:
                cut = next(text[start:end] for start, end in spans if start < edge < end)
                assert count(cut) > tokens / 2
                assert count(cut) > tokens or "#" in text


@given(texts, budgets, overlaps)
def test_overlap_is_whole_sentences_within_its_limit(text: str, tokens: int, overlap: int):
    """What two chunks share begins and ends with a sentence and is at most the overlap."""
    spans = sentences(text)
    chunks = chunked(text, tokens=tokens, overlap=overlap)
    for before, after in pairwise(chunks):
        if after.start < before.end:
            assert after.start in {start for start, _ in spans}
            assert before.end in {end for _, end in spans}
            assert count(text[after.start : before.end]) <= overlap


@given(texts, budgets, overlaps)
def test_chunking_is_deterministic(text: str, tokens: int, overlap: int):
    """The same document gives the same chunks."""
    assert chunked(text, tokens=tokens, overlap=overlap) == chunked(
        text, tokens=tokens, overlap=overlap
    )


SENTENCE = "Every answer cites the passage it was taken from, and the reader can check. "
CHINESE = "每个回答都会引用它所依据的段落，读者可以自己核对。"


@pytest.mark.parametrize("sentence", [SENTENCE, CHINESE])
def test_a_heading_begins_a_chunk_together_with_its_text(sentence: str):
    """Long sections are cut at their headings, and the path of headings is known."""
    body = (sentence * 3).strip()
    text = f"# Guide\n\n{body}\n\n## Install 安装\n\n{body}\n\n# Other\n\n{body}"
    chunks = chunked(text, tokens=100)
    assert [chunk.heading for chunk in chunks] == ["Guide", "Guide > Install 安装", "Other"]
    assert [chunk.text.split("\n")[0] for chunk in chunks] == [
        "# Guide",
        "## Install 安装",
        "# Other",
    ]


def test_headings_are_carried_over_to_the_next_page():
    """A page that begins inside a section knows the section."""
    chunks = chunked("# Guide\n## Install\nRun it.", "More of it.", "", "## Use\nAsk.")
    assert [chunk.heading for chunk in chunks] == ["Guide", "Guide > Install", "Guide > Use"]
    assert [chunk.page for chunk in chunks] == [1, 2, 4]


def test_a_heading_is_not_left_alone():
    """Headings without text of their own go with the text that follows."""
    text = f"{SENTENCE * 5}\n\n# One\n\n## Two\n\n### Three\n\n{SENTENCE * 8}"
    for chunk in chunked(text, tokens=60):
        assert not re.fullmatch(r"(?:#+ \w+\s*)+", chunk.text)


def test_a_heading_goes_with_a_cut_sentence():
    """The first piece of a sentence over the budget leaves room for its heading."""
    first = chunked("# Title of the list\n" + "word " * 200, tokens=50)[0]
    assert first.text.startswith("# Title of the list\nword word")


def test_small_sections_are_packed_together():
    """Ten sections of a line each do not make ten chunks."""
    text = "# Top\n" + "\n".join(f"## Part {n}\nShort text here.\n" for n in range(10))
    chunks = chunked(text, tokens=100)
    assert len(chunks) <= 3
    assert {chunk.heading for chunk in chunks} == {"Top"}


def test_a_number_sign_in_code_is_no_heading():
    """Comments inside a code fence, and in source code, leave the path alone."""
    fenced = chunked("# Guide\n```sh\n# install it\npip install x\n```\nThen ask.")
    assert [chunk.heading for chunk in fenced] == ["Guide"]
    source = chunked("# a comment\nx = 1\n# another\ny = 2", media_type="text/x-python")
    assert [chunk.heading for chunk in source] == [""]


def test_no_overlap_across_a_heading():
    """A chunk that begins with a heading repeats nothing."""
    text = f"# One\n{SENTENCE * 4}\n# Two\n{SENTENCE * 4}"
    second = next(chunk for chunk in chunked(text, tokens=80, overlap=30) if "# Two" in chunk.text)
    assert second.text.startswith("# Two")


@pytest.mark.parametrize("sentence", [SENTENCE, CHINESE])
def test_neighbours_share_their_last_sentences(sentence: str):
    """Inside a section each chunk repeats the sentences before it."""
    text = " ".join(f"{number} {sentence.strip()}" for number in range(20))
    chunks = chunked(text, tokens=120, overlap=40)
    assert len(chunks) > 2
    assert all(after.start < before.end for before, after in pairwise(chunks))


def test_a_paragraph_break_wins_over_a_sentence_break():
    """A cut falls between paragraphs where they are near the middle."""
    text = f"{(SENTENCE * 3).strip()}\n\n{(SENTENCE * 3).strip()}"
    assert [chunk.text for chunk in chunked(text, tokens=70)] == text.split("\n\n")


def test_chunks_of_running_text_are_balanced():
    """A text just over the budget does not leave a tiny tail."""
    sizes = [count(chunk.text) for chunk in chunked(SENTENCE * 7, tokens=100)]
    assert min(sizes) > 40


def test_a_cut_sentence_is_cut_at_clauses():
    """A sentence over the budget is cut behind its punctuation, in both languages."""
    for clause in ("one more clause in this endless list, ", "这一句话还没有说完，"):
        chunks = chunked(clause * 40, tokens=64)
        assert len(chunks) > 1
        assert all(chunk.text[-1] in ",，" for chunk in chunks)


def test_empty_pages_have_no_chunks():
    """Blank and unread pages give nothing."""
    assert chunked("", " \n ") == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ab\n" * 50_000, id="50,000 tiny lines"),
        pytest.param("x" * 2_500_000, id="one word of 2.5 MB"),
        pytest.param("这是一句话。" * 25_000, id="Chinese on one line"),
        pytest.param("他说“好。" * 25_000, id="open quotes"),
        pytest.param("word " * 200_000, id="one sentence of 1 MB"),
        pytest.param("# a\n" * 25_000, id="headings only"),
        pytest.param("#" * 500_000 + "\n" + " " * 500_000 + "|" * 100_000, id="signs"),
        pytest.param("\x00" * 300_000, id="NUL"),
        pytest.param("\n" * 150_000, id="blank lines"),
    ],
)
def test_time_is_linear(text: str):
    """Texts that invite quadratic work are done in seconds."""
    begin = time.process_time()
    chunked(text, tokens=200, overlap=40)
    assert time.process_time() - begin < 10


@pytest.mark.evaldata
@pytest.mark.skipif(not EVALDATA.is_dir(), reason="no evaluation data beside the repository")
def test_real_filings_make_chunks_of_good_size():
    """On PDF pages of quarterly reports few chunks are tiny, and none is over the budget."""
    with (EVALDATA / "sec10q-pdf" / "corpus.jsonl").open(encoding="utf-8") as lines:
        pages = [json.loads(line)["text"] for line, _ in zip(lines, range(80), strict=False)]
    chunks = chunked(*pages, tokens=200, overlap=40, media_type="application/pdf")
    sizes = sorted(count(chunk.text) for chunk in chunks)
    assert sizes[-1] <= 200
    assert sizes[len(sizes) // 2] >= 100
    assert sum(size < 40 for size in sizes) / len(sizes) < 0.03
