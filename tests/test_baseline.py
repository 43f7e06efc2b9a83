"""What a score is worth, on a small library in two languages."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import pytest

from rag.baseline import BANDS, Baseline, Stage, band, draw_baseline, dumps, loads, outdated
from rag.errors import BackendError
from rag.sentences import sentences
from rag.token_codes import TokenCodec
from rag.types import Chunk, LibraryState, Passage, Question, StoredVectors
from rag.unrelated import LEAST_PAIRS, unrelated_pairs
from tests.fakes import DIMENSIONS, FakeEmbedder, FakeReranker, words

SUBJECTS = {
    "cats.txt": "The cat sleeps on warm roofs and hunts {} at night.",
    "engines.txt": "A diesel engine burns fuel under pressure in {} cylinders.",
    "茶.md": "绿茶不发酵，冲泡用{}摄氏度左右热水。",
    "月.md": "月球围绕地球公转，表面布满{}环形山。",
}
FILLERS = ["seven", "grey", "old", "many", "八十", "古老", "很多", "灰色"]
RELATED = [
    ("Does the cat hunt at night?", "cats.txt"),
    ("What does a diesel engine burn?", "engines.txt"),
    ("绿茶用多热的水冲泡？", "茶.md"),
    ("月球表面有环形山吗？", "月.md"),
]
CODEC = TokenCodec(DIMENSIONS)


@dataclass
class Library:
    """Chunks in memory; BM25 is the number of words that are in both."""

    held: list[Chunk]
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)

    def state(self) -> LibraryState:
        documents = {chunk.document_id for chunk in self.held}
        return LibraryState("index", "contents", len(documents), len(self.held))

    def sample(self, count: int, seed: int) -> list[Chunk]:
        return random.Random(seed).sample(self.held, min(count, len(self.held)))

    def search_lexical(self, text: str, depth: int) -> list[tuple[Chunk, float]]:
        asked = set(words(text))
        found = [(chunk, float(len(asked & set(words(chunk.text))))) for chunk in self.held]
        return sorted([pair for pair in found if pair[1]], key=lambda pair: -pair[1])[:depth]

    def vectors(self, chunk_ids: Sequence[str]) -> dict[str, StoredVectors]:
        chunks = [chunk for chunk in self.held if chunk.id in chunk_ids]
        encoding = self.embedder.encode_documents([chunk.text for chunk in chunks])
        codes = [CODEC.encode(rows) for rows in encoding.tokens or ()] or [b""] * len(chunks)
        return {
            chunk.id: StoredVectors(dense, code)
            for chunk, dense, code in zip(chunks, encoding.dense, codes, strict=True)
        }

    def names(self, ids: set[str]) -> dict[str, str]:
        return {name: name for name in ids}


def chunk(document: str, position: int, text: str, page: int = 1) -> Chunk:
    name = hashlib.sha256(f"{document}{position}".encode()).hexdigest()[:8]
    return Chunk(name, document, position, page, 0, len(text), text)


def library(documents: Sequence[str] = tuple(SUBJECTS), pages: int = 8) -> Library:
    return Library(
        [
            chunk(name, page, SUBJECTS[name].format(FILLERS[page]), page)
            for name in documents
            for page in range(pages)
        ]
    )


def drawn(held: Library, seed: int = 0, reranker: FakeReranker | None = None) -> Baseline | None:
    return draw_baseline(
        held, held.embedder, CODEC.turned, CODEC.decode, reranker or FakeReranker(), sentences, seed
    )


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    found = drawn(library())
    assert found is not None
    return found


def test_every_stage_has_one_score_a_pair(baseline: Baseline) -> None:
    assert baseline.pairs >= LEAST_PAIRS
    assert baseline.chunks == 32
    assert baseline.reranker == "word overlap"
    for scores in (baseline.dense, baseline.lexical, baseline.rerank):
        assert len(scores) == baseline.pairs
        assert list(scores) == sorted(scores)


@pytest.mark.parametrize(("question", "document"), RELATED)
def test_a_passage_that_answers_lies_above_unrelated_pairs(
    baseline: Baseline, question: str, document: str
) -> None:
    held = library()
    asked = held.embedder.encode_question(question)
    answering = next(chunk for chunk in held.held if chunk.document_id == document)
    stray = next(chunk for chunk in held.held if chunk.document_id not in (document, "茶.md"))
    vectors = held.vectors([answering.id, stray.id])
    good, bad = (
        baseline.share_below("dense", float(asked.dense @ vectors[one.id].dense))
        for one in (answering, stray)
    )
    assert good is not None
    assert bad is not None
    assert band(good) in ("strong", "clear")
    assert bad < good
    score = FakeReranker().score(asked, [Passage(answering, document, 0.0, 0.0)])[0]
    assert (baseline.share_below("rerank", score) or 0) > 0.9


@pytest.mark.parametrize("stage", ["dense", "lexical", "rerank"])
def test_a_higher_score_never_has_a_smaller_share(baseline: Baseline, stage: Stage) -> None:
    shares = [baseline.share_below(stage, score) for score in np.linspace(-1, 9, 200)]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1


def test_equal_scores_do_not_count_as_below(baseline: Baseline) -> None:
    assert baseline.share_below("lexical", 0.0) == 0


def test_the_words_for_a_share_never_round_up_to_all() -> None:
    scores = tuple(float(number) for number in range(2000))
    made = Baseline(2000, 10, "none", scores, scores, ())
    assert made.in_words("dense", 5000) == "above all 2,000 unrelated pairs"
    assert made.in_words("dense", 1999) == "above 99.9 % of 2,000 unrelated pairs"
    assert made.in_words("lexical", 0) == "above 0.0 % of 2,000 unrelated pairs"


def test_without_a_reranker_its_scores_have_no_share() -> None:
    held = library()
    made = draw_baseline(held, held.embedder, CODEC.turned, CODEC.decode, None, sentences)
    assert made is not None
    assert made.reranker == "none"
    assert made.share_below("rerank", 0.5) is None
    assert made.in_words("rerank", 0.5) == ""


def test_bands_meet_without_a_gap() -> None:
    for least, word in BANDS:
        assert band(least) == word
    assert [band(share) for share in (0.0, 0.8999, 0.95, 0.995, 1.0)] == [
        "like chance",
        "like chance",
        "weak",
        "clear",
        "strong",
    ]


def test_the_same_seed_draws_the_same(baseline: Baseline) -> None:
    assert drawn(library()) == baseline


def test_the_order_of_the_sample_does_not_matter(baseline: Baseline) -> None:
    held = library()
    held.held.reverse()
    assert drawn(held) == baseline


def test_a_model_without_token_vectors_has_a_baseline_too() -> None:
    held = library()
    held.embedder.with_tokens = False
    assert drawn(held) is not None


def test_a_baseline_survives_being_written(baseline: Baseline) -> None:
    assert loads(dumps(baseline)) == baseline


def test_a_written_baseline_of_full_size_stays_small() -> None:
    chance = np.random.RandomState(0)
    pairs = 48 * 47
    dense = np.sort(chance.normal(0.8, 0.04, pairs)).round(5)
    lexical = np.sort(chance.gamma(1, 4, pairs)).round(5)
    made = Baseline(
        pairs, 9, "x", tuple(dense.tolist()), tuple(lexical.tolist()), tuple(dense.tolist())
    )
    assert len(dumps(made)) < 20_000
    assert loads(dumps(made)) == made


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff\xfe", b"null", b'{"version":0}', b'{"version":1}', "基线".encode()],
)
def test_anything_else_is_no_baseline(content: bytes) -> None:
    assert loads(content) is None


def test_another_version_is_no_baseline(baseline: Baseline) -> None:
    assert loads(dumps(baseline).replace(b'"version":1', b'"version":2')) is None


def test_a_baseline_is_outdated_by_another_reranker_and_by_half_a_library_more(
    baseline: Baseline,
) -> None:
    assert not outdated(baseline, 48, "word overlap")
    assert not outdated(baseline, 16, "word overlap")
    assert outdated(baseline, 49, "word overlap")
    assert outdated(baseline, 15, "word overlap")
    assert outdated(baseline, 32, "another")


@pytest.mark.parametrize(
    "held",
    [
        Library([]),
        library(["cats.txt"], pages=1),
        library(["cats.txt", "茶.md"], pages=3),
        Library([chunk("long.txt", place, SUBJECTS["月.md"]) for place in range(40)]),
    ],
    ids=["empty", "one chunk", "six chunks", "one page"],
)
def test_a_library_too_small_has_no_baseline(held: Library) -> None:
    assert drawn(held) is None


def test_one_document_is_compared_page_with_page() -> None:
    made = drawn(library(["茶.md"], pages=8))
    assert made is not None
    assert made.pairs == 8 * 7


def test_pairs_are_of_different_documents() -> None:
    held = library()
    vectors = {name: kept.dense for name, kept in held.vectors([c.id for c in held.held]).items()}
    for text, others in unrelated_pairs(held.held, vectors, sentences, 0):
        origin = {chunk.document_id for chunk in held.held if text in chunk.text}
        assert not origin & {chunk.document_id for chunk in others}


def test_the_same_text_in_another_document_is_not_unrelated() -> None:
    held = library()
    copies = [
        replace(chunk, id=f"copy {chunk.id}", document_id=f"copy of {chunk.document_id}")
        for chunk in held.held
    ]
    both = Library([*held.held, *copies])
    vectors = {name: kept.dense for name, kept in both.vectors([c.id for c in both.held]).items()}
    pairs = unrelated_pairs(both.held, vectors, sentences, 0)
    assert pairs
    for text, others in pairs:
        assert text not in {chunk.text for chunk in others}


def test_headings_and_long_sentences_stand_for_no_question() -> None:
    long = "这是一个很长的句子，" * 20 + "完。"
    held = [
        chunk(name, 0, f"# Heading of {name}, with some words\n\n{long}\n\n{SUBJECTS[name]}")
        for name in SUBJECTS
    ] * 4
    held = [replace(one, id=f"{place}") for place, one in enumerate(held)]
    vectors = {one.id: row for one, row in zip(held, np.eye(len(held)), strict=True)}
    asked = {text for text, _ in unrelated_pairs(held, vectors, sentences, 0)}
    assert asked == set(SUBJECTS.values())


def test_rows_of_a_table_have_to_do_where_there_is_no_running_text() -> None:
    held = [
        chunk(f"{name}.csv", row, f"{name} shop, {row} pieces, 9 euro", row)
        for name in ("red", "blue")
        for row in range(8)
    ]
    assert drawn(Library(held)) is not None


class Broken(FakeReranker):
    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        return [float("nan")] * len(passages)


def test_scores_that_are_no_numbers_are_a_failure_of_the_reranker() -> None:
    with pytest.raises(BackendError, match="word overlap"):
        drawn(library(), reranker=Broken())


def test_questions_are_taken_from_both_languages() -> None:
    held = library()
    vectors = {name: kept.dense for name, kept in held.vectors([c.id for c in held.held]).items()}
    asked = chain.from_iterable(
        text for text, _ in unrelated_pairs(held.held, vectors, sentences, 0)
    )
    assert {character.isascii() for character in asked} == {True, False}
