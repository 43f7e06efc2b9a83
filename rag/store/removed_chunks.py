"""How many chunks were removed from an index since its full text was built.

BM25 counts them until it is built anew: how rare a word is, and how long a chunk is on average.
LanceDB does not tell how many there are. The caller holds the ingest lock.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from rag.errors import LibraryError
from rag.store.measurements import Measurements
from rag.store.tables import Tables


def removed_chunks(tables: Tables) -> int:
    """How many there are of this index."""
    return int(_kept(tables).get(_name(tables.chunks)) or 0)


def count_removed(tables: Tables, chunks: Any, more: int) -> None:
    """So many more are about to be removed from one of the indexes.

    On a full disk they go uncounted: removing them is worth more.
    """
    if more:
        with suppress(LibraryError):
            before = int(_kept(tables).get(_name(chunks)) or 0)
            _kept(tables).put(_name(chunks), str(before + more).encode())


def forget_removed(tables: Tables) -> None:
    """The full text of this index was built anew."""
    if removed_chunks(tables):
        _kept(tables).remove(_name(tables.chunks))


def _kept(tables: Tables) -> Measurements:
    return Measurements(tables.connection.uri, tables.measurements, tables.ledger)


def _name(chunks: Any) -> str:
    return f"removed from {chunks.name}"
