"""What commands open: settings, library, pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rag.cli.printing import status_line

if TYPE_CHECKING:
    from rag.pipeline import Pipeline
    from rag.settings import Settings
    from rag.store import Store
    from rag.types import Notice


def settings_of(ctx: click.Context) -> Settings:
    """The settings that the options of `rag` name."""
    from rag.settings import load_settings

    return load_settings(*ctx.obj)


def library_of(ctx: click.Context) -> Store:
    """The library, without its models."""
    from rag.opening import open_library

    library = open_library(settings_of(ctx))
    _tell(library.damage)
    return library


def pipeline_of(ctx: click.Context) -> Pipeline:
    """The pipeline, its models loaded; what is to be known of its index goes to stderr."""
    settings = settings_of(ctx)
    with status_line() as show:
        show("Loading the models …")
        from rag.models.downloading import reporting
        from rag.opening import index_notice, open_pipeline

        with reporting(
            lambda done, total: show(f"Downloading {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")
        ):
            pipeline = open_pipeline(settings, stand_ins=True)
    _tell(pipeline.store.damage)
    _tell(index_notice(settings, pipeline.store))
    return pipeline


def _tell(notice: Notice | None) -> None:
    if notice is not None:
        click.secho(str(notice), err=True, fg="yellow")
