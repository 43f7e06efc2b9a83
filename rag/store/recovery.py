"""What is done at the start about files that a power cut or a failing disk has damaged.

A damaged file is moved into `damaged/`, never deleted, and its table goes on with what is whole:
with a second copy of the file, else with the version before, else without the rows of that file.
Looking is cheap: the newest version of each table, the ends of the files it needs, and checksums
where files are small. `rag verify` reads everything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from rag import log
from rag.store import layout, manifests, spares
from rag.store.checksums import Ledger, checksum_of
from rag.store.connecting import connected
from rag.store.failures import plain_words
from rag.store.locking import LibraryLock, local_folder
from rag.store.tables import matching
from rag.types import Notice

DAMAGED = "damaged"
# What LanceDB calls the place of a row: the number of its fragment, then that within it.
ADDRESS = "_rowaddr"
_TOLD = "what-happened.jsonl"
_SETTLED = "settled"
_PATIENCE_SECONDS = 10.0

Outcome = Literal["copy", "old", "index", "before", "rows", "anew"]

# What became of a table, in words; the first three lose nothing.
_OUTCOMES: dict[Outcome, str] = {
    "copy": "A second copy is in its place, so nothing is lost.",
    "old": "It belonged to an older version, so nothing is lost.",
    "index": "It belonged to a search index, which is made anew.",
    "before": "The version before is in use; what was written last is lost.",
    "rows": "The rows it held are lost; all others are there.",
    "anew": "No version of it can be read, so an empty one is in its place.",
}


@dataclass(frozen=True, slots=True)
class Mended:
    """A damaged file and what the library goes on with; `name` is its path in the library."""

    name: str
    outcome: Outcome

    @property
    def table(self) -> str:
        """The table the file belonged to."""
        return layout.table_of(self.name)

    @property
    def loses(self) -> bool:
        """Whether rows are lost with it."""
        return self.outcome in {"before", "rows", "anew"}

    def __str__(self) -> str:
        return f"{self.name} was damaged. {_OUTCOMES[self.outcome]}"


class Aside:
    """Where the damaged files of one occasion go; the folder is made for the first of them."""

    def __init__(self, folder: Path) -> None:
        self._library = folder
        when = datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S-%f")
        self.folder = folder / DAMAGED / when

    def move(self, name: str) -> None:
        """Move a file or folder of the library there; one that is gone is passed over."""
        source, target = self._library / name, self.folder / name
        if source.exists():
            # Of a table that is left in the end, single files are there before.
            while target.exists():
                target = target.with_name(f"{target.name}-again")
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)

    def keep(self, rows: pa.Table, name: str) -> None:
        """Keep rows beside the files; for good before they are taken out of their table."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / name).open("wb") as file, pa.ipc.new_file(file, rows.schema) as out:
            out.write_table(rows)
            out.close()
            file.flush()
            os.fsync(file.fileno())

    def tell(self, mended: list[Mended]) -> list[Mended]:
        """Keep what is to be told beside the files; for good before anything is moved."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _TOLD).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(one) | {"said": str(one)}) + "\n" for one in mended)
            file.flush()
            os.fsync(file.fileno())
        return mended


def told(folder: Path) -> list[Mended]:
    """What was found damaged at a start and is not settled yet, the oldest first."""
    found = []
    for path in sorted((folder / DAMAGED).glob(f"*/{_TOLD}")):
        if not path.with_name(_SETTLED).exists():
            # The last line of a process that was killed may be cut off.
            for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
                kept = json.loads(line)
                found.append(Mended(kept["name"], kept["outcome"]))
    return found


def notice(folder: Path | None) -> Notice | None:
    """What was found damaged and is not settled yet, in words."""
    found = [] if folder is None else told(folder)
    if not found:
        return None
    by_outcome: dict[Outcome, list[str]] = {}
    for one in found:
        tables = by_outcome.setdefault(one.outcome, [])
        if one.table not in tables:
            tables.append(one.table)
    said = [f"{', '.join(tables)}: {_OUTCOMES[outcome]}" for outcome, tables in by_outcome.items()]
    return Notice(
        " ".join(["Files of the library were damaged.", *said]),
        f"They are kept in the folder {DAMAGED} of the library. See what it concerns with: "
        "rag verify. Mend it with: rag repair",
    )


def settle(folder: Path) -> None:
    """From now on nothing of what was found so far is told any more."""
    for path in (folder / DAMAGED).glob(f"*/{_TOLD}"):
        path.with_name(_SETTLED).touch()


def recover(lock: LibraryLock, ledger: Ledger, connection: Any, *, reads_all: bool = False) -> None:
    """Mend what is damaged before a library is opened; as a rule nothing is.

    With `reads_all` every file that the newest versions need is held against its checksum.
    Where another process adds a document for long, it is left for the next start.
    Raises OSError, and what LanceDB raises where a table cannot be written.
    """
    folder = ledger.folder
    if folder is None:
        return
    files = _Files(folder, ledger, connection, reads_all)
    if not files.damaged():
        return
    with lock.ingest(wait=_PATIENCE_SECONDS) as locked:
        if locked:
            for one in files.mended():
                log.event("damaged file moved aside", file=one.name, outcome=one.outcome)


def recover_unopened(uri: str | Path) -> None:
    """Mend a library that cannot be opened although its files have their ends.

    Raises LibraryError where it can be neither read nor written.
    """
    folder = local_folder(str(uri))
    with plain_words(str(uri)):
        recover(LibraryLock(folder), Ledger(folder), connected(uri), reads_all=True)


@dataclass(frozen=True, slots=True)
class _Problem:
    """A manifest that is not whole, or files that are not and that the newest version needs."""

    manifest: str
    needed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of a library.

    With `reads_all` every file that the newest versions need is held against its checksum.
    """

    folder: Path
    ledger: Ledger
    connection: Any
    reads_all: bool

    def damaged(self) -> bool:
        """Whether any table has something wrong with it."""
        return any(self.problem(table) is not None for table in self._tables())

    def mended(self) -> list[Mended]:
        """Mend all tables. The caller keeps all others from writing documents."""
        aside = Aside(self.folder)
        done: list[Mended] = []
        for table in self.ledger.tidied:
            self.ledger.forget_removed(table)
        for table in self._tables():
            before = None
            while problem := self.problem(table):
                mender = _Mender(self, table, aside)
                # What a first attempt left as it was, no second one mends.
                done += mender.make_anew() if problem == before else mender.mend(problem)
                before = problem
        return done

    def problem(self, table: str) -> _Problem | None:
        """The first thing that is wrong with a table."""
        sums = self.ledger.sums(table)
        there = set(layout.files(self.folder, table))
        if table in self.ledger.tidied and not there:
            return None
        versions = layout.manifests(there | sums.keys())
        for manifest in versions:
            right = manifest not in there or layout.looks_whole(self.folder / manifest)
            if manifest == versions[0]:
                right = right and self._as_sealed(manifest, sums)
            if not right:
                return _Problem(manifest)
        if not versions:
            return None
        lacking = self.lacking(versions[0], sums)
        if lacking:
            return _Problem(versions[0], lacking)
        # Of a table that was never sealed nothing says how much would be lost: opening tells more.
        if sums and versions[0] not in sums and not self._opens(table):
            return _Problem(versions[0])
        return None

    def lacking(self, manifest: str, sums: dict[str, str]) -> tuple[str, ...] | None:
        """The files that a version needs and that are not whole; None where nothing tells."""
        table = layout.table_of(manifest)
        reads = self.reads_all or table in spares.KEPT_WHOLE
        try:
            needed = manifests.needed((self.folder / manifest).read_bytes(), table)
        except (FileNotFoundError, ValueError):
            return None
        return tuple(
            sorted(
                name
                for name, size in needed.items()
                if not layout.looks_whole(self.folder / name, size)
                or (reads and not self._as_sealed(name, sums))
            )
        )

    def _tables(self) -> list[str]:
        return sorted({*layout.tables(self.folder), *map(layout.table_of, self.ledger.sums())})

    def _as_sealed(self, name: str, sums: dict[str, str]) -> bool:
        """Whether a file has the checksum it was sealed with, if it was.

        One that is the same as its second copy is right, and the line in the ledger is not.
        """
        if name not in sums:
            return True
        checksum = checksum_of(self.folder / name)
        return checksum == sums[name] or (
            checksum != "" and checksum == checksum_of(self.folder / spares.FOLDER / name)
        )

    def _opens(self, table: str) -> bool:
        """Whether a table whose newest version was never sealed can be read."""
        try:
            opened = self.connection.open_table(table)
            if table in spares.KEPT_WHOLE:
                matching(opened, opened.schema.names)
        except Exception:
            # What Lance raises over damaged contents is of any kind; a panic is one of its own.
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Mender:
    """One step of mending one table."""

    files: _Files
    table: str
    aside: Aside

    def mend(self, problem: _Problem) -> list[Mended]:
        """Go on with the best there is."""
        folder, sums = self.files.folder, self.files.ledger.sums(self.table)
        there = layout.files(folder, self.table)
        newest, *older = layout.manifests({*there, *sums})
        names = problem.needed or (problem.manifest,)
        if copied := [one for one in names if restore_copy(folder, one, sums, self.aside)]:
            return self.aside.tell([Mended(name, "copy") for name in copied])
        if not problem.needed:
            if problem.manifest != newest:
                return self._without(names, "old")
            return self._without(names, "before") if older else self.make_anew()
        if all(layout.part_of(name) == layout.INDICES for name in names):
            mended = self._without(names, "index")
            drop_indexes(self.files.connection.open_table(self.table), names)
            return mended
        if self._version_before([newest, *older], sums):
            # What the version before needs, too, is its problem next.
            still = self.files.lacking(older[0], sums) or ()
            gone = [name for name in names if name not in still]
            return self._without([newest, *gone], "before")
        if any(layout.part_of(name) == layout.DELETIONS for name in names):
            return self.make_anew()
        mended = self._without(names, "rows")
        self._drop_rows(newest, set(names))
        return mended

    def _drop_rows(self, manifest: str, lost: set[str]) -> None:
        """Take the rows that these files held out of the table."""
        content = (self.files.folder / manifest).read_bytes()
        table = self.files.connection.open_table(self.table)
        for number, files in manifests.fragments(content, self.table).items():
            if files & lost:
                table.delete(within(*addresses(number)))

    def make_anew(self) -> list[Mended]:
        """Leave the whole table; who opens the library makes an empty one."""
        name = f"{self.table}{layout.SUFFIX}"
        mended = self.aside.tell([Mended(name, "anew")])
        self.aside.move(name)
        self.files.ledger.forget(self.files.ledger.sums(self.table))
        return mended

    def _without(self, names: Iterable[str], outcome: Outcome) -> list[Mended]:
        mended = self.aside.tell([Mended(name, outcome) for name in names])
        for one in mended:
            self.aside.move(one.name)
        self.files.ledger.forget(one.name for one in mended)
        return mended

    def _version_before(self, versions: list[str], sums: dict[str, str]) -> bool:
        """Whether leaving the newest version leads to a whole one and loses only what it added.

        Versions that were never sealed were never reported as written either: all of them may go.
        """
        newest, *older = versions
        may_go = 1
        if newest not in sums and any(manifest in sums for manifest in older):
            may_go = next(place for place, manifest in enumerate(versions) if manifest in sums)
        return any(self.files.lacking(manifest, sums) == () for manifest in older[:may_go])


def restore_copy(folder: Path, name: str, sums: dict[str, str], aside: Aside) -> bool:
    """Put the second copy of a file in its place, where there is one with the right checksum."""
    copy = folder / spares.FOLDER / name
    if name not in sums or checksum_of(copy) != sums[name]:
        return False
    aside.move(name)
    spares.copy(copy, folder / name)
    return True


def drop_indexes(table: Any, names: Iterable[str]) -> None:
    """Drop the search indexes that these files belonged to; who opens the table makes them anew."""
    lost = {name.split("/")[2] for name in names if layout.part_of(name) == layout.INDICES}
    for index in table.list_indices():
        if index.index_uuid in lost:
            table.drop_index(index.name)


def addresses(fragment: int) -> tuple[int, int]:
    """The first and the last address that rows of a fragment can have."""
    return fragment << 32, (fragment + 1 << 32) - 1


def within(first: int, last: int) -> str:
    """The expression for the rows of these addresses."""
    return f"{ADDRESS} >= {first} AND {ADDRESS} <= {last}"
