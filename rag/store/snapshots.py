"""All files of a library as they were at one moment, while others go on writing it.

LanceDB never changes a file: it writes new ones, and a manifest that names those of the newest
version. So a moment is held by links to the files, which takes no space, and nobody waits. It was
one moment where no manifest came or went while the links were made: then the newest version was
the newest all along, and nothing that it names was cleaned away.
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
from rag.store.failures import plain_words
from rag.store.locking import LibraryLock
from rag.store.tables import GOLDEN, MEASUREMENTS, QUESTIONS

_FOLDER = ".backup"
_LOCK = ".backup.lock"
_TABLE = ".lance"
_VERSIONS = "_versions"
_MANIFEST = ".manifest"
# Tables whose rows name no row of another table that must be there.
_ALONE = (QUESTIONS, GOLDEN, MEASUREMENTS)
_PATIENCE_SECONDS = 10.0

_State = dict[str, frozenset[str]]


@contextmanager
def snapshot(home: Path) -> Iterator[Path]:
    """A folder inside `home` that holds the library of this moment, gone afterwards.

    Works while others read and write. Raises LibraryError where there is no library, where another
    snapshot is held, and where a file cannot be read.
    """
    if not _state(home):
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
    folder.mkdir()
    for table in _ALONE:
        if not _held(home, folder, table):
            raise LibraryError("The library changes too quickly to be copied.", "Try again.")
    # Documents, their pages, passages and indexes: a row of one promises rows of another.
    if not _held(home, folder):
        with LibraryLock(home).ingest():
            if not _held(home, folder):
                raise LibraryError("The library changes too quickly to be copied.", "Try again.")
    with suppress(FileNotFoundError):
        shutil.copyfile(home / SETTINGS_FILE, folder / SETTINGS_FILE)


def _held(home: Path, folder: Path, table: str = "") -> bool:
    """Whether one moment of a table, or of all that belong together, could be held in time."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        before = _state(home, table)
        for name in before:
            _link(home / name, folder / name)
        if _state(home, table) == before:
            break
        if time.monotonic() > end:
            return False
    # A table that was removed meanwhile.
    for name in _state(folder, table).keys() - before.keys():
        shutil.rmtree(folder / name)
    return True


def _state(home: Path, table: str = "") -> _State:
    """The manifests of a table, or of all that belong together, by the name of its folder."""
    found: _State = {}
    for path in home.glob(f"{table or '*'}{_TABLE}"):
        if table or path.name.removesuffix(_TABLE) not in _ALONE:
            with suppress(FileNotFoundError, NotADirectoryError):
                names = (entry.name for entry in os.scandir(path / _VERSIONS))
                manifests = frozenset(name for name in names if name.endswith(_MANIFEST))
                if manifests:
                    found[path.name] = manifests
    return found


def _link(source: Path, target: Path) -> None:
    """Hold every file of a table's folder that is not held yet; one that goes is passed over."""
    target.mkdir(exist_ok=True)
    with suppress(FileNotFoundError):
        for entry in os.scandir(source):
            there = target / entry.name
            if entry.is_dir():
                _link(Path(entry.path), there)
            elif source.name != _VERSIONS or entry.name.endswith(_MANIFEST):
                _hold(Path(entry.path), there)


def _hold(source: Path, target: Path) -> None:
    with suppress(FileNotFoundError):
        if target.exists() and target.stat().st_size == source.stat().st_size:
            return
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:
            # This file system knows no links.
            shutil.copyfile(source, target)
