"""The command line: parse, call the pipeline, print.

Exit codes: 0 done, 1 a failure told on stderr, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from rag import __version__
from rag.cli.backup import backup, restore
from rag.cli.doctor import doctor
from rag.cli.eval import evaluate
from rag.cli.golden import golden
from rag.cli.index import index
from rag.cli.injections import injections
from rag.cli.models import models
from rag.cli.opening import library_of, pipeline_of, settings_of
from rag.cli.printing import (
    SHOWN_CANDIDATES,
    as_json,
    json_text,
    print_answer,
    print_candidates,
    print_footer,
    printable,
    status_line,
)
from rag.cli.upkeep import repair, verify

if TYPE_CHECKING:
    from rag.store import Store
    from rag.types import DocumentRecord

# Whose questions those of the command line are; no page shows them.
_ASKER = "command line"


class Failing(click.Group):
    """A group whose commands end in one sentence and a hint, never in a traceback."""

    # What click itself turns into an exit code.
    _CLICKS_OWN = (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a RAGError goes to stderr and ends the process with 1."""
        from rag.errors import RAGError

        try:
            return super().invoke(ctx)
        except RAGError as error:
            click.secho(error.message, err=True, fg="red")
            if error.hint:
                click.echo(error.hint, err=True)
            ctx.exit(1)
        except self._CLICKS_OWN:
            raise
        except Exception as error:
            from rag.log import unexpected

            unexpected(error, "the command line")
            name = type(error).__name__
            click.secho(f"Something unexpected happened ({name}).", err=True, fg="red")
            click.echo("To see where, run it again as: rag --log", err=True)
            ctx.exit(1)


@click.group(cls=Failing, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rag")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the library (or RAG_HOME).",
)
@click.option("--profile", help="Named set of settings (or RAG_PROFILE).")
@click.option("--log", is_flag=True, help="Tell on stderr what happens, one JSON line an event.")
@click.pass_context
def main(ctx: click.Context, home: Path | None, profile: str | None, log: bool) -> None:
    """Ask your own documents, and see why every source was cited."""
    ctx.obj = (home, profile)
    if log:
        from rag.log import start

        start(settings_of(ctx).log)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@as_json
@click.pass_context
def add(ctx: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Add files, or all readable files of folders.

    Interrupt (Ctrl-C) to stop: the file in hand is abandoned, finished ones stay.
    """
    from rag.documents import SUFFIXES
    from rag.errors import UnreadableFile
    from rag.ingest import File
    from rag.types import AddResult
    from rag.views import result_view

    found = list(_files(paths, SUFFIXES))
    if not found:
        raise UnreadableFile(
            "There is no readable file in that folder.", f"Readable are: {', '.join(SUFFIXES)}."
        )
    results = []
    with status_line() as show:
        for event in pipeline_of(ctx).add([File.at(path) for path in found]):
            if not isinstance(event, AddResult):
                show(str(event))
                continue
            results.append(event)
            show("")
            if not as_json:
                click.echo(printable(str(event)))
    if as_json:
        click.echo(json_text([result_view(result) for result in results]))
    ctx.exit(1 if any(result.outcome == "failed" for result in results) else 0)


@main.command()
@click.argument("question")
@as_json
@click.pass_context
def ask(ctx: click.Context, question: str, as_json: bool) -> None:
    """Answer a question, with numbered sources."""
    from rag.history import History, recorded
    from rag.views import record_view

    pipeline = pipeline_of(ctx)
    reply = pipeline.ask(question)
    if not as_json:
        for piece in reply:
            click.echo(piece, nl=False)
        click.echo("\n" if reply.passages else "", nl=False)
    record = recorded(reply.trace, reply.answer)
    if as_json:
        click.echo(json_text(record_view(record)))
    else:
        print_answer(reply.answer)
    History(pipeline.store, _ASKER).keep(record)
    ctx.exit(1 if reply.answer.problem else 0)


@main.command()
@click.argument("question")
@as_json
@click.pass_context
def search(ctx: click.Context, question: str, as_json: bool) -> None:
    """Show what every stage thinks of every passage."""
    from rag.history import recorded
    from rag.views import record_view

    trace = pipeline_of(ctx).search(question)
    if as_json:
        click.echo(json_text(record_view(recorded(trace))))
    else:
        print_candidates(trace.candidates[:SHOWN_CANDIDATES])
        print_footer(trace)


@main.command()
@click.argument("file", type=click.File("rb"))
def trace(file: BinaryIO) -> None:
    """Print a trace that was saved with --json or downloaded; "-" reads it from standard input."""
    from rag.trace_files import read_record

    record = read_record(file.read())
    click.secho(printable(record.trace.question), bold=True)
    library = record.trace.library
    click.secho(
        f"asked {record.asked_at:%Y-%m-%d %H:%M} UTC · {library.documents} documents, "
        f"{library.chunks} chunks · index {printable(library.fingerprint)}",
        dim=True,
    )
    if record.answer is None:
        print_candidates(record.trace.candidates[:SHOWN_CANDIDATES])
        print_footer(record.trace)
        return
    if record.answer.kind != "nothing relevant":
        click.echo("\n".join(map(printable, record.answer.text.splitlines())) + "\n")
    print_answer(record.answer)


@main.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the documents."""
    from rag.views import document_view

    records = library_of(ctx).documents()
    if as_json:
        click.echo(json_text([document_view(record) for record in records]))
        return
    for record in records:
        state = f"{record.pages} p., {record.chunks} chunks"
        if record.status != "ready":
            state = f"{record.status}: {record.message}"
        click.echo(f"{record.id[:12]}  {printable(record.name)}  ({state})")
    if not records:
        click.echo("The library is empty. Add documents with: rag add PATH")


@main.command()
@click.argument("document")
@click.pass_context
def remove(ctx: click.Context, document: str) -> None:
    """Remove a document, named by its id (or the first letters of it) or its exact name."""
    library = library_of(ctx)
    record = _find(library, document)
    library.remove(record.id)
    click.echo(f"Removed {printable(record.name)}.")
    library.optimize()


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--host-name", multiple=True, help="Name that people type into the browser; may be repeated."
)
@click.pass_context
def serve(ctx: click.Context, port: int, address: str, host_name: tuple[str, ...]) -> None:
    """Serve the web page."""
    from rag.serving import cautions
    from rag.serving import serve as run

    settings = settings_of(ctx)
    for caution in cautions(settings, address, host_name):
        click.secho(str(caution), err=True, fg="yellow")
    run(settings, port, address, host_name)


main.add_command(backup)
main.add_command(doctor)
main.add_command(evaluate)
main.add_command(golden)
main.add_command(index)
main.add_command(injections)
main.add_command(models)
main.add_command(restore)
main.add_command(repair)
main.add_command(verify)


def _files(paths: Sequence[Path], suffixes: Sequence[str]) -> Iterator[Path]:
    """The files named, and of folders those that can be read, in order of their names."""
    for path in paths:
        if path.is_dir():
            inside = sorted(child for child in path.rglob("*") if child.is_file())
            yield from (
                child
                for child in inside
                if child.suffix.lower() in suffixes and not child.name.startswith(".")
            )
        else:
            yield path


def _find(library: Store, wanted: str) -> DocumentRecord:
    from rag.errors import UnknownDocument

    matches = [
        record
        for record in library.documents()
        if record.name == wanted or (len(wanted) >= 6 and record.id.startswith(wanted))
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UnknownDocument(
            f"{len(matches)} documents are called {wanted}.", "Name one by its id: rag list"
        )
    raise UnknownDocument(f"There is no document {wanted}.", "See what there is: rag list")
