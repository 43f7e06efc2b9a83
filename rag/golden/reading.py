"""Files of golden questions: CSV as spreadsheets write it, or one JSON object a line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rag.documents.encodings import decode
from rag.errors import UnreadableFile
from rag.folding import fold, one_line
from rag.golden.marks import add_marks, made_mark
from rag.golden.placing import NotFound, Places, Shelves
from rag.golden.writing import unguarded
from rag.types import GoldenMark

LARGEST_BYTES = 20_000_000
MOST_ROWS = 5_000

_HOW = "The columns are question, language, document, page, text, answer; question must be there."
# What people call the columns, folded.
_NAMES = {
    "question": ("question", "query", "问题", "問題"),
    "language": ("language", "lang", "语言", "語言"),
    "document": ("document", "file", "文档", "文件", "文檔"),
    "page": ("page", "页", "页码", "頁", "頁碼"),
    "text": ("text", "quote", "passage", "原文", "文本", "段落"),
    "answer": ("answer", "答案", "回答"),
    "relevant": ("relevant", "相关", "相關"),
}
_COLUMN_OF = {name: column for column, names in _NAMES.items() for name in names}
_YES = frozenset({"", "yes", "true", "1", "y", "是"})
_NO = frozenset({"no", "false", "0", "n", "否"})
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})?")


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file: marks `added`, marks that were there already, and what was refused.

    `refused` has a sentence for every row that was not taken. `remarks` are about the file itself.
    """

    added: int
    known: int
    refused: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = f"{self.added} added, {self.known} already there, {len(self.refused)} not taken"
        return f"{counts}." if self.refused else f"{counts.rpartition(',')[0]}."


def import_golden(library: Shelves, content: bytes, name: str, asker: str) -> Imported:
    """Add the golden questions of a file; a row that is wrong stops no other.

    The passage of a row is found by document, page and text, whatever its line breaks, hyphens,
    width and case. A row without a text means the whole page, one without a document any document.
    Raises UnreadableFile for what is no such file at all, and LibraryError.
    """
    if len(content) > LARGEST_BYTES:
        raise UnreadableFile(
            f"{name} is larger than {LARGEST_BYTES // 1_000_000} MB.", "Divide it into several."
        )
    decoded = decode(content)
    if decoded is None:
        raise UnreadableFile(f"{name} is not a text file.", "Save it as CSV, UTF-8, or as JSONL.")
    rows = _rows(decoded.text, name)
    if not rows:
        raise UnreadableFile(f"{name} has no row.", _HOW)
    places = Places(library)
    marks: list[GoldenMark] = []
    refused: list[str] = []
    for number, row in rows:
        try:
            marks.append(_mark(row, places, asker))
        except NotFound as problem:
            refused.append(f"Row {number}: {problem}.")
    added = len(add_marks(library.golden, marks))
    return Imported(added, len(marks) - added, tuple(refused), tuple(decoded.remarks))


def _mark(row: Mapping[str, str], places: Places, asker: str) -> GoldenMark:
    question = one_line(row.get("question", ""))
    if not question:
        raise NotFound("there is no question")
    relevant = fold(row.get("relevant", ""))
    if relevant not in _YES | _NO:
        raise NotFound(f"“{relevant}” in the column relevant is neither yes nor no")
    language = fold(row.get("language", ""))
    if language and not _LANGUAGE.fullmatch(language):
        raise NotFound(f"“{language}” is no language code such as en or zh")
    found = places.of(row.get("document", ""), row.get("page", ""), row.get("text", ""))
    return made_mark(
        question,
        found.span,
        found.document,
        found.text,
        asker,
        relevant=relevant in _YES,
        origin="imported",
        language=language,
        answer=row.get("answer", ""),
    )


def _rows(text: str, name: str) -> list[tuple[int, dict[str, str]]]:
    """The rows by our names of the columns, numbered as an editor or a spreadsheet shows them."""
    read = _json_rows if text.lstrip()[:1] == "{" else _csv_rows
    rows = list(islice(read(text, name), MOST_ROWS + 1))
    if len(rows) > MOST_ROWS:
        raise UnreadableFile(f"{name} has more than {MOST_ROWS:,} rows.", "Divide it into several.")
    return rows


def _json_rows(text: str, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UnreadableFile(f"{name}, line {number}, is not a JSON object.", _HOW)
        yield number, _named(row)


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    header = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        if "question" not in _named(dict.fromkeys(reader.fieldnames or (), "")):
            raise UnreadableFile(f"{name} has no column question.", _HOW)
        for number, row in enumerate(reader, start=2):
            # Cells behind the last column are listed under None.
            named = _named({key: unguarded(cell or "") for key, cell in row.items() if key})
            if any(named.values()):
                yield number, named
    except csv.Error as error:
        raise UnreadableFile(f"{name} is not CSV: {error}.", _HOW) from None


def _named(row: Mapping[str, Any]) -> dict[str, str]:
    named = {}
    for key, value in row.items():
        column = _COLUMN_OF.get(fold(str(key)).strip())
        if column:
            named[column] = "" if value is None else str(value).strip()
    return named
