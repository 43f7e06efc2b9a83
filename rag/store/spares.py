"""Second copies of what is small and could not be made anew.

Of every table the newest manifest and what says which rows are gone: without them a table cannot
be read at all. Of the listing, the indexes and the golden questions all rows. A copy is not
flushed: what it is a copy of survives a power cut, and the copy is for a disk that forgets.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from shutil import copyfile

from rag.store import layout, manifests
from rag.store.tables import DOCUMENTS, GOLDEN, INDEXES

FOLDER = "spares"
KEPT_WHOLE = (DOCUMENTS, GOLDEN, INDEXES)


def keep(folder: Path, table: str, sealed: Collection[str]) -> None:
    """Copy what the newest version of a table needs, and remove older copies.

    A copy that cannot be made is left out: it is no reason to fail.
    """
    newest = next(iter(layout.manifests(sealed)), None)
    copies = folder / FOLDER
    with suppress(OSError, ValueError):
        wanted = set() if newest is None else {newest}
        if newest is not None:
            parts = {layout.DELETIONS, *([layout.DATA] if table in KEPT_WHOLE else [])}
            needed = manifests.needed((folder / newest).read_bytes(), table).keys() & set(sealed)
            wanted |= {name for name in needed if layout.part_of(name) in parts}
        present = set(layout.files(copies, table))
        for name in wanted - present:
            copy(folder / name, copies / name)
        for name in present - wanted:
            (copies / name).unlink(missing_ok=True)


def copy(source: Path, target: Path) -> None:
    """Copy a file, which has its name once it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}")
    try:
        copyfile(source, unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
