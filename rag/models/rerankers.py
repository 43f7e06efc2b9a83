"""Rerankers: question and passage looked at together."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from rag.models import Reranker
from rag.models.known_models import OWN_MODELS
from rag.settings import RerankerKind, Settings


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
    from rag.models.late_interaction_reranker import BgeM3Reranker, load_late_interaction

    if settings.index.embedder == "bge-m3":
        return BgeM3Reranker()
    return load_late_interaction(calibrated=settings.index.embedder == "bundled")


def _features(settings: Settings) -> Reranker:
    from rag.models.feature_reranker import load_feature_reranker

    return load_feature_reranker()


def _cross_encoder(settings: Settings) -> Reranker:
    from rag.models.cross_encoders import load_cross_encoder

    model = settings.query.reranker_model or OWN_MODELS["cross-encoder"]
    return load_cross_encoder(model, remote_code=settings.query.remote_code == model)


def _bge(settings: Settings) -> Reranker:
    from rag.models.bge import load_bge_reranker

    return load_bge_reranker(settings.query.reranker_model or OWN_MODELS["bge"])


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
