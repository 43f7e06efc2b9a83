"""Finding a text in documents although its blanks, hyphens and marks are others. Pure.

Compared are letters and digits alone, without accents, width and case: a text copied out of a
viewer has other line breaks, hyphens at their ends and none of Markdown's marks.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from rag.types import Page

_GRAM = 3


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a page; `start` and `end` are character offsets into the page's text."""

    page: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Found:
    """Where a text stands, one span a page, and how much of it stands there, 0..1."""

    spans: tuple[Span, ...]
    similarity: float


class LetteredPages:
    """The letters of all pages of a document in a row, so that a text may cross their ends."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self._pages = pages
        parts = [letters(page.text) for page in pages]
        self._ends = list(accumulate(map(len, parts)))
        self._letters = "".join(parts)
        # Finding where letters come from takes longer than finding them; by the page's place.
        self._origins: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._letters)

    def find(self, wanted: str) -> Found | None:
        """Where the letters `wanted` stand, or None."""
        at = self._letters.find(wanted) if wanted else -1
        return None if at < 0 else Found(self._spans(at, at + len(wanted)), 1.0)

    def nearest(self, wanted: str) -> Found | None:
        """The stretch of the same length that shares most runs of three letters, or None."""
        grams, searched = _grams(wanted), _grams(self._letters)
        hits = np.isin(searched, grams)
        if not hits.any():
            return None
        width = min(len(grams), len(hits))
        counts = np.concatenate([[0], np.cumsum(hits)])
        first = int(np.argmax(counts[width:] - counts[:-width]))
        within = np.flatnonzero(hits[first : first + width]) + first
        start, end = int(within[0]), int(within[-1])
        shared = np.isin(np.unique(grams), searched[start : end + 1]).mean()
        return Found(self._spans(start, end + _GRAM), float(shared))

    def _spans(self, start: int, end: int) -> tuple[Span, ...]:
        """The pieces of pages that the letters from `start` to `end` come from."""
        spans = []
        for index in range(bisect_right(self._ends, start), len(self._pages)):
            before = self._ends[index - 1] if index else 0
            first, last = max(start, before), min(end, self._ends[index])
            if before >= end:
                break
            if first < last:
                page = self._pages[index]
                if index not in self._origins:
                    self._origins[index] = _origins(page.text)
                origins = self._origins[index]
                spans.append(
                    Span(page.number, origins[first - before], origins[last - 1 - before] + 1)
                )
        return tuple(spans)


def letters(text: str) -> str:
    """The letters and digits of a text without accents, width and case, nothing between them."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(filter(str.isalnum, folded))


def _origins(text: str) -> list[int]:
    """For each of the text's letters the offset it comes from."""
    return [offset for offset, character in enumerate(text) for _ in letters(character)]


def _grams(text: str) -> NDArray[np.uint64]:
    """The runs of three letters, each as one number, in their order."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    if len(codes) < _GRAM:
        return codes[:0]
    return codes[:-2] << np.uint64(42) | codes[1:-1] << np.uint64(21) | codes[2:]
