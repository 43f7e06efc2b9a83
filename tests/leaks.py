"""Looks for a key in all that came out, in every form in which a program may have written it."""

from __future__ import annotations

import base64
import html
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

# With every character that is written differently somewhere.
KEYS = {
    "chat": "sk-chat/canary+11=Q&x<7>",
    "rerank": "sk-rerank/canary+22=Q&x<7>",
    "embedding": "sk-embedding/canary+33=Q&x<7>",
}


def written_forms(key: str) -> set[bytes]:
    """The key as it is, for addresses, for JSON, HTML and XML, reversed, and in base64."""
    texts = {
        key,
        quote(key),
        quote(key, safe=""),
        quote_plus(key),
        html.escape(key),
        json.dumps(key)[1:-1],
        json.dumps(key)[1:-1].replace("/", "\\/"),
        key[::-1],
        key.encode().hex(),
        # The beginning or the end of a key is enough to guess at its owner.
        key[:14],
        key[-10:],
    }
    forms = {text.encode() for text in texts}
    for lead in (b"", b"k", b"ke", b"Bearer ", b'"'):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            coded = encode(lead + key.encode())
            first = (len(lead) * 8 + 5) // 6
            forms.add(coded.rstrip(b"=")[first:-1])
    return forms


def leaks(places: Mapping[str, str | bytes]) -> list[str]:
    """The places that hold a key, each with which key it is."""
    found = []
    for place, content in places.items():
        data = content.encode("utf-8", "replace") if isinstance(content, str) else content
        found += [
            f"{name} key in {place}"
            for name, key in KEYS.items()
            if any(form in data for form in written_forms(key))
        ]
    return found


def files_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """All files of a folder with their contents; what is compressed in them unpacked as well."""
    for path in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError):
            if path.is_file():
                data = path.read_bytes()
                yield str(path.relative_to(folder)), data + b"\n" + b"\n".join(_unpacked(data))


def _unpacked(data: bytes) -> Iterator[bytes]:
    start = -1
    while (start := data.find(b"\x78\x9c", start + 1)) >= 0:
        with suppress(zlib.error):
            yield zlib.decompressobj().decompress(data[start:], 10_000_000)
