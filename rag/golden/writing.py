"""Golden questions as a file: CSV for spreadsheets, or one JSON object a line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from rag.golden.sets import Library, text_of
from rag.types import GoldenMark, Page

COLUMNS = ("question", "language", "document", "page", "text", "answer", "relevant")
# A spreadsheet takes a cell that begins so for a formula, and runs it.
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, Any]


def golden_rows(library: Library, marks: Iterable[GoldenMark]) -> list[Row]:
    """The confirmed marks, each with the text of its passage, the questions in order.

    Of a passage whose document was removed there is only the beginning. Raises LibraryError.
    """
    pages: dict[str, list[Page]] = {}
    rows = []
    for mark in sorted(marks, key=lambda mark: (mark.question, mark.document, mark.span.id)):
        if not mark.confirmed:
            continue
        document = mark.span.document_id
        if document not in pages:
            pages[document] = library.pages(document)
        rows.append(
            {
                "question": mark.question,
                "language": mark.language,
                "document": mark.document,
                "page": mark.span.page,
                "text": text_of(mark.span, pages[document]) or mark.beginning,
                "answer": mark.answer,
                "relevant": mark.relevant,
            }
        )
    return rows


def as_csv(rows: Sequence[Row]) -> bytes:
    """CSV in UTF-8 with a byte order mark, without which Excel does not read Chinese."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for row in rows:
        cells = row | {"relevant": "yes" if row["relevant"] else "no"}
        writer.writerow({name: guarded(str(cell)) for name, cell in cells.items()})
    return text.getvalue().encode("utf-8-sig", "replace")


def as_jsonl(rows: Sequence[Row]) -> bytes:
    """One JSON object a line, in UTF-8."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    return "".join(lines).encode("utf-8", "replace")


def guarded(cell: str) -> str:
    """The cell with an apostrophe before what a spreadsheet would run."""
    return f"'{cell}" if cell.startswith(FORMULA_SIGNS) else cell


def unguarded(cell: str) -> str:
    """The cell without that apostrophe."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA_SIGNS) else cell
