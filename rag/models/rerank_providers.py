"""The protocols of the rerank services; one record each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

# What a service's scores are: probabilities, cosines, or logits with some models.
Scale = Literal["probability", "cosine", "probability or logit"]
Body = Callable[[str, Sequence[str]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Provider:
    """How one service is asked; all of them answer a POST to `/rerank`.

    `address` is empty for a server that people run themselves; such a server needs neither a key
    nor the name of a model. `results` is where the list of results is in the answer, empty where
    the answer is the list; `batch` is the most passages in one request.
    """

    documentation: str
    body: Body
    batch: int
    scale: Scale
    results: str = "results"
    score: str = "relevance_score"
    address: str = ""
    key_variables: tuple[str, ...] = ()
    model: str = ""


def _documents(query: str, texts: Sequence[str], **more: Any) -> dict[str, Any]:
    return {"query": query, "documents": list(texts), **more}


def _top_n(query: str, texts: Sequence[str], **more: Any) -> dict[str, Any]:
    return _documents(query, texts, top_n=len(texts), **more)


def _voyage(query: str, texts: Sequence[str]) -> dict[str, Any]:
    return _documents(query, texts, top_k=len(texts), truncation=True)


def _tei(query: str, texts: Sequence[str]) -> dict[str, Any]:
    return {"query": query, "texts": list(texts), "raw_scores": False, "truncate": True}


PROVIDERS: dict[str, Provider] = {
    "cohere": Provider(
        documentation="https://docs.cohere.com/reference/rerank",
        address="https://api.cohere.com/v2",
        body=_top_n,
        batch=1000,  # more are allowed and advised against
        scale="probability",
        key_variables=("COHERE_API_KEY", "CO_API_KEY"),
        model="rerank-v3.5",
    ),
    "jina": Provider(
        documentation="https://jina.ai/reranker",
        address="https://api.jina.ai/v1",
        body=partial(_top_n, return_documents=False),
        batch=500,  # no limit is documented
        # jina-reranker-v3 gives cosines, its forerunners probabilities.
        # https://huggingface.co/jinaai/jina-reranker-v3/discussions/2
        scale="cosine",
        key_variables=("JINA_API_KEY",),
        model="jina-reranker-v2-base-multilingual",
    ),
    "voyage": Provider(
        documentation="https://docs.voyageai.com/reference/reranker-api",
        address="https://api.voyageai.com/v1",
        body=_voyage,
        batch=500,  # 1000 are allowed, together with 600,000 tokens
        scale="probability",
        results="data",
        key_variables=("VOYAGE_API_KEY",),
        model="rerank-2.5-lite",
    ),
    "siliconflow": Provider(
        documentation="https://docs.siliconflow.cn/cn/api-reference/rerank/create-rerank",
        address="https://api.siliconflow.cn/v1",
        body=partial(_top_n, return_documents=False),
        batch=64,  # not documented here; its embedding service takes no more
        scale="probability",
        key_variables=("SILICONFLOW_API_KEY",),
        model="BAAI/bge-reranker-v2-m3",
    ),
    "tei": Provider(
        documentation="https://huggingface.github.io/text-embeddings-inference/",
        body=_tei,
        batch=32,  # the default of --max-client-batch-size
        scale="probability",
        results="",
        score="score",
    ),
    "vllm": Provider(
        documentation="https://docs.vllm.ai/en/v0.16.0/api/vllm/entrypoints/pooling/score/protocol/",
        # -1 cuts a passage to what the model reads; without it a long one fails them all.
        body=partial(_top_n, truncate_prompt_tokens=-1),
        batch=128,  # no limit is documented
        scale="probability or logit",
    ),
    "infinity": Provider(
        documentation="https://github.com/michaelfeil/infinity",
        body=partial(_top_n, return_documents=False, raw_scores=False),
        batch=128,  # no limit is documented
        scale="probability or logit",
    ),
}
