"""What was asked: one row a question, with its trace and answer as the caller packed them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pyarrow as pa
from lancedb.expr import col, lit

from rag.fault_points import reached
from rag.store.checksums import Ledger
from rag.store.failures import plain_words
from rag.store.locking import committing
from rag.store.tables import QUESTIONS, QUESTIONS_SCHEMA, matching, storable
from rag.store.upkeep import merge
from rag.types import AskedQuestion

# Every question is a commit with a small file of its own; so many slow a listing down noticeably.
_COMMITS_BEFORE_MERGING = 128


class Questions:
    """The questions of one library. Every method raises LibraryError where it cannot be used.

    A question belongs to its asker, and nobody else is given it.
    """

    def __init__(self, uri: str, table: Any, ledger: Ledger) -> None:
        self._uri = uri
        self._table = table
        self._ledger = ledger

    def put(self, question: AskedQuestion, asker: str, trace: bytes) -> None:
        """Keep a question."""
        row = {
            "id": question.id,
            "asker": asker,
            "question": storable(question.question),
            "asked_at": question.asked_at,
            "trace": trace,
        }
        with plain_words(self._uri, QUESTIONS), committing(self._uri):
            reached("store.questions.keep")
            self._table.add(pa.Table.from_pylist([row], schema=QUESTIONS_SCHEMA))
            if self._table.version % _COMMITS_BEFORE_MERGING == 0:
                merge(self._table, self._ledger)
            self._ledger.seal(QUESTIONS)

    def of(self, asker: str) -> list[AskedQuestion]:
        """What the asker asked, the newest first."""
        with plain_words(self._uri, QUESTIONS):
            columns = ["id", "question", "asked_at"]
            rows = matching(self._table, columns, col("asker") == lit(asker)).to_pylist()
        asked = [AskedQuestion(**row) for row in rows]
        return sorted(asked, key=lambda one: (one.asked_at, one.id), reverse=True)

    def trace(self, question_id: str, asker: str) -> bytes | None:
        """What was kept with a question of this asker, or None."""
        where = (col("id") == lit(question_id)) & (col("asker") == lit(asker))
        with plain_words(self._uri, QUESTIONS):
            found = matching(self._table, ["trace"], where)
        return found["trace"][0].as_py() if found.num_rows else None

    def remove(self, ids: Collection[str], asker: str) -> None:
        """Forget these questions of the asker."""
        if ids:
            with plain_words(self._uri, QUESTIONS), committing(self._uri):
                self._table.delete(col("id").isin(list(ids)) & (col("asker") == lit(asker)))
                self._ledger.seal(QUESTIONS)
