"""Texts become vectors at an OpenAI-compatible service, or a plain sentence says why not.

What it shares with every embedder is in test_embedder_contract.
"""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
import pytest
from pydantic import SecretStr

from rag.errors import BackendError, MissingKey, SettingsError
from rag.metering import Meter, carried
from rag.models import openai_embedder, token_estimate
from rag.models.openai_embedder import load_openai_embedder
from rag.settings import EmbeddingEndpointSettings
from tests import model_endpoint
from tests.fakes import DIMENSIONS, FakeEmbedder
from tests.model_endpoint import Services

services = model_endpoint.services

KEY = "sk-canary/9d41+7Qx"
TEXTS = ["The cat sleeps on the mat.", "猫睡在垫子上。", "Bread needs flour."]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of this machine is used, and pauses between attempts are short."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.02)


def embedder(services: Services, model: str = "good", dimensions: int | None = None, **more):
    values = {"base_url": f"{services.address}/v1", "api_key": SecretStr(KEY), "seconds": 5.0}
    return load_openai_embedder(model, dimensions, EmbeddingEndpointSettings(**(values | more)))


# --- vectors -------------------------------------------------------------------------------


def test_a_question_is_encoded_like_a_passage(services: Services) -> None:
    asked = embedder(services)
    question = asked.encode_question("猫睡在哪里？")
    assert question.text == "猫睡在哪里？"
    assert question.tokens is None
    assert np.allclose(question.dense, asked.encode_documents(["猫睡在哪里？"]).dense[0])


def test_the_request_has_the_documented_fields(services: Services) -> None:
    embedder(services, "text-embedding-3-large", 256).encode_documents(TEXTS)
    [request] = services.requests
    assert request.path == "/v1/embeddings"
    assert request.body == {
        "model": "text-embedding-3-large",
        "input": TEXTS,
        "dimensions": 256,
        "encoding_format": "float",
    }
    assert request.key == KEY


@pytest.mark.parametrize(
    ("model", "dimensions", "length"),
    [
        ("text-embedding-3-small", None, 1536),
        ("text-embedding-3-large", None, 3072),
        ("text-embedding-3-large", 1024, 1024),
        ("text-embedding-ada-002", None, 1536),
        ("text-embedding-ada-002", 1536, 1536),
    ],
)
def test_the_length_of_known_models_is_known_without_a_request(
    services: Services, model: str, dimensions: int | None, length: int
) -> None:
    known = embedder(services, model, dimensions)
    assert known.dimensions == length
    assert services.requests == []
    assert known.encode_documents(TEXTS).dense.shape == (3, length)
    assert ("dimensions" in services.requests[0].body) == (length == 1024)


def test_the_length_of_an_unknown_model_is_asked_once(services: Services) -> None:
    unknown = embedder(services)
    assert services.requests == []
    with ThreadPoolExecutor(4) as threads:
        lengths = list(threads.map(lambda _: unknown.dimensions, range(4)))
    assert lengths == [DIMENSIONS] * 4
    assert len(services.requests) == 1


def test_another_length_is_another_name(services: Services) -> None:
    names = {embedder(services, "text-embedding-3-small", length).name for length in (None, 256)}
    assert len(names) == 2


def test_five_hundred_texts_and_their_doubles_cost_one_request(services: Services) -> None:
    texts = [f"cat {number}" for number in range(500)]
    asked = embedder(services, dimensions=DIMENSIONS)
    dense = asked.encode_documents(texts + texts[::-1]).dense
    assert np.array_equal(dense[:500], dense[500:][::-1])
    assert [len(request.texts) for request in services.requests] == [500]


def test_requests_stay_within_the_limits_on_tokens_and_texts(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_estimate, "TOKENS_PER_REQUEST", 40)
    monkeypatch.setattr(token_estimate, "TEXTS_PER_REQUEST", 7)
    texts = [f"{number} 猫睡在温暖的垫子上" for number in range(9)] + [f"a{n}" for n in range(20)]
    dense = embedder(services, dimensions=DIMENSIONS).encode_documents(texts).dense
    assert np.allclose(dense, FakeEmbedder().encode_documents(texts).dense, atol=1e-6)
    sent = [request.texts for request in services.requests]
    assert [text for batch in sent for text in batch] == texts
    assert all(len(batch) <= 7 for batch in sent)
    assert all(sum(map(token_estimate.count, batch)) <= 40 for batch in sent)


@pytest.mark.parametrize("text", ["word " * 100, "猫" * 100])
def test_a_text_beyond_the_model_is_cut(
    services: Services, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(token_estimate, "TOKENS_PER_TEXT", 60)
    embedder(services, dimensions=DIMENSIONS).encode_documents([text])
    [sent] = services.requests[0].texts
    assert text.startswith(sent)
    assert token_estimate.count(sent) == 60


def test_a_service_that_takes_few_texts_is_asked_for_few(services: Services) -> None:
    """TEI takes 32 texts unless it is told otherwise."""
    texts = [f"cat {number}" for number in range(100)]
    few = embedder(services, "at-most-32", DIMENSIONS)
    expected = FakeEmbedder().encode_documents(texts).dense
    assert np.allclose(few.encode_documents(texts).dense, expected, atol=1e-6)
    before = len(services.requests)
    few.encode_documents(texts)
    assert max(len(request.texts) for request in services.requests[before:]) <= 32


def test_one_refused_text_leaves_later_requests_large(services: Services) -> None:
    picky = embedder(services, "picky", DIMENSIONS)
    texts = [f"cat {number}" for number in range(20)]
    with pytest.raises(BackendError, match="a text is not allowed"):
        picky.encode_documents([*texts, "forbidden"])
    before = len(services.requests)
    picky.encode_documents(texts)
    assert len(services.requests) == before + 1


# --- tokens --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("A reranker reads.", ["A", "rera", "nker", "read", "s", "."]),
        ("重排序更准。", ["重", "排", "序", "更", "准", "。"]),
        ("用BM25，2026年", ["用", "BM", "25", "，", "202", "6", "年"]),
        (" \n", []),
    ],
)
def test_token_spans_are_pieces_of_words_and_single_characters(
    services: Services, text: str, pieces: list[str]
) -> None:
    [spans] = embedder(services).token_spans([text])
    assert [text[start:end] for start, end in spans] == pieces
    assert services.requests == []


def test_requests_and_tokens_are_counted(services: Services) -> None:
    asked, meter = embedder(services, dimensions=DIMENSIONS), Meter()
    with meter.stage("encode"), ThreadPoolExecutor(4) as threads:
        list(threads.map(carried(asked.encode_question), ["the cat", "猫睡在哪里"] * 10))
    [usage] = meter.usage
    assert (usage.requests, usage.input_tokens) == (20, 10 * 2 + 10 * 5)
    assert usage.counted


def test_a_service_that_counts_no_tokens_is_counted_for(services: Services) -> None:
    asked, meter = embedder(services, "no-usage", DIMENSIONS), Meter()
    with meter.stage("encode"):
        asked.encode_question("猫睡在哪里")
    [usage] = meter.usage
    assert (usage.requests, usage.input_tokens, usage.counted) == (1, 5, False)


# --- failures ------------------------------------------------------------------------------

FAILURES = [
    # mode, words of the cause, words of the next step
    ("status-400", "refused the request (400)", "model"),
    ("status-404", "has no model", "BASE_URL"),
    ("web-page-as-json", "unreadable", "BASE_URL"),
    ("empty-object", "no list of vectors", "BASE_URL"),
    ("empty-list", "no list of vectors", "BASE_URL"),
    ("null", "no list of vectors", "BASE_URL"),
    ("number", "no list of vectors", "BASE_URL"),
    ("results-null", "no list of vectors", "BASE_URL"),
    ("list-of-numbers", "2 vectors for 3 texts", "BASE_URL"),
    ("error-in-200", "no list of vectors", "BASE_URL"),
    ("fewer", "2 vectors for 3 texts", "BASE_URL"),
    ("same-index", "no clear order", "BASE_URL"),
    ("list-index", "no clear order", "BASE_URL"),
    ("two-lengths", "differ in length", "BASE_URL"),
    ("no-vector", "not numbers", "BASE_URL"),
    ("text-vector", "not numbers", "BASE_URL"),
    ("nested", "not numbers", "BASE_URL"),
    ("zeros", "all zero", "BASE_URL"),
    ("not-finite", "not finite", "BASE_URL"),
]


def failure(asked) -> BackendError:
    with pytest.raises(BackendError) as caught:
        asked.encode_documents(TEXTS)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert KEY not in shown
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith(".")
    return caught.value


@pytest.mark.parametrize(("mode", "cause", "step"), FAILURES)
def test_a_failure_is_one_sentence_and_a_next_step(
    services: Services, mode: str, cause: str, step: str
) -> None:
    error = failure(embedder(services, mode, DIMENSIONS))
    assert cause in error.message
    assert step in error.hint


@pytest.mark.parametrize("mode", ["status-503", "reset"])
def test_a_lasting_failure_is_tried_three_times(services: Services, mode: str) -> None:
    failure(embedder(services, mode, DIMENSIONS))
    assert len(services.requests) == 3


@pytest.mark.parametrize("mode", ["recovers-429", "recovers-503", "reset-once"])
def test_a_passing_failure_is_tried_again(services: Services, mode: str) -> None:
    dense = embedder(services, mode, DIMENSIONS).encode_documents(TEXTS).dense
    assert dense.shape == (3, DIMENSIONS)
    assert len(services.requests) == 2


def test_an_answer_that_never_stalls_and_never_ends_is_given_up_in_time(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_embedder, "ATTEMPTS_AFTER_THE_FIRST", 0)
    begun = perf_counter()
    error = failure(embedder(services, "drip", DIMENSIONS, seconds=0.3))
    assert perf_counter() - begun < 2.0
    assert "no answer within 0.3 seconds" in error.message


def test_huge_numbers_are_normalised_like_others(services: Services) -> None:
    dense = embedder(services, "huge", DIMENSIONS).encode_documents(TEXTS).dense
    assert np.allclose(np.linalg.norm(dense, axis=1), 1.0)


def test_vectors_of_another_length_are_refused(services: Services) -> None:
    """A server that ignores `dimensions` is found out."""
    with pytest.raises(BackendError, match="of 64 numbers instead of 32"):
        embedder(services, "deaf", 32).encode_documents(TEXTS)


# --- settings ------------------------------------------------------------------------------


def test_openai_itself_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingKey, match="OPENAI_API_KEY"):
        load_openai_embedder("text-embedding-3-small", None, EmbeddingEndpointSettings())
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    asked = load_openai_embedder("text-embedding-3-small", None, EmbeddingEndpointSettings())
    assert KEY not in repr(vars(asked))


def test_the_key_of_openai_goes_to_no_other_address(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    embedder(services, api_key=SecretStr("")).encode_question("cat")
    assert all(request.key == "none" for request in services.requests)


@pytest.mark.parametrize(
    ("model", "dimensions"),
    [
        ("", None),
        ("text-embedding-3-small", 3072),
        ("text-embedding-3-small", 100),
        ("text-embedding-3-small", 0),
        ("text-embedding-ada-002", 512),
    ],
)
def test_a_model_or_length_that_cannot_be_is_refused(model: str, dimensions: int | None) -> None:
    endpoint = EmbeddingEndpointSettings(api_key=SecretStr(KEY))
    with pytest.raises(SettingsError):
        load_openai_embedder(model, dimensions, endpoint)


@pytest.mark.parametrize("address", ["localhost:11434/v1", "127.0.0.1", "ftp://127.0.0.1/v1"])
def test_an_address_without_a_scheme_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="http"):
        load_openai_embedder("bge-m3", None, EmbeddingEndpointSettings(base_url=address))
