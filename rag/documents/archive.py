"""ZIP containers and the XML inside them, read within bounds."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

from rag.documents import refusals
from rag.documents.events import Remark, Source

if TYPE_CHECKING:
    from lxml import etree

_MOST_ENTRIES = 10_000
# Deflate cannot do better than about 1030; office files with long blank runs come near it, so the
# ratio condemns only what is also large.
_MOST_RATIO = 200
_LARGE_BYTES = 64_000_000
_STEP = 1 << 18

LEFT_OUT = Remark("Some of its text was left out: it stands in entities, which are not expanded.")


def open_archive(source: Source) -> zipfile.ZipFile:
    """The ZIP, once its directory says that it stays within the bounds.

    Raises Refusal for a damaged, a protected or an overgrown one.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(source.content))
        entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise refusals.broken(source.name, "a ZIP container") from error
    if any(entry.flag_bits & 1 for entry in entries):
        raise refusals.protected(source.name)
    size = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if (
        len(entries) > _MOST_ENTRIES
        or size > source.unpacked_bytes
        or (size > _LARGE_BYTES and size > _MOST_RATIO * max(packed, 1))
    ):
        raise refusals.unpacks_too_large(source.name)
    return archive


def check_entries(archive: zipfile.ZipFile, source: Source) -> None:
    """Unpack every XML entry once, step by step.

    A library unpacks an entry in one go, so an entry that is larger than the directory says would
    take all memory; here it ends in a failed checksum. Raises Refusal.
    """
    for entry in archive.infolist():
        if entry.filename.endswith((".xml", ".rels")):
            read_entry(archive, entry.filename, source, keep=False)


def read_entry(archive: zipfile.ZipFile, path: str, source: Source, *, keep: bool = True) -> bytes:
    """The bytes of one entry, unpacked in steps; empty when `keep` is false. Raises Refusal."""
    parts: list[bytes] = []
    try:
        with archive.open(path) as file:
            while part := file.read(_STEP):
                if keep:
                    parts.append(part)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OSError,
    ) as error:
        raise refusals.broken(source.name, "a ZIP container") from error
    return b"".join(parts)


def parse_xml(content: bytes, source: Source, title: str) -> etree._Element:
    """The root of an XML part; nothing is fetched and no entity is expanded. Raises Refusal."""
    from lxml import etree

    parser: Any = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, remove_pis=True
    )
    try:
        root: etree._Element = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise refusals.broken(source.name, title) from error
    return root


def refers_elsewhere(root: etree._Element) -> bool:
    """Whether text stands in entities, which are never expanded: it is left out."""
    from lxml import etree

    return next(root.iter(etree.Entity), None) is not None


def local_name(element: etree._Element) -> str:
    """The tag without its namespace; empty for comments and entities."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""
