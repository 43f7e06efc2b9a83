"""A library as it is at one moment, while others go on writing it.

LanceDB never changes a file: it writes new ones, and then a manifest that names those of the newest
version. So a moment is held by links to these, which takes no space, and nobody waits. It was one
moment where the newest manifests are the same before and after: what they name was there all along.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from rag.errors import LibraryError
from rag.settings import SETTINGS_FILE
from rag.store import layout, manifests
from rag.store.checksums import LEDGER, Ledger
from rag.store.failures import plain_words
from rag.store.locking import LibraryLock
from rag.store.tables import GOLDEN, MEASUREMENTS, QUESTIONS

_FOLDER = ".backup"
_LOCK = ".backup.lock"
# No other table promises that a row of these is there.
_ALONE = (QUESTIONS, GOLDEN, MEASUREMENTS)
_PATIENCE_SECONDS = 10.0


@contextmanager
def snapshot(home: Path) -> Iterator[Path]:
    """A folder inside `home` that holds the library of this moment, gone afterwards.

    It is a library itself: the newest version of every table, the settings and the checksums.
    Raises LibraryError where there is no library, where another snapshot is held, and where the
    library cannot be read.
    """
    if not layout.tables(home):
        raise LibraryError(
            f"There is no library in {home}.", "Name its folder: rag --home FOLDER backup FILE"
        )
    lock = FileLock(home / _LOCK)
    with plain_words(str(home)):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise LibraryError(
                "Another backup of this library is being made.", "Wait until it is done."
            ) from None
    folder = home / _FOLDER
    try:
        with plain_words(str(home)):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _hold_all(home, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def remove_left_behind(home: Path) -> None:
    """Remove what a killed backup left, unless one is being made just now."""
    folder = home / _FOLDER
    if folder.exists():
        with suppress(Timeout), FileLock(home / _LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


def _hold_all(home: Path, folder: Path) -> None:
    if not _held(home, folder):
        with LibraryLock(home).ingest():
            _held(home, folder)
    for table in _ALONE:
        _held(home, folder, table)
    with suppress(FileNotFoundError):
        shutil.copyfile(home / SETTINGS_FILE, folder / SETTINGS_FILE)
    with suppress(FileNotFoundError):
        shutil.copyfile(home / LEDGER, folder / LEDGER)
        ledger = Ledger(folder)
        held = {name for table in layout.tables(folder) for name in layout.files(folder, table)}
        ledger.forget(ledger.sums().keys() - held)


def _held(home: Path, folder: Path, alone: str = "") -> bool:
    """Whether one moment of a table, or of all that belong together, could be held in time.

    Documents, their pages, passages and indexes do: a row of one promises rows of the others.
    """
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        newest = _newest(home, alone)
        for manifest in newest:
            _hold_version(home, folder, manifest)
        if _newest(home, alone) == newest:
            break
        if time.monotonic() > end:
            return False
    if not alone:
        # An index that was removed meanwhile.
        for table in {*layout.tables(folder)} - {layout.table_of(name) for name in newest}:
            shutil.rmtree(folder / f"{table}{layout.SUFFIX}")
    return True


def _newest(home: Path, alone: str) -> list[str]:
    """The newest manifest of a table, or of each of those that belong together."""
    tables = [alone] if alone else [one for one in layout.tables(home) if one not in _ALONE]
    versions = [layout.manifests(layout.files(home, table)) for table in tables]
    return [newest_first[0] for newest_first in versions if newest_first]


def _hold_version(home: Path, folder: Path, manifest: str) -> None:
    """Hold the files of one version of a table, and nothing else of that table."""
    table = layout.table_of(manifest)
    try:
        content = (home / manifest).read_bytes()
    except FileNotFoundError:
        return
    needed = {manifest, *manifests.needed(content, table)}
    held = {*layout.files(folder, table)}
    for name in needed - held:
        with suppress(FileNotFoundError):
            _hold(home / name, folder / name)
    for name in held - needed:
        (folder / name).unlink()


def _hold(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        # This file system knows no links.
        shutil.copyfile(source, target)
