"""Which sentences of an answer its sources support. Pure.

Every sentence is held against every passage of the prompt: the cited ones say whether it is
supported, the others whether a better source is at hand. What stands in quotation marks has to be
in a cited passage word for word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.citing import Claim, find_quote, quotations
from rag.support import word_counts
from rag.types import Statement

# What another passage has to support a sentence more to be offered in place of the cited ones.
MARGIN = 0.2
# Fewer words in quotation marks are a name or set apart by the writer, and quote nobody.
LEAST_QUOTED_WORDS = 3
LEAST_QUOTED_CHINESE = 4

_MARKUP = re.compile(r"\A[\s>#*+•–-]*(?:\d{1,3}(?:[.)]\s+|、))?|\*\*|__|`")
_GAP = re.compile(r"…+|\.{3,}")
_PUNCTUATION = " ,.;:!?，。、；：！？"


def plain(sentence: str) -> str:
    """The sentence without the Markdown around its words: list marks, numbering, emphasis."""
    return _MARKUP.sub("", sentence).strip()


def audit(
    claims: Sequence[Claim],
    supports: Sequence[Sequence[float]],
    passages: Sequence[str],
    threshold: float,
) -> tuple[Statement, ...]:
    """The claims that have words, each with what supports it.

    `supports` has one row a claim: the probability, 0..1, that each of the passages says it.
    From `threshold` on a passage counts as supporting.
    """
    return tuple(
        _statement(claim, row, passages, threshold)
        for claim, row in zip(claims, supports, strict=True)
        if any(map(str.isalnum, claim.text))
    )


def _statement(
    claim: Claim, row: Sequence[float], passages: Sequence[str], threshold: float
) -> Statement:
    support = max((row[number - 1] for number in claim.numbers), default=0.0)
    others = [number for number in range(1, len(row) + 1) if number not in claim.numbers]
    better = max(others, key=lambda number: row[number - 1], default=0)
    if not better or row[better - 1] < max(threshold, support + MARGIN):
        better = 0
    sources = [passages[number - 1] for number in claim.numbers] or passages
    false = false_quotations(claim.text, sources)
    return Statement(
        start=claim.start,
        end=claim.end,
        numbers=claim.numbers,
        support=support,
        supported=support >= threshold and not false,
        better=better,
        better_support=row[better - 1] if better else 0.0,
        false_quotations=false,
    )


def false_quotations(sentence: str, sources: Sequence[str]) -> tuple[str, ...]:
    """What the sentence has in quotation marks and no source has word for word.

    An ellipsis may leave words out, and punctuation at either end does not count.
    """
    if any(find_quote(sentence, source) for source in sources):
        return ()
    return tuple(
        quotation
        for quotation in quotations(sentence)
        if _quotes(quotation) and not any(_holds(source, quotation) for source in sources)
    )


def _quotes(quotation: str) -> bool:
    chinese, other = word_counts(quotation)
    return chinese >= LEAST_QUOTED_CHINESE or other >= LEAST_QUOTED_WORDS


def _holds(source: str, quotation: str) -> bool:
    parts = [part.strip(_PUNCTUATION) for part in _GAP.split(quotation)]
    return all(find_quote(part, source) for part in parts if part)
