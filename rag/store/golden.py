"""Golden questions: one row for a question and a passage that answers it or does not.

A row a passage, not a question: two people who mark at once write two rows, and nobody's is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
from lancedb.expr import col

from rag.fault_points import reached
from rag.store.checksums import Ledger
from rag.store.failures import plain_words
from rag.store.locking import committing
from rag.store.tables import GOLDEN, GOLDEN_SCHEMA, matching, storable, upsert
from rag.store.upkeep import merge
from rag.types import GoldenMark, PassageSpan

_PLACE = ("document_id", "page", "start", "end")
_TEXTS = ("question", "document", "beginning", "answer")
_COLUMNS = tuple(GOLDEN_SCHEMA.names)
# Every change is a commit with a small file of its own; many slow the next one down.
_COMMITS_BEFORE_MERGING = 128


class Golden:
    """The marks of one library. Every method raises LibraryError where it cannot be used.

    They belong to the library: whoever uses it sees the questions that anybody marked, and counts
    by them. The asker is kept beside them and hides nothing.
    """

    def __init__(self, uri: str, table: Any, ledger: Ledger) -> None:
        self._uri = uri
        self._table = table
        self._ledger = ledger
        self._read: tuple[int, list[GoldenMark]] = (-1, [])

    def put(self, marks: Sequence[GoldenMark], in_place_of: Collection[str] = ()) -> None:
        """Keep these marks in place of those with the same or with the other ids; one commit."""
        latest = {mark.id: mark for mark in marks}
        with plain_words(self._uri, GOLDEN), committing(self._uri):
            rows = pa.Table.from_pylist(list(map(_row, latest.values())), schema=GOLDEN_SCHEMA)
            commit = upsert(self._table)
            if old := set(in_place_of) - latest.keys():
                commit = commit.when_not_matched_by_source_delete(col("id").isin(sorted(old)))
            reached("store.golden.put")
            commit.execute(rows)
            if self._table.version % _COMMITS_BEFORE_MERGING == 0:
                merge(self._table, self._ledger)
            self._ledger.seal(GOLDEN)

    def listed(self) -> list[GoldenMark]:
        """All marks, the newest first; read again only after a commit, whoever made it."""
        with plain_words(self._uri, GOLDEN):
            version = self._table.version
            known, marks = self._read
            if version != known:
                rows = matching(self._table, _COLUMNS).to_pylist()
                marks = sorted(
                    map(_mark, rows), key=lambda mark: (mark.made_at, mark.id), reverse=True
                )
                self._read = (version, marks)
        return list(marks)

    def remove(self, ids: Collection[str]) -> None:
        """Forget these marks; unknown ids are passed over."""
        if ids:
            with plain_words(self._uri, GOLDEN), committing(self._uri):
                self._table.delete(col("id").isin(sorted(ids)))
                self._ledger.seal(GOLDEN)


def _row(mark: GoldenMark) -> dict[str, Any]:
    place = {column: getattr(mark.span, column) for column in _PLACE}
    rest = {column: getattr(mark, column) for column in _COLUMNS if column not in _PLACE}
    return rest | place | {column: storable(rest[column]) for column in _TEXTS}


def _mark(row: Mapping[str, Any]) -> GoldenMark:
    rest = {column: value for column, value in row.items() if column not in _PLACE}
    return GoldenMark(span=PassageSpan(*(row[column] for column in _PLACE)), **rest)
