"""An evaluation as text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import click

from rag.cli.printing import printable

if TYPE_CHECKING:
    from rag.evaluation.results import AnswerFigure, Answers, Evaluation, Judgement, Row

_SHOWN = ("hit@1", "recall@10", "mrr@10", "ndcg@10")


def print_evaluation(evaluation: Evaluation) -> None:
    """A table a language and one for all questions, with 95 % intervals, and the verdict."""
    from rag.evaluation.results import ALL
    from rag.evaluation.verdict import verdict

    counts = Counter(question.language for question in evaluation.questions)
    languages = sorted(counts)
    counts[ALL] = len(evaluation.questions)
    for group in [*(languages if len(languages) > 1 else []), ALL]:
        label = f"{printable(evaluation.golden)}, {group}: {counts[group]} questions"
        click.secho(label, bold=True)
        ran = [row for row in evaluation.rows if group in row.figures]
        if ran:
            click.echo(table([_HEADER, *(_cells(row, group) for row in ran)]))
    _print_steps(evaluation)
    _print_problems(evaluation)
    for notice in evaluation.notices:
        click.secho(printable(str(notice)), err=True, fg="yellow")
    if said := verdict(evaluation):
        click.echo(said)
    if evaluation.answers:
        _print_answers(evaluation.answers)
    if evaluation.cancelled or (evaluation.answers and evaluation.answers.cancelled):
        click.secho("Stopped early: the same command goes on from there.", err=True, fg="yellow")


def _print_problems(evaluation: Evaluation) -> None:
    """What went wrong with each pipeline, and what it asked of services."""
    for row in evaluation.rows:
        if row.problem is not None:
            click.secho(f"{row.spec.name}: {printable(str(row.problem))}", fg="yellow")
        if told := spent(row.tokens, row.cost):
            click.secho(f"{row.spec.name}: {told}", dim=True)
        if row.failures:
            click.secho(
                f"{row.spec.name}: the reranker failed {row.failures} questions; "
                "they are in recall order.",
                fg="yellow",
            )


def _print_steps(evaluation: Evaluation) -> None:
    """What each pipeline gains over the one above it."""
    from rag.evaluation.comparing import COMPARED

    names = [row.spec.name for row in evaluation.rows if row.figures]
    for first, second in pairwise(names):
        gains = []
        for measure in COMPARED:
            found = evaluation.comparison(first, second, measure)
            if found is not None:
                gains.append(f"{measure} {found.difference.mean:+.3f} (p {found.p_value:.2g})")
        click.secho(f"{first} -> {second}: {', '.join(gains)}", dim=True)


_HEADER = ["", *_SHOWN, "p50", "p95"]


def _cells(row: Row, group: str) -> list[str]:
    figures = row.figures[group]
    total = row.seconds.get("total")
    return [
        row.spec.name,
        *(
            f"{figure.mean:.3f} [{figure.low:.2f}, {figure.high:.2f}]"
            for figure in (figures[measure] for measure in _SHOWN)
        ),
        f"{total.p50 * 1000:.0f} ms" if total else "",
        f"{total.p95 * 1000:.0f} ms" if total else "",
    ]


def _print_answers(answers: Answers) -> None:
    """A line a measure, with the answers it is about, by language and together."""
    from rag.evaluation.answered import MEASURES
    from rag.evaluation.results import ALL

    questions = answers.questions
    lacking = sum(not question.answerable for question in questions)
    label = f"Answers by {answers.answerer} to {len(questions)} questions, {lacking} without answer"
    click.secho(printable(label), bold=True)
    languages = [group for group in answers.figures if group != ALL]
    shown = [*(languages if len(languages) > 1 else []), ALL]
    rows = [
        [head, *(_answer_cell(answers.figures[group].get(measure)) for group in shown)]
        for measure, head in MEASURES.items()
        if measure in answers.figures.get(ALL, {})
    ]
    if rows:
        click.echo(table([["", *shown], *rows]))
    if total := answers.seconds.get("total"):
        click.echo(f"{total.p50 * 1000:.0f} ms an answer, p95 {total.p95 * 1000:.0f} ms")
    if told := spent(answers.tokens, answers.cost):
        click.echo(told)
    if answers.failures:
        click.secho(f"{answers.failures} answers failed and are left out.", fg="yellow")
    if answers.problem:
        click.secho(printable(str(answers.problem)), fg="yellow")
    if answers.judgement:
        _print_judgement(answers.judgement)


def _print_judgement(judgement: Judgement) -> None:
    said = [f"Judge: {judgement.model}"] if judgement.model else []
    if told := spent(judgement.tokens, judgement.cost):
        said.append(told)
    if judgement.unparsable:
        said.append(f"{judgement.unparsable} verdicts were not one of the two words")
    if judgement.failures:
        said.append(f"{judgement.failures} answers could not be judged")
    if said:
        click.echo(printable(", ".join(said)))
    if judgement.problem:
        click.secho(printable(str(judgement.problem)), fg="yellow")


def _answer_cell(found: AnswerFigure | None) -> str:
    if found is None:
        return ""
    figure = found.figure
    return f"{figure.mean:.3f} [{figure.low:.2f}, {figure.high:.2f}] of {found.answers}"


def spent(tokens: int | None, cost: float | None) -> str:
    """What services were asked for, and what it cost, as far as either is known."""
    parts = [] if tokens is None else [f"{tokens:,} tokens"]
    return ", ".join([*parts, *([] if cost is None else [f"cost {cost:.4f}"])])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
