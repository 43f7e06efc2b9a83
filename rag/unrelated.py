"""Question-passage pairs of a library that have nothing to do with each other. Pure."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from statistics import median_high

import numpy as np

from rag.folding import one_line
from rag.late_interaction import Span
from rag.types import Chunk, Vector

# With fewer pairs a share of them says nothing.
LEAST_PAIRS = 56

# BM25 grows with the number of words, so a sentence as long as a passage would raise it.
_COLUMNS_OF_A_QUESTION = range(15, 80)
_NOT_RUNNING_TEXT = re.compile(r"#{1,6} |.*[^.!?。！？\"”’」』）)]$", re.DOTALL)

Pairs = list[tuple[str, list[Chunk]]]


def unrelated_pairs(
    chunks: Sequence[Chunk],
    vectors: Mapping[str, Vector],
    sentences: Callable[[str], list[Span]],
    seed: int,
) -> Pairs:
    """One sentence a chunk in place of a question, each with the chunks it has no part in.

    `vectors` are the chunks' dense vectors, [dimensions], by id. The others are of other
    documents, or of other pages where that makes fewer than `LEAST_PAIRS` pairs.
    Documents on one subject tell the same things, so a chunk that is as near to the sentence's own
    chunk as two chunks of one document mostly are is left out, if enough others remain.
    Empty where nothing makes `LEAST_PAIRS` pairs.
    """
    asked = _asked(chunks, sentences, random.Random(seed))
    nearness = {
        (one.id, other.id): float(np.dot(vectors[one.id], vectors[other.id]))
        for one, other in permutations(chunks, 2)
    }
    for near in (_near(chunks, nearness), math.inf):
        for place in (_document, _page):
            pairs = [
                (text, _apart(origin, chunks, place, nearness, near)) for origin, text in asked
            ]
            if sum(len(others) for _, others in pairs) >= LEAST_PAIRS:
                return [(text, others) for text, others in pairs if others]
    return []


def _asked(
    chunks: Sequence[Chunk], sentences: Callable[[str], list[Span]], chance: random.Random
) -> list[tuple[Chunk, str]]:
    """Of every chunk a sentence that is as long as questions are, where it has one."""
    asked = []
    for chunk in chunks:
        lines = [one_line(chunk.text[start:end]) for start, end in sentences(chunk.text)]
        fitting = [line for line in lines if _columns(line) in _COLUMNS_OF_A_QUESTION]
        # Tables and lists have no running text, so their rows have to do.
        running = [line for line in fitting if not _NOT_RUNNING_TEXT.match(line)] or fitting
        if running:
            asked.append((chunk, chance.choice(running)))
    return asked


def _columns(line: str) -> int:
    """Roughly the columns of a line: one a Latin letter, two a Chinese character."""
    return (len(line) + len(line.encode("utf-8", "replace"))) // 2


def _near(chunks: Sequence[Chunk], nearness: Mapping[tuple[str, str], float]) -> float:
    """The median cosine of two chunks of one document; infinite where few chunks tell it."""
    within = [
        nearness[one.id, other.id]
        for one, other in permutations(chunks, 2)
        if one.document_id == other.document_id
    ]
    return median_high(within) if len(within) >= LEAST_PAIRS else math.inf


def _apart(
    origin: Chunk,
    chunks: Sequence[Chunk],
    place: Callable[[Chunk], object],
    nearness: Mapping[tuple[str, str], float],
    near: float,
) -> list[Chunk]:
    return [
        chunk
        for chunk in chunks
        if place(chunk) != place(origin) and nearness[origin.id, chunk.id] < near
    ]


def _document(chunk: Chunk) -> object:
    return chunk.document_id


def _page(chunk: Chunk) -> object:
    return chunk.document_id, chunk.page
