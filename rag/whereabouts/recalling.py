"""How far recall was from a passage that it did not find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from rag.models import Embedder
from rag.replay import query_settings
from rag.retrieval import fuse, ranked, weighted
from rag.settings import QuerySettings
from rag.types import Chunk, LibraryState, Score, Trace, Vector
from rag.whereabouts.stages import OWN_WORDS, Fate, largest

DEEPEST = 2_000


class Searchable(Protocol):
    """What looking beyond the recall depth needs of the store."""

    def state(self) -> LibraryState:
        """What the library holds now."""
        ...

    def search_dense(self, vector: Vector, depth: int) -> list[tuple[Chunk, float]]:
        """Chunks by cosine similarity, best first."""
        ...

    def search_lexical(self, text: str, depth: int) -> list[tuple[Chunk, float]]:
        """Chunks by BM25, best first."""
        ...


def unrecalled(
    trace: Trace, store: Searchable, embedder: Embedder, chunks: Sequence[Chunk]
) -> tuple[Chunk, Fate]:
    """The one of these chunks that recall came nearest to, and the depth that reaches it."""
    query, library = query_settings(trace), store.state()
    depth = max(1, min(library.chunks, DEEPEST))
    vector = embedder.encode_question(trace.searched).dense
    dense = ranked(store.search_dense(vector, depth))
    lexical = weighted(trace.searched, store.search_lexical(trace.searched, depth))

    def reached(chunk: Chunk) -> int:
        """The depth at which one of the arms finds it."""
        return min(_rank(dense, chunk), _rank(lexical, chunk))

    nearest = min(chunks, key=reached)
    needed = reached(nearest)
    message = (
        f"Dense recall has it {_place(dense, nearest, depth)}, full text "
        f"{_lexical_place(lexical, nearest, depth)}, and recall keeps {query.recall_depth:,}."
    )
    if library.contents != trace.library.contents:
        message += " The library has changed since: these are the ranks of today."
    if needed <= query.recall_depth:
        return nearest, Fate("not recalled", message, "Ask the question again.")
    arms = [
        {chunk_id: score for chunk_id, score in arm.items() if score.rank <= needed}
        for arm in (dense, lexical)
    ]
    fused = fuse(arms, query.fusion_constant).get(nearest.id)
    return nearest, Fate("not recalled", message, _hint(needed, fused, query))


def _hint(needed: int, fused: Score | None, query: QuerySettings) -> str:
    if fused is None or needed > largest("recall_depth"):
        return f"Recall keeps at most {largest('recall_depth'):,}. {OWN_WORDS}"
    deeper = f"Set recall_depth to at least {needed}"
    if query.reranker == "none" or not query.rerank_depth:
        return (
            f"{deeper}: it would then have stood at rank {fused.rank:,} in recall order, and the "
            f"prompt takes {query.passages}."
        )
    if fused.rank > largest("rerank_depth"):
        return (
            f"{deeper}: it would then have stood at rank {fused.rank:,} in recall order, and the "
            f"reranker reads at most {largest('rerank_depth'):,}. {OWN_WORDS}"
        )
    if fused.rank > query.rerank_depth:
        deeper += f" and rerank_depth to at least {fused.rank}"
    return f"{deeper}: it would then have reached the reranker."


def _rank(arm: Mapping[str, Score], chunk: Chunk) -> int:
    score = arm.get(chunk.id)
    return score.rank if score else DEEPEST + 1


def _place(arm: Mapping[str, Score], chunk: Chunk, depth: int) -> str:
    score = arm.get(chunk.id)
    return f"at rank {score.rank:,}" if score else f"not among the first {depth:,}"


def _lexical_place(arm: Mapping[str, Score], chunk: Chunk, depth: int) -> str:
    """Full text that found fewer chunks than it might has found all with a word of the question."""
    if chunk.id not in arm and len(arm) < depth:
        return "finds no word of the question in it"
    return f"has it {_place(arm, chunk, depth)}"
