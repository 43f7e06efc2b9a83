"""Rerankers: question and passage looked at together."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from rag.late_interaction import maxsims
from rag.models import Reranker
from rag.settings import RerankerKind, Settings
from rag.types import Passage, Question, Vector

COEFFICIENTS = "late_interaction.json"

DENSE_WEIGHT, SPARSE_WEIGHT, LATE_WEIGHT = 1.0, 0.3, 1.0


@dataclass(frozen=True, slots=True)
class LateInteractionReranker:
    """MaxSim over token vectors, mixed with the dense and lexical evidence by a logistic model.

    `weights` belong to the features in the order of `features`; with `bias` they were fitted by
    `scripts/fit_reranker.py` on the bundled embedder. Over vectors of another one the output is
    no probability: `calibrated` says which.
    """

    weights: Vector
    bias: float
    calibrated: bool
    name: str = "late interaction"
    by_words: bool = True

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        """Relevance of each passage, 0..1, in the same order."""
        if not passages:
            return []
        logits = features(question, passages) @ self.weights + self.bias
        return [float(value) for value in 1.0 / (1.0 + np.exp(-logits))]


def features(question: Question, passages: Sequence[Passage]) -> Vector:
    """What the logistic model looks at, [passages, 3]: MaxSim, cosine, ln(1 + BM25).

    Without token vectors the cosine stands in for MaxSim.
    """
    dense = _cosines(passages)
    lexical = np.array([passage.lexical for passage in passages], dtype=np.float32)
    return np.stack([_maxsims(question, passages, dense), dense, np.log1p(lexical)], axis=1)


@dataclass(frozen=True, slots=True)
class BgeM3Reranker:
    """The three scores of BGE-M3 in one: its cosine, its sparse weights and MaxSim.

    The mean with the weights 1, 0.3 and 1, which the model's makers use for all three together
    (Chen et al. 2024, M3-Embedding, https://arxiv.org/abs/2402.03216, section 4.1, and
    `ensemble_score` in FlagEmbedding 1.4.2).
    """

    name: str = "BGE-M3: dense, sparse and late interaction"
    by_words: bool = True
    calibrated: bool = False

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        """Relevance of each passage, 0..1, in the same order.

        Sparse weights count only where every passage has some, else scores of two scales would be
        compared. Without token vectors the cosine stands in for MaxSim.
        """
        dense = _cosines(passages)
        late = _maxsims(question, passages, dense)
        total, weight = DENSE_WEIGHT * dense + LATE_WEIGHT * late, DENSE_WEIGHT + LATE_WEIGHT
        sparse = [passage.sparse for passage in passages if passage.sparse is not None]
        if len(sparse) == len(passages):
            total += SPARSE_WEIGHT * np.array(sparse, dtype=np.float32)
            weight += SPARSE_WEIGHT
        return [float(score) for score in np.clip(total / weight, 0.0, 1.0)]


def _cosines(passages: Sequence[Passage]) -> Vector:
    return np.array([passage.dense for passage in passages], dtype=np.float32)


def _maxsims(question: Question, passages: Sequence[Passage], otherwise: Vector) -> Vector:
    """MaxSim of each passage, or `otherwise` where question or a passage has no token vectors."""
    tokens = [passage.tokens for passage in passages if passage.tokens is not None]
    if question.tokens is None or len(tokens) < len(passages):
        return otherwise
    return maxsims(question.tokens, tokens)


CROSS_ENCODER = "cross-encoder/mmarco-mMiniLMv2-L12-H384-v1"
BGE_RERANKER = "BAAI/bge-reranker-v2-m3"


def make_reranker(settings: Settings) -> Reranker | None:
    """The reranker that the settings name; None for recall order.

    Raises SettingsError, MissingDependency, MissingKey and BackendError.
    """
    return _MAKERS[settings.query.reranker](settings)


def reranker_identity(settings: Settings) -> Hashable:
    """What another value of makes another reranker."""
    query = settings.query
    match query.reranker:
        case "api":
            return query.reranker, settings.rerank_endpoint
        case "llm":
            return query.reranker, settings.endpoint, query.rerank_seconds
    return query.reranker, query.reranker_model, query.remote_code, settings.index.embedder


def _late_interaction(settings: Settings) -> Reranker:
    if settings.index.embedder == "bge-m3":
        return BgeM3Reranker()
    text = (files("rag.models") / "data" / COEFFICIENTS).read_text(encoding="utf-8")
    fitted = json.loads(text)
    return LateInteractionReranker(
        np.array(fitted["weights"], np.float32),
        fitted["bias"],
        calibrated=settings.index.embedder == "bundled",
    )


def _features(settings: Settings) -> Reranker:
    from rag.models.feature_reranker import load_feature_reranker

    return load_feature_reranker()


def _cross_encoder(settings: Settings) -> Reranker:
    from rag.models.cross_encoders import load_cross_encoder

    model = settings.query.reranker_model or CROSS_ENCODER
    return load_cross_encoder(model, remote_code=settings.query.remote_code == model)


def _bge(settings: Settings) -> Reranker:
    from rag.models.bge import load_bge_reranker

    return load_bge_reranker(settings.query.reranker_model or BGE_RERANKER)


def _api(settings: Settings) -> Reranker:
    from rag.models.rerank_api import load_api_reranker

    return load_api_reranker(settings.rerank_endpoint)


def _llm(settings: Settings) -> Reranker:
    from rag.models.llm_reranker import load_llm_reranker

    return load_llm_reranker(settings.endpoint, seconds=settings.query.rerank_seconds)


_MAKERS: dict[RerankerKind, Callable[[Settings], Reranker | None]] = {
    "late-interaction": _late_interaction,
    "features": _features,
    "cross-encoder": _cross_encoder,
    "bge": _bge,
    "api": _api,
    "llm": _llm,
    "none": lambda settings: None,
}
