"""Which files one version of a table needs, as its manifest says.

A manifest is a message of Lance's table format (`table.proto`, format 2) behind its length; the
last 16 bytes of the file say where it begins. Only the few fields that name files are read.
tests/test_power_loss.py holds this against the LanceDB that is installed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from uuid import UUID

from rag.store.layout import DATA, DELETIONS, INDICES, SUFFIX

_TAIL = struct.Struct("<Q2H4s")
_FORMAT = [0, 2]
_LENGTH = struct.Struct("<I")
_FRAGMENTS, _INDEXES = 2, 6
_DELETION_SUFFIXES = {0: "arrow", 1: "bin"}

_Value = int | bytes


def needed(manifest: bytes, table: str) -> dict[str, int]:
    """The files of a version by their path in the library, with their bytes; 0 where unknown.

    Raises ValueError for what is no complete manifest, and for a later format.
    """
    try:
        begin, *version, magic = _TAIL.unpack(manifest[-_TAIL.size :])
        if (version, magic) != (_FORMAT, b"LANC"):
            raise ValueError("not a manifest of a format that is known here")
        return dict(_files(manifest, begin, f"{table}{SUFFIX}"))
    except (IndexError, KeyError, TypeError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"not a manifest: {error}") from error


def fragments(manifest: bytes, table: str) -> dict[int, set[str]]:
    """The data and deletion files of each fragment: rows whose addresses begin with its number.

    Raises ValueError for what is no complete manifest.
    """
    needed(manifest, table)
    begin = _TAIL.unpack(manifest[-_TAIL.size :])[0]
    return {
        _number(dict(_fields(value)).get(1, 0)): {
            name for name, _ in _of_fragment(value, f"{table}{SUFFIX}")
        }
        for field, value in _fields(_message(manifest, begin))
        if field == _FRAGMENTS
    }


def _files(manifest: bytes, begin: int, folder: str) -> Iterator[tuple[str, int]]:
    for field, value in _fields(_message(manifest, begin)):
        if field == _FRAGMENTS and isinstance(value, bytes):
            yield from _of_fragment(value, folder)
        elif field == _INDEXES and isinstance(value, int):
            for _, index in _fields(_message(manifest, value)):
                yield from _of_index(index, folder)


def _of_fragment(fragment: _Value, folder: str) -> Iterator[tuple[str, int]]:
    number: _Value = 0
    for field, value in _fields(fragment):
        if field == 1:
            number = value
        elif field == 2:
            file = dict(_fields(value))
            yield f"{folder}/{DATA}/{_text(file[1])}", _number(file.get(6, 0))
        elif field == 3:
            deleted = dict(_fields(value))
            suffix = _DELETION_SUFFIXES[_number(deleted.get(1, 0))]
            name = f"{number!r}-{deleted.get(2, 0)!r}-{deleted.get(3, 0)!r}.{suffix}"
            yield f"{folder}/{DELETIONS}/{name}", 0


def _of_index(index: _Value, folder: str) -> Iterator[tuple[str, int]]:
    name = ""
    for field, value in _fields(index):
        if field == 1:
            uuid = dict(_fields(value))[1]
            name = str(UUID(bytes=uuid if isinstance(uuid, bytes) else b""))
        elif field == 10:
            file = dict(_fields(value))
            yield f"{folder}/{INDICES}/{name}/{_text(file[1])}", _number(file.get(2, 0))


def _message(content: bytes, begin: int) -> bytes:
    (length,) = _LENGTH.unpack_from(content, begin)
    message = content[begin + _LENGTH.size :][:length]
    if len(message) != length:
        raise ValueError("a message is cut off")
    return message


def _fields(message: _Value) -> Iterator[tuple[int, _Value]]:
    """The fields of a protobuf message by their numbers."""
    if isinstance(message, int):
        raise TypeError("a number where a message is expected")
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in {1, 5}:
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("no such kind of field")
        if at + length > len(message):
            raise ValueError("a field is cut off")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number, and where the next field begins."""
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def _text(value: _Value) -> str:
    if isinstance(value, int):
        raise TypeError("a number where a name is expected")
    return value.decode()


def _number(value: _Value) -> int:
    if isinstance(value, bytes):
        raise TypeError("a text where a number is expected")
    return value
