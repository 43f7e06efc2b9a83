"""What a file's name tells, and what reading it with every passage does to a library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.encoding import search_texts
from rag.ingest import File
from rag.models.token_space import token_codec
from rag.naming import MOST_CHARACTERS, telling_name
from rag.pipeline import Pipeline
from rag.settings import IndexSettings, QuerySettings, Settings
from rag.store import Store
from rag.types import AddResult
from tests import tiny_models

# The same sentences in two documents of each language, and a question that names each.
ENGLISH = "Revenue grew by twelve percent. The board proposes a dividend of two euros."
CHINESE = "收入增长了百分之十二。董事会建议派发两元的股息。"
ASKED = {
    "Contoso_annual-report_2023.txt": "How much did the revenue of Contoso grow?",
    "Northwind_annual-report_2023.txt": "How much did the revenue of Northwind grow?",
    "东方航空_年报_2023.txt": "东方航空的收入增长了多少？",
    "南方电网_年报_2023.txt": "南方电网的收入增长了多少？",
}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("2023_Q1-AAPL.pdf", "2023 Q1 AAPL"),
        ("ISO9001.pdf", "ISO9001"),
        ("公司_年报2023.pdf", "公司 年报2023"),
        ("猫.md", "猫"),
        ("डेटा_रिपोर्ट.txt", "डेटा रिपोर्ट"),
        ("1. Introduction", "1. Introduction"),
        ("Vertrag.final.2.docx", "Vertrag.final.2"),
        ("half a\ud800 pair of cats.txt", "half a? pair of cats"),
    ],
)
def test_a_name_is_read_as_words_without_its_ending(name: str, told: str) -> None:
    assert telling_name(name) == told


@pytest.mark.parametrize(
    "name",
    [
        "IMG_2034.jpg", "scan 0012.pdf", "Document (3).docx", "untitled.txt", "x.pdf", "2023.csv",
        "2403.01234v2.pdf", "3f2b8c1a-9d4e-4c1a-8b2f-abcdefabcdef.pdf", "deadbeefdeadbeef.pdf",
        "扫描件 3.pdf", "掃描_3.pdf", "新建文档 (2).docx", "微信图片_20230101.png", "()-_.txt", "",
    ],
)  # fmt: skip
def test_a_name_of_digits_or_that_any_file_may_have_tells_nothing(name: str) -> None:
    assert telling_name(name) == ""


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_any_name_is_one_short_line_and_reads_the_same_again(name: str) -> None:
    told = telling_name(name)
    assert len(told) <= MOST_CHARACTERS
    assert told == " ".join(told.split())
    told.encode()


def test_a_long_name_ends_after_a_word() -> None:
    told = telling_name("quarterly " * 10 + "report.pdf")
    assert told == "quarterly " * 5 + "quarterly"
    assert telling_name("很" * 80 + ".pdf") == "很" * MOST_CHARACTERS


def library(home: Path, names: bool) -> Pipeline:
    """All documents, cut and encoded by the bundled model."""
    index = IndexSettings(names=names)
    embedder = tiny_models.bundled()
    pipeline = Pipeline(
        settings=Settings(home=home, cache=home, index=index, query=QuerySettings()),
        store=Store.open(home, index.fingerprint, embedder.dimensions),
        embedder=embedder,
        codec=token_codec("bundled", embedder.dimensions),
        reranker=None,
        answerer=None,  # type: ignore[arg-type]
    )
    # A blank line more or less is another file with the same passages.
    files = [
        File.holding(name, ((ENGLISH if name.isascii() else CHINESE) + "\n" * place).encode())
        for place, name in enumerate(ASKED)
    ]
    added = [event for event in pipeline.add(files) if isinstance(event, AddResult)]
    assert {result.outcome for result in added} == {"added"}
    return pipeline


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return library(tmp_path_factory.mktemp("named"), names=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return library(tmp_path_factory.mktemp("plain"), names=False)


def nearest(pipeline: Pipeline, question: str) -> list[tuple[str, float]]:
    """The documents of the passages nearest to a question, with their cosines."""
    found = pipeline.store.search_dense(pipeline.encode(question).dense, len(ASKED))
    names = pipeline.store.names({chunk.document_id for chunk, _ in found})
    return [(names[chunk.document_id], cosine) for chunk, cosine in found]


@pytest.mark.parametrize(("name", "question"), ASKED.items())
def test_of_the_same_sentence_in_two_documents_the_one_that_is_named_is_nearer(
    named: Pipeline, plain: Pipeline, name: str, question: str
) -> None:
    assert nearest(named, question)[0][0] == name
    cosines = dict(nearest(plain, question))
    [twin] = [one for one in ASKED if one != name and one.isascii() is name.isascii()]
    assert cosines[name] == cosines[twin]


@pytest.mark.parametrize("word", ["contoso", "南方电网"])
def test_full_text_finds_a_passage_by_its_documents_name(
    named: Pipeline, plain: Pipeline, word: str
) -> None:
    [(chunk, _)] = named.store.search_lexical(word, 1)
    assert word in telling_name(named.store.names({chunk.document_id})[chunk.document_id]).lower()
    assert word not in chunk.text.lower()
    assert not [one for one, _ in plain.store.search_lexical(word, 9) if word in one.text.lower()]


def test_every_token_vector_belongs_to_the_passage_and_none_to_the_name(named: Pipeline) -> None:
    for record in named.store.documents():
        for chunk in named.store.chunks(record.id):
            kept = named.store.vectors([chunk.id])[chunk.id]
            [spans] = named.embedder.token_spans([chunk.text])
            assert len(named.codec.decode(kept.token_codes)) == len(spans)


def test_without_names_an_index_is_what_it_was_before(plain: Pipeline) -> None:
    for record in plain.store.documents():
        chunks = plain.store.chunks(record.id)
        alone = plain.embedder.encode_documents([chunk.text for chunk in chunks])
        for chunk, dense, tokens in zip(chunks, alone.dense, alone.tokens or (), strict=True):
            kept = plain.store.vectors([chunk.id])[chunk.id]
            assert np.array_equal(kept.dense, dense)
            assert kept.token_codes == plain.codec.encode(tokens)
        assert search_texts(chunks, "")[0] == f"\n{chunks[0].text.lower()}"


def test_what_earned_a_score_is_the_same_once_the_document_is_gone(named: Pipeline) -> None:
    name, question = next(iter(ASKED.items()))
    [record] = [one for one in named.store.documents() if one.name == name]
    [chunk] = named.store.chunks(record.id)
    before = named.words(question, chunk, name)
    named.store.remove(record.id)
    assert named.words(question, chunk, name) == before
    assert named.words(question, chunk, "") != before
