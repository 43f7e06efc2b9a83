"""Fusion and reranking: every stage's score and rank survives."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import BackendError
from rag.retrieval import checked, fuse, ranked, relevant, rerank
from rag.types import Candidate, Chunk, Passage, Question, Score
from tests.fakes import FakeEmbedder, FakeReranker


def chunk(name: str, text: str = "text") -> Chunk:
    return Chunk(id=name, document_id="d", position=0, page=1, start=0, end=len(text), text=text)


def candidates(*texts: str) -> list[Candidate]:
    return [
        Candidate(rank, chunk(f"c{rank}", text), "a.txt", fused=Score(1 / (60 + rank), rank))
        for rank, text in enumerate(texts, start=1)
    ]


def evidence(found: list[Candidate]) -> list[Passage]:
    return [Passage(candidate.chunk, candidate.document, 0.5, 1.0) for candidate in found]


def question(text: str) -> Question:
    return FakeEmbedder().encode_question(text)


class Returning:
    """A reranker that returns what it was given, or raises it."""

    name = "returning"

    def __init__(self, result: list[float] | Exception) -> None:
        self.result = result

    def score(self, question: Question, passages: list[Passage]) -> list[float]:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_fusion_by_hand() -> None:
    dense = ranked([(chunk("a"), 0.9), (chunk("b"), 0.8)])
    lexical = ranked([(chunk("b"), 12.0), (chunk("c"), 3.0)])
    fused = fuse([dense, lexical], constant=60)
    assert list(fused) == ["b", "a", "c"]
    assert fused["b"].score == pytest.approx(1 / 62 + 1 / 61)
    assert [score.rank for score in fused.values()] == [1, 2, 3]


def test_equal_sums_are_ordered_by_best_rank_then_id() -> None:
    first = {"b": Score(1, 1), "a": Score(0.5, 2)}
    second = {"c": Score(1, 1), "d": Score(0.5, 2)}
    assert list(fuse([first, second], 60)) == ["b", "c", "a", "d"]


@given(st.lists(st.permutations("abcdef"), min_size=1, max_size=3))
def test_fusion_of_equal_orders_keeps_the_order(orders: list[list[str]]) -> None:
    arm = {name: Score(0, rank) for rank, name in enumerate(orders[0], start=1)}
    assert list(fuse([arm] * len(orders), 60)) == list(orders[0])


def test_reranking_orders_by_relevance_and_keeps_recall_ranks() -> None:
    found = candidates("nothing", "the cat", "the black cat sat")
    order, notice = rerank(FakeReranker(), question("black cat sat"), found, evidence(found))
    assert notice is None
    assert [candidate.chunk.id for candidate in order] == ["c3", "c2", "c1"]
    assert [candidate.fused.rank for candidate in order if candidate.fused] == [3, 2, 1]
    assert [candidate.moved for candidate in order] == [2, 0, -2]
    assert [candidate.rank for candidate in order] == [1, 2, 3]


def test_candidates_beyond_the_depth_follow_unjudged() -> None:
    found = candidates("one", "two", "cat")
    order, _ = rerank(FakeReranker(), question("cat two"), found, evidence(found[:2]))
    assert [candidate.chunk.id for candidate in order] == ["c2", "c1", "c3"]
    assert order[2].rerank is None


@pytest.mark.parametrize(
    "result",
    [
        RuntimeError("boom"),
        BackendError("no connection"),
        [0.5],
        [0.5, math.nan],
        [0.5, 1.5],
        [0.5, -0.1],
        [math.inf, 0.1],
    ],
    ids=str,
)
def test_a_broken_reranker_leaves_recall_order_and_a_notice(
    result: list[float] | Exception,
) -> None:
    found = candidates("one", "two")
    order, notice = rerank(Returning(result), question("two"), found, evidence(found))
    assert order == found
    assert notice is not None
    assert "recall order" in notice.message
    assert notice.hint


def test_a_reranker_that_hangs_leaves_recall_order_in_time() -> None:
    class Hanging:
        name = "hanging"
        by_words = False

        def score(self, question: Question, passages: list[Passage]) -> list[float]:
            time.sleep(5)
            return [0.5] * len(passages)

    found = candidates("one", "two")
    started = time.monotonic()
    order, notice = rerank(Hanging(), question("two"), found, evidence(found), 0.1)
    assert time.monotonic() - started < 2
    assert order == found
    assert notice is not None
    assert "did not answer within 0.1 s" in notice.message


def test_scores_are_plain_floats() -> None:
    assert checked([0, 1], 2) == [0.0, 1.0]


def test_relevant_counts_from_the_best() -> None:
    judged = [
        Candidate(rank, chunk(f"c{rank}"), "a", rerank=Score(score, rank))
        for rank, score in enumerate((0.9, 0.4, 0.1), start=1)
    ]
    assert relevant(judged, 0.4, calibrated=True) == 2
    assert relevant(judged, 0.95, calibrated=True) == 0


def test_without_a_reranker_all_are_taken_for_relevant() -> None:
    assert relevant(candidates("one", "two"), 0.9, calibrated=True) == 2


def test_scores_that_mean_an_order_only_refuse_nothing() -> None:
    judged = [Candidate(1, chunk("c1"), "a", rerank=Score(0.01, 1)), *candidates("two")]
    assert relevant(judged, 0.9, calibrated=False) == 2


def test_evidence_line_names_every_stage_that_saw_the_passage() -> None:
    seen = Candidate(
        1, chunk("a"), "a.pdf", Score(0.871, 7), Score(12.34, 2), Score(0.03, 7), Score(0.94, 1)
    )
    assert seen.evidence == "dense 0.87 (#7) · BM25 12.3 (#2) · fused #7 · rerank 94% (#1, up 6)"
    assert Candidate(1, chunk("a"), "a.pdf", lexical=Score(3, 1)).evidence == "BM25 3.0 (#1)"
