"""Make the PDF and the DOCX of data/sample from the Markdown texts in scripts/samples.

Running it twice gives the same bytes: dates and identifiers are fixed, nothing is compressed.
Run: python scripts/make_samples.py
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from xml.sax.saxutils import escape

import docx
from docx.document import Document
from docx.enum.style import WD_STYLE_TYPE
from docx.shared import Pt
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from reportlab.lib import textsplit
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_JUSTIFY
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    PageBreak,
    PageTemplate,
    Paragraph,
    paragraph,
)

SOURCES = Path(__file__).parent / "samples"
SAMPLES = Path(__file__).parents[1] / "data" / "sample"

AUTHOR = "The RankLens authors"
WRITTEN = datetime(2026, 11, 22, tzinfo=UTC)
# A PDF viewer brings this font along, so no font file has to be embedded.
CHINESE_FONT = "STSong-Light"
LATIN_RUN = re.compile(r"[!-~](?:[ -~]*[!-~])?")
TABLE_STYLE = "Light Grid Accent 1"
INK = HexColor("#1f2933")
ACCENT = HexColor("#1d4e89")


def parse(source: Path) -> SyntaxTreeNode:
    """The block tree of a Markdown text."""
    markdown = MarkdownIt("commonmark").enable("table")
    return SyntaxTreeNode(markdown.parse(source.read_text(encoding="utf-8")))


def inline_text(node: SyntaxTreeNode) -> list[tuple[str, bool]]:
    """The pieces of text below a block, in reading order, each with whether it is bold."""
    pieces = []
    for leaf in node.walk():
        if leaf.type in {"text", "softbreak"} and (leaf.content or leaf.type == "softbreak"):
            bold = leaf.parent is not None and leaf.parent.type == "strong"
            pieces.append((leaf.content or " ", bold))
    return pieces


def plain_text(node: SyntaxTreeNode) -> str:
    """The text below a block without its emphasis."""
    return "".join(text for text, _ in inline_text(node))


def is_chinese(text: str) -> bool:
    """Whether a text has a Chinese character."""
    return any("\u4e00" <= character <= "\u9fff" for character in text)


# --- PDF -----------------------------------------------------------------------------------


def pdf_style(kind: str, chinese: bool) -> ParagraphStyle:
    """The typography of one kind of block: h1, h2, h3, paragraph or item."""
    size, before, after = {
        "h1": (26, 0, 12),
        "h2": (17, 6, 9),
        "h3": (13, 9, 5),
        "paragraph": (11.5, 0, 8),
        "item": (11.5, 0, 6),
    }[kind]
    heading = kind.startswith("h")
    font = "Helvetica-Bold" if heading else "Times-Roman"
    return ParagraphStyle(
        f"{kind}-{'zh' if chinese else 'en'}",
        fontName=CHINESE_FONT if chinese else font,
        fontSize=size,
        leading=size * (1.65 if chinese and not heading else 1.42),
        spaceBefore=before,
        spaceAfter=after,
        textColor=ACCENT if heading else INK,
        alignment=0 if heading or chinese else TA_JUSTIFY,
        wordWrap="CJK" if chinese else None,
        leftIndent=14 if kind == "item" else 0,
        keepWithNext=heading,
    )


def pdf_paragraph(node: SyntaxTreeNode, kind: str) -> Paragraph:
    """One block as a paragraph; the Chinese font has no bold, so emphasis there is a colour."""
    chinese = is_chinese(plain_text(node))
    latin = "Helvetica" if kind.startswith("h") else "Times-Roman"
    markup = ""
    for text, bold in inline_text(node):
        piece = escape(text)
        if chinese:
            # Viewers draw the Latin letters of the Chinese font with widths of their own.
            piece = LATIN_RUN.sub(rf'<font name="{latin}">\g<0></font>', piece)
        if bold:
            piece = (
                f'<font color="{ACCENT.hexval()}">{piece}</font>' if chinese else f"<b>{piece}</b>"
            )
        markup += piece
    # The dash comes out of the page as itself; a bullet comes out as a control character.
    return Paragraph(markup, pdf_style(kind, chinese), "–" if kind == "item" else None)


def pdf_block(node: SyntaxTreeNode) -> list[Flowable]:
    """One block of the Markdown tree as reportlab lays it out."""
    match node.type:
        case "hr":
            return [PageBreak()]
        case "heading":
            return [pdf_paragraph(node, node.tag)]
        case "bullet_list":
            return [pdf_paragraph(item, "item") for item in node.children]
        case "paragraph":
            return [pdf_paragraph(node, "paragraph")]
    raise ValueError(f"The handbook has no layout for a Markdown {node.type}.")


def draw_page_number(canvas: Canvas, template: BaseDocTemplate) -> None:
    """The page number, centred below the text."""
    canvas.setFont("Helvetica", 9)
    canvas.setFillColor(INK)
    canvas.drawCentredString(A4[0] / 2, 12 * mm, str(template.page))


def make_pdf(source: Path) -> bytes:
    """The bytes of a PDF of a Markdown text, where a rule starts a new page."""
    registerFont(UnicodeCIDFont(CHINESE_FONT))
    # reportlab knows Japanese punctuation only; these too must hang rather than start a line.
    for module in (paragraph, textsplit):
        module.ALL_CANNOT_START += "，：；？！）”"
    tree = parse(source)
    output = BytesIO()
    # Compressed bytes differ between builds of zlib, and the same bytes are wanted everywhere.
    template = BaseDocTemplate(
        output,
        pagesize=A4,
        title=plain_text(tree.children[0]),
        author=AUTHOR,
        invariant=1,
        pageCompression=0,
    )
    frame = Frame(24 * mm, 20 * mm, A4[0] - 48 * mm, A4[1] - 40 * mm, 0, 0, 0, 0)
    # Drawn after the text, so that the number also comes last where a program reads the page.
    template.addPageTemplates(PageTemplate(frames=[frame], onPageEnd=draw_page_number))
    template.build([flowable for node in tree.children for flowable in pdf_block(node)])
    return output.getvalue()


# --- DOCX ----------------------------------------------------------------------------------


def fixed_archive(archive: bytes) -> bytes:
    """The same ZIP archive, uncompressed, with one fixed time on every entry."""
    output = BytesIO()
    with (
        zipfile.ZipFile(BytesIO(archive)) as before,
        zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as after,
    ):
        for name in before.namelist():
            entry = zipfile.ZipInfo(name, WRITTEN.timetuple()[:6])
            # The default differs between operating systems.
            entry.create_system = 3
            after.writestr(entry, before.read(name))
    return output.getvalue()


def drop_ballast(document: Document) -> None:
    """Take out of python-docx's template what this document never shows: 800 of its 840 kB."""
    for style in list(document.styles):
        if style.type == WD_STYLE_TYPE.TABLE and style.name not in {"Normal Table", TABLE_STYLE}:
            style.delete()
    for relations in (document.part.rels, document.part.package.rels):
        for key, relation in list(relations.items()):
            if relation.reltype.endswith(("/stylesWithEffects", "/thumbnail")):
                relations.pop(key)


def make_docx(source: Path) -> bytes:
    """The bytes of a Word document of a Markdown text, with real headings, lists and tables."""
    document = docx.Document()
    drop_ballast(document)
    document.styles["Normal"].font.name = "Calibri"
    document.styles["Normal"].font.size = Pt(11)
    tree = parse(source)
    properties = document.core_properties
    properties.title = plain_text(tree.children[0])
    properties.author = properties.last_modified_by = AUTHOR
    properties.comments = ""
    properties.created = properties.modified = WRITTEN
    for node in tree.children:
        match node.type:
            case "heading":
                document.add_heading(plain_text(node), int(node.tag[1:]) - 1)
            case "paragraph":
                document.add_paragraph(plain_text(node))
            case "ordered_list":
                for item in node.children:
                    document.add_paragraph(plain_text(item), "List Number")
            case "table":
                rows = [row for part in node.children for row in part.children]
                table = document.add_table(len(rows), len(rows[0].children), TABLE_STYLE)
                for row, cells in zip(rows, table.rows, strict=True):
                    for cell, target in zip(row.children, cells.cells, strict=True):
                        target.text = plain_text(cell)
            case _:
                raise ValueError(f"The guide has no layout for a Markdown {node.type}.")
    output = BytesIO()
    document.save(output)
    return fixed_archive(output.getvalue())


MADE: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "retrieval-handbook.pdf": (make_pdf, "retrieval-handbook.md"),
    "choosing-a-reranker.docx": (make_docx, "choosing-a-reranker.md"),
}


def make_samples() -> dict[str, bytes]:
    """The bytes of every made sample, by file name."""
    return {name: make(SOURCES / source) for name, (make, source) in MADE.items()}


if __name__ == "__main__":
    for name, content in make_samples().items():
        (SAMPLES / name).write_bytes(content)
        print(f"{name}: {len(content):,} bytes")
