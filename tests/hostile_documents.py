"""Files made to hurt whoever reads them, and the pieces they are made of."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable

GOOD = b"BT /F1 12 Tf 20 400 Td (a good page) Tj ET"
SLOW = b"BT /F1 12 Tf " + b"1 0 0 1 20 400 Tm (slow) Tj " * 300_000 + b"ET"
# A third of a second a page: none is too slow, all of them are.
SLOWISH = b"BT /F1 12 Tf " + b"1 0 0 1 20 400 Tm () Tj " * 10_000 + b"(slow) Tj ET"


def pdf_of_objects(*objects: bytes, trailer: bytes = b"") -> bytes:
    """A PDF of these numbered objects, the first being the catalogue."""
    content = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(content)
    content += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    content += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    content += b"trailer\n<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        trailer,
        start,
    )
    return bytes(content)


def stream(data: bytes, times: int = 1) -> bytes:
    """A stream object, packed once or several times over."""
    for _ in range(times):
        data = zlib.compress(data, 9)
    filters = b"/FlateDecode" * times
    return b"<</Length %d/Filter[%s]>>\nstream\n%s\nendstream" % (len(data), filters, data)


def pdf_with_pages(*contents: int, streams: list[bytes], resources: bytes = b"") -> bytes:
    """A PDF whose pages show the streams with these indexes; the font is object 3."""
    first_page = 4 + len(streams)
    kids = b" ".join(b"%d 0 R" % (first_page + index) for index in range(len(contents)))
    return pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(contents), kids),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        *map(stream, streams),
        *(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 500 500]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R>>%s>>>>" % (4 + content, resources)
            for content in contents
        ),
    )


def zipped(entries: dict[str, bytes], repeated: int = 1) -> bytes:
    """An office file of these parts, each repeated; made in steps, for tests count memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", b"<Types/>")
        for name, content in entries.items():
            with archive.open(name, "w") as file:
                for _ in range(repeated):
                    file.write(content)
    return buffer.getvalue()


def lying_archive(part: str) -> bytes:
    """An office file whose part unpacks to 100 MB where the directory says 1000 bytes."""
    size = struct.pack("<I", 100_000_000)
    content = zipped({part: b"A" * 1_000_000}, 100)
    if size not in content:
        raise ValueError("the directory does not hold the size")
    return content.replace(size, struct.pack("<I", 1000))


def laughs(root: str, inner: str) -> bytes:
    """XML of some hundred bytes that stands for ten thousand million; `inner` holds `{}`."""
    entities = "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' if n else '<!ENTITY a0 "ha">' for n in range(10)
    )
    return f"<!DOCTYPE {root} [{entities}]><{root}>{inner.format('&a9;')}</{root}>".encode()


def nested_archives(depth: int) -> bytes:
    """An office file in an office file in an office file."""
    content = zipped({"word/document.xml": b"<document/>"})
    for _ in range(depth):
        content = zipped({"word/document.xml": content, "word/embedded.docx": content})
    return content


def sparse_workbook() -> bytes:
    """A workbook with one cell in its last row and last column."""
    sheet = b'<sheetData><row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    return _workbook(_SHEET % sheet)


def inflated_workbook(megabytes: int) -> bytes:
    """A workbook whose one sheet unpacks to that many megabytes of rows."""
    row = b'<row><c t="inlineStr"><is><t>inflated</t></is></c></row>'
    rows = row * (1_000_000 // len(row))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, part in _BOOK.items():
            archive.writestr(name, part)
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as file:
            head, tail = (_SHEET % b"<sheetData>#</sheetData>").split(b"#")
            file.write(head)
            for _ in range(megabytes):
                file.write(rows)
            file.write(tail)
    return buffer.getvalue()


_MAIN = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = b"http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_KIND = b"application/vnd.openxmlformats-officedocument.spreadsheetml."
_SHEET = b'<worksheet xmlns="' + _MAIN + b'">%s</worksheet>'
_BOOK = {
    "[Content_Types].xml": b"<Types xmlns="
    b'"http://schemas.openxmlformats.org/package/2006/content-types">'
    b'<Default Extension="xml" ContentType="application/xml"/>'
    b'<Default Extension="rels" ContentType='
    b'"application/vnd.openxmlformats-package.relationships+xml"/>'
    b'<Override PartName="/xl/workbook.xml" ContentType="' + _KIND + b'sheet.main+xml"/>'
    b'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="'
    + _KIND
    + b'worksheet+xml"/></Types>',
    "_rels/.rels": b'<Relationships xmlns="' + _RELATIONS + b'"><Relationship Id="rId1" Type="'
    + _OFFICE
    + b'/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": b'<workbook xmlns="' + _MAIN + b'" xmlns:r="' + _OFFICE + b'"><sheets>'
    b'<sheet name="One" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": b'<Relationships xmlns="'
    + _RELATIONS
    + b'"><Relationship Id="rId1" Type="'
    + _OFFICE
    + b'/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}  # fmt: skip


def _workbook(sheet: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in (_BOOK | {"xl/worksheets/sheet1.xml": sheet}).items():
            archive.writestr(name, part)
    return buffer.getvalue()


def opendocument(body: bytes) -> bytes:
    """An ODT with this content.xml."""
    kind = b"application/vnd.oasis.opendocument.text"
    return zipped({"mimetype": kind, "content.xml": body})


def cyclic_tree() -> bytes:
    """A PDF whose page tree holds itself."""
    return pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 9/Kids[2 0 R 2 0 R]>>"
    )


def deep_tree(depth: int) -> bytes:
    """A PDF with one page below many nodes."""
    nodes = (
        b"<</Type/Pages/Count 1/Kids[%d 0 R]/Parent %d 0 R>>" % (number + 1, number - 1)
        for number in range(2, depth + 2)
    )
    page = b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 9 9]>>" % (depth + 1)
    return pdf_of_objects(b"<</Type/Catalog/Pages 2 0 R>>", *nodes, page)


def form_in_itself() -> bytes:
    """A PDF whose page shows a form that shows itself, twice."""
    body = b"BT /F1 9 Tf (again) Tj ET /X Do /X Do"
    form = (
        b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</Font<</F1 3 0 R>>"
        b"/XObject<</X 4 0 R>>>>/Length %d>>\nstream\n%s\nendstream" % (len(body), body)
    )
    return pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[5 0 R]>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        form,
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 6 0 R"
        b"/Resources<</Font<</F1 3 0 R>>/XObject<</X 4 0 R>>>>>>",
        stream(body),
    )


def wide_font() -> bytes:
    """A PDF whose font maps four thousand million codes with one line."""
    codes = b"1 begincodespacerange <00000000> <FFFFFFFF> endcodespacerange "
    codes += b"1 beginbfrange <00000000> <FFFFFFFF> <0041> endbfrange"
    return pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[5 0 R]>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 4 0 R>>",
        stream(codes),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 6 0 R"
        b"/Resources<</Font<</F1 3 0 R>>>>>>",
        stream(GOOD),
    )


def _repeated(piece: str, count: int, *around: str) -> Callable[[], bytes]:
    before, after = around or ("", "")
    return lambda: (before + piece * count + after).encode()


def _word(body: bytes) -> Callable[[], bytes]:
    return lambda: zipped({"word/document.xml": body})


# Made one at a time, as some take tens of megabytes. What can be read of them is short: a long text
# takes its time to encode, and that is no attack.
HOSTILE: dict[str, Callable[[], bytes]] = {
    "pages-3000.pdf": lambda: pdf_with_pages(*[0] * 3000, streams=[GOOD]),
    "pages-slowish.pdf": lambda: pdf_with_pages(*[0] * 1900, streams=[SLOWISH]),
    "pages-slow.pdf": lambda: pdf_with_pages(0, *[1] * 50, streams=[GOOD, SLOW]),
    "stream-bomb.pdf": lambda: pdf_with_pages(0, 1, streams=[GOOD, b" " * 60_000_000]),
    "stream-in-stream.pdf": lambda: pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>",
        stream(b" " * 80_000_000, times=3),
    ),
    "streams-by-the-thousand.pdf": lambda: pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents[%s]>>" % (b"4 0 R " * 100_000),
        stream(b" " * 1_000_000),
    ),
    "tree-cycle.pdf": cyclic_tree,
    "tree-deep.pdf": lambda: deep_tree(5_000),
    "form-cycle.pdf": form_in_itself,
    "font-wide.pdf": wide_font,
    "arrays-deep.pdf": lambda: pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R/A " + b"[" * 100_000 + b"]" * 100_000 + b">>",
        b"<</Type/Pages/Count 0/Kids[]>>",
    ),
    "table-cycle.pdf": lambda: pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 0/Kids[]>>",
        trailer=b"/Prev 9",
    ),
    "operators-deep.pdf": lambda: pdf_with_pages(0, streams=[b"q " * 500_000 + b"[" * 50_000]),
    "number-long.pdf": lambda: pdf_with_pages(0, streams=[b"9" * 2_000_000 + b" Tf " + GOOD]),
    "huge.docx": lambda: zipped(
        {"word/document.xml": b"<w:p><w:r><w:t>Lorem ipsum</w:t></w:r></w:p>" * 10_000}, 250
    ),
    "paragraphs.docx": _word(b"<w>" + b"<p/>" * 4_000_000 + b"</w>"),
    "attributes.docx": _word(b"<w " + b" ".join(b'a%d=""' % n for n in range(300_000)) + b"/>"),
    "lie.docx": lambda: lying_archive("word/document.xml"),
    "lie.xlsx": lambda: lying_archive("xl/workbook.xml"),
    "lie.pptx": lambda: lying_archive("ppt/presentation.xml"),
    "entries.docx": lambda: zipped({f"word/{n}.xml": b"" for n in range(10_001)}),
    "nested.docx": lambda: nested_archives(12),
    "laughs.docx": _word(laughs("document", "<p><t>{}</t></p>")),
    "laughs-styles.docx": lambda: zipped(
        {"word/document.xml": b"<document/>", "word/styles.xml": laughs("styles", "{}")}
    ),
    "deep.docx": _word(b"<p>" * 100_000 + b"</p>" * 100_000),
    "outside.docx": lambda: zipped({"word/document.xml": b"<w/>", "../../outside.txt": b"x"}),
    "laughs.odt": lambda: opendocument(laughs("document", "<p>{}</p>")),
    "deep.odt": lambda: opendocument(b"<p>" + b"<s>" * 5_000 + b"x" + b"</s>" * 5_000 + b"</p>"),
    "sparse.xlsx": sparse_workbook,
    "inflated.xlsx": lambda: inflated_workbook(1_000),
    "rows.xlsx": lambda: inflated_workbook(150),
    "deep-div.html": _repeated("<div>", 50_000, "first ", "last"),
    "deep-table.html": _repeated("<table><tr><td>", 50_000, "first ", "last"),
    "deep-bold.html": _repeated("<b>", 50_000, "first ", "last"),
    "paragraphs.html": _repeated("<p>w", 5_000),
    "attributes.html": lambda: (
        b"<p " + b" ".join(b"a%d=b" % n for n in range(500_000)) + b">attributes</p>"
    ),
    "comments.html": _repeated("<!--", 2_000_000, "<p>comment", ""),
    "declarations.html": _repeated("<!-- --> ", 200_000, "", "<x"),
    "laughs.xml": lambda: laughs("document", "<p>{}</p>"),
    "deep.xml": _repeated("<a>", 5_000),
    "deep.json": _repeated('{"a":[', 2_000),
    "line.csv": _repeated("cell,", 4_000, "head\n", "\n"),
    "quote.csv": _repeated("a,b\n", 4_000, '"', ""),
    "blanks.txt": _repeated(" ", 20_000_000, "a", "b"),
    "marks.txt": _repeated("\u0301", 10_000, "e", ""),
    "nul.txt": _repeated("\0", 5_000_000),
    "unbroken.md": _repeated("`", 10_000, "# ", ""),
    "groups.rtf": _repeated("{", 500_000, r"{\rtf1\ansi ", ""),
    "controls.rtf": _repeated(r"\u9999?", 4_000, r"{\rtf1\ansi ", "}"),
}


def hostile(names: Iterable[str] = HOSTILE) -> Iterable[tuple[str, bytes]]:
    """The files of these names, one at a time."""
    return ((name, HOSTILE[name]()) for name in names)
