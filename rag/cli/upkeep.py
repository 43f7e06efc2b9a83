"""`rag verify` and `rag repair`: what a disk has damaged, found and made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rag.cli.opening import settings_of
from rag.cli.printing import as_json, json_text, printable, status_line

if TYPE_CHECKING:
    from rag.store import Verification


@click.command()
@as_json
@click.pass_context
def verify(ctx: click.Context, as_json: bool) -> None:
    """Read the whole library and say what is damaged; exit code 1 where anything is.

    Nothing is changed. Others may use the library meanwhile.
    """
    from rag.store import verify as read_all

    with status_line() as show:
        found = read_all(
            settings_of(ctx).home,
            lambda what, done, total: show(f"Reading {what}: {done * 100 // max(total, 1)} %"),
        )
    if as_json:
        click.echo(json_text(_view(found)))
    else:
        _print(found)
    ctx.exit(0 if found.clean else 1)


@click.command()
@as_json
@click.pass_context
def repair(ctx: click.Context, as_json: bool) -> None:
    """Make what is damaged anew, from the originals that are stored.

    Damaged files are moved aside, never deleted. Exit code 1 where something is left to do.
    """
    from rag.repair import repair as mend

    with status_line() as show:
        repaired = mend(settings_of(ctx), show)
    if as_json:
        click.echo(
            json_text(
                {
                    "at_the_start": repaired.at_the_start,
                    "restored": repaired.restored,
                    "add_again": repaired.add_again,
                    "problems": repaired.problems,
                    "lost_rows": repaired.lost_rows,
                    "left": _view(repaired.left),
                }
            )
        )
    else:
        for said in repaired.at_the_start:
            click.echo(printable(said))
        for name in repaired.restored:
            click.echo(f"Restored: {printable(name)}")
        for table, rows in repaired.lost_rows.items():
            click.echo(f"Lost: {rows} rows of {table} that could not be read.")
        for problem in repaired.problems:
            click.secho(printable(problem), err=True, fg="red")
        for name in repaired.add_again:
            click.secho(
                f"Add this file again, its original is damaged: {printable(name)}",
                err=True,
                fg="yellow",
            )
        _print(repaired.left)
    ctx.exit(0 if repaired.left.clean and not repaired.problems else 1)


def _print(found: Verification) -> None:
    for file in found.damaged:
        where = "" if file.used else " (of an older version)"
        click.secho(f"{file.what}: {printable(file.name)}{where}", fg="red")
    for one in found.earlier:
        click.secho(f"found at a start: {printable(str(one))}", fg="red")
    for table in found.unreadable:
        click.secho(f"cannot be read: the table {printable(table)}", fg="red")
    for table, rows in found.rows.items():
        click.secho(f"cannot be read: {rows} rows of the table {printable(table)}", fg="red")
    for document in found.documents:
        click.secho(printable(str(document)), fg="red")
    click.echo(f"{found.files} files checked, {found.size / 1e6:,.1f} MB.")
    if found.unchecked_files or found.unchecked_rows:
        click.echo(
            f"{found.unchecked_files} files and {found.unchecked_rows} rows are from before there "
            "were checksums. Files get theirs with: rag repair"
        )
    if found.clean:
        click.echo("Nothing is damaged.")
    elif any(set(one.parts) != {"original"} for one in found.documents) or not found.documents:
        click.echo("Mend it with: rag repair")
    else:
        click.echo("Add the files of these documents again: rag add FILE")


def _view(found: Verification) -> dict[str, Any]:
    return {
        "clean": found.clean,
        "files": found.files,
        "bytes": found.size,
        "unchecked_files": found.unchecked_files,
        "unchecked_rows": found.unchecked_rows,
        "damaged_files": [
            {"name": one.name, "what": one.what, "used": one.used} for one in found.damaged
        ],
        "damaged_documents": [
            {"id": one.id, "name": one.name, "parts": one.parts} for one in found.documents
        ],
        "unreadable_rows": found.rows,
        "unreadable_tables": found.unreadable,
        "found_at_a_start": [{"name": one.name, "outcome": one.outcome} for one in found.earlier],
    }
