"""When and how the indexes of a chunk table are made.

LanceDB finds rows that no index holds yet, by scanning them: about 70 microseconds a row for full
text. `Table.optimize` is no way to fold them in after every document, because it also rewrites
every fragment below a million rows, that is the whole table. So the indexes are built anew over
the same data files, which writes little, and fragments are merged only when there are many.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from lancedb.index import FTS, BTree, HnswSq

VECTOR_INDEX_FROM = 50_000
REFINE_FACTOR = 4

# Rows outside the index that a question may scan, besides a fiftieth of the table.
_LOOSE_ROWS = 512

# A query may still read the version it began with; none lasts longer than this.
OLD_VERSION = timedelta(minutes=15)

# Data files of deleted rows and old versions that are not worth rewriting a table for.
_WASTE_BYTES = 64 * 1024**2

# Removing stop words makes this tokenizer lose the word behind each of them: of "the cat" nothing
# is left (LanceDB 0.40).
_FULL_TEXT = FTS(base_tokenizer="icu", stem=True, remove_stop_words=False, ascii_folding=True)


def ensure_indexes(table: Any) -> None:
    """Make the full-text and the key indexes that are missing; an empty table is fine."""
    present = {column for index in table.list_indices() for column in index.columns}
    for column, config in _scalar_indexes().items():
        if column not in present:
            table.create_index(column, config=config)


def fold_in(table: Any, removed: int) -> bool:
    """Index the rows that no index holds, where they are enough to slow a question down.

    So many rows were `removed` since full text was built: it is built anew where they are a tenth,
    for BM25 counts them until then. Tells whether it was.
    """
    rows = table.count_rows()
    loose = {
        column: index.num_unindexed_rows
        for index in table.list_indices()
        for column in index.columns
    }
    anew = bool(removed > rows // 10 or loose.get("search_text", 0) > _LOOSE_ROWS + rows // 50)
    if anew:
        for column, config in _scalar_indexes().items():
            table.create_index(column, config=config, replace=True)
    if rows >= VECTOR_INDEX_FROM and loose.get("vector", rows) > rows // 5:
        table.create_index("vector", config=HnswSq(distance_type="cosine"), replace=True)
    return anew


def worth_merging(table: Any, disk_bytes: int, fragments: int | None = None) -> bool:
    """Whether a table has so many files, or so much waste, that it pays to write it anew.

    `disk_bytes` is what the table takes on disk, `fragments` how many small files are fine before
    the rows count; None for any number.
    """
    stats = table.stats()
    small = stats["fragment_stats"]["num_small_fragments"]
    many = fragments is not None and small > fragments + stats["num_rows"] // 1000
    return bool(many or disk_bytes > 2 * stats["total_bytes"] + _WASTE_BYTES)


def _scalar_indexes() -> dict[str, Any]:
    return {"search_text": _FULL_TEXT, "id": BTree(), "document_id": BTree()}
