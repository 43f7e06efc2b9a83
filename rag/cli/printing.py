"""What commands print: text for a terminal, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.folding import one_line

if TYPE_CHECKING:
    from rag.types import Answer, Candidate, Trace

SHOWN_CANDIDATES = 10
_TEXT_WIDTH = 300

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def json_text(value: object) -> str:
    """The value as indented JSON, Chinese left readable."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def printable(text: str) -> str:
    """The text without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


def print_answer(answer: Answer) -> None:
    """What supports the answer, its sources, its problem and its seconds; not its text."""
    from rag.types import NOTHING_RELEVANT

    if answer.kind == "nothing relevant":
        click.echo(NOTHING_RELEVANT)
        print_candidates(answer.trace.candidates[:3])
    else:
        _print_statements(answer)
        print_candidates(answer.passages)
    if answer.problem is not None:
        click.secho(answer.problem.message, err=True, fg="red")
        click.echo(answer.problem.hint, err=True)
    print_footer(answer.trace, answer)


def _print_statements(answer: Answer) -> None:
    if not answer.statements:
        return
    click.secho(answer.support_line, dim=True)
    for statement in answer.statements:
        if answer.cites and not statement.supported:
            text = printable(one_line(answer.text[statement.start : statement.end]))
            advice = f" [{statement.better}] supports it more." if statement.better else ""
            click.secho(f"  not supported ({statement.support:.0%}): {text}{advice}", fg="yellow")


def print_candidates(candidates: Sequence[Candidate]) -> None:
    """Each candidate with its place, the beginning of its text and its scores."""
    for candidate in candidates:
        click.secho(f"[{candidate.rank}] {printable(candidate.location)}", bold=True)
        text = printable(one_line(candidate.chunk.text))
        click.echo(f"    {text[:_TEXT_WIDTH]}{'…' if len(text) > _TEXT_WIDTH else ''}")
        click.secho(f"    {candidate.evidence}", dim=True)


def print_footer(trace: Trace, answer: Answer | None = None) -> None:
    """Notices, what was searched for, how deep the reranker read, who answered, time and cost."""
    told = answer or trace
    for notice in trace.notices:
        click.secho(str(notice), err=True, fg="yellow")
    if trace.standalone:
        click.secho(f"Searched for: {printable(trace.standalone)}", dim=True)
    if trace.reading:
        click.secho(f"The reranker read {printable(trace.reading)}.", dim=True)
    stages = [f"{stage} {value:.2f} s" for stage, value in told.seconds.items()]
    usage = [told.usage_line] if told.usage_line else []
    click.secho(printable(" · ".join([trace.models["answerer"], *stages, *usage])), dim=True)


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Keep one line of a terminal's stderr up to date; nothing where stderr is no terminal."""
    shown = sys.stderr.isatty()

    def show(line: str) -> None:
        if shown:
            click.echo(f"\r\x1b[2K{printable(line)}", nl=False, err=True)

    try:
        yield show
    finally:
        show("")


def write_file(path: Path, text: str) -> None:
    """Write what a command was asked to leave in a file. Raises RAGError."""
    from rag.errors import RAGError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RAGError(f"{path} cannot be written: {error.strerror}.", "Name another.") from None
