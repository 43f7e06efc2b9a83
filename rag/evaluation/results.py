"""What an evaluation found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rag.evaluation.answered import Answered
from rag.evaluation.asking import Ranking
from rag.evaluation.golden_sets import GoldenQuestion
from rag.evaluation.pipelines import PipelineSpec
from rag.evaluation.resampling import Figure
from rag.types import Notice

# The group of all questions, whatever their language.
ALL = "all"


@dataclass(frozen=True, slots=True)
class Seconds:
    """The median and the 95th percentile of what a question took."""

    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class Row:
    """One pipeline; without rankings and figures where `problem` says why it did not run.

    `rankings` and the values of `per_question` belong to the evaluation's questions, in order.
    `figures` are the means of each measure, by language and for "all". `seconds` are by stage,
    with "total". `failures` counts the questions that the reranker failed, which are in the order
    of recall. `tokens` and `cost` are sums over the questions; None where nobody counted them.
    """

    spec: PipelineSpec
    rankings: tuple[Ranking, ...] = ()
    per_question: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    figures: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    seconds: Mapping[str, Seconds] = field(default_factory=dict)
    failures: int = 0
    problem: Notice | None = None
    tokens: int | None = None
    cost: float | None = None

    def of(self, group: str, questions: Sequence[GoldenQuestion]) -> tuple[Ranking, ...]:
        """The rankings of the questions of a language, or of "all"; `questions` in their order."""
        if group == ALL:
            return self.rankings
        pairs = zip(self.rankings, questions, strict=True)
        return tuple(ranking for ranking, question in pairs if question.language == group)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much better `second` is than `first` by one measure, on average over the questions.

    `group` is a language or "all". `p_value` is two-sided, by paired randomisation.
    """

    first: str
    second: str
    measure: str
    group: str
    difference: Figure
    p_value: float


@dataclass(frozen=True, slots=True)
class AnswerFigure:
    """The mean of a measure over the answers it applies to, `answers` of them."""

    figure: Figure
    answers: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judging model did, beside the measure "judged_correct".

    `unparsable` and `failures` count the answers of which it said anything but one of the two words
    or nothing; neither is in the measure. `problem` says why it judged none, or no more.
    `tokens` and `cost` are sums; None where nobody counted them.
    """

    model: str
    unparsable: int = 0
    failures: int = 0
    problem: Notice | None = None
    tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of the settings' pipeline to questions with and without an answer.

    `answered` belongs to `questions`, in order; what failed is in neither and counted by
    `failures`. `figures` are by language and for "all", and then by measure.
    `seconds` are by stage, with "total". `tokens` and `cost` are sums; None where nobody counted
    them. `problem` says why no question, or no further one, was answered.
    """

    answerer: str
    reranker: str
    questions: tuple[GoldenQuestion, ...] = ()
    answered: tuple[Answered, ...] = ()
    figures: Mapping[str, Mapping[str, AnswerFigure]] = field(default_factory=dict)
    seconds: Mapping[str, Seconds] = field(default_factory=dict)
    failures: int = 0
    judgement: Judgement | None = None
    problem: Notice | None = None
    tokens: int | None = None
    cost: float | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Pipelines on the questions of a golden set.

    `questions` are those that the pipelines ranked: fewer than asked for where `cancelled`.
    `models` are the names of the embedder and of each pipeline's reranker, by the pipeline's name.
    `notices` are about documents that could not be read.
    `answers` are None where they were not asked for.
    """

    golden: str
    made_at: datetime
    seed: int
    questions: tuple[GoldenQuestion, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    models: Mapping[str, str]
    notices: tuple[Notice, ...] = ()
    cancelled: bool = False
    answers: Answers | None = None

    def row(self, name: str) -> Row | None:
        """The row of a pipeline, by its name."""
        return next((row for row in self.rows if row.spec.name == name), None)

    def comparison(
        self, first: str, second: str, measure: str, group: str = ALL
    ) -> Comparison | None:
        """What the pipeline `second` gains over `first`."""
        wanted = (first, second, measure, group)
        for one in self.comparisons:
            if (one.first, one.second, one.measure, one.group) == wanted:
                return one
        return None
