"""What was not read of a file is said where the file is listed: never a plain "added"."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from pypdf import PdfWriter
from reportlab.lib.pagesizes import A5
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from rag.ingest import File
from rag.types import AddResult
from tests.hostile_documents import GOOD, opendocument, pdf_with_pages
from tests.test_documents import pdf_of, word_with
from tests.test_pipeline import make

XXE = "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/hostname'>]>"


def protected(user: str) -> bytes:
    writer, buffer = PdfWriter(io.BytesIO(pdf_of("secret 秘密"))), io.BytesIO()
    writer.encrypt(user, "owner", algorithm="AES-256")
    writer.write(buffer)
    return buffer.getvalue()


def scanned(*texts: str) -> bytes:
    """A PDF with a page of text for every text, and one of an image for every empty one."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, A5)
    for text in texts:
        if text:
            canvas.drawString(40, 400, text)
        else:
            canvas.drawImage(ImageReader(Image.new("1", (8, 8))), 0, 0, 99, 99)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def word_with_entity() -> bytes:
    import zipfile

    source = io.BytesIO(word_with("<w:p><w:r><w:t>A&e;B</w:t></w:r></w:p>"))
    target = io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "word/document.xml":
                content = XXE.encode() + content[content.index(b"<w:document") :]
            new.writestr(name, content)
    return target.getvalue()


CASES = {
    "scan.pdf": (scanned("", ""), "failed", "no text: its pages are images"),
    "part-scan.pdf": (scanned("text", ""), "added", "1 of 2 pages has no text"),
    "locked.pdf": (protected("u"), "failed", "protected with a password"),
    "damaged.pdf": (
        pdf_with_pages(0, 1, 0, streams=[GOOD, b" " * 60_000_000]),
        "added",
        "2 of 3 pages were read: page 2 unpacks to more than is allowed",
    ),
    "cut.pdf": (pdf_of(*"12345")[:600], "failed", "damaged"),
    "entity.docx": (word_with_entity(), "added", "Some of its text was left out"),
    "entity.odt": (
        opendocument(f"{XXE}<text><p>A&e;B</p></text>".encode()),
        "added",
        "Some of its text was left out",
    ),
    "empty.docx": (word_with("<w:p/>"), "failed", "no text"),
}


def test_what_was_not_read_is_said(tmp_path: Path) -> None:
    pipeline = make(tmp_path)
    files = [File.holding(name, content) for name, (content, _, _) in CASES.items()]
    added = {event.name: event for event in pipeline.add(files) if isinstance(event, AddResult)}
    listed = {record.name: record for record in pipeline.store.documents()}
    for name, (_, outcome, said) in CASES.items():
        assert added[name].outcome == outcome, added[name]
        assert said in str(added[name]), name
        assert said in listed[name].message, name


def test_a_pdf_without_a_password_to_open_it_is_read(tmp_path: Path) -> None:
    events = make(tmp_path).add([File.holding("open.pdf", protected(""))])
    assert [e.outcome for e in events if isinstance(e, AddResult)] == ["added"]
