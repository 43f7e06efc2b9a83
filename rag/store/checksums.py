"""Every file of the library's tables: on the disk for good, and known by its checksum.

LanceDB writes files and leaves it to the system when they reach the disk, so a power cut may take
what it had reported as written, and it reads what a disk gives back as it is. Sealing a table
closes both gaps: its new files are hashed and flushed, then their folders, then a line for each in
`checksums.sha256`, which `sha256sum --check` reads, too. What has a line survives a power cut.

A line that begins with `#` is no file: one names this ledger, others say that old versions of a
table are being removed just now, so that its files are not missed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from uuid import uuid4

from filelock import FileLock

from rag.fault_points import reached
from rag.store import layout, manifests, spares

LEDGER = "checksums.sha256"
_LOCK = ".checksums.lock"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_TIDYING = "# removing old versions of "
_BLOCK_BYTES = 1 << 20
# Flushes that wait together cost about as much as one.
_FLUSHES_AT_ONCE = 8


class Ledger:
    """The checksums of one library; without a folder it keeps none. For any number of threads."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._lock = None if folder is None else FileLock(folder / _LOCK)
        self._reading = RLock()
        self._head = b""
        self._read_to = 0
        self._sums: dict[str, str] = {}
        self._tidied: set[str] = set()

    def sums(self, *tables: str) -> dict[str, str]:
        """The checksum of every sealed file of these tables, or of all, by its path."""
        with self._reading:
            self._refresh()
            return {
                name: checksum
                for name, checksum in self._sums.items()
                if not tables or layout.table_of(name) in tables
            }

    def seal(self, *tables: str) -> None:
        """Make what these tables hold now survive a power cut. Raises OSError."""
        if self.folder is None:
            return
        known = self.sums(*tables)
        names = [name for table in tables for name in layout.files(self.folder, table)]
        fresh = [name for name in names if name not in known]
        if not fresh:
            return
        reached("store.checksums.flush")
        paths = [self.folder / name for name in fresh]
        with ThreadPoolExecutor(_FLUSHES_AT_ONCE) as flushing:
            checksums = list(flushing.map(_flushed, paths))
            above = {up for path in paths for up in path.parents}
            list(flushing.map(flush_folder, (up for up in above if up.is_relative_to(self.folder))))
        written = {name: made for name, made in zip(fresh, checksums, strict=True) if made}
        reached("store.checksums.append")
        self._append(f"{checksum}  {name}\n" for name, checksum in written.items())
        for table in tables:
            spares.keep(self.folder, table, self.sums(table))

    @contextmanager
    def tidying(self, table: str) -> Iterator[None]:
        """What is removed of a table meanwhile, or all of it, is not missed afterwards."""
        self._append([f"{_TIDYING}{table}\n"])
        try:
            yield
        finally:
            self.forget_removed(table)

    @property
    def tidied(self) -> set[str]:
        """The tables whose old versions are being removed, or were when a process was killed."""
        with self._reading:
            self._refresh()
            return set(self._tidied)

    def forget_removed(self, table: str) -> None:
        """Forget files of a table that are gone and that its newest version does not need."""
        if self.folder is None:
            return
        there = set(layout.files(self.folder, table))
        gone = self.sums(table).keys() - there
        newest = next(iter(layout.manifests(there)), None)
        if gone and newest:
            with suppress(ValueError, OSError):
                gone -= manifests.needed((self.folder / newest).read_bytes(), table).keys()
        self.forget(gone, table)

    def forget(self, names: Iterable[str], tidied: str = "") -> None:
        """Take files out, and a table out of those whose old versions are being removed."""
        if self.folder is None or self._lock is None:
            return
        with self._lock, self._reading:
            self._refresh()
            dropped = set(names)
            kept = {name: made for name, made in self._sums.items() if name not in dropped}
            marks = self._tidied - {tidied}
            if len(kept) == len(self._sums) and marks == self._tidied:
                return
            unfinished = self.folder / f".{LEDGER}"
            lines = [f"{_TIDYING}{table}\n" for table in sorted(marks)]
            lines += [f"{checksum}  {name}\n" for name, checksum in kept.items()]
            unfinished.write_bytes(_new_head() + "".join(lines).encode())
            _flushed(unfinished)
            unfinished.replace(self.folder / LEDGER)
            flush_folder(self.folder)

    def _append(self, lines: Iterable[str]) -> None:
        if self.folder is None or self._lock is None:
            return
        path = self.folder / LEDGER
        with self._lock:
            is_new = not path.exists()
            with path.open("ab+") as file:
                end = file.tell()
                torn = False
                if end:
                    file.seek(end - 1)
                    torn = file.read(1) != b"\n"
                head = _new_head() if not end else b"\n" if torn else b""
                file.write(head + "".join(lines).encode())
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                flush_folder(self.folder)

    def _refresh(self) -> None:
        """Read what was written since the last time, by whichever process."""
        if self.folder is None:
            return
        try:
            with (self.folder / LEDGER).open("rb") as file:
                head = file.readline()
                if head != self._head or file.seek(0, os.SEEK_END) < self._read_to:
                    self._head, self._read_to = head, 0
                    self._sums, self._tidied = {}, set()
                file.seek(self._read_to)
                text = file.read()
        except FileNotFoundError:
            self._head, self._read_to, self._sums, self._tidied = b"", 0, {}, set()
            return
        # A line may be half written just now.
        whole = text[: text.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.decode("utf-8", "replace").splitlines():
            if found := _LINE.fullmatch(line):
                self._sums[found[2]] = found[1]
            elif line.startswith(_TIDYING):
                self._tidied.add(line.removeprefix(_TIDYING))


def checksum_of(path: Path) -> str:
    """The SHA-256 of a file's content in hexadecimal; empty where it cannot be had.

    Raises OSError where that cannot be told, as with too many open files.
    """
    try:
        with path.open("rb") as file:
            return _hashed(file.fileno())
    except OSError as error:
        if error.errno not in layout.GONE:
            raise
        return ""


def flush_folder(folder: Path) -> None:
    """Let the names in a folder survive a power cut; Windows does so by itself."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _flushed(path: Path) -> str:
    """Flush a file to the disk; gives its checksum, empty where it is gone meanwhile."""
    # Windows flushes only what is open for writing.
    try:
        with path.open("rb" if os.name == "posix" else "rb+") as file:
            os.fsync(file.fileno())
            return _hashed(file.fileno())
    except FileNotFoundError:
        return ""


def _hashed(handle: int) -> str:
    digest = hashlib.sha256()
    while block := os.read(handle, _BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _new_head() -> bytes:
    return f"# RankLens {uuid4().hex}\n".encode()
