"""`rag backup` and `rag restore`: the whole library in one file, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.opening import settings_of
from rag.cli.printing import printable, status_line

if TYPE_CHECKING:
    from rag.store.backup import Contents

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.pass_context
def backup(ctx: click.Context, file: Path) -> None:
    """Write the whole library to FILE, as it is now; it may be used meanwhile.

    Documents, indexes, questions, golden questions and settings are in it; API keys are not.
    """
    from rag.store.backup import write_backup

    with status_line() as show:
        contents = write_backup(settings_of(ctx).home, file, _shown(show))
    click.echo(f"Backed up {_counted(contents)}, to {printable(str(file))}.")


@click.command()
@click.argument("file", type=_FILE)
@click.pass_context
def restore(ctx: click.Context, file: Path) -> None:
    """Make a library of the backup in FILE; its folder, see --home, must be empty or missing."""
    from rag.store.restore import restore_backup

    home = settings_of(ctx).home
    with status_line() as show:
        contents = restore_backup(file, home, _shown(show))
    click.echo(f"Restored {_counted(contents)}, into {printable(str(home))}.")


def _shown(show: Callable[[str], None]) -> Callable[[int, int], None]:
    return lambda done, total: show(f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB")


def _counted(contents: Contents) -> str:
    documents = "1 document" if contents.documents == 1 else f"{contents.documents} documents"
    questions = "1 question" if contents.questions == 1 else f"{contents.questions} questions"
    return f"{documents} and {questions}, {contents.size / 1e6:,.1f} MB"
