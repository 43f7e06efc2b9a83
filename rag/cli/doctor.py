"""`rag doctor`: whether all is well, and what to do where it is not."""

from __future__ import annotations

from dataclasses import asdict

import click

from rag.cli.opening import settings_of
from rag.cli.printing import as_json, json_text, printable, status_line

_COLOURS = {"ok": "green", "attention": "yellow", "broken": "red"}


@click.command()
@as_json
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check packages, settings, page, disk, library and models, and say what to do.

    Every model is asked something small; a service counts that as a request. Ends with 1 where
    something is broken.
    """
    checks = []
    with status_line() as show:
        show("Looking …")
        from rag.doctor import examine

        for check in examine(lambda: settings_of(ctx)):
            checks.append(check)
            show("")
            if as_json:
                continue
            mark = click.style(f"{check.state:<9}", fg=_COLOURS[check.state])
            click.echo(f"{mark}  {check.about:<9} {printable(check.sentence)}")
            if check.hint:
                click.echo(f"{'':21}{printable(check.hint)}")
            show("Looking …")
    if as_json:
        click.echo(json_text([asdict(check) for check in checks]))
    ctx.exit(1 if any(check.state == "broken" for check in checks) else 0)
