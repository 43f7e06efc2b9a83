"""`rag models`: what is known of each model, and bringing one to this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from rag.cli.opening import settings_of
from rag.cli.printing import as_json, json_text, printable, status_line

if TYPE_CHECKING:
    from rag.models.status import ModelStatus

_HEADER = ("", "task", "kind", "name", "languages", "dims", "MB", "licence", "state")


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the known models: what each is for and what it still needs.

    A star stands before those that the settings choose.
    """
    if ctx.invoked_subcommand is not None:
        return
    with status_line() as show:
        show("Asking what can be reached …")
        from rag.models.status import model_statuses

        statuses = model_statuses(settings_of(ctx))
    if as_json:
        click.echo(json_text([_view(status) for status in statuses]))
        return
    rows = [_HEADER, *map(_row, statuses)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.secho(printable(line.rstrip()), bold=row is _HEADER)


@models.command()
@click.argument("name")
@click.option("--kind", help="How it is to be used, for a name that is not in the list.")
@click.pass_context
def download(ctx: click.Context, name: str, kind: str | None) -> None:
    """Download a model of the hub, so that it can be used without a connection.

    Interrupt (Ctrl-C) to stop: the files that are complete are kept for the next download.
    """
    from rag.errors import SettingsError
    from rag.models.hub import download_model, download_size, hub_layout
    from rag.models.known_models import known_model

    known = known_model(name)
    if known is None and kind is None:
        raise SettingsError(
            f"The model {name} is not in the list.",
            "Correct the name, or say how it is to be used: --kind sentence-transformers, "
            "bge-m3, cross-encoder or bge.",
        )
    name, kind = (known.name, kind or known.kind) if known else (name, str(kind))
    remote_code = settings_of(ctx).query.remote_code == name
    size = download_size(name, hub_layout(kind, name, remote_code))
    if not size:
        click.echo(f"{printable(name)} is on this machine.")
        return
    click.echo(f"{printable(name)}: {_megabytes(size)} to download.")
    with status_line() as show:
        folder = download_model(
            kind,
            name,
            lambda done, total: show(f"{_megabytes(done)} of {_megabytes(total)}"),
            remote_code,
        )
    click.echo(f"Downloaded to {printable(str(folder))}.")


def _row(status: ModelStatus) -> tuple[str, ...]:
    model = status.model
    return (
        "*" if status.chosen else "",
        model.task,
        model.kind,
        model.name,
        model.languages,
        str(model.dimensions or "-"),
        str(model.megabytes or "-"),
        model.licence or "-",
        status.state,
    )


def _view(status: ModelStatus) -> dict[str, object]:
    return {
        **asdict(status.model),
        "chosen": status.chosen,
        "installed": status.installed,
        "cached": status.cached,
        "reachable": status.reachable,
        "missing": status.missing,
    }


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
