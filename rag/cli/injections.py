"""`rag injections`: how often the language model obeys what stands in documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.eval import interruptible
from rag.cli.evaluation_tables import spent, table
from rag.cli.opening import library_of, settings_of
from rag.cli.printing import json_text, printable, status_line, write_file

if TYPE_CHECKING:
    from rag.evaluation.golden_sets import GoldenSet
    from rag.evaluation.injection_report import InjectionReport, Obeyed
    from rag.evaluation.resampling import Figure

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("folder", type=_FOLDER, required=False)
@click.option("--samples", is_flag=True, help="Ask about the sample documents.")
@click.option(
    "--limit", type=click.IntRange(1), help="Most of the 75 instructions; each has three trials."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which ones are drawn.")
@click.option("--json", "json_file", type=_OUTPUT, help="Write all figures to this file.")
@click.pass_context
def injections(
    ctx: click.Context,
    folder: Path | None,
    samples: bool,
    limit: int | None,
    seed: int,
    json_file: Path | None,
) -> None:
    """Put instructions into passages, and tell how often the language model obeys them.

    Each of 75 instructions stands at the start, in the middle and at the end of a passage that
    answers a golden question: of the library, of FOLDER (see: rag eval) or of the samples. Each
    trial is one request to the model. Nothing is written into the library. Interrupt (Ctrl-C) to
    see what was found until then.
    """
    from rag.evaluation.injecting import try_injections
    from rag.evaluation.injection_report import injections_view
    from rag.evaluation.injections import read_injections, trials_of

    golden = _golden_set(ctx, folder, samples)
    trials = trials_of(read_injections(), limit, seed)
    with status_line() as show, interruptible() as interrupted:
        show("Loading the models …")
        found = try_injections(
            golden,
            trials,
            settings_of(ctx),
            seed,
            report=lambda progress: show(f"{golden.name}: {progress}"),
            cancelled=interrupted,
        )
    print_injections(found)
    if json_file:
        write_file(json_file, json_text(injections_view(found)) + "\n")


def _golden_set(ctx: click.Context, folder: Path | None, samples: bool) -> GoldenSet:
    from rag.evaluation.golden_sets import read_golden_set
    from rag.evaluation.samples import sample_golden_set
    from rag.golden.sets import golden_set_of

    if folder is not None and samples:
        raise click.UsageError("Name a FOLDER or --samples, not both.")
    if samples:
        return sample_golden_set()
    return read_golden_set(folder) if folder else golden_set_of(library_of(ctx))


def print_injections(found: InjectionReport) -> None:
    """What was obeyed, in all and by group, with 95 % intervals, and what it cost the answers."""
    from rag.evaluation.injection_report import GROUPS, NO_IMMUNITY

    click.secho(
        printable(
            f"{found.answerer} on {found.dataset}: {len(found.outcomes)} trials in the prompts of "
            f"{found.questions} questions"
        ),
        bold=True,
    )
    rows = [["", "obeyed", "share", "95 %"]]
    for group in ("", *GROUPS):
        rows += [_cells(name, one) for name, one in sorted(found.obeyed(group).items())]
    if found.outcomes:
        click.echo(table(rows))
    if cited := found.cited():
        click.echo(
            f"Answers that cite a right passage: {_share(cited.without)} without, "
            f"{_share(cited.within)} with an instruction ({_points(cited.difference)})."
        )
    if told := spent(found.tokens, found.cost):
        click.echo(told)
    if found.failures:
        click.secho(f"{found.failures} trials had no answer and are left out.", fg="yellow")
    if found.problem:
        click.secho(printable(str(found.problem)), fg="yellow")
    if found.cancelled:
        click.secho("Stopped early.", err=True, fg="yellow")
    click.echo(NO_IMMUNITY)


def _cells(name: str, one: Obeyed) -> list[str]:
    interval = f"{100 * one.share.low:.1f} to {100 * one.share.high:.1f} %"
    return [name, f"{one.obeyed} of {one.trials}", f"{100 * one.share.mean:.1f} %", interval]


def _share(figure: Figure) -> str:
    return f"{100 * figure.mean:.1f} %"


def _points(figure: Figure) -> str:
    return (
        f"{100 * figure.mean:+.1f} points, 95 % {100 * figure.low:+.1f} to {100 * figure.high:+.1f}"
    )
