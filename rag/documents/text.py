"""Plain text, Markdown, source code and tables in text (CSV, TSV) -> one page."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator

from rag.documents import refusals
from rag.documents.encodings import Decoded, decode
from rag.documents.events import Event, PageText, Remark, Source, Total

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
_PROSE = re.compile(r" {0,3}(?![ \t>#|*+-]|\d+[.)]|$)\S")
_DELIMITERS = ",;\t|"


def read_text(source: Source) -> Iterator[Event]:
    """The text as it is. Raises Refusal for bytes that are not text."""
    decoded = decoded_text(source)
    yield from one_page(decoded, decoded.text)


def read_markdown(source: Source) -> Iterator[Event]:
    """The text with every heading written as `# heading`. Raises Refusal."""
    decoded = decoded_text(source)
    yield from one_page(decoded, "\n".join(_with_hashes(decoded.text.splitlines())))


def read_table(source: Source) -> Iterator[Event]:
    """One line a row, cells joined by " | ". Raises Refusal."""
    decoded = decoded_text(source)
    lines = decoded.text.splitlines()
    delimiter = "\t" if source.name.lower().endswith(".tsv") else _delimiter(lines[:20])
    csv.field_size_limit(len(decoded.text) + 1)
    try:
        text = "\n".join(_rows(decoded.text, delimiter))
    except csv.Error:
        text = decoded.text
    yield from one_page(decoded, text)


def decoded_text(source: Source, declared: str = "") -> Decoded:
    """The decoded bytes. Raises Refusal where they are not text."""
    decoded = decode(source.content, declared)
    if decoded is None:
        raise refusals.not_text(source.name)
    return decoded


def one_page(decoded: Decoded, text: str) -> Iterator[Event]:
    """The reports of a reader whose file is one page."""
    for sentence in decoded.remarks:
        yield Remark(sentence)
    yield Total(1)
    yield PageText(1, text)


def _with_hashes(lines: list[str]) -> Iterator[str]:
    """The lines with underlined headings rewritten; code blocks are left alone."""
    fence = ""
    waiting: str | None = None
    for line in lines:
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        elif not fence and waiting is not None and (rule := _UNDERLINE.fullmatch(line)):
            yield f"{'#' if rule[1][0] == '=' else '##'} {waiting.strip()}"
            waiting = None
            continue
        if waiting is not None:
            yield waiting
        waiting = line if not fence and not mark and _PROSE.match(line) else None
        if waiting is None:
            yield line
    if waiting is not None:
        yield waiting


def _delimiter(lines: list[str]) -> str:
    """The delimiter that is in most of the lines, most often."""
    counts = Counter({sign: sum(line.count(sign) for line in lines) for sign in _DELIMITERS})
    present = {sign: sum(sign in line for line in lines) for sign in _DELIMITERS}
    return max(_DELIMITERS, key=lambda sign: (present[sign], counts[sign]))


def _rows(text: str, delimiter: str) -> Iterator[str]:
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
        cells = [" ".join(cell.split()) for cell in row]
        if any(cells):
            yield " | ".join(cells)
