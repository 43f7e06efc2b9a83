"""A checksum over all fields of a row, kept in the row.

The checksum of a file goes when files are merged. That of a row stays, so a bit that flips on the
way from one file into another is found, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

COLUMN = "checksum"


def with_checksums(rows: pa.Table) -> pa.Table:
    """The rows, each with its checksum in the column `checksum`."""
    place = rows.schema.get_field_index(COLUMN)
    column = pa.array(row_checksums(rows), pa.string())
    return rows.set_column(place, rows.schema.field(place), column)


def row_checksums(rows: pa.Table) -> list[str]:
    """The SHA-256 of all other columns of each row, in hexadecimal."""
    columns = [_in_bytes(rows[name]) for name in sorted({*rows.column_names} - {COLUMN})]
    return [_checksum(fields) for fields in zip(*columns, strict=True)]


def unchanged(rows: pa.Table) -> list[bool | None]:
    """For each row whether it is as it was written; None for one that has no checksum."""
    if COLUMN not in rows.column_names:
        return [None] * rows.num_rows
    return [
        kept == made if kept else None
        for kept, made in zip(rows[COLUMN].to_pylist(), row_checksums(rows), strict=True)
    ]


def _checksum(fields: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for field in fields:
        digest.update(len(field).to_bytes(8, "little"))
        digest.update(field)
    return digest.hexdigest()


def _in_bytes(column: pa.ChunkedArray) -> list[bytes]:
    """Each value of a column as bytes that no other value has."""
    if pa.types.is_fixed_size_list(column.type):
        flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors = np.asarray(flat, dtype="<f4").reshape(-1, column.type.list_size)
        return [vector.tobytes() for vector in vectors]
    values = column.to_pylist()
    return [value if isinstance(value, bytes) else str(value).encode() for value in values]
