"""A library out of a backup: unpacked beside its place, checked whole, and only then put there.

Nothing that a backup says is believed: names of another form than a library has are refused, so
are links, files of another size than was said, and more than the disk holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from rag.disk_space import says_full
from rag.errors import LibraryError
from rag.store.backup import (
    CHECKSUMS,
    CONTENTS,
    FORMAT,
    INSIDE,
    PIECE_BYTES,
    Contents,
    Report,
    check_room,
    no_room,
    sync_folder,
)
from rag.store.tables import DOCUMENTS

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_NAME = re.compile(rf"[a-z]+\.(toml|sha256)|{_PART}\.lance(/{_PART}){{2,3}}")
_LONGEST_LIST_BYTES = 256 * 1024 * 1024
_CONTENTS = TypeAdapter(Contents)
_DAMAGED_HINT = "Copy it again from where it was made, or take another backup."


def restore_backup(file: Path, home: Path, report: Report = lambda done, total: None) -> Contents:
    """Make the library in `home` that a backup holds; gives what was restored.

    `report` is told the bytes done and their total. Killed at any moment, `home` is whole or as
    empty as before. Raises LibraryError where `home` holds anything, where the backup is damaged,
    cut off, of a newer version or no backup at all, and where the disk lacks the space.
    """
    if home.exists() and any(entry.name != _unpacking(home).name for entry in _entries(home)):
        raise LibraryError(
            f"{home} is not empty, and a library is restored into an empty folder only.",
            "Name another folder: rag --home FOLDER restore FILE; or move that one away first.",
        )
    with _staging(home) as staging:
        contents = _unpacked(file, staging, report)
        _sync(staging)
        _put_in_place(staging, home)
    return contents


def _entries(home: Path) -> list[Path]:
    try:
        return list(home.iterdir())
    except OSError as error:
        raise _cannot_write(home, error) from None


def _unpacking(home: Path) -> Path:
    """The folder on the same disk in which a library for `home` is unpacked."""
    # What is mounted cannot be replaced by a folder that lies beside it.
    inside = home.is_mount() or (home.exists() and not os.access(home.parent, os.W_OK))
    return (home if inside else home.parent) / f".{home.name}.restore"


@contextmanager
def _staging(home: Path) -> Iterator[Path]:
    """An empty folder to unpack into, gone afterwards with what a killed restore left there."""
    around = _unpacking(home)
    try:
        around.mkdir(parents=True, exist_ok=True)
        lock = FileLock(around / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise LibraryError(f"{home} is being restored already.", "Wait until it is done.") from None
    except OSError as error:
        raise _cannot_write(home, error) from None
    try:
        staging = around / "library"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        yield staging
    except OSError as error:
        raise _cannot_write(home, error) from None
    finally:
        lock.release()
        shutil.rmtree(around, ignore_errors=True)


def _unpacked(file: Path, staging: Path, report: Report) -> Contents:
    """Unpack a backup into an empty folder and hold every file against its checksum."""
    sums = {}
    done = 0
    try:
        with tarfile.open(file, "r:") as archive:
            described = _bytes(archive, CONTENTS)
            contents = _read_contents(described, file)
            check_room(staging, contents.size)
            sums[CONTENTS] = hashlib.sha256(described).hexdigest()
            for name, size in contents.files.items():
                report(done, contents.size)
                sums[INSIDE + name] = _copied(archive, name, size, staging)
                done += size
            said = _bytes(archive, CHECKSUMS).decode()
    except FileNotFoundError:
        raise LibraryError(f"There is no file {file}.", "Correct the name.") from None
    except (tarfile.TarError, EOFError, UnicodeDecodeError):
        raise _damaged(file) from None
    except OSError as error:
        if says_full(error):
            raise no_room(staging, contents.size) from None
        raise LibraryError(
            f"{file} cannot be restored: {error.strerror or error}.", _DAMAGED_HINT
        ) from None
    if said != "".join(f"{digest}  {name}\n" for name, digest in sums.items()):
        raise _damaged(file)
    report(done, contents.size)
    return contents


def _next(archive: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    """The next member, where it is the plain file of that name."""
    member = archive.next()
    # `isreg` also holds for files with holes, which unpack to more than they take.
    if member is None or member.name != name or not member.isreg() or member.issparse():
        raise tarfile.ReadError(name)
    return member


def _bytes(archive: tarfile.TarFile, name: str) -> bytes:
    member = _next(archive, name)
    source = archive.extractfile(member)
    if source is None or member.size > _LONGEST_LIST_BYTES:
        raise tarfile.ReadError(name)
    return source.read()


def _copied(archive: tarfile.TarFile, name: str, size: int, staging: Path) -> str:
    """Unpack the next member, which must have this name and size; gives its SHA-256."""
    member = _next(archive, INSIDE + name)
    tarfile.data_filter(member, str(staging))
    source = archive.extractfile(member)
    if source is None or member.size != size:
        raise tarfile.ReadError(name)
    target = staging / name
    target.parent.mkdir(parents=True, exist_ok=True)
    sha256 = hashlib.sha256()
    with target.open("xb") as out:
        while content := source.read(PIECE_BYTES):
            sha256.update(content)
            out.write(content)
    return sha256.hexdigest()


def _read_contents(described: bytes, file: Path) -> Contents:
    """What a backup says it holds, where it may hold that."""
    try:
        values: Any = json.loads(described)
        if isinstance(values, dict) and values.get("format", 0) > FORMAT:
            raise LibraryError(
                f"{file} was made by a newer version of RankLens ({values.get('version')}).",
                "Update RankLens, then restore it.",
            )
        contents = _CONTENTS.validate_python(values)
    except (ValidationError, ValueError, TypeError):
        raise _damaged(file) from None
    if any(not _NAME.fullmatch(name) or size < 0 for name, size in contents.files.items()):
        raise LibraryError(
            f"{file} holds files that no library has, so nothing of it was restored.",
            "Restore backups from `rag backup` only.",
        )
    return contents


def _sync(folder: Path) -> None:
    """See to it that all files of a folder are on the disk."""
    for path, _, names in os.walk(folder):
        for name in names:
            with (Path(path) / name).open("rb+") as file:
                os.fsync(file.fileno())
        sync_folder(Path(path))


def _put_in_place(staging: Path, home: Path) -> None:
    if staging.parent.parent == home:
        # The documents come last: without them there is nothing to be seen.
        last = f"{DOCUMENTS}.lance"
        for entry in sorted(staging.iterdir(), key=lambda entry: (entry.name == last, entry.name)):
            entry.rename(home / entry.name)
        sync_folder(home)
        return
    if home.exists():
        home.rmdir()
    staging.rename(home)
    sync_folder(home.parent)


def _damaged(file: Path) -> LibraryError:
    return LibraryError(
        f"{file} is damaged, cut off or no backup, so nothing was restored.", _DAMAGED_HINT
    )


def _cannot_write(home: Path, error: OSError) -> LibraryError:
    return LibraryError(
        f"The library cannot be restored into {home}: {error.strerror or error}.",
        "Name another folder: rag --home FOLDER restore FILE",
    )
