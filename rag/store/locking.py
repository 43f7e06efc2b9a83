"""One writer at a time, across threads and processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_SETUP = ".setup.lock"
_INGEST = ".ingest.lock"
_COMMIT = ".commit.lock"
_POLL_SECONDS = 0.005


class LibraryLock:
    """The locks in a library's folder; without a folder every lock is free at once.

    The operating system releases a lock when its process dies.
    """

    def __init__(self, folder: Path | None) -> None:
        self._setup = None if folder is None else FileLock(folder / _SETUP)
        self._ingest = None if folder is None else FileLock(folder / _INGEST)

    @property
    def present(self) -> bool:
        """Whether there is a lock at all."""
        return self._ingest is not None

    @property
    def held(self) -> bool:
        """Whether this thread holds the ingest lock."""
        return self._ingest is not None and self._ingest.is_locked

    @contextmanager
    def setup(self) -> Iterator[None]:
        """Held while tables and indexes are made."""
        if self._setup is None:
            yield
            return
        with self._setup:
            yield

    @contextmanager
    def ingest(self, wait: float = -1) -> Iterator[bool]:
        """The ingest lock; False where it could not be had in `wait` seconds, -1 for any time.

        The same thread may take it again.
        """
        if self._ingest is None:
            yield True
            return
        try:
            self._ingest.acquire(timeout=wait)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            self._ingest.release()


def local_folder(uri: str) -> Path | None:
    """The folder of a library on this machine, or None for one at an address."""
    return None if "://" in uri else Path(uri)


@contextmanager
def committing(uri: str) -> Iterator[None]:
    """Held while rows are read and written that anybody may write; not to be taken twice.

    LanceDB gives up where many write one table at once, and loses what one of them wrote where two
    read a row and then write it.
    """
    folder = local_folder(uri)
    if folder is None:
        yield
        return
    with FileLock(folder / _COMMIT).acquire(poll_interval=_POLL_SECONDS):
        yield
