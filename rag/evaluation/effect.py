"""What another choice of settings does to golden questions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rag.errors import BackendError
from rag.evaluation.asking import Ranking
from rag.evaluation.golden_sets import GoldenQuestion, GoldenSet
from rag.evaluation.indexing import Units, units_of
from rag.evaluation.metrics import Floats, measured
from rag.evaluation.outcomes import Verdict, first_gold
from rag.evaluation.progress import FAILURES_IN_A_ROW, Cancelled, EvaluationProgress, Report
from rag.evaluation.resampling import Figure, bootstrap_means, figures, sign_flip_p_values
from rag.models.rerankers import reranker_identity
from rag.pipeline import Pipeline
from rag.settings import Settings

# Shares of the questions, but for nDCG: a right passage is first; how well the first 10 are
# ordered; a right passage reaches the prompt; no passage is relevant enough for an answer.
HIT, NDCG, PROMPTED, REFUSED = "hit@1", "ndcg@10", "prompted", "refused"
MEASURES = (HIT, NDCG, PROMPTED, REFUSED)


@dataclass(frozen=True, slots=True)
class Found:
    """What one choice of settings makes of one golden question.

    `prompted` says whether a passage that answers it reaches the prompt, and `refused` whether no
    passage is relevant enough for an answer.
    """

    ranking: Ranking
    prompted: bool
    refused: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One question before and after.

    A rank is the place of the first passage that answers it; None where none was found.
    `prompted` says whether such a passage reaches the prompt.
    """

    question: GoldenQuestion
    ranks: tuple[int | None, int | None]
    prompted: tuple[bool, bool]

    @property
    def gain(self) -> float:
        """How much better it is after, -2..2: what reaches the prompt counts before any place."""
        was, now = (
            there + (1 / rank if rank else 0.0)
            for there, rank in zip(self.prompted, self.ranks, strict=True)
        )
        return now - was

    @property
    def verdict(self) -> Verdict:
        """Whether it is better after."""
        if not self.gain:
            return "tie"
        return "win" if self.gain > 0 else "loss"


@dataclass(frozen=True, slots=True)
class Side:
    """One choice of settings on all questions.

    `figures` are the means by `MEASURES`, 0..1. `seconds` is the median of a question. `failures`
    counts the questions that the reranker failed, which are in the order of recall.
    """

    figures: Mapping[str, Figure]
    refused: int
    failures: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What another choice of settings does to golden questions.

    `differences` are what each of `MEASURES` gains, paired question by question, and `p_values`
    are theirs; `seconds_p_value` is that of the time.
    `changes` has every question that was asked, the largest gain first and the largest loss last;
    `questions` is how many there are to ask.
    """

    before: Side
    after: Side
    differences: Mapping[str, Figure]
    p_values: Mapping[str, float]
    seconds_p_value: float
    changes: tuple[Change, ...]
    questions: int

    @property
    def complete(self) -> bool:
        """Whether every question was asked, and no reranker failed."""
        return len(self.changes) == self.questions and not self.failures

    @property
    def failures(self) -> int:
        """How often a reranker failed."""
        return self.before.failures + self.after.failures

    def with_verdict(self, verdict: Verdict) -> list[Change]:
        """The questions that got better, worse or neither, the largest change first."""
        chosen = [change for change in self.changes if change.verdict == verdict]
        return chosen[::-1] if verdict == "loss" else chosen


Kept = MutableMapping[Hashable, Found]


def search_identity(settings: Settings) -> Hashable:
    """What another value of may find something else; who writes the answer is no part of it."""
    query = settings.query.model_copy(update={"answerer": "quotes", "rewrite": False})
    service = settings.embeddings if settings.index.embedder == "openai" else None
    return settings.index, query, reranker_identity(settings), service


def measured_effect(
    golden: GoldenSet,
    before: Pipeline,
    after: Pipeline,
    kept: Kept,
    report: Report = lambda progress: None,
    cancelled: Cancelled = lambda: False,
    seed: int = 0,
) -> Effect | None:
    """Every golden question of a library, searched through both pipelines.

    What is in `kept` is not asked again, and what is asked is put there. A cancelled one is about
    the questions asked until then; None where that is none.
    Raises BackendError where a reranker fails again and again, EmptyLibrary and LibraryError.
    """
    units, questions = units_of(golden), golden.rankable
    sides = (_Asker(before, units, kept), _Asker(after, units, kept))
    pairs: list[tuple[Found, Found]] = []
    for question in questions:
        if cancelled():
            break
        report(EvaluationProgress("asking", len(pairs), len(questions)))
        # Who is asked second finds files in memory: each is second half of the time.
        if len(pairs) % 2:
            later = sides[1].ask(question)
            pairs.append((sides[0].ask(question), later))
        else:
            pairs.append((sides[0].ask(question), sides[1].ask(question)))
    report(EvaluationProgress("asking", len(pairs), len(questions)))
    return effect_of(questions, pairs, seed) if pairs else None


@dataclass(slots=True)
class _Asker:
    """One pipeline, and what is kept of what it found."""

    pipeline: Pipeline
    units: Units
    kept: Kept
    failed: int = 0
    identity: Hashable = field(init=False)

    def __post_init__(self) -> None:
        state = self.pipeline.store.state()
        settings = self.pipeline.settings
        self.identity = settings.home, search_identity(settings), state.contents, state.chunks

    def ask(self, question: GoldenQuestion) -> Found:
        """What the whole retrieval finds. Raises BackendError where the reranker keeps failing."""
        key = self.identity, question.id, question.text
        if key in self.kept:
            return self.kept[key]
        trace = self.pipeline.search(question.text)
        problem = str(trace.notices[0]) if trace.notices else ""
        names = [self.units.of(candidate, question) for candidate in trace.candidates]
        units = tuple(dict.fromkeys(unit for own in names for unit in own))
        found = Found(
            Ranking(question.id, units, (None,) * len(units), trace.seconds, problem, trace.usage),
            prompted=any(
                unit in question.gold for own in names[: len(trace.prompt)] for unit in own
            ),
            refused=not trace.prompt,
        )
        self.failed = self.failed + 1 if problem else 0
        if self.failed == FAILURES_IN_A_ROW:
            raise BackendError(f"The reranker failed {self.failed} questions in a row.", problem)
        if not problem:
            self.kept[key] = found
        return found


def effect_of(
    questions: Sequence[GoldenQuestion], pairs: Sequence[tuple[Found, Found]], seed: int = 0
) -> Effect:
    """What was found before and after for the first of the questions, at least one, compared."""
    asked = questions[: len(pairs)]
    sides = [[pair[place] for pair in pairs] for place in (0, 1)]
    values = np.concatenate([_values(side, asked) for side in sides], axis=1)
    means = bootstrap_means(values, seed)
    every, width = figures(values, means), len(MEASURES)
    differences = values[:, width:] - values[:, :width]
    gains = figures(differences, means[:, width:] - means[:, :width])
    seconds = np.array([[sum(one.ranking.seconds.values()) for one in pair] for pair in pairs])
    chances = sign_flip_p_values(np.c_[differences, np.diff(seconds)], seed).tolist()
    changes = [
        Change(
            question,
            (first_gold(was.ranking, question), first_gold(now.ranking, question)),
            (was.prompted, now.prompted),
        )
        for question, (was, now) in zip(asked, pairs, strict=True)
    ]
    before, after = (
        Side(
            dict(zip(MEASURES, own, strict=True)),
            sum(found.refused for found in side),
            sum(bool(found.ranking.problem) for found in side),
            float(np.median(seconds[:, place])),
        )
        for place, (own, side) in enumerate(zip((every[:width], every[width:]), sides, strict=True))
    )
    return Effect(
        before,
        after,
        dict(zip(MEASURES, gains, strict=True)),
        dict(zip(MEASURES, chances[:width], strict=True)),
        chances[-1],
        tuple(sorted(changes, key=lambda change: -change.gain)),
        len(questions),
    )


def _values(found: Sequence[Found], questions: Sequence[GoldenQuestion]) -> Floats:
    """[questions, measures]."""
    by_measure = measured(
        [one.ranking.units for one in found], [question.gold for question in questions]
    )
    by_measure[PROMPTED] = np.array([float(one.prompted) for one in found])
    by_measure[REFUSED] = np.array([float(one.refused) for one in found])
    return np.stack([by_measure[measure] for measure in MEASURES], axis=1)
