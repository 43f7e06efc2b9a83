"""The two arms of recall, and the vectors of what they found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from lancedb.expr import col

from rag.folding import fold, fold_width_and_case
from rag.store.search_indexes import REFINE_FACTOR
from rag.store.tables import CHUNK_COLUMNS, chunk_record, matching
from rag.types import Chunk, StoredVectors, Vector

_CODES = ("token_codes", "sparse_codes")

Scored = list[tuple[Chunk, float]]


def search_dense(table: Any, vector: Vector, depth: int) -> Scored:
    """The nearest chunks with their cosine similarity."""
    found = (
        table.search(vector, vector_column_name="vector")
        .distance_type("cosine")
        .refine_factor(REFINE_FACTOR)
        .select([*CHUNK_COLUMNS, "_distance"])
        .limit(depth)
        .to_arrow()
    )
    return _best_first(found, [1 - distance for distance in found["_distance"].to_pylist()])


def search_lexical(table: Any, text: str, depth: int) -> Scored:
    """The chunks with any word of the text and their BM25 score.

    Libraries of before hold Traditional characters as they were written. A text that has some is
    asked for in both forms, and a chunk's better score counts.
    """
    best: dict[str, tuple[Chunk, float]] = {}
    for form in dict.fromkeys((fold(text), fold_width_and_case(text))):
        for chunk, score in _search_form(table, form, depth):
            if chunk.id not in best or best[chunk.id][1] < score:
                best[chunk.id] = chunk, score
    return _sorted(best.values())[:depth]


def vectors(table: Any, chunk_ids: Sequence[str]) -> dict[str, StoredVectors]:
    """What the index keeps of these chunks, by chunk id."""
    if not chunk_ids:
        return {}
    found = matching(table, ["id", "vector", *_CODES], col("id").isin(chunk_ids))
    dense = np.asarray(found["vector"].combine_chunks().flatten(), dtype=np.float32)
    rows = dense.reshape(found.num_rows, -1) if found.num_rows else dense
    kept = map(StoredVectors, rows, *(found[codes].to_pylist() for codes in _CODES))
    return dict(zip(found["id"].to_pylist(), kept, strict=True))


def _search_form(table: Any, form: str, depth: int) -> Scored:
    if not form.strip():
        return []
    found = (
        table.search(form, query_type="fts", fts_columns="search_text")
        .select([*CHUNK_COLUMNS, "_score"])
        .limit(depth)
        .to_arrow()
    )
    return _best_first(found, found["_score"].to_pylist())


def _best_first(found: pa.Table, scores: list[float]) -> Scored:
    return _sorted(zip(map(chunk_record, found.to_pylist()), scores, strict=True))


def _sorted(scored: Iterable[tuple[Chunk, float]]) -> Scored:
    """Highest score first; equal scores in the order of the chunks' ids."""
    return sorted(scored, key=lambda pair: (-pair[1], pair[0].id))
