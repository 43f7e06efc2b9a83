"""Rerankers: question and passage looked at together."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from rag.late_interaction import maxsims
from rag.models import Reranker
from rag.settings import RerankerKind, Settings
from rag.types import Passage, Question, Vector

COEFFICIENTS = "late_interaction.json"


@dataclass(frozen=True, slots=True)
class LateInteractionReranker:
    """MaxSim over token vectors, mixed with the dense and lexical evidence by a logistic model.

    `weights` belong to the features in the order of `features`; with `bias` they were fitted by
    `scripts/fit_reranker.py`, which makes the output a probability.
    """

    weights: Vector
    bias: float
    name: str = "late interaction"
    by_words: bool = True
    calibrated: bool = True

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        """Probability of relevance of each passage, in the same order."""
        if not passages:
            return []
        logits = features(question, passages) @ self.weights + self.bias
        return [float(value) for value in 1.0 / (1.0 + np.exp(-logits))]


def features(question: Question, passages: Sequence[Passage]) -> Vector:
    """What the logistic model looks at, [passages, 3]: MaxSim, cosine, ln(1 + BM25).

    Without token vectors the cosine stands in for MaxSim.
    """
    dense = np.array([passage.dense for passage in passages], dtype=np.float32)
    lexical = np.array([passage.lexical for passage in passages], dtype=np.float32)
    tokens = [passage.tokens for passage in passages if passage.tokens is not None]
    late = dense
    if question.tokens is not None and len(tokens) == len(passages):
        late = maxsims(question.tokens, tokens)
    return np.stack([late, dense, np.log1p(lexical)], axis=1)


CROSS_ENCODER = "cross-encoder/mmarco-mMiniLMv2-L12-H384-v1"
BGE_RERANKER = "BAAI/bge-reranker-v2-m3"


def make_reranker(settings: Settings) -> Reranker | None:
    """The reranker that the settings name; None for recall order.

    Raises SettingsError, MissingDependency, MissingKey and BackendError.
    """
    return _MAKERS[settings.query.reranker](settings)


def _late_interaction(settings: Settings) -> Reranker:
    text = (files("rag.models") / "data" / COEFFICIENTS).read_text(encoding="utf-8")
    fitted = json.loads(text)
    return LateInteractionReranker(np.array(fitted["weights"], np.float32), fitted["bias"])


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
