"""Opens the tables of a library, and makes those that are missing."""

from __future__ import annotations

from typing import Any

from rag.fault_points import reached
from rag.store.checksums import Ledger
from rag.store.failures import plain_words
from rag.store.search_indexes import ensure_indexes
from rag.store.tables import (
    CHUNKS,
    DOCUMENTS,
    DOCUMENTS_SCHEMA,
    GOLDEN,
    GOLDEN_SCHEMA,
    MEASUREMENTS,
    MEASUREMENTS_SCHEMA,
    ORIGINALS,
    ORIGINALS_SCHEMA,
    PAGES,
    PAGES_SCHEMA,
    QUESTIONS,
    QUESTIONS_SCHEMA,
    Tables,
    chunks_schema,
    made_table,
)


def open_tables(
    uri: str, connection: Any, ledger: Ledger, fingerprint: str, dimensions: int
) -> Tables:
    """All tables, with the chunk table of the index `fingerprint`. The caller holds the setup lock.

    `dimensions` is the length of a dense vector in a chunk table that is made.
    """
    opened = {}
    for name, schema in (
        (DOCUMENTS, DOCUMENTS_SCHEMA),
        (ORIGINALS, ORIGINALS_SCHEMA),
        (PAGES, PAGES_SCHEMA),
        (CHUNKS + fingerprint, chunks_schema(dimensions)),
        (QUESTIONS, QUESTIONS_SCHEMA),
        (GOLDEN, GOLDEN_SCHEMA),
        (MEASUREMENTS, MEASUREMENTS_SCHEMA),
    ):
        with plain_words(uri, name):
            opened[name] = made_table(connection, name, schema)
            if name == DOCUMENTS:
                reached("store.opening.tables")
    chunks = opened[CHUNKS + fingerprint]
    with plain_words(uri, chunks.name):
        reached("store.opening.indexes")
        ensure_indexes(chunks)
    return Tables(
        connection,
        ledger,
        documents=opened[DOCUMENTS],
        originals=opened[ORIGINALS],
        pages=opened[PAGES],
        chunks=chunks,
        questions=opened[QUESTIONS],
        golden=opened[GOLDEN],
        measurements=opened[MEASUREMENTS],
    )
