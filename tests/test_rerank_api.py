"""A rerank service is asked as its documentation says, and fails in one plain sentence.

What it shares with every reranker is in test_reranker_contract.
"""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
import pytest
from pydantic import SecretStr

from rag.errors import BackendError, MissingKey, SettingsError
from rag.models import Reranker, rerank_api
from rag.models.rerank_api import load_api_reranker
from rag.models.rerank_providers import PROVIDERS
from rag.settings import RerankEndpointSettings
from rag.types import Chunk, Passage, Question
from tests import model_endpoint
from tests.model_endpoint import Services

services = model_endpoint.services

KEY = "sk-canary/9d41+7Qx"
CLOUD = [name for name, provider in PROVIDERS.items() if provider.address]
LOCAL = [name for name in PROVIDERS if name not in CLOUD]
TEXTS = [
    "Bread needs flour, water and salt.",
    "A reranker reads both texts.",
    "重排序模型同时阅读问题和段落。",
    "A reranker reads the question and the passage.",
]
ENGLISH = Question("Which question does a reranker read?", np.zeros(4, np.float32), None)
CHINESE = Question("重排序模型阅读什么？", np.zeros(4, np.float32), None)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of this machine is used, and pauses between attempts are short."""
    for provider in PROVIDERS.values():
        for variable in provider.key_variables:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(rerank_api, "RETRY_SECONDS", (0.02, 0.04))


def passages(texts: list[str]) -> list[Passage]:
    chunks = [Chunk(f"c{n}", "d", n, 1, 0, len(text), text) for n, text in enumerate(texts)]
    return [Passage(chunk, "handbook.pdf", 0.5, 1.0) for chunk in chunks]


def reranker(services: Services, mode: str = "good", provider: str = "jina", **more) -> Reranker:
    values = {"api_key": SecretStr(KEY), "seconds": 5.0, "model": mode} | more
    base_url = f"{services.address}/{mode}" if provider == "tei" else f"{services.address}/v1"
    return load_api_reranker(
        RerankEndpointSettings(**{"provider": provider, "base_url": base_url, **values})
    )


def failure(reranker: Reranker, question: Question = ENGLISH) -> BackendError:
    with pytest.raises(BackendError) as caught:
        reranker.score(question, passages(TEXTS))
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert KEY not in shown
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith(".")
    return caught.value


# --- answers -------------------------------------------------------------------------------


BODIES = {
    "cohere": {"model", "query", "documents", "top_n"},
    "jina": {"model", "query", "documents", "top_n", "return_documents"},
    "voyage": {"model", "query", "documents", "top_k", "truncation"},
    "siliconflow": {"model", "query", "documents", "top_n", "return_documents"},
    "tei": {"model", "query", "texts", "raw_scores", "truncate"},
    "vllm": {"model", "query", "documents", "top_n", "truncate_prompt_tokens"},
    "infinity": {"model", "query", "documents", "top_n", "return_documents", "raw_scores"},
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_request_has_the_documented_fields(services: Services, provider: str) -> None:
    reranker(services, provider=provider).score(CHINESE, passages(TEXTS))
    [request] = services.requests
    assert request.path.endswith("/rerank")
    assert set(request.body) == BODIES[provider]
    assert request.body["query"] == CHINESE.text
    assert request.texts == TEXTS
    assert request.body.get("top_n", request.body.get("top_k", 4)) == 4
    assert request.key == KEY


@pytest.mark.parametrize("provider", PROVIDERS)
def test_many_passages_are_split_by_the_limit_of_the_provider(
    services: Services, provider: str
) -> None:
    reranker(services, provider=provider).score(ENGLISH, passages(["reads"] * 500))
    sizes = [len(request.texts) for request in services.requests]
    assert sum(sizes) == 500
    assert max(sizes) <= PROVIDERS[provider].batch
    assert max(sizes) - min(sizes) < len(sizes)


def test_a_local_server_needs_neither_key_nor_model(services: Services) -> None:
    for provider in LOCAL:
        local = reranker(services, provider=provider, model="", api_key=SecretStr(""))
        assert len(local.score(ENGLISH, passages(TEXTS))) == len(TEXTS)
    assert all("authorization" not in request.headers for request in services.requests)
    assert all("model" not in request.body for request in services.requests)


@pytest.mark.parametrize("provider", ["vllm", "infinity"])
def test_logits_become_probabilities(services: Services, provider: str) -> None:
    scores = reranker(services, "logits", provider).score(ENGLISH, passages(TEXTS))
    assert scores[0] == pytest.approx(1 / (1 + np.exp(6.0)))
    assert scores[3] > scores[1] > scores[2] == scores[0]


def test_cosines_below_zero_are_zero(services: Services) -> None:
    scores = reranker(services, "cosines", "jina").score(CHINESE, passages(TEXTS))
    assert scores[0] == scores[1] == scores[3] == 0.0
    assert 0.5 < scores[2] <= 1.0


def test_one_connection_serves_many_questions(services: Services) -> None:
    asked = reranker(services)
    for _ in range(3):
        asked.score(ENGLISH, passages(TEXTS))
    assert len({request.connection for request in services.requests}) == 1


def test_a_proxy_is_not_asked_for_this_machine(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert len(reranker(services).score(ENGLISH, passages(TEXTS))) == len(TEXTS)


def test_what_cannot_be_sent_is_a_failure_too(services: Services) -> None:
    with pytest.raises(BackendError):
        reranker(services).score(ENGLISH, passages(["\ud800"]))
    with pytest.raises(BackendError):
        reranker(services, base_url="http://a b/").score(ENGLISH, passages(TEXTS))


def test_several_threads_may_ask_at_once(services: Services) -> None:
    asked = reranker(services, provider="tei")
    texts = passages([f"reranker {number}" for number in range(70)])
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: asked.score(ENGLISH, texts), range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert len({request.connection for request in services.requests}) <= 16


# --- failures ------------------------------------------------------------------------------

FAILURES = [
    # mode, words of the cause, words of the next step
    ("status-400", "refused the request (400)", "model"),
    ("status-404", "has no model", "BASE_URL"),
    ("status-422", "refused the request (422)", "model"),
    ("status-503", "overloaded or still starting", "log"),
    ("web-page-as-json", "not JSON", "BASE_URL"),
    ("not-utf-8", "not JSON", "BASE_URL"),
    ("empty", "not JSON", "BASE_URL"),
    ("redirect", "refused the request (302)", "settings"),
    ("empty-object", "no list of scores", "BASE_URL"),
    ("empty-list", "no list of scores", "BASE_URL"),
    ("null", "no list of scores", "BASE_URL"),
    ("number", "no list of scores", "BASE_URL"),
    ("list-of-numbers", "no list of scores", "BASE_URL"),
    ("results-null", "no list of scores", "BASE_URL"),
    ("error-in-200", "no list of scores", "BASE_URL"),
    ("missing", "scored 3 of 4 passages", "BASE_URL"),
    ("doubled", "twice", "BASE_URL"),
    ("out-of-range", "not given", "BASE_URL"),
    ("negative-index", "not given", "BASE_URL"),
    ("text-index", "not given", "BASE_URL"),
    ("true-index", "not given", "BASE_URL"),
    ("nan", "not a number", "BASE_URL"),
    ("huge", "not a number", "BASE_URL"),
    ("text-score", "not a number", "BASE_URL"),
    ("no-score", "not a number", "BASE_URL"),
    ("above-one", "not between 0 and 1", "BASE_URL"),
]


@pytest.mark.parametrize(("mode", "cause", "step"), FAILURES)
def test_a_failure_is_one_sentence_and_a_next_step(
    services: Services, mode: str, cause: str, step: str
) -> None:
    error = failure(reranker(services, mode))
    assert cause in error.message
    assert step in error.hint


def test_an_answer_that_never_stalls_and_never_ends_is_given_up_in_time(
    services: Services,
) -> None:
    begun = perf_counter()
    error = failure(reranker(services, "drip", seconds=0.3))
    assert perf_counter() - begun < 2.0
    assert "no answer within 0.3 seconds" in error.message
    assert "RAG_RERANK_ENDPOINT_SECONDS" in error.hint


def test_an_endless_answer_is_not_read_to_its_end(services: Services) -> None:
    assert "did not end" in failure(reranker(services, "endless")).message


@pytest.mark.parametrize("mode", ["recovers-429", "recovers-500", "recovers-503", "reset-once"])
def test_a_passing_failure_is_tried_again(services: Services, mode: str) -> None:
    scores = reranker(services, mode).score(ENGLISH, passages(TEXTS))
    assert int(np.argmax(scores)) == 3
    assert len(services.requests) == 2


@pytest.mark.parametrize(
    ("mode", "requests"), [("status-500", 3), ("status-401", 1), ("status-400", 1), ("reset", 3)]
)
def test_only_what_may_pass_is_tried_again(services: Services, mode: str, requests: int) -> None:
    failure(reranker(services, mode))
    assert len(services.requests) == requests


def test_a_wait_beyond_the_time_limit_is_told_and_not_waited_for(services: Services) -> None:
    begun = perf_counter()
    failure(reranker(services, "status-429"))
    assert perf_counter() - begun < 2.0
    assert len(services.requests) == 1


def test_a_wait_that_the_service_asks_for_is_kept(services: Services) -> None:
    begun = perf_counter()
    reranker(services, "recovers-429").score(ENGLISH, passages(TEXTS))
    assert perf_counter() - begun >= 0.2


def test_one_failing_batch_fails_them_all(services: Services) -> None:
    local = reranker(services, "status-500", "tei")
    with pytest.raises(BackendError):
        local.score(ENGLISH, passages(["reranker"] * 100))


# --- settings ------------------------------------------------------------------------------


def test_an_unknown_provider_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SettingsError) as caught:
        load_api_reranker(RerankEndpointSettings(provider="acme"))
    assert all(name in caught.value.hint for name in PROVIDERS)


@pytest.mark.parametrize("provider", CLOUD)
def test_a_missing_key_is_named(provider: str) -> None:
    with pytest.raises(MissingKey) as caught:
        load_api_reranker(RerankEndpointSettings(provider=provider, model="m"))
    assert PROVIDERS[provider].key_variables[0] in caught.value.hint


@pytest.mark.parametrize(
    "variable",
    ["COHERE_API_KEY", "CO_API_KEY", "JINA_API_KEY", "VOYAGE_API_KEY", "SILICONFLOW_API_KEY"],
)
def test_the_key_may_stand_in_the_variable_people_know(
    services: Services, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, KEY)
    [provider] = [name for name in CLOUD if variable in PROVIDERS[name].key_variables]
    asked = reranker(services, provider=provider, api_key=SecretStr(""))
    asked.score(ENGLISH, passages(TEXTS))
    assert services.requests[0].key == KEY
    assert KEY not in repr(vars(asked))


def test_a_key_no_header_can_carry_is_said_before_anything_is_sent(services: Services) -> None:
    with pytest.raises(MissingKey, match="characters"):
        reranker(services, api_key=SecretStr("密钥"))


@pytest.mark.parametrize("address", ["localhost:8080", "127.0.0.1", "ftp://127.0.0.1", "http://"])
def test_an_address_without_a_scheme_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="http"):
        load_api_reranker(RerankEndpointSettings(provider="tei", base_url=address))


@pytest.mark.parametrize("provider", LOCAL)
def test_a_local_server_needs_an_address(provider: str) -> None:
    with pytest.raises(SettingsError, match="RAG_RERANK_ENDPOINT_BASE_URL"):
        load_api_reranker(RerankEndpointSettings(provider=provider))


@pytest.mark.parametrize("provider", CLOUD)
def test_a_cloud_service_needs_a_model(provider: str) -> None:
    with pytest.raises(SettingsError, match="RAG_RERANK_ENDPOINT_MODEL"):
        load_api_reranker(RerankEndpointSettings(provider=provider, api_key=SecretStr(KEY)))


def test_an_address_that_names_the_service_itself_is_understood(services: Services) -> None:
    asked = reranker(services, provider="vllm", base_url=f"{services.address}/v1/rerank/")
    asked.score(ENGLISH, passages(TEXTS))
    assert services.requests[0].path == "/v1/rerank"
