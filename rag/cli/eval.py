"""`rag eval`: pipelines compared on golden questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.opening import library_of, settings_of
from rag.cli.printing import json_text, printable, status_line

if TYPE_CHECKING:
    from rag.evaluation.golden_sets import GoldenSet
    from rag.evaluation.results import Evaluation, Row

_SHOWN = ("hit@1", "recall@10", "mrr@10", "ndcg@10")
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command("eval")
@click.argument("folder", type=_FOLDER, required=False)
@click.option(
    "--pipelines",
    help="What to compare, with commas: dense, lexical, fused, fused+rerank, fused+rerank:KIND, "
    "fused+rerank@DEPTH, llm, dense+llm. By default the first four; none where a run is scored.",
)
@click.option("--limit", type=click.IntRange(1), help="Most questions of each language.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which ones are drawn.")
@click.option("--json", "json_file", type=_OUTPUT, help="Write all figures to this file.")
@click.option(
    "--run-file",
    type=_OUTPUT,
    help="Write the rankings as a TREC run; of several pipelines each to a file of its own.",
)
@click.option("--score", type=_FILE, help="Score this TREC run of another system.")
@click.option("--corpus", type=_FOLDER, help="Folder of other documents to ask about.")
@click.option("--qrels", type=_FILE, help="Other gold than the folder's own.")
@click.option("--fresh", is_flag=True, help="Rank anew what was ranked before.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    folder: Path | None,
    pipelines: str | None,
    limit: int | None,
    seed: int,
    json_file: Path | None,
    run_file: Path | None,
    score: Path | None,
    corpus: Path | None,
    qrels: Path | None,
    fresh: bool,
) -> None:
    """Compare pipelines on the golden questions of FOLDER, or on the library's own.

    FOLDER holds corpus.jsonl or a folder pdfs, queries.jsonl and qrels.tsv. Without it the library
    is asked its golden questions, see: rag golden. Interrupt (Ctrl-C) to stop: the next run goes
    on from there.
    """
    from rag.evaluation.runs import read_run
    from rag.evaluation.scoring import nothing_ranked, with_run
    from rag.evaluation.views import evaluation_view

    golden = _golden_set(ctx, folder, corpus, qrels)
    run = score and read_run(score, {question.id for question in golden.rankable})
    if pipelines or not run:
        evaluation = _evaluated(ctx, golden, pipelines, limit, seed, fresh)
    else:
        evaluation = nothing_ranked(golden, limit, seed)
    if score and run:
        evaluation = with_run(evaluation, score.name, run)
    print_evaluation(evaluation)
    if json_file:
        _write(json_file, json_text(evaluation_view(evaluation)) + "\n")
    if run_file:
        _write_runs(evaluation, run_file)


def _golden_set(
    ctx: click.Context, folder: Path | None, corpus: Path | None, qrels: Path | None
) -> GoldenSet:
    from rag.evaluation.golden_sets import read_golden_set
    from rag.golden.sets import golden_set_of

    if folder is not None:
        return read_golden_set(folder, corpus, qrels)
    if corpus or qrels:
        raise click.UsageError("--corpus and --qrels belong to a FOLDER.")
    return golden_set_of(library_of(ctx))


def _evaluated(
    ctx: click.Context,
    golden: GoldenSet,
    pipelines: str | None,
    limit: int | None,
    seed: int,
    fresh: bool,
) -> Evaluation:
    from rag.evaluation.pipelines import STANDARD, parse_pipelines

    settings = settings_of(ctx)
    specs = parse_pipelines(pipelines or ",".join(STANDARD), settings.query)
    with status_line() as show:
        show("Loading the models …")
        from rag.evaluation.run import evaluate as run

        return run(
            golden,
            specs,
            settings,
            limit,
            seed,
            report=lambda progress: show(f"{golden.name}: {progress}"),
            fresh=fresh,
        )


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
        click.echo(_table([_HEADER, *(_cells(row, group) for row in ran)]))
    _print_steps(evaluation)
    for row in evaluation.rows:
        if row.problem is not None:
            click.secho(f"{row.spec.name}: {printable(str(row.problem))}", fg="yellow")
        if row.failures:
            click.secho(
                f"{row.spec.name}: the reranker failed {row.failures} questions; "
                "they are in recall order.",
                fg="yellow",
            )
    for notice in evaluation.notices:
        click.secho(printable(str(notice)), err=True, fg="yellow")
    if said := verdict(evaluation):
        click.echo(said)


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


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _write_runs(evaluation: Evaluation, path: Path) -> None:
    """One run a file: `name.txt`, or `name.dense.txt` and so on where there are several."""
    from rag.evaluation.runs import write_run

    ran = [row for row in evaluation.rows if row.rankings]
    for row in ran:
        name = row.spec.name.replace(":", "-")
        target = path if len(ran) == 1 else path.with_name(f"{path.stem}.{name}{path.suffix}")
        rankings = {ranking.question: ranking.units for ranking in row.rankings}
        _write(target, write_run(rankings, row.spec.name))


def _write(path: Path, text: str) -> None:
    from rag.errors import RAGError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RAGError(f"{path} cannot be written: {error.strerror}.", "Name another.") from None
