"""Long work in the background, so that a page can leave and come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Event as Flag
from threading import Thread
from typing import Generic, Protocol, TypeVar

from rag import log
from rag.background import lower_priority, return_memory
from rag.errors import RAGError
from rag.ingest import Event, File
from rag.types import AddResult, IndexProgress, Notice, Progress

# `Pipeline.add`: the files, and what to ask before each whether to go on.
Add = Callable[[Sequence[File], Callable[[], bool]], Iterator[Event]]
# `Pipeline.build_index`: what to ask before each document whether to go on.
Build = Callable[[Callable[[], bool]], Iterator[IndexProgress]]


class Countable(Protocol):
    """How far some work is, also in words."""

    @property
    def done(self) -> int:
        """What is done so far."""

    @property
    def total(self) -> int:
        """What is to be done in all."""


Result = TypeVar("Result")
# What to tell how far it is, and what to ask whether to go on.
Evaluate = Callable[[Callable[[Countable], None], Callable[[], bool]], Result]


class Job:
    """Some work in a thread of its own, begun at once.

    `problem` is why it ended early.
    """

    unfinished = Notice("The work stopped unexpectedly.", "Start it again.")

    def __init__(self, work: Callable[[], None]) -> None:
        self.problem: Notice | None = None
        self._cancelled = Flag()
        self._thread = Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the work goes on."""
        return self._thread.is_alive()

    def cancel(self) -> None:
        """Finish what is in hand and skip the rest."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the rest is to be skipped."""
        return self._cancelled.is_set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until all is done."""
        self._thread.join(seconds)

    def _run(self, work: Callable[[], None]) -> None:
        lower_priority()
        try:
            with log.refusals("work"):
                work()
        except RAGError as error:
            self.problem = error.notice
        except Exception as error:
            reference = log.unexpected(error, "work in the background")
            name = type(error).__name__
            message = (
                f"{self.unfinished.message.removesuffix('.')} ({name}, {reference} in the log)."
            )
            self.problem = Notice(message, self.unfinished.hint)
        finally:
            return_memory()


class AddJob(Job):
    """One run of `Pipeline.add`.

    `progress` is the latest of the file in hand, `results` grows by one a finished file.
    """

    unfinished = Notice(
        "Adding stopped unexpectedly.", "Add the remaining files again; finished ones stay."
    )

    def __init__(self, add: Add, files: Sequence[File]) -> None:
        self.total = len(files)
        self.progress: Progress | None = None
        self.results: list[AddResult] = []
        super().__init__(lambda: self._add(add, files))

    def _add(self, add: Add, files: Sequence[File]) -> None:
        for event in add(files, self._cancelled.is_set):
            if isinstance(event, AddResult):
                self.results.append(event)
                self.progress = None
            else:
                self.progress = event


class IndexJob(Job):
    """One run of `Pipeline.build_index`, and then `built`, which lets the index answer."""

    unfinished = Notice(
        "Building the index stopped unexpectedly.",
        "Build it again; it goes on with the documents that are left.",
    )

    def __init__(self, build: Callable[[], Build], built: Callable[[], None]) -> None:
        self.progress: IndexProgress | None = None
        super().__init__(lambda: self._build(build, built))

    def _build(self, build: Callable[[], Build], built: Callable[[], None]) -> None:
        for progress in build()(self._cancelled.is_set):
            self.progress = progress
        if not self.cancelled:
            built()


class EvaluationJob(Job, Generic[Result]):
    """One run of an evaluation of the golden set `name`, and then `keep`, which puts it away.

    `result` is what it found, also where it was cancelled or could not be put away.
    """

    unfinished = Notice(
        "The evaluation stopped unexpectedly.", "Start it again; it goes on where it stopped."
    )

    def __init__(
        self,
        name: str,
        evaluate: Evaluate[Result],
        keep: Callable[[Result], None] = lambda result: None,
    ) -> None:
        self.name = name
        self.progress: Countable | None = None
        self.result: Result | None = None
        super().__init__(lambda: self._evaluate(evaluate, keep))

    def _evaluate(self, evaluate: Evaluate[Result], keep: Callable[[Result], None]) -> None:
        self.result = evaluate(self._report, self._cancelled.is_set)
        keep(self.result)

    def _report(self, progress: Countable) -> None:
        self.progress = progress
