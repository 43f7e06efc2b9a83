"""An evaluation from golden set to result: index, ask, compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rag.errors import RAGError, UnreadableFile
from rag.evaluation.answers import measured_answers, questions_to_answer
from rag.evaluation.asking import Asked, Contender, Ranking, ready
from rag.evaluation.comparing import compared, row
from rag.evaluation.golden_sets import GoldenQuestion, GoldenSet
from rag.evaluation.indexing import cache_folder, index, library_settings, units_of
from rag.evaluation.kept_runs import KeptRun, ranking_run
from rag.evaluation.pipelines import PipelineSpec
from rag.evaluation.progress import FAILURES_IN_A_ROW, Cancelled, EvaluationProgress, Report
from rag.evaluation.results import Answers, Evaluation, Row
from rag.models.answerers import answerer_name
from rag.models.rerankers import reranker_identity
from rag.opening import open_pipeline
from rag.pipeline import Pipeline
from rag.settings import IndexSettings, PriceSettings, QuerySettings, Settings
from rag.types import Notice


def evaluate(
    golden: GoldenSet,
    pipelines: Sequence[PipelineSpec],
    settings: Settings,
    limit: int | None = None,
    seed: int = 0,
    report: Report = lambda progress: None,
    cancelled: Cancelled = lambda: False,
    fresh: bool = False,
    opened: Callable[[Settings, IndexSettings], Pipeline] = open_pipeline,
    answers: bool = False,
    judge: bool = False,
) -> Evaluation:
    """Every pipeline on at most `limit` questions of each language.

    With `answers` the pipeline of the settings also answers them, and as many that have no answer;
    with `judge` the language model judges what it answered.
    Library, rankings and answers are kept in the cache, so that what was done is not done again;
    `fresh` makes rankings and answers anew. Golden questions of a library's own are asked of that
    library as it is. A cancelled evaluation is about the questions asked until then.
    Raises what `open_pipeline` raises, UnreadableFile where no document has text, and BackendError
    and LibraryError while it works. A pipeline whose reranker cannot be made, or fails again and
    again, gives a row that says so.
    """
    there = library_settings(golden, settings)
    folder = cache_folder(golden, there)
    plain = settings.query.model_copy(
        update={"reranker": "none", "reranker_model": "", "answerer": "quotes"}
    )
    base = opened(there.model_copy(update={"query": plain}), there.index)
    notices = _indexed(golden, base, report, cancelled)
    race = _race(pipelines, base, settings, folder / "runs", fresh)
    questions = golden.sample(limit, seed)
    asked: tuple[GoldenQuestion, ...] = ()
    if not cancelled():
        asked = _ask(golden, questions, base, race, report, cancelled)
    rows, comparisons = compared(
        [race.row(spec, asked, settings.prices) for spec in pipelines], asked, seed
    )
    answering = _as_set(base, race, settings.query) if answers else None
    if isinstance(answering, RAGError):
        told = Answers(answerer_name(settings), settings.query.reranker, problem=answering.notice)
    elif answering is not None:
        told = measured_answers(
            questions_to_answer(golden, limit, seed),
            answering,
            folder,
            seed,
            judge,
            fresh,
            report,
            cancelled,
        )
    else:
        told = None
    return Evaluation(
        golden=golden.name,
        made_at=datetime.now(UTC),
        seed=seed,
        questions=asked,
        rows=tuple(rows),
        comparisons=tuple(comparisons),
        models={
            "embedder": base.embedder.name,
            **{
                one.spec.name: one.pipeline.reranker.name
                for one in race.contenders
                if one.pipeline.reranker is not None
            },
        },
        notices=tuple(notices),
        cancelled=len(asked) < len(questions),
        answers=told,
    )


@dataclass(slots=True)
class _Race:
    """The pipelines that run, what they ranked so far, and why the others do not run."""

    contenders: list[Contender] = field(default_factory=list)
    runs: dict[str, KeptRun[Ranking]] = field(default_factory=dict)
    problems: dict[str, Notice] = field(default_factory=dict)
    failed_in_a_row: dict[str, int] = field(default_factory=dict)

    def unranked(self, question: GoldenQuestion) -> list[Contender]:
        """Those that still have to rank a question."""
        return [
            one
            for one in self.contenders
            if one.spec.name not in self.problems
            and self.runs[one.spec.name].get(question.id, question.text) is None
        ]

    def rank(self, contender: Contender, question: GoldenQuestion, asked: Asked) -> None:
        """Let one pipeline rank; one that fails again and again is out."""
        name = contender.spec.name
        ranking = asked.ranked(contender)
        self.runs[name].keep(ranking, question.text)
        failed = self.failed_in_a_row.get(name, 0) + 1 if ranking.problem else 0
        self.failed_in_a_row[name] = failed
        if failed == FAILURES_IN_A_ROW:
            self.problems[name] = Notice(
                f"The reranker failed {failed} questions in a row.", ranking.problem
            )

    def row(
        self, spec: PipelineSpec, questions: Sequence[GoldenQuestion], prices: PriceSettings
    ) -> Row:
        """The row of one pipeline."""
        if spec.name in self.problems:
            return Row(spec, problem=self.problems[spec.name])
        run = self.runs[spec.name]
        found = [run.get(question.id, question.text) for question in questions]
        return row(spec, [ranking for ranking in found if ranking], questions, prices)


def _race(
    pipelines: Sequence[PipelineSpec],
    base: Pipeline,
    settings: Settings,
    folder: Path,
    fresh: bool,
) -> _Race:
    race = _Race()
    state = base.store.state()
    # Rankings need no language model that writes.
    query = settings.query.model_copy(update={"answerer": "quotes"})
    for spec, found in zip(pipelines, ready(pipelines, base, query), strict=True):
        if isinstance(found, RAGError):
            race.problems[spec.name] = found.notice
            continue
        race.contenders.append(found)
        name = ranking_run(found, f"{state.contents}-{state.chunks}")
        race.runs[spec.name] = KeptRun(folder, name, Ranking)
        if fresh:
            race.runs[spec.name].forget()
    return race


def _indexed(
    golden: GoldenSet, base: Pipeline, report: Report, cancelled: Cancelled
) -> list[Notice]:
    """Make the library complete, unless cancelled; what could not be read.

    Raises UnreadableFile where no document has text.
    """
    problems = []
    for done, total, problem in index(golden, base, cancelled):
        report(EvaluationProgress("indexing", done, total))
        if problem is not None:
            problems.append(problem)
    if not cancelled() and not base.store.state().chunks:
        raise UnreadableFile(
            f"No document of {golden.name} has text.",
            str(problems[0]) if problems else "Add documents with text to the golden set.",
        )
    return problems


def _ask(
    golden: GoldenSet,
    questions: Sequence[GoldenQuestion],
    base: Pipeline,
    race: _Race,
    report: Report,
    cancelled: Cancelled,
) -> tuple[GoldenQuestion, ...]:
    """Rank what is not ranked yet; the questions that every pipeline has ranked."""
    units = units_of(golden)
    warm = False
    with ExitStack() as stack:
        for run in race.runs.values():
            stack.enter_context(run)
        for done, question in enumerate(questions):
            if cancelled():
                return tuple(questions[:done])
            report(EvaluationProgress("asking", done, len(questions)))
            left = race.unranked(question)
            if left and not warm:
                # The first question also loads what is loaded late, and its seconds mislead.
                Asked(question, base, units)
                warm = True
            if left:
                asked = Asked(question, base, units)
                for contender in left:
                    race.rank(contender, question, asked)
    report(EvaluationProgress("asking", len(questions), len(questions)))
    return tuple(questions)


def _as_set(base: Pipeline, race: _Race, query: QuerySettings) -> Pipeline | RAGError:
    """The pipeline that answers questions, with a reranker that is loaded already if it fits."""
    wanted = base.settings.model_copy(update={"query": query})
    fits = reranker_identity(wanted)
    loaded = (one.pipeline for one in race.contenders)
    near = next((one for one in loaded if reranker_identity(one.settings) == fits), base)
    try:
        return near.with_settings(wanted)
    except RAGError as error:
        return error
