"""What if: a stored trace under other settings equals a question asked with those settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import BackendError, SettingsError
from rag.replay import differences, query_settings, replay, summary
from rag.retrieval import recall, relevant, rerank
from rag.settings import IndexSettings, QuerySettings
from rag.stopwatch import Stopwatch
from rag.types import Chunk, LibraryState, Passage, Question, StoredVectors, Trace, Vector
from tests.fakes import FakeEmbedder

POOL = 12


# Some in another language than the question, with all, half and none of its words.
TEXTS = ("text", "中文文本", "说明文字here", "说明文字text")


def chunk(number: int) -> Chunk:
    text = TEXTS[number % len(TEXTS)]
    return Chunk(f"c{number:03}", "d", number, 1, number * 10, number * 10 + len(text), text)


class Arms:
    """A store that finds what it was told to, in that order."""

    def __init__(self, dense: Sequence[int], lexical: Sequence[int]) -> None:
        self.dense, self.lexical = dense, lexical

    def search_dense(self, vector: Vector, depth: int) -> list[tuple[Chunk, float]]:
        return [(chunk(n), 1 - rank / 1000) for rank, n in enumerate(self.dense[:depth])]

    def search_lexical(self, text: str, depth: int) -> list[tuple[Chunk, float]]:
        return [(chunk(n), 20 - rank / 100) for rank, n in enumerate(self.lexical[:depth])]

    def vectors(self, chunk_ids: Sequence[str]) -> dict[str, StoredVectors]:
        return {}

    def names(self, ids: set[str]) -> dict[str, str]:
        return dict.fromkeys(ids, "a.txt")


class Judge:
    """A reranker with a fixed score for each chunk; it fails where it has none at all."""

    name = "judge"

    def __init__(self, scores: Sequence[float]) -> None:
        self.scores = scores

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        if not self.scores:
            raise BackendError("The reranker is not there.")
        return [self.scores[passage.chunk.position] for passage in passages]


def asked(arms: Arms, judge: Judge, query: QuerySettings) -> Trace:
    """The trace that retrieval makes of these arms, step by step as the pipeline does."""
    question = FakeEmbedder().encode_question("text there")
    candidates = recall(arms, question, query, Stopwatch())
    evidence = [
        Passage(candidate.chunk, candidate.document, 0.5, 1.0)
        for candidate in candidates[: query.rerank_depth]
    ]
    if query.reranker != "none":
        candidates, _ = rerank(judge, question, candidates, evidence)
    return Trace(
        question="text there",
        profile="local",
        models={},
        settings={**IndexSettings().model_dump(), **query.model_dump()},
        library=LibraryState("f", "c", 1, POOL),
        candidates=tuple(candidates),
        relevant=relevant(candidates, query.relevance, calibrated=True),
        seconds={},
    )


arms = st.builds(
    Arms,
    st.permutations(range(POOL)),
    st.permutations(range(POOL)).flatmap(
        lambda order: st.integers(0, POOL).map(lambda n: order[:n])
    ),
)
# Few values, so that equal scores are common.
judges = st.builds(
    Judge, st.lists(st.sampled_from([0.0, 0.05, 0.3, 0.9]), min_size=POOL, max_size=POOL)
)
queries = st.builds(
    QuerySettings,
    recall_depth=st.integers(1, POOL + 3),
    rerank_depth=st.integers(0, POOL + 3),
    fusion_constant=st.sampled_from([1, 2, 60, 1000]),
    passages=st.integers(1, 6),
    relevance=st.sampled_from([0.0, 0.05, 0.2, 1.0]),
    reranker=st.sampled_from(["late-interaction", "none"]),
)


@given(arms, judges | st.just(Judge([])), queries)
def test_its_own_settings_give_the_same_trace(
    arms: Arms, judge: Judge, query: QuerySettings
) -> None:
    """Also without a reranker, and where the reranker failed."""
    trace = asked(arms, judge, query)
    again = replay(trace, query_settings(trace)).trace
    assert again == trace
    assert again.prompt == trace.prompt


@given(arms, judges, queries)
def test_a_deep_trace_foretells_every_shallower_question(
    arms: Arms, judge: Judge, query: QuerySettings
) -> None:
    """Where everything was recalled and judged, a replay is what asking again would give."""
    deep = asked(arms, judge, QuerySettings(recall_depth=POOL * 2, rerank_depth=POOL * 2))
    replayed = replay(deep, query)
    assert replayed.trace == asked(arms, judge, query)
    assert replayed.unjudged == ()


@given(arms, judges, queries, queries)
def test_nothing_is_invented(
    arms: Arms, judge: Judge, before: QuerySettings, after: QuerySettings
) -> None:
    """No candidate and no score is new; ranks have no gaps; the unjudged follow the judged."""
    trace = asked(arms, judge, before)
    replayed = replay(trace, after)
    stored = {candidate.chunk.id: candidate for candidate in trace.candidates}
    candidates = replayed.trace.candidates
    assert [candidate.rank for candidate in candidates] == list(range(1, len(candidates) + 1))
    for candidate in candidates:
        old = stored[candidate.chunk.id]
        assert candidate.dense in (old.dense, None)
        assert candidate.lexical in (old.lexical, None)
        if candidate.rerank is not None:
            assert old.rerank is not None
            assert candidate.rerank.score == old.rerank.score
    judged = [candidate.rerank.rank for candidate in candidates if candidate.rerank]
    assert judged == list(range(1, len(judged) + 1))
    following = candidates[len(judged) : len(judged) + len(replayed.unjudged)]
    assert tuple(candidate.chunk.id for candidate in following) == replayed.unjudged
    assert all(candidate.rerank is None for candidate in candidates[len(judged) :])


@given(arms, judges, queries, queries)
def test_differences_account_for_both_prompts(
    arms: Arms, judge: Judge, first: QuerySettings, second: QuerySettings
) -> None:
    before, after = asked(arms, judge, first), asked(arms, judge, second)
    found = differences(before, after, everything=True)
    old = {candidate.chunk.id: candidate.rank for candidate in before.candidates}
    new = {candidate.chunk.id: candidate.rank for candidate in after.candidates}
    was = {candidate.chunk.id for candidate in before.prompt}
    now = {candidate.chunk.id for candidate in after.prompt}
    assert {one.chunk_id for one in found if one.change == "entered"} == now - was
    assert {one.chunk_id for one in found if one.change == "left"} == was - now
    assert {one.chunk_id: one.before for one in found if one.before} == old
    assert {one.chunk_id: one.after for one in found if one.after} == new
    assert len(found) == len(old.keys() | new.keys())
    prompts = differences(before, after)
    assert prompts == found[: len(was | now)]
    assert summary(prompts) == summary(found)


@given(arms, judges, queries)
def test_a_trace_does_not_differ_from_itself(
    arms: Arms, judge: Judge, query: QuerySettings
) -> None:
    trace = asked(arms, judge, query)
    found = differences(trace, trace, everything=True)
    assert {one.change for one in found} <= {"same"}
    assert summary(found) == "The prompt stays as it is."


def test_unknown_passages_stay_unknown() -> None:
    """A deeper reranking of a stored trace names what was never read instead of guessing."""
    trace = asked(
        Arms(range(6), []), Judge([0.1, 0.9, 0.5, 0, 0, 0]), QuerySettings(rerank_depth=3)
    )
    replayed = replay(trace, QuerySettings(rerank_depth=5))
    assert replayed.unjudged == ("c003", "c004")
    order = [candidate.chunk.id for candidate in replayed.trace.candidates]
    assert order == ["c001", "c002", "c000", "c003", "c004", "c005"]
    assert replayed.trace.settings["rerank_depth"] == 5


def test_a_change_is_told_in_one_sentence() -> None:
    scores = [0.9, 0.8, 0.7, 0.6, 0.5]
    before = asked(Arms(range(5), []), Judge(scores), QuerySettings(passages=3))
    assert prompt_change(before, passages=4) == "1 passage enters the prompt."
    assert prompt_change(before, passages=5) == "2 passages enter the prompt."
    assert prompt_change(before, relevance=0.75) == "1 passage leaves the prompt."
    assert prompt_change(before, relevance=0.95) == "3 passages leave the prompt."
    other = asked(Arms(range(5), []), Judge([0.8, 0.9, 0.1, 0.6, 0.5]), QuerySettings(passages=3))
    found = differences(before, other)
    assert summary(found) == "1 passage enters the prompt, 1 leaves, 2 move."
    assert [(one.chunk_id, one.change, one.before, one.after) for one in found] == [
        ("c001", "up", 2, 1),
        ("c000", "down", 1, 2),
        ("c003", "entered", 4, 3),
        ("c002", "left", 3, 5),
    ]
    swapped = asked(Arms(range(5), []), Judge([0.8, 0.9, 0.7, 0, 0]), QuerySettings(passages=3))
    assert summary(differences(before, swapped)) == "2 passages move within the prompt."


def prompt_change(before: Trace, **changed: float) -> str:
    query = QuerySettings.model_validate({**query_settings(before).model_dump(), **changed})
    return summary(differences(before, replay(before, query).trace))


def test_indexes_that_cut_differently_share_no_passage_by_chance() -> None:
    """The same chunk id in another index is another piece of the document."""
    before = asked(Arms([0], []), Judge([0.9]), QuerySettings())
    moved = replace(before.candidates[0].chunk, end=8, text="text more")
    after = replace(before, candidates=(replace(before.candidates[0], chunk=moved),))
    assert [one.change for one in differences(before, after)] == ["entered", "left"]


def test_settings_that_no_longer_exist_are_named() -> None:
    trace = asked(Arms([0], []), Judge([0.9]), QuerySettings())
    stale = replace(trace, settings={**trace.settings, "reranker": "oracle"})
    with pytest.raises(SettingsError, match="no longer exist"):
        query_settings(stale)


def test_a_slider_answers_at_once() -> None:
    """200 candidates are ordered anew within 10 ms of a processor."""
    trace = asked(
        Arms(range(100), range(199, 99, -1)),
        Judge([n / 200 for n in range(200)]),
        QuerySettings(rerank_depth=200),
    )
    assert len(trace.candidates) == 200
    seconds = []
    for _ in range(10):
        started = process_time()
        after = replay(trace, QuerySettings(rerank_depth=120, fusion_constant=10)).trace
        differences(trace, after, everything=True)
        seconds.append(process_time() - started)
    assert min(seconds) < 0.01
