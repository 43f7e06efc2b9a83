"""Small valid files of every format, and what becomes of them when some bytes are changed."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


# One process reads them all, as the product's own reads one: confined, and event by event.
_READER = """
import json, sys, time
from rag.documents import child, refusals
from rag.documents.confinement import confine
from rag.documents.events import Refused, Source, from_line, to_line
confine(1_500_000_000, 3600)
unforeseen = []
said = refusals.crashed
def crashed(name):
    unforeseen.append(type(sys.exception()).__name__)
    return said(name)
refusals.crashed = crashed
read = sys.stdin.buffer.read
while head := read(8):
    name = read(int.from_bytes(head[:4], 'big')).decode()
    content = read(int.from_bytes(head[4:], 'big'))
    unforeseen.clear()
    started = time.monotonic()
    source = Source(content, name, 20_000_000, 200, 1)
    events = [from_line(to_line(event)) for event in child._guarded(source, 1_500_000_000)]
    last = events[-1]
    words = [last.message, last.hint] if isinstance(last, Refused) else []
    seconds = time.monotonic() - started
    print(json.dumps([type(last).__name__, words, unforeseen, seconds]), flush=True)
"""


@dataclass
class Outcomes:
    """What became of mutated files; `unforeseen` are the exceptions that no reader names."""

    files: int = 0
    read: int = 0
    refused: int = 0
    longest: float = 0.0
    unforeseen: Counter[str] = field(default_factory=Counter)
    # Whatever is neither text nor a refusal in words.
    wrong: list[str] = field(default_factory=list)

    def take(self, name: str, line: str) -> None:
        """Count one file by what the reader reported."""
        last, words, unforeseen, seconds = json.loads(line)
        self.files += 1
        self.longest = max(self.longest, seconds)
        self.unforeseen.update(f"{name}: {one}" for one in unforeseen)
        if last == "Finished":
            self.read += 1
        elif last == "Refused" and all(words) and words[0].startswith(name):
            self.refused += 1
        else:
            self.wrong.append(f"{name}: {line}")


def outcomes(count: int, seed: int, seconds: float = 60) -> Outcomes:
    """Read that many mutated files, formats in turn.

    Raises TimeoutExpired where they are not done in `seconds`, CalledProcessError where one of
    them ended the process.
    """
    draw, found = random.Random(seed), Outcomes()
    files = [*seeds().items()]
    names = [files[place % len(files)][0] for place in range(count)]
    sent = bytearray()
    for place, name in enumerate(names):
        content = mutated(files[place % len(files)][1], draw)
        sent += len(name).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        sent += name.encode() + content
    done = subprocess.run(
        [sys.executable, "-c", _READER],
        input=bytes(sent),
        capture_output=True,
        cwd=ROOT,
        check=True,
        timeout=seconds,
    )
    for name, line in zip(names, done.stdout.decode().splitlines(), strict=True):
        found.take(name, line)
    return found


def _saved(document: Any) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def _slides() -> bytes:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "检索 Recall"
    table = slide.shapes.add_table(1, 2, 0, 0, 9, 9).table
    table.cell(0, 0).text = "left"
    slide.notes_slide.notes_text_frame.text = "notes"
    return _saved(deck)


def _workbook() -> bytes:
    book = openpyxl.Workbook()
    book.active.append(["城市", "Price", 12.5, True, None])
    book.active["A2"].number_format = "0.0%"
    return _saved(book)


def _text() -> bytes:
    return opendocument(
        "<o:text xmlns:o='urn:o' xmlns:t='urn:t'><t:h t:outline-level='2'>标题</t:h>"
        "<t:p>text<t:tab/>more<t:line-break/></t:p></o:text>".encode()
    )


def _unpacked(content: bytes) -> bytes:
    """The same archive with its entries stored as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return buffer.getvalue()
