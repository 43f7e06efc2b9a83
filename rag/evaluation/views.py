"""An evaluation as JSON: what `rag eval --json` writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rag.evaluation.resampling import Figure
from rag.evaluation.results import ALL, Evaluation, Row
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
