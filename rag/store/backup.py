"""A whole library in one file: a tar archive that any other program can unpack and check, too.

    backup.json           what it holds: every file with its size, first in the archive
    library/...           the files
    SHA256SUMS            what `sha256sum --check` reads, last: without it the file was cut off

It is not compressed: vectors and the codes of tokens are most of a library, and hardly shrink.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from rag import __version__
from rag.disk_space import says_full
from rag.errors import LibraryError
from rag.store import layout
from rag.store.connecting import connected
from rag.store.failures import plain_words
from rag.store.snapshots import snapshot
from rag.store.tables import DOCUMENTS, QUESTIONS, matching

FORMAT = 1
CONTENTS = "backup.json"
CHECKSUMS = "SHA256SUMS"
INSIDE = "library/"
PIECE_BYTES = 1024 * 1024

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup holds: its files with their sizes in bytes, and what is in them."""

    format: int
    version: str
    made_at: str
    documents: int
    questions: int
    files: dict[str, int]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())


def write_backup(home: Path, file: Path, report: Report = lambda done, total: None) -> Contents:
    """Write the library in `home` to `file`, as it is at this moment; gives what was written.

    Others may read and write the library meanwhile. `report` is told the bytes done and their
    total. The file is there only once it is whole and on the disk. A document that is being added
    just now is not counted; restored, it says that adding was interrupted.
    Raises LibraryError where the file is there already or cannot be written, where the disk lacks
    the space, and where the library cannot be read.
    """
    if file.exists():
        raise LibraryError(f"{file} is there already.", "Name another file, or move it away.")
    with snapshot(home) as folder:
        contents = _contents(folder)
        with _finished(file, contents.size) as out:
            _write(folder, contents, out, report)
    return contents


def _contents(folder: Path) -> Contents:
    """What a snapshot holds; its files in order of their names."""
    rows = {}
    for table in layout.tables(folder):
        # Reading a column of a table shows that all its files are there.
        with plain_words(str(folder.parent), table):
            rows[table] = matching(connected(folder).open_table(table), ["id"]).num_rows
    paths = sorted(one for one in folder.rglob("*") if one.is_file() and one.name[0] != ".")
    return Contents(
        FORMAT,
        __version__,
        datetime.now(UTC).isoformat(timespec="seconds"),
        rows.get(DOCUMENTS, 0),
        rows.get(QUESTIONS, 0),
        {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths},
    )


def _write(folder: Path, contents: Contents, out: IO[bytes], report: Report) -> None:
    described = json.dumps(asdict(contents), ensure_ascii=False, indent=1).encode()
    sums = [f"{hashlib.sha256(described).hexdigest()}  {CONTENTS}\n"]
    done = 0
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(_member(CONTENTS, len(described)), io.BytesIO(described))
        for name, size in contents.files.items():
            report(done, contents.size)
            with _Hashed(folder / name, name) as file:
                archive.addfile(_member(INSIDE + name, size), file)
            sums.append(f"{file.sha256.hexdigest()}  {INSIDE}{name}\n")
            done += size
        summed = "".join(sums).encode()
        archive.addfile(_member(CHECKSUMS, len(summed)), io.BytesIO(summed))
    report(done, contents.size)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


class _Hashed(io.RawIOBase):
    """A file of the library; everything that is read of it is hashed on the way."""

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self.sha256 = hashlib.sha256()
        with self._said():
            self._file = path.open("rb")

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        with self._said():
            content = self._file.read(size)
        self.sha256.update(content)
        return content

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LibraryError(
                f"The library's file {self._name} cannot be read: {error.strerror or error}.",
                "Change its rights; or find out what is damaged: rag verify",
            ) from None


@contextmanager
def _finished(file: Path, size: int) -> Iterator[IO[bytes]]:
    """A file to write, which gets its name once it is whole and on the disk."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        check_room(file.absolute().parent, size)
        with unfinished.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(file)
        sync_folder(file.absolute().parent)
    except OSError as error:
        if says_full(error):
            raise no_room(file.absolute().parent, size) from None
        raise LibraryError(
            f"The backup cannot be written to {file}: {error.strerror or error}.",
            "Name a file in another folder, or change the rights of that one.",
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)


def check_room(folder: Path, size: int) -> None:
    """Raise LibraryError where the disk of a folder has less than `size` bytes free."""
    if shutil.disk_usage(folder).free < size:
        raise no_room(folder, size)


def no_room(folder: Path, size: int) -> LibraryError:
    """A disk without room, in words."""
    free = shutil.disk_usage(folder).free
    return LibraryError(
        f"The disk of {folder} has {free / 1e6:,.1f} MB left, and {size / 1e6:,.1f} MB are needed.",
        "Free some space, or name a folder on another disk.",
    )


def sync_folder(folder: Path) -> None:
    """See to it that the names in a folder are on the disk, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
