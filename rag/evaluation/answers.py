"""The answers of the settings' pipeline to golden questions, measured, and judged where asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np

from rag.evaluation.answered import MEASURES, Answered, answered, values
from rag.evaluation.comparing import groups, seconds_taken
from rag.evaluation.costs import tokens_and_cost
from rag.evaluation.golden_sets import GoldenQuestion, GoldenSet, drawn
from rag.evaluation.judging import Judged, judged, judging_messages, no_judge
from rag.evaluation.kept_runs import Kept, KeptRun, answer_run, judgement_run
from rag.evaluation.progress import FAILURES_IN_A_ROW, Cancelled, EvaluationProgress, Report
from rag.evaluation.resampling import bootstrap_means, figures
from rag.evaluation.results import AnswerFigure, Answers, Judgement
from rag.pipeline import Pipeline
from rag.types import Notice

_Record = TypeVar("_Record", bound=Kept)


def questions_to_answer(
    golden: GoldenSet, limit: int | None, seed: int
) -> tuple[GoldenQuestion, ...]:
    """At most `limit` questions of each language that have an answer, and as many that have none.

    In the order of the set; those with an answer are the ones that are ranked, and those whose
    answer is known without a passage.
    """
    have = [one for one in golden.questions if one.answerable and (one.gold or one.answers)]
    lack = [one for one in golden.questions if not one.answerable]
    chosen = {one.id for kind in (have, lack) for one in drawn(kind, limit, seed)}
    return tuple(one for one in golden.questions if one.id in chosen)


def measured_answers(
    questions: Sequence[GoldenQuestion],
    pipeline: Pipeline,
    folder: Path,
    seed: int = 0,
    judge: bool = False,
    fresh: bool = False,
    report: Report = lambda progress: None,
    cancelled: Cancelled = lambda: False,
) -> Answers:
    """What a pipeline answers to the questions, by every measure.

    Answers and verdicts are kept in the folder, so that what was done is not done again; `fresh`
    makes them anew. Where it is cancelled it is about the answers made until then. An endpoint that
    fails again and again ends it, which is told. Raises LibraryError.
    """
    state = pipeline.store.state()
    contents = f"{state.contents}-{state.chunks}"
    run = KeptRun(folder / "answers", answer_run(pipeline, contents), Answered)
    if fresh:
        run.forget()
    made = _made(
        [_Task(one.id, one.text, _answering(one, pipeline)) for one in questions],
        run,
        "answering",
        report,
        cancelled,
    )
    whole = [
        (one, question)
        for one, question in zip(made.records, questions, strict=False)
        if not one.problem
    ]
    found = [values(one, question) for one, question in whole]
    judgement, stopped = None, False
    if judge:
        judgement, stopped = _judgement(whole, found, pipeline, folder, fresh, report, cancelled)
    prices = pipeline.settings.prices
    tokens, cost = tokens_and_cost((use for one in made.records for use in one.usage), prices)
    asked = tuple(question for _, question in whole)
    return Answers(
        answerer=pipeline.answerer.name,
        reranker=pipeline.reranker.name if pipeline.reranker else "none",
        questions=asked,
        answered=tuple(one for one, _ in whole),
        figures=_figures(found, asked, seed),
        seconds=seconds_taken([one.seconds for one, _ in whole]),
        failures=len(made.records) - len(whole),
        judgement=judgement,
        problem=made.problem,
        tokens=tokens,
        cost=cost,
        cancelled=made.cancelled or stopped,
    )


@dataclass(frozen=True, slots=True)
class _Task(Generic[_Record]):
    """What is to be made of a question; `made_of` is everything in the question it depends on."""

    question: str
    made_of: str
    make: Callable[[], _Record]


@dataclass(slots=True)
class _Made(Generic[_Record]):
    """What was made, and why no more."""

    records: list[_Record] = field(default_factory=list)
    problem: Notice | None = None
    cancelled: bool = False


def _made(
    tasks: Sequence[_Task[_Record]],
    run: KeptRun[_Record],
    stage: Literal["answering", "judging"],
    report: Report,
    cancelled: Cancelled,
) -> _Made[_Record]:
    """What is kept of each task or else is made now, until too many fail in a row."""
    made, failed = _Made[_Record](), 0
    with run:
        for done, task in enumerate(tasks):
            if cancelled():
                made.cancelled = True
                return made
            report(EvaluationProgress(stage, done, len(tasks)))
            record = run.get(task.question, task.made_of)
            if record is None:
                record = task.make()
                run.keep(record, task.made_of)
            made.records.append(record)
            failed = failed + 1 if record.problem else 0
            if failed == FAILURES_IN_A_ROW:
                made.problem = Notice(
                    f"{stage.capitalize()} failed {failed} questions in a row.", record.problem
                )
                return made
    report(EvaluationProgress(stage, len(tasks), len(tasks)))
    return made


def _answering(question: GoldenQuestion, pipeline: Pipeline) -> Callable[[], Answered]:
    return lambda: answered(question, pipeline)


def _judgement(
    whole: Sequence[tuple[Answered, GoldenQuestion]],
    found: Sequence[dict[str, float]],
    pipeline: Pipeline,
    folder: Path,
    fresh: bool,
    report: Report,
    cancelled: Cancelled,
) -> tuple[Judgement, bool]:
    """What the judge did, its verdicts put into `found`, and whether it was stopped."""
    endpoint = pipeline.settings.endpoint
    failure = no_judge(endpoint)
    if failure is not None:
        return Judgement(endpoint.model, problem=failure.notice), False

    def judging(question: GoldenQuestion, one: Answered) -> Callable[[], Judged]:
        # Who leaves a question open that has an answer is wrong; nobody has to read that.
        if one.refused:
            return lambda: Judged(question.id, "incorrect")
        return lambda: judged(question, one, endpoint)

    places = [
        place
        for place, (_, question) in enumerate(whole)
        if question.answerable and question.answers
    ]
    tasks = []
    for place in places:
        one, question = whole[place]
        made_of = judging_messages(question, one.text)[-1]["content"]
        tasks.append(_Task(question.id, made_of, judging(question, one)))
    run = KeptRun(folder / "judgements", judgement_run(endpoint), Judged)
    if fresh:
        run.forget()
    made = _made(tasks, run, "judging", report, cancelled)
    for place, verdict in zip(places, made.records, strict=False):
        if not verdict.problem and verdict.verdict != "unparsable":
            found[place]["judged_correct"] = float(verdict.verdict == "correct")
    tokens, cost = tokens_and_cost(
        (use for one in made.records for use in one.usage), pipeline.settings.prices
    )
    return Judgement(
        model=endpoint.model,
        unparsable=sum(not one.problem and one.verdict == "unparsable" for one in made.records),
        failures=sum(bool(one.problem) for one in made.records),
        problem=made.problem,
        tokens=tokens,
        cost=cost,
    ), made.cancelled


def _figures(
    found: Sequence[Mapping[str, float]], questions: Sequence[GoldenQuestion], seed: int
) -> dict[str, dict[str, AnswerFigure]]:
    """The mean of each measure over the answers it applies to, by language and together."""
    by_group: dict[str, dict[str, AnswerFigure]] = {}
    for group, chosen in groups(questions).items():
        # Measures of the same answers are resampled together.
        together: dict[tuple[int, ...], list[str]] = {}
        for measure in MEASURES:
            places = tuple(place for place in chosen if measure in found[place])
            if places:
                together.setdefault(places, []).append(measure)
        means: dict[str, AnswerFigure] = {}
        for places, measures in together.items():
            columns = np.array([[found[place][name] for name in measures] for place in places])
            for name, figure in zip(
                measures, figures(columns, bootstrap_means(columns, seed)), strict=True
            ):
                means[name] = AnswerFigure(figure, len(places))
        if means:
            by_group[group] = {name: means[name] for name in MEASURES if name in means}
    return by_group
