"""What other settings do to golden questions: measured on a real library, and told in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rag.errors import BackendError
from rag.evaluation.asking import Ranking
from rag.evaluation.effect import (
    HIT,
    NDCG,
    PROMPTED,
    REFUSED,
    Effect,
    Found,
    Kept,
    effect_of,
    measured_effect,
    search_identity,
)
from rag.evaluation.effect_verdict import effect_certainty, effect_sentence
from rag.evaluation.golden_sets import GoldenQuestion, GoldenSet
from rag.golden.sets import golden_set_of
from rag.pipeline import Pipeline
from rag.settings import EndpointSettings, PriceSettings, QuerySettings
from rag.types import Passage, Question
from tests.test_golden import BREAD, CAT, SMALL, filled, make, marked, 猫

__all__ = ["filled"]

ASKED = (CAT, 猫, BREAD, "面包需要什么？")


@pytest.fixture(scope="module")
def before(filled: Path) -> Pipeline:
    """A library with golden questions in both languages."""
    pipeline = make(filled)
    for question in ASKED:
        marked(pipeline, question)
    return pipeline


@pytest.fixture(scope="module")
def golden(before: Pipeline) -> GoldenSet:
    return golden_set_of(before.store)


def asked(pipeline: Pipeline, **changes: object) -> Pipeline:
    """The pipeline with other query settings."""
    return pipeline.with_query(pipeline.settings.query.model_copy(update=changes))


@dataclass
class Broken:
    """A reranker that fails."""

    name: str = "broken"
    by_words: bool = True
    calibrated: bool = True

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        raise BackendError("The service is down.", "Try again later.")


def test_ranks_prompt_and_refusals_are_those_of_a_search(
    before: Pipeline, golden: GoldenSet
) -> None:
    """The gold of these questions is what the first settings have on top."""
    after = asked(before, reranker="none", passages=1)
    found = measured_effect(golden, before, after, {})
    assert found is not None
    assert found.complete
    assert {change.question.text for change in found.changes} == set(ASKED)
    assert (found.before.figures[HIT].mean, found.before.figures[PROMPTED].mean) == (1, 1)
    for change in found.changes:
        best = after.search(change.question.text).candidates[0]
        assert change.ranks[0] == 1
        assert change.prompted[1] == (change.ranks[1] == 1)
        span = golden.spans[next(iter(change.question.gold))]
        assert (change.ranks[1] == 1) == (best.chunk.start == span.start)
    assert found.before.seconds > 0


def test_a_threshold_that_no_passage_reaches_refuses_every_question(
    before: Pipeline, golden: GoldenSet
) -> None:
    found = measured_effect(golden, before, asked(before, relevance=1.0), {})
    assert found is not None
    assert (found.before.refused, found.after.refused) == (0, 4)
    assert found.differences[HIT].mean == found.differences[NDCG].mean == 0
    assert (found.differences[PROMPTED].mean, found.differences[REFUSED].mean) == (-1, 1)
    assert len(found.with_verdict("loss")) == 4
    assert "hit@1 stays at 100 %: 0 questions better, 4 worse, 0 as before" in effect_sentence(
        found
    )
    assert "; 4 are left without an answer instead of 0; " in effect_sentence(found)


def test_another_index_of_the_library_is_compared_by_the_same_marks(
    before: Pipeline, golden: GoldenSet
) -> None:
    found = measured_effect(golden, before, make(before.settings.home, SMALL), {})
    assert found is not None
    assert found.after.figures["ndcg@10"].mean > 0.5


def test_what_was_asked_is_not_asked_again(before: Pipeline, golden: GoldenSet) -> None:
    kept: Kept = {}
    first = measured_effect(golden, before, asked(before, passages=2), kept)
    assert len(kept) == 8
    # Whatever is asked now fails, so nothing is.
    mute = replace(before, reranker=Broken())
    assert measured_effect(golden, mute, asked(mute, passages=2), kept) == first
    measured_effect(golden, mute, asked(before, passages=3), kept)
    assert len(kept) == 12


def test_a_reranker_that_keeps_failing_ends_it_and_nothing_of_it_is_kept(
    before: Pipeline, golden: GoldenSet
) -> None:
    kept: Kept = {}
    broken = replace(asked(before, passages=2), reranker=Broken())
    with pytest.raises(BackendError, match="failed 3 questions in a row") as failure:
        measured_effect(golden, before, broken, kept)
    assert "The service is down." in failure.value.hint
    assert len(kept) == 3
    two = replace(golden, questions=golden.questions[:2])
    found = measured_effect(two, before, broken, kept)
    assert found is not None
    assert not found.complete
    assert effect_sentence(found).endswith(
        "The reranker failed 2 times, which left the order of recall."
    )


def test_stopped_it_is_about_what_was_asked(before: Pipeline, golden: GoldenSet) -> None:
    answers = iter([False, False, True])
    after = asked(before, passages=2)
    found = measured_effect(golden, before, after, {}, cancelled=lambda: next(answers))
    assert found is not None
    assert (len(found.changes), found.complete) == (2, False)
    assert effect_sentence(found).startswith("On 2 of 4 questions hit@1 stays at 100 %")
    assert measured_effect(golden, before, after, {}, cancelled=lambda: True) is None


def test_only_what_may_find_something_else_is_another_search(before: Pipeline) -> None:
    settings = before.settings
    writer = {
        "query": QuerySettings(answerer="chat", rewrite=False),
        "endpoint": EndpointSettings(model="qwen"),
        "prices": PriceSettings(currency="人民币"),
    }
    same = search_identity(settings)
    assert search_identity(settings.model_copy(update=writer)) == same
    for change in ({"passages": 3}, {"relevance": 0.2}, {"recall_depth": 9}, {"reranker": "none"}):
        query = settings.query.model_copy(update=change)
        assert search_identity(settings.model_copy(update={"query": query})) != same
    assert search_identity(settings.model_copy(update={"index": SMALL})) != same


def made(*ranks: tuple[int, int], milliseconds: tuple[int, int] = (28, 31)) -> Effect:
    """An effect of which each question has its right passage at these places."""

    def found(place: int, after: int) -> Found:
        units = (*(f"p{number}" for number in range(1, place)), "right")
        seconds = {"dense": milliseconds[after] / 1000}
        return Found(Ranking("", units, (None,) * place, seconds), place <= 5, refused=False)

    questions = [
        GoldenQuestion(str(number), "猫？", "zh", {"right": 1}) for number in range(len(ranks))
    ]
    return effect_of(questions, [(found(was, 0), found(now, 1)) for was, now in ranks])


def test_a_few_questions_are_told_and_do_not_tell() -> None:
    found = made(*[(1, 1)] * 16, (2, 1), (3, 1), (1, 2), *[(2, 2)] * 4)
    assert effect_sentence(found) == (
        "On your 23 golden questions hit@1 goes from 74 % to 78 %: 2 questions better, 1 worse, "
        "20 as before; 31 ms a question instead of 28 ms."
    )
    assert "23 questions are too few to tell whether hit@1 really changes (95 % interval -" in (
        effect_certainty(found)
    )
    assert [change.ranks for change in found.changes][:2] == [(3, 1), (2, 1)]
    assert [change.ranks for change in found.with_verdict("loss")] == [(1, 2)]


def test_what_many_questions_show_is_told() -> None:
    assert "The difference in hit@1 is more than chance (95 % interval +" in effect_certainty(
        made(*[(2, 1)] * 12, *[(1, 1)] * 30)
    )
    prompted = made(*[(5, 6)] * 12, *[(1, 1)] * 30, milliseconds=(28, 28))
    assert "a right passage reaches the prompt in 71 % instead of 100 %" in effect_sentence(
        prompted
    )
    assert effect_sentence(prompted).endswith("; 28 ms a question, about as before.")
    assert "what reaches the prompt is more than chance" in effect_certainty(prompted)
    same = made(*[(1, 1)] * 200)
    assert "no question better or worse" in effect_sentence(same)
    assert effect_certainty(same) == ""
    assert effect_certainty(made((1, 1))) == "1 question is too few to tell what others would do."
    assert effect_certainty(made((1, 2), (2, 1), *[(1, 1)] * 400)).startswith("No difference to")


def test_what_reaches_the_prompt_counts_before_any_place() -> None:
    found = made((6, 5), (5, 6), (1, 3), (40, 30), (2, 2))
    assert [change.ranks for change in found.changes] == [(6, 5), (40, 30), (2, 2), (1, 3), (5, 6)]
    assert [change.verdict for change in found.changes] == ["win", "win", "tie", "loss", "loss"]
