"""How LanceDB lays a table out on the disk: what its files are called.

A table is a folder `<name>.lance`: a manifest a version in `_versions`, rows in `data`, which of
them are gone in `_deletions`, search indexes in `_indices`, and `_transactions`. A file gets its
name when it is complete and is never changed after that. Only `latest_version_hint.json` is
written anew with every version, and LanceDB finds the newest manifest without it.

Paths are relative to the library's folder, with slashes. tests/test_power_loss.py holds all of
this against the LanceDB that is installed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

SUFFIX = ".lance"
DATA = "data"
DELETIONS = "_deletions"
INDICES = "_indices"
_VERSIONS = "_versions"
_MANIFEST = ".manifest"
# A file that is not there, or that the disk does not give back any more.
GONE = (errno.ENOENT, errno.ENOTDIR, errno.EIO)
_HINT = "latest_version_hint.json"

# What a complete file ends in.
_ENDS = {".lance": b"LANC", _MANIFEST: b"LANC", ".arrow": b"ARROW1"}


def tables(folder: Path) -> list[str]:
    """The names of the tables that have a folder in the library."""
    return sorted(path.stem for path in folder.glob(f"*{SUFFIX}") if path.is_dir())


def table_of(name: str) -> str:
    """The table that a file belongs to."""
    return name.partition("/")[0].removesuffix(SUFFIX)


def part_of(name: str) -> str:
    """The part of a table that a file belongs to, such as `data`."""
    return name.split("/")[1]


def files(folder: Path, table: str) -> list[str]:
    """All files of a table that have their final name and content."""
    return sorted(_walk(folder / f"{table}{SUFFIX}", f"{table}{SUFFIX}"))


def is_manifest(name: str) -> bool:
    """Whether a file says what one version of its table is."""
    return part_of(name) == _VERSIONS and name.endswith(_MANIFEST)


def manifests(names: Collection[str]) -> list[str]:
    """The manifests among the files of one table, the newest first.

    LanceDB counts them downwards from the largest number of 64 bits.
    """
    return sorted(filter(is_manifest, names))


def looks_whole(path: Path, size: int = 0) -> bool:
    """Whether a file is there, has its end, and `size` bytes where they are known.

    Cheap, and true for no file that was cut short. Raises OSError where that cannot be told.
    """
    end = _ENDS.get(path.suffix, b"")
    try:
        with path.open("rb") as file:
            found = file.seek(0, os.SEEK_END)
            file.seek(max(0, found - len(end)))
            return found > 0 and size in {0, found} and (not end or file.read() == end)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return False


def _walk(folder: Path, name: str) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            inside = f"{name}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, inside)
            elif not (entry.name.startswith(".") or "#" in entry.name or entry.name == _HINT):
                yield inside
