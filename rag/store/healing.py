"""What a process that was killed leaves behind, and how it is put right.

The caller holds the ingest lock, so no document is being added while these functions run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lancedb.expr import col, lit

from rag import log
from rag.fault_points import reached
from rag.store.locking import committing
from rag.store.removed_chunks import count_removed
from rag.store.row_checksums import unchanged
from rag.store.tables import (
    DOCUMENT_COLUMNS,
    DOCUMENTS,
    Tables,
    document_records,
    document_rows,
    matching,
    upsert,
)
from rag.types import DocumentRecord

_INTERRUPTED = "Adding was interrupted. Add the file again."


def finish_removals(tables: Tables) -> None:
    """Remove every document that is marked as being removed, its row last."""
    for record in _with_status(tables, "removing"):
        reached("store.healing.chunks")
        for chunks in tables.every_chunks():
            # Counted first: killed in between, full text is built anew once more than it had to.
            where = col("document_id") == lit(record.id)
            count_removed(tables, chunks, matching(chunks, ["document_id"], where).num_rows)
            _delete(chunks, "document_id", record.id)
        reached("store.healing.pages")
        _delete(tables.pages, "document_id", record.id)
        reached("store.healing.original")
        _delete(tables.originals, "id", record.id)
        reached("store.healing.row")
        # The row goes when what it stands for is gone for good.
        tables.seal()
        with committing(tables.connection.uri):
            _delete(tables.documents, "id", record.id)
            tables.ledger.seal(DOCUMENTS)


def settle_interrupted(tables: Tables) -> None:
    """Decide what became of documents that nobody is adding any more.

    The commit of its chunks made a document whole, so with chunks and pages it is ready.
    Without them it failed; its original is kept, so that it can be tried again.
    """
    for record in _with_status(tables, "embedding"):
        # Another process may have been adding it to another index.
        chunks = max(len(_whole(table, record.id, "id")) for table in tables.every_chunks())
        found = _whole(tables.pages, record.id, "problem")
        settled = replace(record, status="failed", message=_INTERRUPTED)
        if chunks and found:
            read = sum(not problem for problem in found)
            settled = replace(record, status="ready", message="", chunks=chunks)
            settled = replace(settled, pages=len(found), pages_read=read)
        reached("store.healing.settle")
        tables.seal()
        with committing(tables.connection.uri):
            upsert(tables.documents).execute(document_rows(settled))
            tables.ledger.seal(DOCUMENTS)
        log.event(
            "interrupted adding settled",
            texts={"name": record.name},
            document=record.id[: log.ID_DIGITS],
            status=settled.status,
        )


def remove_strays(tables: Tables) -> None:
    """Remove chunks, pages and originals whose document has no row."""
    known = set(matching(tables.documents, ["id"])["id"].to_pylist())
    for table, column in (
        (tables.chunks, "document_id"),
        (tables.pages, "document_id"),
        (tables.originals, "id"),
    ):
        found = matching(table, [column])[column].unique().to_pylist()
        for document_id in set(found) - known:
            _delete(table, column, document_id)


def _with_status(tables: Tables, *statuses: str) -> list[DocumentRecord]:
    where = col("status").isin(statuses)
    return document_records(matching(tables.documents, DOCUMENT_COLUMNS, where))


def _whole(table: Any, document_id: str, column: str) -> list[Any]:
    """A column of a document's rows; none where a power cut left one that is not as it was."""
    try:
        rows = matching(table, table.schema.names, col("document_id") == lit(document_id))
    except Exception:
        # Lance raises anything over damaged contents.
        return []
    found: list[Any] = rows[column].to_pylist()
    return [] if False in unchanged(rows) else found


def _delete(table: Any, column: str, value: str) -> None:
    table.delete(col(column) == lit(value))
