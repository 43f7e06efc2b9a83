"""What becomes of documents after damaged files took some of their rows.

The caller holds the ingest lock, so no document is being added while these functions run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime

from rag.store.healing import finish_removals, remove_strays, settle_interrupted
from rag.store.recovery import Mended
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

# What a row says of a document that cannot be found any more.
RESTORABLE = "Its text was on a damaged part of the disk. Restore it with: rag repair"
LOST = "It was on a damaged part of the disk. Add the file again."


def steps(found: Collection[Mended]) -> list[Callable[[Tables], None]]:
    """What is to be put right when a library is opened, after what was found damaged in it.

    As long as something is not settled, nothing is removed because no row of the listing names it.
    """
    if not any(one.loses for one in found):
        return [finish_removals, settle_interrupted, remove_strays]
    rows_lost = any(one.loses and one.table == DOCUMENTS for one in found)
    return [
        *([adopt] if rows_lost else []),
        finish_removals,
        settle_interrupted,
        settle_losses,
    ]


def adopt(tables: Tables) -> None:
    """Give documents whose row was lost another one; whether they are whole is settled next."""
    known = set(matching(tables.documents, ["id"])["id"].to_pylist())
    for document_id in sorted(_ids(tables.originals, "id") | _searchable(tables)):
        if document_id not in known:
            row = DocumentRecord(
                id=document_id,
                name=f"document {document_id[:12]}",
                media_type="",
                size=0,
                status="embedding",
                message="",
                pages=0,
                pages_read=0,
                chunks=0,
                added_at=datetime.now(UTC),
            )
            upsert(tables.documents).execute(document_rows(row))


def settle_losses(tables: Tables) -> None:
    """A document of which neither pages nor chunks are left is not ready any more."""
    left = _ids(tables.pages, "document_id") | _searchable(tables)
    originals = _ids(tables.originals, "id")
    for record in document_records(matching(tables.documents, DOCUMENT_COLUMNS)):
        if record.status == "ready" and record.id not in left:
            message = RESTORABLE if record.id in originals else LOST
            row = replace(record, status="failed", message=message)
            upsert(tables.documents).execute(document_rows(row))
    tables.ledger.seal(DOCUMENTS)


def _searchable(tables: Tables) -> set[str]:
    """The documents that any index holds."""
    return {one for table in tables.every_chunks() for one in _ids(table, "document_id")}


def _ids(table: object, column: str) -> set[str]:
    return set(matching(table, [column])[column].to_pylist())
