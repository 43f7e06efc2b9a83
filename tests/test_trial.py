"""Trying a model: made as for a question, asked in both languages, and never an exception."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rag.trial
from rag.settings import Settings
from rag.trial import SAMPLES, Trial, try_answerer, try_embedder, try_reranker
from rag.types import Question
from tests.endpoint import Endpoint, running_endpoint
from tests.fakes import FakeEmbedder, words
from tests.model_endpoint import Services, running_services

KEY = "sk-canary-5b1d"
BOTH = "in English and Chinese"


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with running_services() as running:
        yield running


@pytest.fixture(scope="module")
def chat() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate({"home": Path(), "cache": Path(), **sections})


def use(monkeypatch: pytest.MonkeyPatch, embedder: FakeEmbedder) -> None:
    monkeypatch.setattr(rag.trial, "make_embedder", lambda *settings: embedder)


def assert_failed(trial: Trial, said: str) -> None:
    assert not trial.ok
    assert said in trial.sentence
    assert trial.sentence.endswith(".")
    assert trial.hint
    assert KEY not in repr(trial)


# --- embedders ---


def embedding(services: Services, model: str, seconds: float = 5) -> Settings:
    endpoint = {"base_url": f"{services.address}/v1", "api_key": KEY, "seconds": seconds}
    return settings(index={"embedder": "openai", "model": model}, embedding_endpoint=endpoint)


def test_an_embedding_service_is_asked_for_real(services: Services) -> None:
    before = len(services.requests)
    trial = try_embedder(embedding(services, "words"))
    assert trial.ok, trial
    assert (
        f"(64 dimensions) prefers the passage that answers the question, {BOTH}." in trial.sentence
    )
    assert not trial.hint
    assert min(trial.milliseconds, trial.loading_milliseconds) > 0
    sent = [text for request in services.requests[before:] for text in request.texts]
    assert {SAMPLES[0].fitting, SAMPLES[1].question} <= set(sent)
    assert KEY not in repr(trial)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("status-401", "does not accept the API key"),
        ("not-finite", "finite"),
        ("hang", "no answer"),
    ],
)
def test_an_embedding_service_that_fails_is_told(services: Services, model: str, said: str) -> None:
    assert_failed(try_embedder(embedding(services, model, seconds=0.2)), said)


class OneLanguage(FakeEmbedder):
    """Takes questions in other letters than these to mean their opposite."""

    letters = ""

    def encode_question(self, text: str) -> Question:
        question = super().encode_question(text)
        turned = 1 if text[0] in self.letters else -1
        return Question(text, turned * question.dense, question.tokens)


def test_a_model_of_one_language_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = OneLanguage()
    embedder.letters = "疫"
    use(monkeypatch, embedder)
    trial = try_embedder(settings())
    assert trial.ok
    assert "in Chinese, but not in English" in trial.sentence
    assert "Chinese texts only" in trial.hint


def test_vectors_without_meaning_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, OneLanguage())
    assert_failed(try_embedder(settings()), "prefers an unrelated passage")


def test_whatever_breaks_is_a_sentence_without_its_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks() -> None:
        raise ValueError(f"Illegal header value {KEY}")

    use(monkeypatch, FakeEmbedder(before=breaks))
    with caplog.at_level(logging.ERROR):
        assert_failed(try_embedder(settings()), "failed unexpectedly (ValueError)")
    told = caplog.records[-1]
    assert "breaks" in str(vars(told)["facts"]["failures"])
    assert KEY not in caplog.text + str(vars(told)["facts"])


# --- rerankers ---


@pytest.mark.parametrize("kind", ["late-interaction", "features"])
def test_a_reranker_of_our_own_is_well(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = FakeEmbedder()
    use(monkeypatch, embedder)
    # The token vectors of the bundled model have a centre of their own.
    index = {"embedder": "sentence-transformers"}
    trial = try_reranker(settings(query={"reranker": kind}, index=index))
    assert trial.ok, trial
    assert BOTH in trial.sentence
    # Only what compares words needs vectors.
    assert bool(embedder.encoded) == (kind == "late-interaction")


def test_no_reranker_is_well_too() -> None:
    trial = try_reranker(settings(query={"reranker": "none"}))
    assert trial.ok
    assert "order of recall" in trial.sentence


def reranking(services: Services, model: str) -> Settings:
    endpoint = {
        "provider": "infinity",
        "base_url": services.address,
        "model": model,
        "api_key": KEY,
        "seconds": 0.3 if model == "hang" else 5,
    }
    return settings(query={"reranker": "api"}, rerank_endpoint=endpoint)


def test_a_rerank_service_is_asked_for_real(services: Services) -> None:
    trial = try_reranker(reranking(services, "words"))
    assert trial.ok, trial
    assert BOTH in trial.sentence


@pytest.mark.parametrize(
    ("model", "said"),
    [("status-401", "does not accept the API key"), ("hang", "no answer"), ("nan", "")],
)
def test_a_rerank_service_that_fails_is_told(services: Services, model: str, said: str) -> None:
    assert_failed(try_reranker(reranking(services, model)), said)


# --- answerers ---


def test_quotes_are_tried_in_both_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeEmbedder())
    trial = try_answerer(settings())
    assert trial.ok, trial
    for sample in SAMPLES:
        assert sample.fitting in trial.sentence
        assert set(words(sample.fitting)) & set(words(sample.question))


def chatting(chat: Endpoint, model: str) -> Settings:
    endpoint = {
        "base_url": chat.base_url,
        "model": model,
        "api_key": KEY,
        "first_token_seconds": 0.3 if model == "hang" else 5,
    }
    return settings(endpoint=endpoint)


def test_a_chat_model_says_something_and_how_soon(
    chat: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = FakeEmbedder()
    use(monkeypatch, embedder)
    trial = try_answerer(chatting(chat, "echo"))
    assert trial.ok, trial
    assert trial.sentence.startswith("echo: Vaccines")
    assert "冰箱" in trial.sentence
    assert "first words after 0." in trial.sentence
    # No embedder is loaded for it.
    assert not embedder.encoded
    asked = [request.body["messages"][-1]["content"] for request in chat.requests[-2:]]
    assert [SAMPLES[0].instruction in asked[0], SAMPLES[1].instruction in asked[1]] == [True, True]


@pytest.mark.parametrize(
    ("model", "said"), [("status-401", "API key"), ("hang", ""), ("nobody", "nobody")]
)
def test_a_chat_endpoint_that_fails_is_told(chat: Endpoint, model: str, said: str) -> None:
    assert_failed(try_answerer(chatting(chat, model)), said)


def test_a_chat_model_that_is_not_configured_is_told() -> None:
    assert_failed(try_answerer(settings(query={"answerer": "chat"})), "No language model")
