"""Where the sentences of a text begin and end, whatever kind of text it is.

A line break alone does not end a sentence, because PDF text breaks its lines anywhere.
A line goes on in the next one where it looks wrapped: it is nearly as wide as its neighbours, or
it ends openly and the next line begins with a small letter. Headings, list items, table rows,
comma-separated rows and lines of code never run into one another.
Boundaries inside a paragraph come from Wikimedia's `sentencex`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum, auto

import sentencex

# `sentencex` takes quadratic time on Chinese without line breaks, so it reads a window at a time.
_WINDOW = 2_000
LONGEST_SENTENCE = 8_000

# Columns; a Chinese character takes two. Nobody wraps text at more than the widest.
_SHORTEST_OPEN_LINE = 20
_SHORTEST_WRAPPED_LINE = 40
_WIDEST_WRAPPED_LINE = 220
_FULL_LINE = 0.75
_NEIGHBOURS = 2
# What a line is shows at its beginning; the bound keeps the patterns fast on a line of megabytes.
_LOOKED_AT = 400

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(?=\S)")
_FENCE = re.compile(r" {0,3}(`{3,}(?!.*`)|~{3,})")
_ITEM = re.compile(
    r"\s*(?:[-*+•◦‣▪■□●○☐☒–—][ \t]+|\d{1,3}[.)．][ \t]+|\d{1,3}、|\([0-9A-Za-z]{1,4}\)[ \t]"
    r"|[a-z][.)][ \t]+|[(（][\d一二三四五六七八九十]{1,3}[)）]|[一二三四五六七八九十]{1,3}、"
    r"|第[\d一二三四五六七八九十百]{1,5}[章节節条條])"
)
_ROW = re.compile(
    r"^\s*\||\s\|\s|\S(?:\t| {3,})\S"  # a table
    r"|(?:[^\s\d],\S|\d,[^\s\d]).*(?:[^\s\d],\S|\d,[^\s\d])"  # comma-separated values
    r"|[{}]|\s[-+*/&!<>:]?==?\s|\w_\w|\w\(\)|->|=>|::|^\s*[@<]|^\s*//"  # code
)
_CLOSED = re.compile(r"[.!?:。．！？：…][\"'”’」』)）\]】》]*$")
_UNCASED = re.compile(r"[\u0590-\u0fff\u2e80-\ufaff]")
# `sentencex` panics at some blanks that take several bytes.
_ODD_BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


class Break(IntEnum):
    """How strongly the text is divided in front of a sentence."""

    SENTENCE = 0
    LINE = 1
    PARAGRAPH = 2
    HEADING = 3


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, or a line that stands alone: a heading, a table row, a line of code.

    `start` and `end` are character offsets without surrounding blanks.
    `level` is 1 to 6 for a Markdown heading, else 0.
    """

    start: int
    end: int
    before: Break
    level: int = 0


class _Kind(Enum):
    BLANK = auto()
    HEADING = auto()
    ROW = auto()
    ITEM = auto()
    PROSE = auto()


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    text: str
    kind: _Kind
    level: int
    width: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences of a text, in order and without overlap.

    Together they cover every character that is not blank.
    A sentence of more than `LONGEST_SENTENCE` characters is cut there.
    """
    return [(sentence.start, sentence.end) for sentence in parse(text)]


def parse(text: str) -> list[Sentence]:
    """The sentences of a text, each with the kind of break in front of it."""
    return list(_parse(text))


def _parse(text: str) -> Iterator[Sentence]:
    lines = list(_lines(text))
    before = Break.PARAGRAPH
    following = 0
    for index, line in enumerate(lines):
        if index < following:
            continue
        following = index + 1
        if line.kind is _Kind.BLANK:
            before = Break.PARAGRAPH
            continue
        while following < len(lines) and _continues(lines, following - 1):
            following += 1
        if line.kind is _Kind.HEADING:
            before = Break.HEADING
        for start, end in _spans(text, line, lines[following - 1].end):
            yield Sentence(start, end, before, line.level)
            before = Break.SENTENCE
        before = Break.LINE


def _lines(text: str) -> Iterator[_Line]:
    start = 0
    fence = ""
    for whole in text.splitlines(keepends=True):
        line = whole.rstrip()
        if not line:
            yield _Line(start, line, _Kind.BLANK, 0, 0)
            start += len(whole)
            continue
        sample = line[:_LOOKED_AT]
        heading = _HEADING.match(sample)
        mark = _FENCE.match(sample)
        level = 0
        if fence:
            kind = _Kind.ROW
            if mark and mark[1].startswith(fence) and mark.end() == len(line):
                fence = ""
        elif mark:
            kind, fence = _Kind.ROW, mark[1]
        elif heading:
            kind, level = _Kind.HEADING, len(heading[1])
        elif _ITEM.match(sample):
            kind = _Kind.ITEM
        else:
            kind = _Kind.ROW if _ROW.search(sample) else _Kind.PROSE
        yield _Line(start, line, kind, level, _columns(line))
        start += len(whole)


def _columns(line: str) -> int:
    """Roughly the columns a line takes: one a Latin letter, two a Chinese character."""
    return (len(line) + len(line.encode("utf-8", "replace"))) // 2


def _continues(lines: list[_Line], index: int) -> bool:
    """Whether a line runs on into the next one."""
    line, following = lines[index], lines[index + 1]
    if line.kind not in (_Kind.PROSE, _Kind.ITEM) or following.kind is not _Kind.PROSE:
        return False
    if line.text.endswith((":", "：")) or _capitals(line.text) != _capitals(following.text):
        return False
    if not any(map(str.isalnum, following.text[:_LOOKED_AT])):
        return False
    neighbours = lines[max(0, index - _NEIGHBOURS) : index + 1 + _NEIGHBOURS]
    widest = max(near.width for near in neighbours if near.kind in (_Kind.PROSE, _Kind.ITEM))
    if widest > _WIDEST_WRAPPED_LINE:
        return False
    if line.width >= max(_SHORTEST_WRAPPED_LINE, _FULL_LINE * widest):
        return True
    return (
        line.width >= _SHORTEST_OPEN_LINE
        and following.text.lstrip()[0].islower()
        and not _CLOSED.search(line.text[-8:])
    )


def _capitals(text: str) -> bool:
    """Whether a line is in capitals, as titles are; BM25 makes no title of a Chinese line."""
    return text.isupper() and not _UNCASED.search(text)


def _spans(text: str, line: _Line, end: int) -> Iterator[tuple[int, int]]:
    """Spans of the sentences of one paragraph, item or row."""
    start = line.start
    if line.kind in (_Kind.HEADING, _Kind.ROW):
        bounds = list(range(start + LONGEST_SENTENCE, end, LONGEST_SENTENCE))
    else:
        marker = _ITEM.match(line.text) if line.kind is _Kind.ITEM else None
        bounds = list(_boundaries(text, start + (marker.end() if marker else 0), end))
    for bound in [*bounds, end]:
        piece = text[start:bound]
        body = piece.strip()
        if body:
            first = start + len(piece) - len(piece.lstrip())
            yield first, first + len(body)
        start = bound


def _boundaries(text: str, start: int, end: int) -> Iterator[int]:
    """Offsets at which a sentence of running text ends and the next one begins."""
    window = _WINDOW
    while start < end:
        bound = min(start + window, end)
        plain = _ODD_BLANK.sub(" ", text[start:bound])
        pieces = sentencex.segment("en", plain)
        if bound < end and len(pieces) == 1 and window < LONGEST_SENTENCE:
            window = LONGEST_SENTENCE
            continue
        # The last piece may be cut by the window, so it is read again.
        complete = pieces if bound == end or len(pieces) == 1 else pieces[:-1]
        for piece in complete:
            start += len(piece)
            if start < end:
                yield start
        window = _WINDOW
