"""`rag index`: the indexes of a library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rag.cli.opening import library_of, settings_of
from rag.cli.printing import as_json, json_text, printable, status_line

if TYPE_CHECKING:
    from rag.types import IndexRecord


@click.group()
def index() -> None:
    """List, build and remove indexes: documents cut and encoded in one way."""


@index.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the indexes, the one that was used last first."""
    from rag.opening import described, index_settings

    library = library_of(ctx)
    records = library.indexes.listed()
    if as_json:
        click.echo(
            json_text(
                [
                    {
                        "fingerprint": record.fingerprint,
                        "settings": record.settings,
                        "dimensions": record.dimensions,
                        "built": record.built,
                        "answers": record.fingerprint == library.fingerprint,
                        "chunks": record.chunks,
                        "bytes": library.size_bytes(record.fingerprint),
                    }
                    for record in records
                ]
            )
        )
        return
    for record in records:
        settings = index_settings(record)
        words = described(settings) if settings else "made with settings of another version"
        state = "built" if record.built else "half built"
        if record.fingerprint == library.fingerprint:
            state = "answers now"
        megabytes = library.size_bytes(record.fingerprint) / 1e6
        click.echo(
            f"{record.fingerprint}  {printable(words)}  "
            f"({record.chunks} chunks, {megabytes:.1f} MB, {state})"
        )


@index.command()
@click.pass_context
def build(ctx: click.Context) -> None:
    """Build the index that the settings name, or bring it up to date; then it answers.

    Interrupt (Ctrl-C) to stop: what is encoded stays, and the next build goes on from there.
    """
    settings = settings_of(ctx)
    with status_line() as show:
        show("Loading the models …")
        from rag.opening import open_pipeline, switch_index

        pipeline = open_pipeline(settings, settings.index)
        done = 0
        for progress in pipeline.build_index():
            show(str(progress))
            done = progress.done
    switch_index(settings, settings.index)
    count = "1 document" if done == 1 else f"{done} documents"
    click.echo(f"Encoded {count}. The index answers now.")


@index.command()
@click.argument("fingerprint")
@click.pass_context
def use(ctx: click.Context, fingerprint: str) -> None:
    """Let another index answer that was built before; the settings file names it then."""
    from rag.errors import LibraryError
    from rag.opening import index_settings, switch_index

    record = _find(ctx, fingerprint)
    settings = index_settings(record)
    if settings is None:
        raise LibraryError(
            "That index was made with settings of another version.", "Build it again."
        )
    if not record.built:
        raise LibraryError(
            "That index is not built to its end.",
            "Name its model in the settings, then: rag index build",
        )
    switch_index(settings_of(ctx), settings)
    click.echo("It answers now.")


@index.command()
@click.argument("fingerprint")
@click.pass_context
def remove(ctx: click.Context, fingerprint: str) -> None:
    """Remove an index and free its storage; the documents stay."""
    record = _find(ctx, fingerprint)
    library = library_of(ctx)
    freed = library.size_bytes(record.fingerprint) / 1e6
    library.indexes.remove(record.fingerprint)
    click.echo(f"Removed the index {record.fingerprint}, {freed:.1f} MB.")


def _find(ctx: click.Context, fingerprint: str) -> IndexRecord:
    from rag.errors import LibraryError
    from rag.store import Indexes

    for record in Indexes.at(settings_of(ctx).home).listed():
        if record.fingerprint == fingerprint:
            return record
    raise LibraryError(f"There is no index {fingerprint}.", "See what there is: rag index list")
