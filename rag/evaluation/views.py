"""An evaluation as JSON, which `rag eval --json` writes, and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict
from io import StringIO
from typing import Any

from rag.evaluation.comparing import seconds_taken
from rag.evaluation.metrics import MEASURES
from rag.evaluation.resampling import Figure
from rag.evaluation.results import ALL, AnswerFigure, Answers, Evaluation, Row
from rag.evaluation.verdict import verdict


def evaluation_view(evaluation: Evaluation) -> dict[str, Any]:
    """The figures of every pipeline and what each pair differs by; no single rankings."""
    return {
        "dataset": evaluation.golden,
        "made_at": evaluation.made_at.isoformat(),
        "questions": len(evaluation.questions),
        "seed": evaluation.seed,
        "cancelled": evaluation.cancelled,
        "models": dict(evaluation.models),
        "verdict": verdict(evaluation),
        "notices": [str(notice) for notice in evaluation.notices],
        "pipelines": {row.spec.name: row_view(row) for row in evaluation.rows},
        "comparisons": [asdict(comparison) for comparison in evaluation.comparisons],
        **({"answers": answers_view(evaluation.answers)} if evaluation.answers else {}),
    }


def answers_view(answers: Answers) -> dict[str, Any]:
    """The figures of the answers by language and together, and what judging them took."""
    total = answers.seconds.get("total")
    judgement = answers.judgement
    return {
        "answerer": answers.answerer,
        "reranker": answers.reranker,
        "questions": len(answers.questions),
        "unanswerable": sum(not question.answerable for question in answers.questions),
        **_answer_figures(answers.figures.get(ALL, {})),
        "languages": {
            language: _answer_figures(figures)
            for language, figures in answers.figures.items()
            if language != ALL
        },
        "seconds": asdict(total) if total else None,
        "stages": {
            stage: asdict(seconds) for stage, seconds in answers.seconds.items() if stage != "total"
        },
        "failures": answers.failures,
        "tokens": answers.tokens,
        "cost": answers.cost,
        "cancelled": answers.cancelled,
        "problem": str(answers.problem) if answers.problem else None,
        "judge": judgement
        and asdict(judgement) | {"problem": str(judgement.problem) if judgement.problem else None},
    }


def _answer_figures(figures: Mapping[str, AnswerFigure]) -> dict[str, Any]:
    return {
        **{measure: one.figure.mean for measure, one in figures.items()},
        "intervals": _intervals({measure: one.figure for measure, one in figures.items()}),
        "answers": {measure: one.answers for measure, one in figures.items()},
    }


def row_view(row: Row) -> dict[str, Any]:
    """One pipeline; only its description and problem where it did not run."""
    view: dict[str, Any] = {"description": row.spec.description}
    if row.problem is not None:
        return view | {"problem": str(row.problem)}
    if not row.figures:
        return view
    total = row.seconds.get("total")
    return view | {
        **{measure: figure.mean for measure, figure in row.figures[ALL].items()},
        "questions": len(row.rankings),
        "seconds": asdict(total) if total else None,
        "stages": {
            stage: asdict(seconds) for stage, seconds in row.seconds.items() if stage != "total"
        },
        "failures": row.failures,
        "tokens": row.tokens,
        "cost": row.cost,
        "intervals": _intervals(row.figures[ALL]),
        "languages": {
            language: {
                **{measure: figure.mean for measure, figure in figures.items()},
                "intervals": _intervals(figures),
            }
            for language, figures in row.figures.items()
            if language != ALL
        },
    }


def _intervals(figures: Mapping[str, Figure]) -> dict[str, list[float]]:
    return {measure: [figure.low, figure.high] for measure, figure in figures.items()}


def evaluation_csv(evaluation: Evaluation) -> str:
    """A line for each pipeline and language, and for all questions together.

    Each measure has its mean and the ends of its 95 % interval, 0..1; times are in seconds. Tokens
    and cost are of all questions. What is not known is empty.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    bounds = [name + end for name in MEASURES for end in ("", " low", " high")]
    times = ("seconds p50", "seconds p95", "tokens", "cost", "failures", "problem")
    writer.writerow(["pipeline", "questions", "number", *bounds, *times])
    for row in evaluation.rows:
        if row.problem is not None:
            empty = [""] * (len(bounds) + len(times) - 1)
            writer.writerow([row.spec.name, "", "", *empty, str(row.problem)])
        for group, figures in row.figures.items():
            numbers = [
                value
                for name in MEASURES
                for value in (figures[name].mean, figures[name].low, figures[name].high)
            ]
            rankings = row.of(group, evaluation.questions)
            total = seconds_taken([one.seconds for one in rankings]).get("total")
            writer.writerow(
                [
                    row.spec.name,
                    group,
                    len(rankings),
                    *numbers,
                    *((total.p50, total.p95) if total else ("", "")),
                    *((row.tokens, row.cost, row.failures) if group == ALL else ("", "", "")),
                    "",
                ]
            )
    return text.getvalue()
