"""Search indexes brought up to date, small files merged, old versions dropped."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from rag import log
from rag.fault_points import reached
from rag.store import manifests
from rag.store.checksums import Ledger, checksum_of
from rag.store.layout import SUFFIX, files
from rag.store.layout import manifests as versions
from rag.store.locking import committing, local_folder
from rag.store.removed_chunks import forget_removed, removed_chunks
from rag.store.search_indexes import OLD_VERSION, fold_in, worth_merging
from rag.store.tables import Tables

# Older than any version.
_NONE = timedelta(days=365 * 100)


def keep_up(uri: str, tables: Tables) -> None:
    """Bring the search indexes up to date and merge small files, where that pays.

    The caller holds the lock of ingest. Raises OSError and what LanceDB raises.
    """
    reached("store.upkeep.optimize")
    if fold_in(tables.chunks, removed_chunks(tables)):
        forget_removed(tables)
    reached("store.upkeep.merge")
    for table, fragments in (
        (tables.documents, 16),
        (tables.pages, 64),
        (tables.chunks, 64),
        (tables.originals, None),
    ):
        if worth_merging(table, bytes_on_disk(uri, table.name), fragments):
            with committing(uri):
                merge(table, tables.ledger)
        tables.ledger.seal(table.name)


def bytes_on_disk(uri: str, table: str = "") -> int:
    """Bytes on disk, older versions included, of a table or of all; 0 where it is remote."""
    folder = local_folder(uri)
    total = 0
    for path in [] if folder is None else (folder / f"{table}{SUFFIX if table else ''}").rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def merge(table: Any, ledger: Ledger) -> None:
    """Merge the small files of a table and drop versions that no query reads any more.

    The merged files are on the disk for good before what they replace goes, for the two are all
    there is of these rows. A table with a damaged file stays as it is: merging would give what is
    wrong in it a checksum of its own. Raises OSError and what LanceDB raises.
    """
    if changed := changed_files(table.name, ledger):
        log.event("damaged files not merged", table=table.name, files=len(changed))
        return
    table.optimize(cleanup_older_than=_NONE)
    ledger.seal(table.name)
    with ledger.tidying(table.name):
        table.optimize(cleanup_older_than=OLD_VERSION)


def changed_files(table: str, ledger: Ledger) -> list[str]:
    """The sealed files of a table's newest version that are not what they were; reads them all."""
    sums = ledger.sums(table)
    folder = ledger.folder
    if folder is None:
        return []
    newest = next(iter(versions(files(folder, table))), "")
    if not newest:
        return []
    needed = [newest, *manifests.needed((folder / newest).read_bytes(), table)]
    return [name for name in needed if name in sums and checksum_of(folder / name) != sums[name]]
