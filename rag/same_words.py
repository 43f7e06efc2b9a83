"""Where a passage has a question's own words, as full text counts them. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

from snowballstemmer import stemmer

from rag.folding import fold
from rag.late_interaction import Span

_FUNCTION_WORDS = frozenset(
    word
    for line in (
        "a about all also am an and any are as at be been but by can could did do does for from",
        "had has have he her his how i if in into is it its may me might more most must my no not",
        "of on or our s shall she should so some such t than that the their them then there these",
        "they this those to too us was we were what when where which who whom whose why will with",
        "would you your",
    )
    for word in line.split()
)
_CHINESE_FUNCTION_WORDS = re.compile(
    "为什么|為什麼|为何|為何|什么|什麼|怎么|怎麼|怎样|怎樣|如何|哪些|哪个|哪個|哪里|哪裡|多少|是否"
    "|可以|我们|我們|你们|你們|他们|他們|这个|這個|那个|那個|一个|一個"
)
_UNSPACED = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]")
_UNIT = re.compile(rf"{_UNSPACED.pattern}|(?:(?!{_UNSPACED.pattern})[^\W_])+")
_SPACED_WORD = re.compile(r"[LN]+(?:(?:['’.]|(?<=N),(?=N))[LN]+)*")


def same_words(question: str, passage: str) -> tuple[Span, ...]:
    """Where the passage has words of the question, in order and without overlap.

    Spaced words are the same if width, case, accents and the English ending are all that differs.
    Chinese text is the same in every run of at least two characters that both share.
    Words such as "the", "why" and 什么 are not looked for.
    """
    wanted = set(_stems(question).values()) - {""}
    spaced = [span for span, stem in _stems(passage).items() if stem in wanted]
    return tuple(sorted([*spaced, *_shared_runs(question, passage)]))


def shared_part(question: str, passage: str) -> float:
    """The part of the question's words that the passage has as they are spelt, 0..1.

    A Chinese character counts for half a word. Unlike `same_words` it stems nothing, which makes
    it some hundred times faster; between languages hardly anything but names and numbers is the
    same.
    """
    wanted = set(_UNIT.findall(fold(question))) - _FUNCTION_WORDS
    weights = {unit: 0.5 if _UNSPACED.match(unit) else 1.0 for unit in wanted}
    found = wanted.intersection(_UNIT.findall(fold(passage)))
    return sum(weights[unit] for unit in found) / (sum(weights.values()) or 1.0)


def spaced_words(text: str) -> list[Span]:
    """Words of scripts that set blanks between words: letters, marks and digits in a row.

    Apostrophes and full stops inside a word belong to it, as in ICU (Unicode Annex 29).
    """
    return [match.span() for match in _SPACED_WORD.finditer("".join(map(_kind, text)))]


def _kind(character: str) -> str:
    """L for a letter or mark, N for a digit, a blank for what is no part of a spaced word."""
    category = unicodedata.category(character)[0]
    if category in "LMN":
        return " " if _UNSPACED.match(character) else category.replace("M", "L")
    return character if character in "'’.," else " "


def _stems(text: str) -> dict[Span, str]:
    """What full text keeps of each spaced word; nothing of one that only joins others."""
    # A stemmer keeps the word that it works on, so threads must not share one.
    english = stemmer("english")
    stems = {}
    for start, end in spaced_words(text):
        decomposed = unicodedata.normalize("NFKD", fold(text[start:end]))
        word = "".join(one for one in decomposed if not unicodedata.combining(one))
        stems[start, end] = "" if word in _FUNCTION_WORDS else english.stemWord(word)
    return stems


def _shared_runs(question: str, passage: str) -> Iterator[Span]:
    """Runs of at least two characters whose neighbours are neighbours in the question too."""
    shared = set(_pairs(_CHINESE_FUNCTION_WORDS.sub(" ", question)).values())
    start = end = -1
    for place, pair in _pairs(passage).items():
        if pair not in shared:
            continue
        if place >= end:
            if end > 0:
                yield start, end
            start = place
        end = place + 2
    if end > 0:
        yield start, end


def _pairs(text: str) -> dict[int, str]:
    """Every two neighbouring letters of an unspaced script, folded, by the place of the first."""
    letters = [
        fold(one) if _UNSPACED.match(one) and unicodedata.category(one)[0] == "L" else ""
        for one in text
    ]
    return {
        place: first + second
        for place, (first, second) in enumerate(pairwise(letters))
        if first and second
    }
