"""BM25 and what else can be counted: a reranker without any neural network.

`scripts/fit_feature_reranker.py` says which features were tried and left out.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from importlib.resources import files
from math import log1p

import numpy as np

from rag.folding import fold
from rag.late_interaction import Span
from rag.models import Reranker
from rag.same_words import same_words, spaced_words
from rag.types import Passage, Question, Vector

COEFFICIENTS = "feature_reranker.json"
FEATURES = ("ln(1 + bm25)", "coverage", "proximity", "phrase")

# More is a pasted text, and the time for a passage grows with the question.
QUESTION_CHARACTERS = 300

# Which characters of the question a match in a passage stands for.
Places = frozenset[int]


@dataclass(frozen=True, slots=True)
class FeatureReranker:
    """A logistic model over counted features; `scripts/fit_feature_reranker.py` fitted it.

    `weights` belong to `FEATURES`.
    """

    weights: Vector
    bias: float
    name: str = "BM25 + features"
    by_words: bool = False
    calibrated: bool = True

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        """Probability of relevance of each passage, in the same order."""
        if not passages:
            return []
        logits = features(question.text, passages) @ self.weights + self.bias
        return [float(value) for value in 1.0 / (1.0 + np.exp(-logits))]


def load_feature_reranker() -> Reranker:
    """The reranker with the committed coefficients."""
    text = (files("rag.models") / "data" / COEFFICIENTS).read_text(encoding="utf-8")
    fitted = json.loads(text)
    return FeatureReranker(np.array(fitted["weights"], np.float32), fitted["bias"])


def features(question: str, passages: Sequence[Passage]) -> Vector:
    """What the logistic model looks at, [passages, features], in the order of `FEATURES`.

    Coverage is the share of the question's words that the passage has, by their characters, so
    that Chinese and spaced words count alike and a long word more than a short one.
    Proximity is how much of the smallest stretch of the passage that holds all of these is theirs.
    Phrase is the longest stretch of the question that the passage has literally, as a share of the
    question. Only the question's first `QUESTION_CHARACTERS` count.
    """
    question = question[:QUESTION_CHARACTERS]
    wanted = sum(end - start for start, end in same_words(question, question)) or 1
    matched = Matcher(question, [passage.chunk.text for passage in passages])
    asked = fold(question).strip().rstrip("?？。.!！")
    phrases = SequenceMatcher(None, "", asked, autojunk=False)
    rows = []
    for passage in passages:
        text = passage.chunk.text
        matches = matched(text)
        covered = frozenset[int]().union(*(places for _, places in matches))
        phrases.set_seq1(fold(text))
        rows.append(
            [
                log1p(passage.lexical),
                min(len(covered) / wanted, 1.0),
                min(len(covered) / smallest_window(matches), 1.0),
                phrases.find_longest_match().size / max(len(asked), 1),
            ]
        )
    return np.array(rows, dtype=np.float32)


class Matcher:
    """Finds a question's words in texts, as `same_words` does, but compares each form only once."""

    def __init__(self, question: str, texts: Sequence[str]) -> None:
        self.places = cache(lambda form: _places(form, question))
        self.question = question
        # Stemming is what takes the time, and it leaves the first letter alone.
        initials = {_initial(question[start:end]) for start, end in spaced_words(question)}
        forms = {form for text in texts for _, form in _forms(text) if _initial(form) in initials}
        listed = "\n".join(sorted(forms))
        self.forms = {listed[start:end] for start, end in same_words(question, listed)}

    def __call__(self, text: str) -> list[tuple[Span, Places]]:
        """Where the text has words of the question, in order, and which of its characters."""
        unspaced = list(text)
        found: list[tuple[Span, Places]] = []
        for (start, end), form in _forms(text):
            unspaced[start:end] = " " * (end - start)
            if form in self.forms:
                found.append(((start, end), self.places(form)))
        for start, end in same_words(self.question, "".join(unspaced)):
            found.append(((start, end), self.places(text[start:end])))
        return sorted((match for match in found if match[1]), key=lambda match: match[0])


def _places(form: str, question: str) -> Places:
    return frozenset(
        place for start, end in same_words(form, question) for place in range(start, end)
    )


def _forms(text: str) -> Iterator[tuple[Span, str]]:
    for start, end in spaced_words(text):
        yield (start, end), fold(text[start:end])


def _initial(word: str) -> str:
    return unicodedata.normalize("NFKD", fold(word))[:1]


def smallest_window(matches: Sequence[tuple[Span, Places]]) -> int:
    """Length of the smallest stretch that holds all that the matches stand for; at least 1."""
    needed = len(frozenset[int]().union(*(places for _, places in matches)))
    held: Counter[int] = Counter()
    first, smallest = 0, 0
    for (_, end), places in matches:
        held.update(places)
        while len(held) == needed:
            (start, _), dropped = matches[first]
            if not smallest or end - start < smallest:
                smallest = end - start
            held -= Counter(dropped)
            first += 1
    return max(smallest, 1)
