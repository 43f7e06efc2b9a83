"""XLSX -> one page a sheet, one line a row."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from rag.documents import refusals
from rag.documents.archive import check_entries, open_archive
from rag.documents.events import Event, PageText, Source, Total

_TITLE = "a workbook (XLSX)"


def read_sheets(source: Source) -> Iterator[Event]:
    """One page a sheet, headed by its name; a formula is its last value. Raises Refusal."""
    check_entries(open_archive(source), source)
    # openpyxl loads numpy where it finds it and needs it only for writing.
    sys.modules.setdefault("numpy", None)  # type: ignore[arg-type]

    from lxml.etree import LxmlError
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    mistakes = (
        LxmlError, InvalidFileException, zipfile.BadZipFile, SyntaxError, KeyError, ValueError,
        AttributeError, TypeError, IndexError,
    )  # fmt: skip
    try:
        book = load_workbook(
            io.BytesIO(source.content), read_only=True, data_only=True, keep_links=False
        )
        sheets = book.worksheets
    except mistakes as error:
        raise refusals.broken(source.name, _TITLE) from error
    yield Total(len(sheets))
    for number, sheet in enumerate(sheets, start=1):
        try:
            # A sheet's own statement of its size may be wrong or absurd.
            sheet.reset_dimensions()
            rows = "\n".join(filter(None, map(_row, sheet.iter_rows())))
        except mistakes:
            yield PageText(number, "", f"sheet {number} is damaged")
            continue
        yield PageText(number, f"# {' '.join(sheet.title.split())}\n\n{rows}" if rows else "")


def _row(cells: tuple[Any, ...]) -> str:
    texts = [_cell(cell) for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return " | ".join(texts) if any(texts) else ""


def _cell(cell: Any) -> str:
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        if "%" in (cell.number_format or ""):
            return f"{value * 100:.10g}%"
        return str(value) if isinstance(value, int) else f"{value:.15g}"
    return " ".join(str(value).split())
