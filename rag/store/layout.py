"""How LanceDB lays a table out on the disk: what its files are, and which a version needs.

A table is a folder `<name>.lance`: a manifest a version in `_versions`, rows in `data`, which of
them are gone in `_deletions`, search indexes in `_indices`, and `_transactions`. A file gets its
name when it is complete and is never changed after that. Only `latest_version_hint.json` is
written anew with every version, and LanceDB finds the newest manifest without it.

Paths are relative to the library's folder, with slashes. tests/test_power_loss.py holds all of
this against the LanceDB that is installed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

SUFFIX = ".lance"
DATA = "data"
DELETIONS = "_deletions"
INDICES = "_indices"
_VERSIONS = "_versions"
_MANIFEST = ".manifest"
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


def looks_whole(path: Path) -> bool:
    """Whether a file is there and has an end: cheap, and true for no file that was cut short."""
    end = _ENDS.get(path.suffix, b"")
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(end)))
            return size > 0 and file.read() == end if end else size > 0
    except OSError:
        return False


def needed(manifest: bytes, names: Collection[str]) -> set[str]:
    """Those of a table's files that the version of this manifest reads."""
    return {name for name in names if (sign := _sign(name)) and sign in manifest}


def _sign(name: str) -> bytes:
    """How a manifest names a file; empty for files that no manifest names."""
    part, last = part_of(name), name.rpartition("/")[2]
    with suppress(ValueError, IndexError):
        if part == DATA:
            return last.encode()
        if part == DELETIONS:
            return _varint(int(last.partition(".")[0].split("-")[2]))
        if part == INDICES:
            return UUID(name.split("/")[2]).bytes
    return b""


def _varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


def _walk(folder: Path, name: str) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            inside = f"{name}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, inside)
            elif not (entry.name.startswith(".") or "#" in entry.name or entry.name == _HINT):
                yield inside
