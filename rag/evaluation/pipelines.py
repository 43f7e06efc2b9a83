"""Pipelines as data: what recalls, what reranks, how deep."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from rag.errors import SettingsError
from rag.settings import QuerySettings, RerankerKind

RecallKind = Literal["dense", "lexical", "fused", "foreign"]
DEEPEST = 1000
RERANKERS: dict[str, RerankerKind] = {
    kind: kind for kind in get_args(RerankerKind) if kind != "none"
}
_RECALL_KINDS: dict[str, RecallKind] = {
    kind: kind for kind in get_args(RecallKind) if kind != "foreign"
}
_NAME = re.compile(
    rf"(?:(?P<alone>llm)|(?P<recall>{'|'.join(_RECALL_KINDS)})"
    rf"(?:\+(?P<second>llm|rerank(?::(?P<kind>{'|'.join(RERANKERS)}))?))?)"
    r"(?:(?<!dense)(?<!lexical)(?<!fused)@(?P<depth>[0-9]{1,4}))?"
)
STANDARD = ("dense", "lexical", "fused", "fused+rerank")

_RECALL = {
    "dense": "embeddings alone",
    "lexical": "full text alone, BM25",
    "fused": "embeddings and full text, fused by rank",
    "foreign": "the run of another system",
}
_KNOWN = (
    "dense, lexical, fused, llm, dense+llm, and dense+rerank, lexical+rerank, fused+rerank, "
    f"each also as +rerank:KIND with KIND one of {', '.join(RERANKERS)}, and with @DEPTH behind it"
)


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """One way to rank. `rerank_depth` is how many recalled passages the reranker reads.

    What is "foreign" was ranked elsewhere and cannot be asked.
    `whole` lets the reranker read every passage of a library that has no more than that.
    """

    name: str
    recall: RecallKind
    reranker: RerankerKind = "none"
    rerank_depth: int = 0
    whole: bool = False

    @property
    def description(self) -> str:
        """What ranks, in words."""
        if self.whole:
            return (
                f"the language model ranks without embeddings: all passages where there are at "
                f"most {self.rerank_depth}, else the best {self.rerank_depth} of full text"
            )
        if self.reranker == "none":
            return _RECALL[self.recall]
        return f"{_RECALL[self.recall]}; {self.reranker} over the best {self.rerank_depth}"

    @property
    def uses_embeddings(self) -> bool:
        """Whether a question is encoded: for recall, or for a reranker that reads vectors."""
        return self.recall != "lexical" or self.reranker == "late-interaction"


def parse_pipelines(names: str, query: QuerySettings | None = None) -> tuple[PipelineSpec, ...]:
    """The pipelines of a list of names with commas between them, without repetitions.

    `query` gives the reranker and the depth where a name leaves them open. Raises SettingsError.
    """
    query = query or QuerySettings()
    found = [parse_pipeline(name.strip(), query) for name in names.split(",") if name.strip()]
    if not found:
        raise SettingsError("No pipeline is named.", f"Choose from: {_KNOWN}.")
    return tuple(dict.fromkeys(found))


def parse_pipeline(name: str, query: QuerySettings) -> PipelineSpec:
    """The pipeline of a name, as `fused+rerank:features@20`. Raises SettingsError."""
    found = _NAME.fullmatch(name)
    if not found:
        raise SettingsError(f"There is no pipeline {name!r}.", f"Choose from: {_KNOWN}.")
    depth = int(found["depth"] or query.rerank_depth)
    if not 1 <= depth <= DEEPEST:
        raise SettingsError(
            f"The depth of the pipeline {name!r} is not within 1 and {DEEPEST}.",
            "Write it as in fused+rerank@20, or set RAG_QUERY_RERANK_DEPTH.",
        )
    if found["alone"]:
        return PipelineSpec(name, "lexical", "llm", depth, whole=True)
    recall = _RECALL_KINDS[found["recall"]]
    if not found["second"]:
        return PipelineSpec(name, recall)
    if found["second"] == "llm":
        return PipelineSpec(name, recall, "llm", depth)
    default = QuerySettings().reranker if query.reranker == "none" else query.reranker
    return PipelineSpec(name, recall, RERANKERS.get(found["kind"], default), depth)
