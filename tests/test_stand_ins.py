"""A reranker or a language model that is not there: sources, the reason, and the next question."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from rag.errors import BackendError, RAGError
from rag.models.stand_ins import StandInReranker
from rag.pipeline import Pipeline
from rag.settings import EndpointSettings, QuerySettings
from rag.types import Passage, Question
from tests.fakes import FakeReranker
from tests.test_pipeline import library, make

__all__ = ["library"]

QUESTIONS = ("Where does the cat sleep?", "猫睡在哪里？")


class Raises(FakeReranker):
    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        raise RuntimeError("out of memory")


class Hangs(FakeReranker):
    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        time.sleep(3)
        return super().score(question, passages)


class NotANumber(FakeReranker):
    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        return [float("nan")] * len(passages)


class TooFew(FakeReranker):
    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        return super().score(question, passages)[1:]


def with_reranker(home: Path, kind: str, model: str) -> Pipeline:
    """A pipeline whose settings name a reranker that cannot be made."""
    here = make(home)
    query = QuerySettings.model_validate({"reranker": kind, "reranker_model": model})
    settings = here.settings.model_copy(update={"query": query})
    with pytest.raises(RAGError):
        here.with_settings(settings)
    return here.with_settings(settings, stand_ins=True)


def absent(home: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Pipeline, str]:
    match case:
        case "raises":
            return make(home, reranker=Raises()), "out of memory"
        case "hangs":
            return make(home, reranker=Hangs(), rerank_seconds=0.3), "within 0.3 s"
        case "not a number":
            return make(home, reranker=NotANumber()), "nan"
        case "too few":
            return make(home, reranker=TooFew()), "scores for"
        case "missing weights":
            (home / "empty-model").mkdir(exist_ok=True)
            return with_reranker(home, "cross-encoder", str(home / "empty-model")), "empty-model"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return with_reranker(home, "cross-encoder", "nobody/has-this-model"), "nobody/has-this-model"


@pytest.mark.parametrize(
    "case", ["raises", "hangs", "not a number", "too few", "missing weights", "no hub"]
)
def test_without_its_reranker_a_question_has_sources_in_recall_order_and_the_reason(
    library: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, reason = absent(library, case, monkeypatch)
    recalled = make(library).with_query(QuerySettings(reranker="none"))
    for question in QUESTIONS:
        started = time.perf_counter()
        answer = pipeline.ask(question).answer
        assert time.perf_counter() - started < 5
        expected = [one.chunk.id for one in recalled.search(question).candidates]
        assert [one.chunk.id for one in answer.trace.candidates] == expected
        assert all(one.rerank is None for one in answer.trace.candidates)
        assert answer.passages
        assert answer.text
        (notice,) = answer.trace.notices
        assert "recall order" in notice.message
        assert reason in notice.message
        assert notice.hint


def test_a_reranker_that_comes_back_is_used_from_then_on() -> None:
    now, attempts = [0.0], []

    def make_it() -> FakeReranker:
        attempts.append(now[0])
        if len(attempts) == 1:
            raise BackendError("The hub cannot be reached.", "Try again.")
        return FakeReranker()

    reranker = StandInReranker("m", make_it, BackendError("At first."), lambda: now[0])
    for seconds, said in ((1.0, "At first."), (61.0, "cannot be reached"), (90.0, "cannot be")):
        now[0] = seconds
        with pytest.raises(BackendError, match=said):
            reranker.score(Question("猫", [], None), [])
        assert (reranker.calibrated, reranker.by_words) == (False, True)
        assert reranker.name == "m (not available)"
    now[0] = 122.0
    assert reranker.score(Question("猫", [], None), []) == []
    assert (reranker.calibrated, reranker.by_words, reranker.name) == (True, True, "word overlap")
    assert attempts == [61.0, 122.0]


@pytest.mark.parametrize("answerer", ["chat", "tiny-llm"])
def test_without_its_language_model_an_answer_has_sources_and_the_reason(
    library: Path, answerer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    here = make(library)
    changed = {"query": QuerySettings(answerer=answerer), "endpoint": EndpointSettings()}
    pipeline = here.with_settings(here.settings.model_copy(update=changed), stand_ins=True)
    for question in QUESTIONS:
        answer = pipeline.ask(question).answer
        assert answer.passages
        assert answer.text == ""
        assert answer.problem is not None
        assert answer.problem.hint
        assert "(not available)" in answer.trace.models["answerer"]
