"""The formats that can be read: suffix -> reader, and bytes -> format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from rag.documents import refusals
from rag.documents.archive import open_archive, read_entry
from rag.documents.encodings import is_utf8
from rag.documents.events import Event, Source
from rag.documents.html import read_html
from rag.documents.opendocument import read_opendocument
from rag.documents.pdf import read_pdf
from rag.documents.rtf import read_rtf
from rag.documents.sheets import read_sheets
from rag.documents.slides import read_slides
from rag.documents.text import read_markdown, read_table, read_text
from rag.documents.word import read_word

Reader = Callable[[Source], Iterator[Event]]


@dataclass(frozen=True, slots=True)
class Format:
    """A format: what it is called, what its files are named, and who reads it.

    `resumes` is whether the reader can start at any page and takes a bounded time for each.
    """

    title: str
    media_type: str
    suffixes: tuple[str, ...]
    read: Reader
    resumes: bool = False


_OFFICE = "application/vnd.openxmlformats-officedocument."
FORMATS: dict[str, Format] = {
    "pdf": Format("a PDF", "application/pdf", (".pdf",), read_pdf, resumes=True),
    "docx": Format(
        "a Word document (DOCX)",
        _OFFICE + "wordprocessingml.document",
        (".docx", ".docm", ".dotx"),
        read_word,
    ),
    "pptx": Format(
        "a presentation (PPTX)", _OFFICE + "presentationml.presentation", (".pptx",), read_slides
    ),
    "xlsx": Format(
        "a workbook (XLSX)", _OFFICE + "spreadsheetml.sheet", (".xlsx", ".xlsm"), read_sheets
    ),
    "odt": Format(
        "an OpenDocument text (ODT)",
        "application/vnd.oasis.opendocument.text",
        (".odt",),
        read_opendocument,
    ),
    "rtf": Format("an RTF document", "application/rtf", (".rtf",), read_rtf),
    "html": Format("a web page", "text/html", (".html", ".htm", ".xhtml"), read_html),
    "markdown": Format("Markdown", "text/markdown", (".md", ".markdown"), read_markdown),
    "csv": Format("a table (CSV)", "text/csv", (".csv",), read_table),
    "tsv": Format("a table (TSV)", "text/tab-separated-values", (".tsv",), read_table),
    "text": Format(
        "plain text",
        "text/plain",
        (
            *(".txt", ".text", ".log", ".rst", ".tex", ".srt", ".vtt"),
            *(".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".sql"),
            *(".py", ".js", ".ts", ".tsx", ".jsx", ".css", ".java", ".kt", ".c", ".h", ".cpp"),
            *(".hpp", ".cs", ".go", ".rs", ".rb", ".php", ".swift", ".scala", ".r", ".sh"),
        ),
        read_text,
    ),
}
SUFFIXES = tuple(suffix for format in FORMATS.values() for suffix in format.suffixes)
_BY_SUFFIX = {suffix: key for key, format in FORMATS.items() for suffix in format.suffixes}
_AS_TEXT = frozenset({"html", "markdown", "csv", "tsv", "text"})

_PDF_BYTES = 1024
_HTML = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)
_OFFICE_FOLDERS = {"word": "docx", "ppt": "pptx", "xl": "xlsx"}
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_KINDS = (
    ("WordDocument", "a Word 97-2003 document (DOC)", "DOCX"),
    ("PowerPoint Document", "a PowerPoint 97-2003 presentation (PPT)", "PPTX"),
    ("Workbook", "an Excel 97-2003 workbook (XLS)", "XLSX"),
    ("Book", "an Excel 97-2003 workbook (XLS)", "XLSX"),
)
_IMAGE = ("an image", "Run text recognition (OCR) on it and add the result.")
_PACKED = ("a compressed archive", "Unpack it and add the files in it.")
_MEDIA = ("sound or video", "Add a transcript of it.")
_PROGRAM = ("a program", "Add a document.")
_SIGNATURES = (
    (b"\x89PNG\r\n", _IMAGE), (b"\xff\xd8\xff", _IMAGE), (b"GIF8", _IMAGE), (b"II*\0", _IMAGE),
    (b"MM\0*", _IMAGE), (b"\x1f\x8b", _PACKED), (b"7z\xbc\xaf\x27\x1c", _PACKED),
    (b"Rar!\x1a\x07", _PACKED), (b"BZh", _PACKED), (b"\xfd7zXZ\0", _PACKED), (b"ID3", _MEDIA),
    (b"OggS", _MEDIA), (b"fLaC", _MEDIA), (b"\x7fELF", _PROGRAM), (b"MZ\x90", _PROGRAM),
    (b"\xca\xfe\xba\xbe", _PROGRAM), (b"SQLite format 3\0", ("a database", "Export it as CSV.")),
)  # fmt: skip


def detect(source: Source) -> str:
    """The key of the format that the bytes are; a name only decides between kinds of text.

    Raises Refusal for a file of another kind.
    """
    content = source.content
    if content.startswith(b"PK"):
        return _zip_kind(source)
    if content.startswith(_OLE):
        raise _ole_refusal(source)
    if content.startswith(b"{\\rtf"):
        return "rtf"
    named = _BY_SUFFIX.get(suffix(source.name), "")
    if content[:_PDF_BYTES].lstrip().startswith(b"%PDF-") or (
        named in ("", "pdf") and (b"%PDF-" in content[:_PDF_BYTES] or b"endobj" in content)
    ):
        return "pdf"
    for signature, (what, hint) in _SIGNATURES:
        if content.startswith(signature):
            raise refusals.unsupported(source.name, what, hint)
    if named in _AS_TEXT:
        return named
    if _HTML.match(content[:_PDF_BYTES].removeprefix(b"\xef\xbb\xbf")):
        return "html"
    if named and not is_utf8(content):
        raise refusals.broken(source.name, FORMATS[named].title)
    return "text"


def mislabelled(name: str, key: str) -> str:
    """A sentence where the name promises another format than the bytes are; else empty."""
    named = _BY_SUFFIX.get(suffix(name), "")
    if not named or named == key:
        return ""
    return f"It is named {suffix(name)} but was read as {FORMATS[key].title}."


def suffix(name: str) -> str:
    """The suffix of a file name in lower case."""
    return PurePosixPath(name).suffix.lower()


def _zip_kind(source: Source) -> str:
    archive = open_archive(source)
    names = archive.namelist()
    folders = {name.partition("/")[0] for name in names}
    if "xl/workbook.bin" in names:
        raise refusals.unsupported(
            source.name, "a binary workbook (XLSB)", "Save it as XLSX and add that."
        )
    if "[Content_Types].xml" in names:
        for folder, key in _OFFICE_FOLDERS.items():
            if folder in folders:
                return key
    if "mimetype" in names:
        kind = read_entry(archive, "mimetype", source)[:100].decode("latin-1").strip()
        if kind.startswith("application/vnd.oasis.opendocument.text"):
            return "odt"
        if kind.startswith("application/vnd.oasis.opendocument"):
            raise refusals.unsupported(
                source.name, "an OpenDocument file", "Save it as XLSX, PPTX or PDF and add that."
            )
        if kind == "application/epub+zip":
            raise refusals.unsupported(
                source.name, "an e-book (EPUB)", "Convert it to HTML or PDF and add that."
            )
    raise refusals.unsupported(source.name, "a ZIP archive", _PACKED[1])


def _ole_refusal(source: Source) -> refusals.Refusal:
    """An OLE container holds a protected Office file or one in the format before 2007."""
    if "EncryptedPackage".encode("utf-16-le") in source.content:
        return refusals.protected(source.name)
    for stream, what, target in _OLE_KINDS:
        if stream.encode("utf-16-le") in source.content:
            return refusals.unsupported(source.name, what, f"Save it as {target} and add that.")
    return refusals.unsupported(
        source.name, "an old Office file", "Save it as DOCX, PPTX or XLSX and add that."
    )
