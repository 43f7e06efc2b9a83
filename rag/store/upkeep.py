"""Merging a table's small files and dropping its old versions, whatever happens meanwhile."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rag import log
from rag.store import manifests
from rag.store.checksums import Ledger, checksum_of
from rag.store.layout import files
from rag.store.layout import manifests as versions
from rag.store.search_indexes import OLD_VERSION

# Older than any version.
_NONE = timedelta(days=365 * 100)


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
