"""Adding files in the background, so that a page can leave and come back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from threading import Event as Flag
from threading import Thread

from rag.errors import RAGError
from rag.ingest import Event, File
from rag.types import AddResult, Notice, Progress

# `Pipeline.add`: the files, and what to ask before each whether to go on.
Add = Callable[[Sequence[File], Callable[[], bool]], Iterator[Event]]

log = logging.getLogger(__name__)


class AddJob:
    """One run of `Pipeline.add` in a thread of its own.

    `progress` is the latest of the file in hand, `results` grows by one a finished file.
    """

    def __init__(self, add: Add, files: Sequence[File]) -> None:
        self.total = len(files)
        self.progress: Progress | None = None
        self.results: list[AddResult] = []
        self.problem: Notice | None = None
        self._cancelled = Flag()
        self._thread = Thread(target=self._run, args=(add, files), daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether files are still being added."""
        return self._thread.is_alive()

    def cancel(self) -> None:
        """Finish the file in hand and skip the rest."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the rest is to be skipped."""
        return self._cancelled.is_set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until all files are done."""
        self._thread.join(seconds)

    def _run(self, add: Add, files: Sequence[File]) -> None:
        try:
            for event in add(files, self._cancelled.is_set):
                if isinstance(event, AddResult):
                    self.results.append(event)
                    self.progress = None
                else:
                    self.progress = event
        except RAGError as error:
            self.problem = error.notice
        except Exception as error:
            log.exception("adding files failed")
            self.problem = Notice(
                f"Adding stopped unexpectedly ({type(error).__name__}).",
                "Add the remaining files again; finished ones stay.",
            )
