"""`rag golden`: the questions by which changes of settings are judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.opening import library_of
from rag.cli.printing import as_json, json_text, printable
from rag.folding import one_line

if TYPE_CHECKING:
    from rag.types import GoldenMark

# Who made the marks of the command line.
_ASKER = "command line"
_LEAST_ID = 6
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def golden() -> None:
    """List, import, export and remove golden questions: a question and what answers it.

    They belong to the library: everybody who uses it sees them. `rag eval` asks them.
    """


@golden.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the golden questions, the newest first, drafts included."""
    marks = library_of(ctx).golden.listed()
    if as_json:
        click.echo(json_text([_view(mark) for mark in marks]))
        return
    for mark in marks:
        click.secho(f"{mark.id}  {printable(mark.question)}", bold=True)
        says = "answered by" if mark.relevant else "not answered by"
        origin = mark.origin if mark.confirmed else f"{mark.origin}, not confirmed"
        place = f"{printable(mark.document)}, p. {mark.span.page}"
        click.echo(f"    {says} {place}  ({origin}, {mark.made_at:%Y-%m-%d})")
        click.secho(f"    {printable(one_line(mark.beginning))}", dim=True)
    if not marks:
        click.echo("There are no golden questions. Mark sources on Ask, or: rag golden import FILE")


@golden.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_context
def import_(ctx: click.Context, file: Path) -> None:
    """Add the questions of a CSV or JSONL file; ends with 1 where a row could not be placed.

    Its columns: question, language, document, page, text, answer, relevant. Only the question must
    be there, and with it a text, or a document and a page.
    """
    from rag.golden.reading import import_golden

    imported = import_golden(library_of(ctx), file.read_bytes(), file.name, _ASKER)
    for remark in (*imported.remarks, *imported.refused):
        click.secho(printable(remark), err=True, fg="yellow")
    click.echo(str(imported))
    ctx.exit(1 if imported.refused else 0)


@golden.command()
@click.argument("file", type=_FILE)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "jsonl"]),
    help="By default what the file's name says, else csv.",
)
@click.pass_context
def export(ctx: click.Context, file: Path, kind: str | None) -> None:
    """Write the confirmed questions to a file."""
    from rag.errors import RAGError
    from rag.golden.writing import as_csv, as_jsonl, golden_rows

    library = library_of(ctx)
    rows = golden_rows(library, library.golden.listed())
    kind = kind or ("jsonl" if file.suffix.lower() == ".jsonl" else "csv")
    try:
        file.write_bytes(as_jsonl(rows) if kind == "jsonl" else as_csv(rows))
    except OSError as error:
        raise RAGError(f"{file} cannot be written: {error.strerror}.", "Name another.") from None
    click.echo(
        f"Wrote {len(rows)} {'row' if len(rows) == 1 else 'rows'} to {printable(str(file))}."
    )


@golden.command()
@click.argument("mark")
@click.pass_context
def remove(ctx: click.Context, mark: str) -> None:
    """Remove one row, named by its id or the first letters of it."""
    from rag.errors import RAGError

    kept = library_of(ctx).golden
    found = [
        one
        for one in kept.listed()
        if one.id == mark or (len(mark) >= _LEAST_ID and one.id.startswith(mark))
    ]
    if len(found) != 1:
        raise RAGError(
            f"{len(found) or 'No'} golden questions begin with the id {mark}.",
            "See what there is: rag golden list",
        )
    kept.remove([found[0].id])
    click.echo(f"Removed “{printable(found[0].question)}”.")


def _view(mark: GoldenMark) -> dict[str, object]:
    return {
        "id": mark.id,
        "question": mark.question,
        "language": mark.language,
        "document": mark.document,
        "document_id": mark.span.document_id,
        "page": mark.span.page,
        "start": mark.span.start,
        "end": mark.span.end,
        "beginning": mark.beginning,
        "answer": mark.answer,
        "relevant": mark.relevant,
        "origin": mark.origin,
        "confirmed": mark.confirmed,
        "made_at": mark.made_at.isoformat(),
    }
