"""Takes what is damaged out of a library's tables, and leaves all rows that are right.

Damaged files are moved aside and never deleted. The caller holds the ingest lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from lancedb.expr import col, lit

from rag.errors import LibraryError
from rag.store import layout, manifests, spares
from rag.store.checksums import checksum_of
from rag.store.recovery import ADDRESS, Aside, addresses, drop_indexes, restore_copy, settle, within
from rag.store.search_indexes import ensure_indexes
from rag.store.tables import CHUNKS, Tables, matching, table_names, upsert
from rag.store.verifying import DamagedFile, readable, sound


class Repairs:
    """The repairs of one library; raises LibraryError for one at an address."""

    def __init__(self, tables: Tables) -> None:
        folder = tables.ledger.folder
        if folder is None:
            raise LibraryError(
                "A library at an address cannot be repaired from here.",
                "Restore it with what its provider offers.",
            )
        self._folder = folder
        self._tables = tables
        self._ledger = tables.ledger
        self._aside = Aside(folder)

    def files(self, damaged: Iterable[DamagedFile]) -> None:
        """Put right every damaged file: by its second copy, or by writing its rows anew.

        Rows that cannot be read, and rows that are not as they were written, are gone then.
        Raises OSError and what LanceDB raises where nothing can be written.
        """
        by_table: dict[str, list[str]] = {}
        for one in damaged:
            if one.name.startswith(f"{spares.FOLDER}/"):
                self._aside.move(one.name)
            elif not self._restored(one.name):
                by_table.setdefault(layout.table_of(one.name), []).append(one.name)
        names = table_names(self._tables.connection)
        for table, lost in by_table.items():
            if table in names:
                self._write_anew(self._tables.connection.open_table(table), set(lost))
                self._ledger.seal(table)
            for name in lost:
                self._aside.move(name)
            self._ledger.forget(lost)
        for table in names:
            self._ledger.seal(table)

    def rows(self, tables: Iterable[str]) -> None:
        """Write the rows of these tables anew, but those that cannot be read."""
        for name in tables:
            table = self._tables.connection.open_table(name)
            places = matching(table, [ADDRESS])[ADDRESS].to_pylist()
            for fragment in sorted({place >> 32 for place in places}):
                self._evacuate(table, fragment)
            self._ledger.seal(name)

    def drop_chunks(self, fingerprint: str, document_id: str) -> None:
        """Take a document out of one index."""
        table = self._tables.connection.open_table(CHUNKS + fingerprint)
        table.delete(col("document_id") == lit(document_id))

    def drop_original(self, document_id: str) -> None:
        """Take an original that is not what it was out of the library, and keep its bytes aside.

        One that cannot be read at all goes with the file it is in, see `files`.
        """
        where = col("id") == lit(document_id)
        try:
            found = matching(self._tables.originals, ["content"], where)
        except Exception:
            # Lance raises anything over damaged contents.
            return
        if found.num_rows:
            self._aside.keep(found, f"original-{document_id}.arrow")
            self._tables.originals.delete(where)

    def settle(self) -> None:
        """From now on nothing that was found so far is told any more."""
        settle(self._folder)

    def _restored(self, name: str) -> bool:
        """Whether a file is what it was: by its copy, or as the ledger alone is wrong."""
        if restore_copy(self._folder, name, self._ledger.sums(), self._aside):
            return True
        checksum = checksum_of(self._folder / name)
        if checksum and checksum == checksum_of(self._folder / spares.FOLDER / name):
            self._ledger.forget([name])
            return True
        return False

    def _write_anew(self, table: Any, lost: set[str]) -> None:
        """Let a table do without these files."""
        if any(layout.part_of(name) == layout.INDICES for name in lost):
            drop_indexes(table, lost)
            ensure_indexes(table)
        newest = layout.manifests(layout.files(self._folder, table.name))[0]
        fragments = manifests.fragments((self._folder / newest).read_bytes(), table.name)
        for fragment, files in fragments.items():
            if files & lost:
                self._evacuate(table, fragment)

    def _evacuate(self, table: Any, fragment: int) -> None:
        """Write the rows of a fragment that are right into a new one, and leave the old."""
        first, last = addresses(fragment)
        kept: list[pa.Table] = []
        for rows in readable(table, lambda done, total: None, first, last):
            if not isinstance(rows, int):
                right = pa.array([one is not False for one in sound(table.name, rows)])
                kept.append(rows.filter(right).drop_columns([ADDRESS]))
        good = pa.concat_tables(kept) if kept else None
        if good is not None and good.num_rows:
            try:
                # One commit takes them out of the old fragment and puts them into a new one.
                upsert(table).execute(good)
            except Exception:
                # It reads the old fragment, and Lance raises anything over damaged contents.
                self._aside.keep(good, f"{table.name}-{fragment}.arrow")
                table.delete(within(first, last))
                table.add(good)
        table.delete(within(first, last))
