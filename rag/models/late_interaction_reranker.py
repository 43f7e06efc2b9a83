"""Late interaction as a reranker: MaxSim over the vectors that the index keeps.

No network reads question and passage again, so 50 passages take some 30 ms.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from rag.languages import across
from rag.late_interaction import maxsims
from rag.same_words import same_words
from rag.types import Passage, Question, Vector

COEFFICIENTS = "late_interaction.json"

# Runners-up at these places say what a passage scores that only resembles the answer. The first
# few are left out, for they may say the same as the best: a copy, or the other half of its text.
RUNNERS_UP = slice(3, 20)

# BM25 says nothing of a passage in another language, so this stands for its ln(1 + BM25). With
# more, passages of another language would come before better ones of the question's own.
FOREIGN_LEXICAL = 1.5
# Nor do its words: it counts as if it had this share of the question's.
FOREIGN_COVERAGE = 0.6

DENSE_WEIGHT, SPARSE_WEIGHT, LATE_WEIGHT = 1.0, 0.3, 1.0

# More is a pasted text, and finding its words takes time.
_QUESTION_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class LateInteractionReranker:
    """MaxSim mixed with BM25, and made a probability by how far the best passage stands out.

    `order` belongs to `features`, `chance` to a passage's own mixture and the two numbers of
    `standing`; `usual` is the mixture of a usual runner-up. All were fitted by
    `scripts/fit_reranker.py` on the bundled embedder. Over vectors of another one the output is
    no probability: `calibrated` says which.
    """

    order: Vector
    chance: Vector
    bias: float
    usual: float
    calibrated: bool
    name: str = "late interaction"
    by_words: bool = True

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        """Relevance of each passage, 0..1, in the same order.

        The other passages move all probabilities together, so they never change which of two
        passages is the better.
        """
        if not passages:
            return []
        mixed = features(question, passages) @ self.order
        shift = standing(question, passages, mixed, self.usual) @ self.chance[1:] + self.bias
        logits = np.clip(mixed * self.chance[0] + shift, -500, 500)
        return [float(value) for value in 1.0 / (1.0 + np.exp(-logits))]


def load_late_interaction(calibrated: bool) -> LateInteractionReranker:
    """The reranker with the committed coefficients."""
    text = (files("rag.models") / "data" / COEFFICIENTS).read_text(encoding="utf-8")
    fitted = json.loads(text)
    order, chance = fitted["order"], fitted["chance"]
    return LateInteractionReranker(
        np.array(order["weights"], np.float64),
        np.array(chance["weights"], np.float64),
        chance["bias"],
        chance["usual"],
        calibrated,
    )


def features(question: Question, passages: Sequence[Passage]) -> Vector:
    """What decides the order, [passages, 2]: weighted MaxSim and ln(1 + BM25).

    Without token vectors the cosine stands in for MaxSim. A passage in another language has
    `FOREIGN_LEXICAL` at least.
    """
    lexical = np.log1p([passage.lexical for passage in passages])
    foreign = [across(question.text, passage.chunk.text) for passage in passages]
    lexical = np.where(foreign, np.maximum(lexical, FOREIGN_LEXICAL), lexical)
    late = _maxsims(question, passages, _cosines(passages), question.weights)
    return np.stack([late, lexical], axis=1).astype(np.float32)


def standing(
    question: Question, passages: Sequence[Passage], mixed: Vector, usual: float
) -> Vector:
    """What says whether the best passage is an answer or only the most alike, [2].

    First the mean mixture of the runners-up: relevance stands out from what merely resembles it.
    Where there are few, `usual` fills the missing places.
    Then the share of the question's words that the best passage has, 0..1;
    `FOREIGN_COVERAGE` where it is in another language.
    """
    runners_up = np.sort(mixed)[::-1][RUNNERS_UP]
    places = RUNNERS_UP.stop - RUNNERS_UP.start
    background = (runners_up.sum() + (places - len(runners_up)) * usual) / places
    best = passages[int(np.argmax(mixed))].chunk.text
    foreign = across(question.text, best)
    covered = FOREIGN_COVERAGE if foreign else coverage(question.text, best)
    return np.array([background, covered])


def coverage(question: str, passage: str) -> float:
    """Share of the question's telling words that the passage has, 0..1, by their characters.

    1 where the question has none. Only its first 300 characters count.
    """
    question = question[:_QUESTION_CHARACTERS]
    wanted = sum(end - start for start, end in same_words(question, question))
    found = sum(end - start for start, end in same_words(passage, question))
    return min(found / wanted, 1.0) if wanted else 1.0


@dataclass(frozen=True, slots=True)
class BgeM3Reranker:
    """The three scores of BGE-M3 in one: its cosine, its sparse weights and MaxSim.

    The mean with the weights 1, 0.3 and 1, which the model's makers use for all three together
    (Chen et al. 2024, M3-Embedding, https://arxiv.org/abs/2402.03216, section 4.1, and
    `ensemble_score` in FlagEmbedding 1.4.2).
    """

    name: str = "BGE-M3: dense, sparse and late interaction"
    by_words: bool = True
    calibrated: bool = False

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        """Relevance of each passage, 0..1, in the same order.

        Sparse weights count only where every passage has some, else scores of two scales would be
        compared. Without token vectors the cosine stands in for MaxSim.
        """
        dense = _cosines(passages)
        late = _maxsims(question, passages, dense)
        total, weight = DENSE_WEIGHT * dense + LATE_WEIGHT * late, DENSE_WEIGHT + LATE_WEIGHT
        sparse = [passage.sparse for passage in passages if passage.sparse is not None]
        if len(sparse) == len(passages):
            total += SPARSE_WEIGHT * np.array(sparse, dtype=np.float32)
            weight += SPARSE_WEIGHT
        return [float(score) for score in np.clip(total / weight, 0.0, 1.0)]


def _cosines(passages: Sequence[Passage]) -> Vector:
    return np.array([passage.dense for passage in passages], dtype=np.float32)


def _maxsims(
    question: Question,
    passages: Sequence[Passage],
    otherwise: Vector,
    weights: Vector | None = None,
) -> Vector:
    """MaxSim of each passage, or `otherwise` where question or a passage has no token vectors."""
    tokens = [passage.tokens for passage in passages if passage.tokens is not None]
    if question.tokens is None or len(tokens) < len(passages):
        return otherwise
    return maxsims(question.tokens, tokens, weights)
