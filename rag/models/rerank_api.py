"""Reranking by a service: Cohere, Jina, Voyage and SiliconFlow, or TEI, vLLM and Infinity."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from math import ceil, exp, inf, isfinite, nan
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from rag.errors import SettingsError
from rag.metering import carried, count
from rag.models import Reranker
from rag.models.completions import RETRIED
from rag.models.endpoint_failures import retry_after
from rag.models.rerank_providers import PROVIDERS, Provider, Scale
from rag.models.services import (
    DEADLINE,
    Service,
    bounded_client,
    check_service,
    lasting,
    request_failed,
)
from rag.settings import RerankEndpointSettings
from rag.types import Passage, Question

if TYPE_CHECKING:
    import httpx2

SETTINGS = "RAG_RERANK_ENDPOINT"
# Seconds before the second and the third attempt, where the service names no other.
RETRY_SECONDS = (0.3, 0.9)
# Services limit how many requests run at a time; local servers gain nothing from more.
PARALLEL_REQUESTS = 4
# A thousand results take some 60 kB.
REPLY_BYTES = 8_000_000
# Half-precision models reach a little beyond 1.
ROUNDING = 1e-3


class ApiReranker:
    """A `Reranker` that asks a service, over one connection pool that opens with the first call.

    Safe to use from several threads. A call ends within the endpoint's `seconds`, further attempts
    included.
    """

    by_words: bool = False
    calibrated: bool = False

    def __init__(self, name: str, provider: Provider, service: Service) -> None:
        self.name = name
        self._provider = provider
        self._service = service
        self._opening = Lock()
        self._client: httpx2.Client | None = None

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        """The service's score of each passage, 0..1, in the same order.

        Raises BackendError where the service fails or answers with anything but one finite score
        for every passage.
        """
        texts = [passage.chunk.text for passage in passages]
        ask = partial(self._scores, question.text, deadline=monotonic() + self._service.seconds)
        batches = list(_batches(texts, self._provider.batch))
        if len(batches) < 2:
            scores = [score for batch in batches for score in ask(batch)]
        else:
            with ThreadPoolExecutor(PARALLEL_REQUESTS, "rerank") as threads:
                scores = list(chain.from_iterable(threads.map(carried(ask), batches)))
        return _in_range(scores, self._provider.scale, self._service)

    def _scores(self, query: str, texts: Sequence[str], deadline: float) -> list[float]:
        """The scores as the service gives them, in the order of the texts."""
        body = self._provider.body(query, texts)
        if self._service.model:
            body["model"] = self._service.model
        try:
            content = self._answer(body, deadline).json()
        except (ValueError, RecursionError):
            raise self._service.garbled("sent something that is not JSON") from None
        tokens, requests = _billed(content)
        count("rerank", self.name, input_tokens=tokens, requests=requests)
        return _in_order(content, len(texts), self._provider, self._service)

    def _answer(self, body: dict[str, Any], deadline: float) -> httpx2.Response:
        pauses = iter(RETRY_SECONDS)
        while True:
            try:
                response = self._connected().post(
                    f"{self._service.address}/rerank",
                    json=body,
                    timeout=max(deadline - monotonic(), 0.001),
                    extensions={DEADLINE: deadline},
                )
                return response.raise_for_status()
            except Exception as error:  # whatever a service sends ends in a sentence
                pause = _pause(error, next(pauses, None))
                if pause is None or monotonic() + pause >= deadline:
                    raise request_failed(error, self._service) from None
            sleep(pause)

    def _connected(self) -> httpx2.Client:
        with self._opening:
            if self._client is None:
                self._client = bounded_client(self._service.address, REPLY_BYTES)
                if self._service.key:
                    self._client.headers["authorization"] = f"Bearer {self._service.key}"
            return self._client


def load_api_reranker(endpoint: RerankEndpointSettings) -> Reranker:
    """The reranker of `endpoint.provider`; nothing is sent before the first question.

    The key is `endpoint.api_key`, else what the provider's own variable holds.
    Raises SettingsError for an unknown provider, an address that is none or a model that must be
    named, and MissingKey.
    """
    provider = PROVIDERS.get(endpoint.provider)
    if provider is None:
        raise SettingsError(
            f"There is no rerank provider {endpoint.provider!r}.",
            f"Set {SETTINGS}_PROVIDER to one of: {', '.join(PROVIDERS)}.",
        )
    address = (endpoint.base_url.strip() or provider.address).rstrip("/").removesuffix("/rerank")
    if not address:
        raise SettingsError(
            f"The address of the {endpoint.provider} server is not set.",
            f"Set {SETTINGS}_BASE_URL to one such as http://127.0.0.1:8080.",
        )
    if provider.model and not endpoint.model:
        raise SettingsError(
            f"The provider {endpoint.provider} needs the name of a model.",
            f"Set {SETTINGS}_MODEL, for example to {provider.model}.",
        )
    keys = [endpoint.api_key.get_secret_value(), *map(_variable, provider.key_variables)]
    service = Service(
        address=address,
        model=endpoint.model,
        seconds=endpoint.seconds,
        key=next((key.strip() for key in keys if key.strip()), ""),
        key_variable=next(iter(provider.key_variables), f"{SETTINGS}_API_KEY"),
        settings=SETTINGS,
    )
    check_service(service, needs_key=bool(provider.address))
    return ApiReranker(f"{endpoint.model or 'reranker'} ({endpoint.provider})", provider, service)


def _variable(name: str) -> str:
    return os.environ.get(name, "")


def _batches(texts: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """The texts in as few batches of like size as there can be."""
    if not texts:
        return
    size = ceil(len(texts) / ceil(len(texts) / most))
    for start in range(0, len(texts), size):
        yield texts[start : start + size]


def _pause(error: Exception, pause: float | None) -> float | None:
    """Seconds to wait before the next attempt; None where another one is of no use."""
    import httpx2

    if isinstance(error, httpx2.HTTPStatusError):
        if pause is None or error.response.status_code not in RETRIED:
            return None
        asked = retry_after(error)
        return pause if asked is None else asked
    again = isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError)
    return pause if again and not lasting(error) else None


# Jina, Voyage, vLLM and Infinity; Cohere and SiliconFlow; SiliconFlow in older answers.
_TOKENS = (
    ("usage", "total_tokens"),
    ("meta", "tokens", "input_tokens"),
    ("tokens", "input_tokens"),
)
# Cohere: a request with more than a hundred passages is more than one.
_SEARCHES = ("meta", "billed_units", "search_units")


def _billed(content: Any) -> tuple[int, int]:
    """Tokens that the service counted, 0 where it tells none, and how many requests it bills."""
    tokens = (_whole(content, names) for names in _TOKENS)
    return next(filter(None, tokens), 0), _whole(content, _SEARCHES) or 1


def _whole(content: Any, names: Sequence[str]) -> int:
    """The number under these names, one in the other; 0 where there is none."""
    for name in names:
        content = content.get(name) if isinstance(content, dict) else None
    return int(content) if type(content) in (int, float) and 0 < content < inf else 0


def _in_order(content: Any, count: int, provider: Provider, service: Service) -> list[float]:
    """The scores of an answer by the index of their text; it must name each index once."""
    try:
        rows = content[provider.results] if provider.results else content
        pairs = [(row["index"], row[provider.score]) for row in rows]
    except (KeyError, TypeError):
        raise service.garbled("sent no list of scores") from None
    scores: dict[int, float] = {}
    for index, score in pairs:
        if type(index) is not int or not 0 <= index < count:
            raise service.garbled("scored a passage that it was not given")
        if index in scores:
            raise service.garbled("scored a passage twice")
        scores[index] = _number(score)
        if not isfinite(scores[index]):
            raise service.garbled("sent a score that is not a number")
    if len(scores) < count:
        raise service.garbled(f"scored {len(scores)} of {count} passages")
    return [scores[index] for index in range(count)]


def _number(score: Any) -> float:
    """A number of JSON as a float; not finite where it is none or beyond all floats."""
    try:
        return float(score) if type(score) in (int, float) else nan
    except OverflowError:
        return inf


def _in_range(scores: Sequence[float], scale: Scale, service: Service) -> list[float]:
    """The scores as numbers 0..1; a cosine below 0 becomes 0, a logit its probability.

    Whether scores are logits shows in all of them together: one outside 0..1 is enough.
    """
    lowest = -1.0 if scale == "cosine" else 0.0
    if any(not lowest - ROUNDING <= score <= 1.0 + ROUNDING for score in scores):
        if scale == "probability or logit":
            return [_probability(score) for score in scores]
        raise service.garbled("sent scores that are not between 0 and 1")
    return [min(max(score, 0.0), 1.0) for score in scores]


def _probability(logit: float) -> float:
    # exp overflows beyond 709; a logit of 40 is a probability of 1 already.
    return 1.0 / (1.0 + exp(-min(max(logit, -40.0), 40.0)))
