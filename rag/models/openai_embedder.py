"""Embedding by OpenAI, or by any server that speaks its `/v1/embeddings`.

https://developers.openai.com/api/reference/resources/embeddings/methods/create
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag.errors import BackendError, SettingsError
from rag.folding import encodable
from rag.metering import count
from rag.models import Embedder
from rag.models.completions import NO_KEY
from rag.models.endpoint_failures import OPENAI_ADDRESS
from rag.models.services import Service, bounded_client, check_service, request_failed
from rag.models.token_estimate import TEXTS_PER_REQUEST, batches, cut, spans
from rag.prompting import token_estimate
from rag.settings import EmbeddingEndpointSettings
from rag.types import Encoding, Question, Vector

if TYPE_CHECKING:
    from openai import OpenAI

SETTINGS = "RAG_EMBEDDING_ENDPOINT"
DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
# 2048 vectors of 3072 numbers take about 140 MB as JSON.
REPLY_BYTES = 200_000_000
ATTEMPTS_AFTER_THE_FIRST = 2
# What servers answer to more texts than they take at a time: TEI 32, SiliconFlow 64, Bailian 10.
TOO_MANY = frozenset({400, 413, 422})
# Token codes are stored in whole bytes, one bit a dimension.
DIMENSION_STEP = 8


class _TooMany(Exception):
    """The service may take fewer texts at a time."""


class OpenAIEmbedder:
    """An `Embedder` that asks a service; it has no token vectors.

    Safe to use from several threads. Nothing is sent before the first text.
    """

    computes_here = False

    def __init__(self, model: str, dimensions: int | None, service: Service) -> None:
        shortened = f", {dimensions} dimensions" if dimensions else ""
        self.name = f"{model}{shortened}"
        self._model = model
        self._asked_dimensions = dimensions
        self._dimensions = dimensions or DIMENSIONS.get(model)
        self._service = service
        self._texts_per_request = TEXTS_PER_REQUEST
        self._opening = Lock()
        self._measuring = Lock()
        self._client: OpenAI | None = None

    @property
    def dimensions(self) -> int:
        """Length of a vector; of a model that is not known it is measured once, by one request.

        Raises BackendError where that request fails.
        """
        with self._measuring:
            if self._dimensions is None:
                measured = int(self._vectors([" "]).shape[1])
                if measured % DIMENSION_STEP:
                    raise self._service.garbled(
                        f"gave vectors of {measured} numbers, not of a multiple of {DIMENSION_STEP}"
                    )
                self._dimensions = measured
            return self._dimensions

    def encode_documents(self, texts: Sequence[str], context: str = "") -> Encoding:
        """Vectors of passages below `context`; what is longer than the model reads is cut.

        Raises BackendError where the service fails, or gives vectors of another number or length
        or with numbers that are not finite.
        """
        # The same text twice, as in forms and filings, is paid for once.
        unique = list(dict.fromkeys(texts))
        places = {text: place for place, text in enumerate(unique)}
        dense = np.empty((len(unique), self.dimensions), dtype=np.float32)
        start = 0
        above = f"{context}\n" if context else ""
        for batch in batches([cut(encodable(above + text)) for text in unique]):
            dense[start : start + len(batch)] = self._encoded(batch)
            start += len(batch)
        return Encoding(dense[[places[text] for text in texts]], None)

    def encode_question(self, text: str) -> Question:
        """The vector of one question. Raises BackendError as `encode_documents` does."""
        return Question(text, self.encode_documents([text]).dense[0], None)

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """About where the tokens are, which only the service knows; see `token_estimate`."""
        return [list(spans(text)) for text in texts]

    def _encoded(self, texts: Sequence[str]) -> Vector:
        """Vectors of one batch, in smaller requests where the service takes no more at a time."""
        if len(texts) > self._texts_per_request:
            half = len(texts) // 2
            return np.concatenate([self._encoded(texts[:half]), self._encoded(texts[half:])])
        try:
            vectors = self._vectors(texts)
        except _TooMany:
            self._texts_per_request = len(texts) // 2
            return self._encoded(texts)
        if vectors.shape[1] != self.dimensions:
            raise self._service.failure(
                f"{self._service.where} gave vectors of {vectors.shape[1]} numbers instead of "
                f"{self.dimensions}.",
                "Check the name of the model, and leave the dimensions empty unless it can "
                "shorten its vectors.",
            )
        return vectors

    def _vectors(self, texts: Sequence[str]) -> Vector:
        """The answer to one request, [texts, numbers], every row of length 1.

        Raises BackendError, and _TooMany where fewer texts may be taken.
        """
        import openai

        try:
            reply = self._connected().embeddings.create(
                model=self._model,
                input=list(texts),
                dimensions=self._asked_dimensions or openai.omit,
                encoding_format="float",
            )
        except Exception as error:  # whatever a service sends ends in a sentence
            failure = self._failure(error, len(texts))
        else:
            tokens = _tokens_of(reply)
            estimate = tokens or sum(map(token_estimate, texts))
            count("embeddings", self._model, input_tokens=estimate, counted=bool(tokens))
            return _normalised(_in_order(reply, len(texts), self._service), self._service)
        # Raised here it does not hold the service's own words, which may repeat the key.
        raise failure

    def _failure(self, error: Exception, texts: int) -> BackendError | _TooMany:
        if getattr(error, "status_code", None) in TOO_MANY:
            if texts > 1:
                return _TooMany()
            # It was this text, not their number.
            self._texts_per_request = TEXTS_PER_REQUEST
        return request_failed(error, self._service)

    def _connected(self) -> OpenAI:
        import openai

        with self._opening:
            if self._client is None:
                self._client = openai.OpenAI(
                    base_url=self._service.address,
                    api_key=self._service.key or NO_KEY,
                    timeout=self._service.seconds,
                    max_retries=ATTEMPTS_AFTER_THE_FIRST,
                    http_client=bounded_client(
                        self._service.address, REPLY_BYTES, self._service.seconds
                    ),
                )
            return self._client


def load_openai_embedder(
    model: str, dimensions: int | None, endpoint: EmbeddingEndpointSettings
) -> Embedder:
    """The embedder of a model behind an endpoint; nothing is sent before the first text.

    `dimensions` shortens the vectors of a model that can do that; None for the model's own length.
    The key is `endpoint.api_key`; at OpenAI's own address OPENAI_API_KEY stands in for it.
    Raises SettingsError for a model, length or address that cannot be, and MissingKey.
    """
    if not model.strip():
        raise SettingsError(
            "The embedder needs the name of a model.",
            f"Set RAG_INDEX_MODEL, for example to {next(iter(DIMENSIONS))}.",
        )
    most = DIMENSIONS.get(model, dimensions)
    if dimensions is not None and (dimensions < 1 or dimensions % DIMENSION_STEP):
        raise SettingsError(
            f"A vector cannot have {dimensions} dimensions.",
            f"Choose a multiple of {DIMENSION_STEP}, or leave it empty.",
        )
    fixed = model == "text-embedding-ada-002" and dimensions not in {None, most}
    if dimensions is not None and most is not None and (dimensions > most or fixed):
        raise SettingsError(
            f"The model {model} cannot give {dimensions} dimensions.",
            f"Leave it empty for {most}." if fixed else f"Choose at most {most}.",
        )
    key = endpoint.api_key.get_secret_value().strip()
    if not key and not endpoint.base_url:
        key = os.environ.get("OPENAI_API_KEY", "").strip()
    service = Service(
        address=endpoint.base_url.strip() or OPENAI_ADDRESS,
        model=model,
        seconds=endpoint.seconds,
        key=key,
        key_variable=f"{SETTINGS}_API_KEY" if endpoint.base_url else "OPENAI_API_KEY",
        settings=SETTINGS,
    )
    check_service(service, needs_key=not endpoint.base_url)
    # ada-002 refuses the parameter, also with its own length.
    asked = None if model == "text-embedding-ada-002" else dimensions
    return OpenAIEmbedder(model, asked, service)


def _tokens_of(reply: Any) -> int:
    """How many tokens the service counted; 0 where it does not say."""
    counted = getattr(getattr(reply, "usage", None), "prompt_tokens", None)
    return counted if isinstance(counted, int) else 0


def _in_order(reply: Any, texts: int, service: Service) -> NDArray[np.float64]:
    """The vectors of an answer by the index of their text, [texts, numbers]."""
    rows = getattr(reply, "data", None)
    if not isinstance(rows, list):
        raise service.garbled("sent no list of vectors")
    numbered = [row for row in rows if type(getattr(row, "index", None)) is int]
    found = {row.index: getattr(row, "embedding", None) for row in numbered}
    if len(rows) != texts or set(found) != set(range(texts)):
        raise service.garbled(f"sent {len(rows)} vectors for {texts} texts, or in no clear order")
    try:
        vectors = np.array([found[place] for place in range(texts)], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise service.garbled("sent vectors that are not numbers or differ in length") from None
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise service.garbled("sent vectors that are not numbers or differ in length")
    return vectors


def _normalised(vectors: NDArray[np.float64], service: Service) -> Vector:
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    if not np.isfinite(largest).all() or not largest.all():
        raise service.garbled("gave vectors that are not finite, or all zero")
    vectors = vectors / largest  # so that no square overflows
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float32)
