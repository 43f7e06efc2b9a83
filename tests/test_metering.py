"""What services are asked is counted for the question and stage that asked, and priced."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from pydantic import SecretStr

from rag.deadline import Deadline
from rag.errors import BackendError
from rag.metering import Meter, carried, count, priced
from rag.models.answerers import ChatAnswerer
from rag.models.llm_reranker import LIST_PASSAGES, LLMReranker
from rag.models.rerank_api import load_api_reranker
from rag.prompting import chat_messages, token_estimate
from rag.settings import EndpointSettings, PriceSettings, RerankEndpointSettings
from rag.types import Chunk, Passage, Question, Usage, usage_line
from tests.endpoint import Endpoint, running_endpoint
from tests.model_endpoint import Services, running_services

QUESTION = Question("Why rerank? 为什么要重排序？", np.zeros(4, np.float32), None)


def passage(text: str, number: int = 1) -> Passage:
    chunk = Chunk(f"c{number}", "d", number, number, 0, len(text), text)
    return Passage(chunk, "handbook.pdf", 0.8, 1.0)


PASSAGES = [passage("A reranker reads both texts."), passage("重排序模型同时阅读两者。", 2)]


@pytest.fixture(scope="module")
def chat() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with running_services() as running:
        yield running


def settings(chat: Endpoint, model: str) -> EndpointSettings:
    return EndpointSettings(base_url=chat.base_url, model=model)


def answered(chat: Endpoint, model: str) -> tuple[str, tuple[Usage, ...]]:
    """What a model answers, and what was counted, also where it fails."""
    meter, text = Meter(), ""
    pieces = ChatAnswerer(settings(chat, model)).stream(QUESTION, PASSAGES, ())
    try:
        for piece in meter.over("answer", pieces):
            text += piece
    except BackendError:
        pass
    return text, meter.usage


def test_questions_that_are_asked_at_once_never_mix(chat: Endpoint) -> None:
    """Through the deadline's thread, a reranker's pool and a streamed answer."""
    together = Barrier(2)
    models = {"grade-perfect": 4, "grade-prose": 3}

    def ask(model: str) -> tuple[Usage, ...]:
        meter, endpoint = Meter(), settings(chat, model)
        many = PASSAGES * (LIST_PASSAGES // 2) * models[model]
        together.wait(10)
        with meter.stage("rerank"):
            Deadline().call(lambda: LLMReranker(endpoint).score(QUESTION, many), 20)
        pieces = meter.over("answer", ChatAnswerer(endpoint).stream(QUESTION, PASSAGES, ()))
        next(pieces)
        together.wait(10)
        for _ in pieces:
            pass
        return meter.usage

    with ThreadPoolExecutor(2) as threads:
        found = dict(zip(models, threads.map(ask, models), strict=True))
    for model, requests in models.items():
        rerank, answer = found[model]
        assert (rerank.stage, rerank.model, rerank.requests) == ("rerank", model, requests)
        assert (rerank.input_tokens, rerank.counted) == (9 * requests, True)
        assert (answer.stage, answer.model, answer.requests) == ("answer", model, 1)


def test_tokens_that_an_endpoint_does_not_count_are_estimated(chat: Endpoint) -> None:
    text, [told] = answered(chat, "echo")
    assert (told.input_tokens, told.output_tokens, told.counted) == (9, 9, True)
    text, [usage] = answered(chat, "echo+uncounted")
    sent = chat_messages(QUESTION.text, PASSAGES)
    assert usage.input_tokens == sum(token_estimate(message["content"]) for message in sent)
    assert usage.output_tokens == token_estimate(text)
    assert not usage.counted


def test_thoughts_are_written_tokens_too(chat: Endpoint) -> None:
    text, [usage] = answered(chat, "thinks+uncounted")
    assert usage.output_tokens > token_estimate(text)


@pytest.mark.parametrize(("mode", "requests"), [("status-401", 0), ("reset-midway", 1)])
def test_only_what_an_endpoint_began_to_answer_is_counted(
    chat: Endpoint, mode: str, requests: int
) -> None:
    assert [usage.requests for usage in answered(chat, mode)[1]] == [1] * requests


def test_an_answer_that_was_stopped_counts_as_far_as_it_came(chat: Endpoint) -> None:
    meter = Meter()
    stream = ChatAnswerer(settings(chat, "hang-midway")).stream(QUESTION, PASSAGES, ())
    pieces = meter.over("answer", stream)
    begun = next(piece for piece in pieces if piece)
    pieces.close()
    [usage] = meter.usage
    assert usage.output_tokens >= token_estimate(begun)
    assert not usage.counted


def test_where_nobody_counts_nothing_is_counted(chat: Endpoint) -> None:
    meter = Meter()
    with meter.stage("outer"):
        with Meter().stage("inner"):
            count("chat", "m", input_tokens=1)
        count("chat", "m", input_tokens=-5, output_tokens=10**400)
    count("chat", "m", input_tokens=1)
    carried(count)("chat", "m", input_tokens=1)
    assert meter.usage == (Usage("outer", "chat", "m", 1, 0, 10**9, True),)


@pytest.mark.parametrize(
    ("provider", "mode", "requests", "tokens"),
    [
        ("cohere", "bills-searches", 2, 0),
        ("jina", "bills-tokens", 1, 26),
        ("voyage", "bills-tokens", 1, 26),
        ("siliconflow", "bills-in-meta", 1, 26),
        ("siliconflow", "bills-beside", 1, 26),
        ("vllm", "bills-tokens", 1, 26),
        ("tei", "", 1, 0),
        ("jina", "bills-nonsense", 1, 0),
    ],
)
def test_what_rerank_services_bill_is_counted(
    services: Services, provider: str, mode: str, requests: int, tokens: int
) -> None:
    endpoint = RerankEndpointSettings(
        provider=provider, base_url=services.address, model=mode, api_key=SecretStr("key")
    )
    meter = Meter()
    with meter.stage("rerank"):
        load_api_reranker(endpoint).score(QUESTION, PASSAGES)
    [usage] = meter.usage
    assert (usage.service, usage.requests, usage.input_tokens) == ("rerank", requests, tokens)


PRICES = PriceSettings(
    currency="CNY",
    input_tokens=2.0,
    output_tokens=8.0,
    embedding_tokens=0.5,
    rerank_tokens=1.0,
    rerank_searches=3.0,
)
CHAT = Usage("answer", "chat", "m", 1, 1_200, 210, True)
EMBEDDINGS = Usage("encode", "embeddings", "e", 1, 10_000, 0, True)
RERANK = Usage("rerank", "rerank", "r", 2, 40_000, 0, True)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (CHAT, (1_200 * 2 + 210 * 8) / 1e6),
        (EMBEDDINGS, 10_000 * 0.5 / 1e6),
        (RERANK, 40_000 / 1e6 + 2 * 3 / 1e3),
    ],
)
def test_costs_follow_the_prices_of_the_service(usage: Usage, cost: float) -> None:
    [paid] = priced([usage], PRICES)
    assert paid.cost == pytest.approx(cost)
    assert paid.currency == "CNY"
    [free] = priced([usage], PriceSettings())
    assert free.cost is None


@pytest.mark.parametrize(
    ("usage", "first", "line"),
    [
        ([], None, ""),
        ([], 0.2, "first word 0.20 s"),
        ([CHAT], 0.41, "1,200 tokens in, 210 out, first word 0.41 s"),
        (priced([CHAT], PRICES), None, "1,200 tokens in, 210 out, 0.0041 CNY"),
        (priced([EMBEDDINGS, RERANK], PRICES), None, "50,000 tokens in, 0.051 CNY"),
        ([*priced([RERANK], PRICES), CHAT], None, "41,200 tokens in, 210 out, at least 0.046 CNY"),
        (
            priced([Usage("answer", "chat", "m", 1, 7, 3, False)], PRICES),
            None,
            "about 7 tokens in, 3 out, about 0.000038 CNY",
        ),
        ([Usage("rerank", "rerank", "r", 1, 0, 0, True)], None, "1 request"),
    ],
)
def test_usage_is_told_on_one_line(usage: list[Usage], first: float | None, line: str) -> None:
    assert usage_line(usage, first) == line
