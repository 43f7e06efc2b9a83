"""Small valid files of every format, and what becomes of them when some bytes are changed."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pptx

from tests.hostile_documents import GOOD, opendocument, pdf_with_pages
from tests.test_documents import pdf_of, word_of

ROOT = Path(__file__).parents[1]
# What a broken file may contain where a parser expects something else.
_TOKENS = (
    *(b"\0", b"\xff", b"\xff\xfe", b"<", b">", b"</", b"&", b"&#x110000;", b"%", b"'", b'"'),
    *(b"<<", b">>", b"[", b"]", b"(", b"obj", b"endobj", b"stream", b"R", b"/Kids", b"/Length"),
    *(b"-1", b"0", b"9" * 20, b"1e999", b"NaN", b"{", b"}", b"\\", b"\\u-70000?", b"\\bin99999 "),
    *(b"PK\x03\x04", b"PK\x01\x02", b"\r\n", b"|", b"```", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
)


def seeds() -> dict[str, bytes]:
    """One file a format, some with an archive that is not packed, so that changes reach its XML."""
    html = (
        '<html><head><meta charset="utf-8"><title>标题</title></head><body><h1>Title</h1>'
        "<ul><li>one</li></ul><table><tr><td>a</td><td>b</td></tr></table><pre>c</pre></body></html>"
    )
    office = {"a.docx": word_of(), "a.pptx": _slides(), "a.xlsx": _workbook(), "a.odt": _text()}
    return {
        "a.pdf": pdf_of("第一页 one", "第二页 two"),
        "b.pdf": pdf_with_pages(0, 0, streams=[GOOD]),
        "a.html": html.encode(),
        "a.md": "# 标题\n\nTitle\n====\n\n```\ncode\n```\n\n- item\n".encode(),
        "a.csv": '城市,City\n北京,"Bei,\njing"\n'.encode(),
        "a.txt": "检索 and recall, 重排 and rerank".encode("gb18030"),
        "a.rtf": rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}} Rich {\b text} \u26816?\u32034?.\par}",
        **office,
        **{name.replace("a.", "unpacked."): _unpacked(content) for name, content in office.items()},
    }


def mutated(content: bytes, draw: random.Random) -> bytes:
    """The content with one to eight changes: bits, bytes, pieces lost, doubled, moved or put in."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        place = draw.randrange(len(data) + 1)
        length = draw.choice((1, 2, 8, 64, 512))
        match draw.randrange(7):
            case 0 if place < len(data):
                data[place] ^= 1 << draw.randrange(8)
            case 1:
                data[place : place + length] = draw.randbytes(length)
            case 2:
                del data[place : place + length]
            case 3:
                data[place:place] = data[place : place + length] * draw.choice((1, 2, 50))
            case 4:
                data[place:place] = draw.choice(_TOKENS)
            case 5:
                other = draw.randrange(len(data) + 1)
                data[place : place + length] = data[other : other + length]
            case _:
                data = data[: max(place, len(data) // 4)] if draw.random() < 0.2 else data
    return bytes(data)


# One process reads them all, as the product's own does one: confined, and event by event.
_READER = """
import json, struct, sys, time
from rag.documents import child
from rag.documents.confinement import confine
from rag.documents.events import PageText, Refused, Source
confine(1_500_000_000, 3600)
passed = []
caught = child.refusals.crashed
child.refusals.crashed = lambda name: passed.append(repr(sys.exception())) or caught(name)
read, write = sys.stdin.buffer, sys.stdout
while head := read.read(8):
    name = read.read(int.from_bytes(head[:4], 'big')).decode()
    content = read.read(int.from_bytes(head[4:], 'big'))
    passed.clear()
    started = time.monotonic()
    events = list(child._guarded(Source(content, name, 20_000_000, 200, 1), 1_500_000_000))
    kinds = [type(event).__name__ for event in events]
    last = events[-1]
    said = [last.message, last.hint] if isinstance(last, Refused) else []
    write.write(json.dumps([kinds, said, passed, time.monotonic() - started]) + '\\n')
    write.flush()
"""
