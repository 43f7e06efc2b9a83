"""The columns of the library's tables, and the way between rows and records.

Every table has a non-null text column `id` marked as LanceDB's unenforced primary key: without
the mark two writers that insert the same new id at once leave two rows of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from lancedb.expr import col, lit

from rag.store.row_checksums import with_checksums
from rag.types import Chunk, ChunkVectors, Document, DocumentRecord, Page

if TYPE_CHECKING:
    from rag.store.checksums import Ledger

DOCUMENTS = "documents"
ORIGINALS = "originals"
PAGES = "pages"
CHUNKS = "chunks_"
QUESTIONS = "questions"
GOLDEN = "golden"
MEASUREMENTS = "measurements"
INDEXES = "indexes"

DOCUMENT_COLUMNS = (
    "id",
    "name",
    "media_type",
    "size",
    "status",
    "message",
    "pages",
    "pages_read",
    "chunks",
    "added_at",
)
PAGE_COLUMNS = ("number", "text", "problem")
CHUNK_COLUMNS = ("id", "document_id", "position", "page", "start", "end", "text", "heading")


@dataclass(frozen=True, slots=True)
class Tables:
    """The open tables of one library; `chunks` is the one of this index."""

    connection: Any
    ledger: Ledger
    documents: Any
    originals: Any
    pages: Any
    chunks: Any
    questions: Any
    golden: Any
    measurements: Any

    def every_chunks(self) -> list[Any]:
        """The chunk tables of all indexes of the library, this one included."""
        return opened_chunks(self.connection)

    def seal(self) -> None:
        """Make what is kept of documents, in whatever index, survive a power cut."""
        chunks = [name for name in table_names(self.connection) if name.startswith(CHUNKS)]
        self.ledger.seal(ORIGINALS, PAGES, *chunks)


def table_names(connection: Any) -> list[str]:
    """The names of all tables, which LanceDB gives page by page."""
    names: list[str] = []
    token: str | None = None
    while True:
        listed = connection.list_tables(page_token=token)
        names += listed.tables
        token = listed.page_token
        if not token:
            return names


def opened_chunks(connection: Any) -> list[Any]:
    """The chunk tables of all indexes.

    One whose making or dropping was cut short has a folder and no version: it is left out.
    """
    tables = []
    for name in table_names(connection):
        if name.startswith(CHUNKS):
            try:
                tables.append(connection.open_table(name))
            except ValueError as error:
                if "was not found" not in str(error):
                    raise
    return tables


def vector_length(chunks: Any) -> int:
    """Length of the dense vectors of a chunk table."""
    return int(chunks.schema.field("vector").type.list_size)


def made_table(connection: Any, name: str, schema: pa.Schema) -> Any:
    """The table of that name, made where there is none.

    One of an earlier version gets the columns that came later, which rewrites no row: it takes
    milliseconds, and readers of the table go on. Raises ValueError where the columns still differ.
    """
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            return connection.create_table(name, schema=schema, exist_ok=True)
        except ValueError:
            table = connection.open_table(name)
            added = {*schema.names} - {*table.schema.names}
            missing = {column: made for column, made in _LATER_COLUMNS.items() if column in added}
        try:
            if missing:
                table.add_columns(missing)
        except (RuntimeError, ValueError):
            # Another process wrote at the same moment, or added the column.
            if not attempts_left:
                raise
    return connection.create_table(name, schema=schema, exist_ok=True)


def matching(table: Any, columns: Sequence[str], where: Any = None) -> pa.Table:
    """The columns of all rows, or of those for which the expression `where` holds."""
    query = table.search().select(list(columns))
    return (query if where is None else query.where(where)).to_arrow()


def upsert(table: Any) -> Any:
    """A commit that writes rows over those with the same ids and adds the others.

    `Table.update` is not used: it turns its filter into text and gets a backslash before a quote
    wrong, so that an id can change other rows (lancedb 0.40).
    """
    return table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()


def in_place_of(table: Any, document_id: str) -> Any:
    """A commit that puts rows in place of all rows of the document."""
    return upsert(table).when_not_matched_by_source_delete(col("document_id") == lit(document_id))


def _text(name: str) -> pa.Field:
    return pa.field(name, pa.string(), nullable=False)


def _number(name: str) -> pa.Field:
    return pa.field(name, pa.int64(), nullable=False)


_ID = pa.field(
    "id", pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"}
)

DOCUMENTS_SCHEMA = pa.schema(
    [
        _ID,
        _text("name"),
        _text("media_type"),
        _number("size"),
        _text("status"),
        _text("message"),
        _number("pages"),
        _number("pages_read"),
        _number("chunks"),
        pa.field("added_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
ORIGINALS_SCHEMA = pa.schema([_ID, pa.field("content", pa.large_binary(), nullable=False)])
PAGES_SCHEMA = pa.schema(
    [
        _ID,
        _text("document_id"),
        _number("number"),
        _text("text"),
        _text("problem"),
        _text("checksum"),
    ]
)

# What rows of before hold in a column that they were made without, in SQL.
_LATER_COLUMNS = {"sparse_codes": "arrow_cast('', 'LargeBinary')", "checksum": "''"}
_ATTEMPTS = 5

QUESTIONS_SCHEMA = pa.schema(
    [
        _ID,
        _text("asker"),
        _text("question"),
        pa.field("asked_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("trace", pa.large_binary(), nullable=False),
    ]
)
GOLDEN_SCHEMA = pa.schema(
    [
        _ID,
        _text("question"),
        _text("language"),
        _text("document_id"),
        _number("page"),
        _number("start"),
        _number("end"),
        _text("document"),
        _text("beginning"),
        pa.field("relevant", pa.bool_(), nullable=False),
        _text("origin"),
        pa.field("confirmed", pa.bool_(), nullable=False),
        pa.field("made_at", pa.timestamp("us", tz="UTC"), nullable=False),
        _text("asker"),
        _text("answer"),
    ]
)
MEASUREMENTS_SCHEMA = pa.schema([_ID, pa.field("content", pa.large_binary(), nullable=False)])
INDEXES_SCHEMA = pa.schema(
    [
        _ID,
        _text("settings"),
        pa.field("built", pa.bool_(), nullable=False),
        pa.field("used_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)


def chunks_schema(dimensions: int) -> pa.Schema:
    """Columns of a passage whose dense vector has `dimensions` numbers."""
    return pa.schema(
        [
            _ID,
            _text("document_id"),
            _number("position"),
            _number("page"),
            _number("start"),
            _number("end"),
            _text("heading"),
            _text("text"),
            _text("search_text"),
            pa.field("vector", pa.list_(pa.float32(), dimensions), nullable=False),
            pa.field("token_codes", pa.large_binary(), nullable=False),
            pa.field("sparse_codes", pa.large_binary(), nullable=False),
            _text("checksum"),
        ]
    )


def document_rows(record: DocumentRecord) -> pa.Table:
    """One row of `documents`."""
    row = {column: getattr(record, column) for column in DOCUMENT_COLUMNS}
    row["name"], row["message"] = storable(record.name), storable(record.message)
    return pa.Table.from_pylist([row], schema=DOCUMENTS_SCHEMA)


def document_records(rows: pa.Table) -> list[DocumentRecord]:
    """The records in rows of `documents`."""
    return [DocumentRecord(**row) for row in rows.to_pylist()]


def original_rows(document_id: str, content: bytes) -> pa.Table:
    """One row of `originals`."""
    row = {"id": document_id, "content": content}
    return pa.Table.from_pylist([row], schema=ORIGINALS_SCHEMA)


def page_rows(document: Document) -> pa.Table:
    """One row of `pages` for every page."""
    rows = [
        {
            "id": f"{document.id}:{page.number}",
            "document_id": document.id,
            "number": page.number,
            "text": storable(page.text),
            "problem": storable(page.problem),
            "checksum": "",
        }
        for page in document.pages
    ]
    return with_checksums(pa.Table.from_pylist(rows, schema=PAGES_SCHEMA))


def page_records(rows: pa.Table) -> list[Page]:
    """The pages in rows of `pages`, in order."""
    return sorted((Page(**row) for row in rows.to_pylist()), key=lambda page: page.number)


def chunk_rows(
    chunks: Sequence[Chunk], vectors: ChunkVectors, search_texts: Sequence[str], schema: pa.Schema
) -> pa.Table:
    """One row of `chunks_<fingerprint>` for every chunk."""
    dense = np.ascontiguousarray(vectors.dense, dtype=np.float32)
    columns: dict[str, Any] = {
        column: [getattr(chunk, column) for chunk in chunks] for column in CHUNK_COLUMNS
    }
    columns["text"] = [storable(chunk.text) for chunk in chunks]
    columns["heading"] = [storable(chunk.heading) for chunk in chunks]
    columns["search_text"] = [storable(text) for text in search_texts]
    columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(dense.ravel()), dense.shape[1])
    columns["token_codes"] = pa.array(vectors.token_codes, pa.large_binary())
    sparse = vectors.sparse_codes or (b"",) * len(chunks)
    columns["sparse_codes"] = pa.array(sparse, pa.large_binary())
    columns["checksum"] = [""] * len(chunks)
    return with_checksums(pa.table(columns, schema=schema))


def chunk_record(row: Mapping[str, Any]) -> Chunk:
    """The chunk in one row, whatever else the row holds."""
    return Chunk(**{column: row[column] for column in CHUNK_COLUMNS})


def storable(text: str) -> str:
    """The text with "?" for half a surrogate pair, which UTF-8 cannot hold; same length."""
    return text.encode("utf-8", "replace").decode("utf-8")
