"""`rag eval`: pipelines compared on golden questions."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.evaluation_tables import print_evaluation
from rag.cli.opening import library_of, settings_of
from rag.cli.printing import json_text, status_line, write_file

if TYPE_CHECKING:
    from rag.evaluation.golden_sets import GoldenSet
    from rag.evaluation.results import Evaluation

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
@click.option(
    "--answers",
    is_flag=True,
    help="Answer the questions too, and as many that have no answer, with the settings as they "
    "are: exact match, F1, refusals and citations.",
)
@click.option(
    "--judge",
    is_flag=True,
    help="Let the language model judge the answers, with one request each; implies --answers.",
)
@click.option("--fresh", is_flag=True, help="Rank and answer anew what was done before.")
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
    answers: bool,
    judge: bool,
    fresh: bool,
) -> None:
    """Compare pipelines on the golden questions of FOLDER, or on the library's own.

    FOLDER holds corpus.jsonl or a folder pdfs, queries.jsonl and qrels.tsv. Without it the library
    is asked its golden questions, see: rag golden. Interrupt (Ctrl-C) to stop and see what there
    is: the next run goes on from there.
    """
    from rag.evaluation.pipelines import STANDARD
    from rag.evaluation.runs import read_run
    from rag.evaluation.scoring import nothing_ranked, with_run
    from rag.evaluation.views import evaluation_view

    golden = _golden_set(ctx, folder, corpus, qrels)
    run = score and read_run(score, {question.id for question in golden.rankable})
    if pipelines or answers or judge or not run:
        names = pipelines or ",".join(STANDARD)
        evaluation = _evaluated(ctx, golden, names, limit, seed, fresh, answers or judge, judge)
    else:
        evaluation = nothing_ranked(golden, limit, seed)
    if score and run:
        evaluation = with_run(evaluation, score.name, run)
    print_evaluation(evaluation)
    if json_file:
        write_file(json_file, json_text(evaluation_view(evaluation)) + "\n")
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
    pipelines: str,
    limit: int | None,
    seed: int,
    fresh: bool,
    answers: bool,
    judge: bool,
) -> Evaluation:
    from rag.evaluation.pipelines import parse_pipelines

    settings = settings_of(ctx)
    specs = parse_pipelines(pipelines, settings.query)
    with status_line() as show:
        show("Loading the models …")
        from rag.evaluation.run import evaluate as run

        with interruptible() as interrupted:
            return run(
                golden,
                specs,
                settings,
                limit,
                seed,
                report=lambda progress: show(f"{golden.name}: {progress}"),
                cancelled=interrupted,
                fresh=fresh,
                answers=answers,
                judge=judge,
            )


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Tells whether somebody pressed Ctrl-C; the second time it interrupts as ever."""
    pressed = False

    def press(number: int, frame: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _write_runs(evaluation: Evaluation, path: Path) -> None:
    """One run a file: `name.txt`, or `name.dense.txt` and so on where there are several."""
    from rag.evaluation.runs import write_run

    ran = [row for row in evaluation.rows if row.rankings]
    for row in ran:
        name = row.spec.name.replace(":", "-")
        target = path if len(ran) == 1 else path.with_name(f"{path.stem}.{name}{path.suffix}")
        rankings = {ranking.question: ranking.units for ranking in row.rankings}
        write_file(target, write_run(rankings, row.spec.name))
