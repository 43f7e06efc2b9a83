"""Bytes -> Document: what is read from each format, and what is said where it is not."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from PIL import Image
from reportlab.lib.pagesizes import A5
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.pdfgen.canvas import Canvas

from rag.documents import SUFFIXES, read_document, safe_name
from rag.documents.cleaning import clean, repair_print
from rag.errors import RAGError, UnreadableFile, UnsupportedFile
from rag.settings import ReadingLimits
from rag.types import Document, PageRead

LIMITS = ReadingLimits(seconds=60)


def read(content: bytes | str, name: str, limits: ReadingLimits = LIMITS) -> Document:
    return read_document(content.encode() if isinstance(content, str) else content, name, limits)


def text_of(content: bytes | str, name: str) -> str:
    document = read(content, name)
    assert [page.number for page in document.pages] == list(range(1, len(document.pages) + 1))
    return "\f".join(page.text for page in document.pages)


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def pdf_of(*pages: str) -> bytes:
    registerFont(UnicodeCIDFont("STSong-Light"))
    buffer = io.BytesIO()
    canvas = Canvas(buffer, A5)
    for page in pages:
        canvas.setFont("STSong-Light", 12)
        for row, line in enumerate(page.splitlines()):
            canvas.drawString(40, 500 - 20 * row, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def word_of() -> bytes:
    document = docx.Document()
    document.add_heading("员工手册", 0)
    document.add_heading("Holidays", 1)
    document.add_paragraph("Everybody has 15 days. 每人十五天。")
    document.add_paragraph("first point", style="List Bullet")
    table = document.add_table(2, 2)
    for cell, text in zip(table._cells, ["City", "城市", "Beijing", "北京"], strict=True):
        cell.text = text
    document.add_paragraph("after the table")
    return saved(document.save)


# --- formats --------------------------------------------------------------------------------


def test_a_document_knows_its_bytes() -> None:
    content = "检索 and recall".encode()
    document = read(content, "notes.txt")
    assert document.id == hashlib.sha256(content).hexdigest()
    assert (document.name, document.size) == ("notes.txt", len(content))
    assert document.media_type == "text/plain"
    assert document.pages[0].text == "检索 and recall"
    assert document.notices == ()


def test_pdf_pages_keep_their_numbers_and_lines() -> None:
    text = text_of(pdf_of("第一页 one\n第二行", "第二页 two"), "a.pdf")
    assert text == "第一页 one\n第二行\f第二页 two"


def test_word_keeps_headings_lists_and_tables_in_order() -> None:
    assert text_of(word_of(), "a.docx") == (
        "# 员工手册\n\n# Holidays\n\nEverybody has 15 days. 每人十五天。\n\nfirst point\n\n"
        "City | 城市\nBeijing | 北京\n\nafter the table"
    )


def word_with(body: str) -> bytes:
    """A DOCX whose body is this XML."""
    import zipfile

    source = zipfile.ZipFile(io.BytesIO(saved(docx.Document().save)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename == "word/document.xml":
                head = content[: content.index(b"<w:body>")]
                content = head + f"<w:body>{body}</w:body></w:document>".encode()
            target.writestr(entry.filename, content)
    return buffer.getvalue()


def test_word_reads_what_lies_outside_plain_paragraphs() -> None:
    run = "<w:r><w:t>{}</w:t></w:r>"
    body = (
        f"<w:sdt><w:sdtContent><w:p>{run.format('content control')}</w:p></w:sdtContent></w:sdt>"
        f"<w:p><w:ins>{run.format('inserted ')}</w:ins>"
        f"<w:del><w:r><w:delText>gone</w:delText></w:r></w:del>{run.format('kept')}</w:p>"
        f"<w:p>{run.format('anchor')}<w:r><w:pict><w:txbxContent><w:p>{run.format('文本框')}</w:p>"
        "</w:txbxContent></w:pict></w:r></w:p>"
    )
    assert (
        text_of(word_with(body), "a.docx") == "content control\n\ninserted kept\n\nanchor\n\n文本框"
    )


def test_slides_are_pages_with_title_table_and_notes() -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "检索 Recall"
    box = slide.shapes.add_textbox(0, 0, 9, 9)
    box.text_frame.text = "a box"
    table = slide.shapes.add_table(1, 2, 0, 0, 9, 9).table
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "右"
    slide.notes_slide.notes_text_frame.text = "say this 说这个"
    deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = "Second"
    assert text_of(saved(deck.save), "a.pptx") == (
        "# 检索 Recall\n\na box\n\nleft | 右\n\nsay this 说这个\f# Second"
    )


def test_sheets_are_pages_with_one_line_a_row() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "价格"
    sheet.append(["城市", "Price", None, None])
    sheet.append(["北京", 12.5, None, True])
    sheet.append([])
    sheet.append(["share", 0.153])
    sheet["B4"].number_format = "0.0%"
    book.create_sheet("Empty")
    assert text_of(saved(book.save), "a.xlsx") == (
        "# 价格\n\n城市 | Price\n北京 | 12.5 |  | TRUE\nshare | 15.3%\f"
    )


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        ('城市,City\n北京,"Bei,\njing"\n', "a.csv", "城市 | City\n北京 | Bei, jing"),
        ("城市;City\n北京;1,5\n", "a.csv", "城市 | City\n北京 | 1,5"),
        ("城市\tCity\n北京\tx, y\n", "a.tsv", "城市 | City\n北京 | x, y"),
        ("Title 标题\n====\n\nText\n\nSub\n---\n", "a.md", "# Title 标题\n\nText\n\n## Sub"),
        (
            "```\nnot a title\n===\n```\n- item\n---\n",
            "a.md",
            "```\nnot a title\n===\n```\n- item\n---",
        ),
        ("def f():\r\n    return '检索'\r\n", "a.py", "def f():\n    return '检索'"),
        ("no suffix 无", "README", "no suffix 无"),
        (r"{\rtf1\ansi Rich {\b text} \u26816?\u32034?.}", "a.rtf", "Rich text 检索."),
    ],
)
def test_texts_and_tables(content: str, name: str, text: str) -> None:
    assert text_of(content, name) == text


def test_html_keeps_structure_and_drops_noise() -> None:
    page = """<!doctype html><html><head><meta charset="utf-8"><title>Seite</title>
    <style>STYLE</style><script>SCRIPT</script></head><body><nav>NAV</nav>
    <h1>标题 <b>Title</b></h1><p>One
    paragraph<br>two lines</p><ul><li><p>first</p></li><li>第二</li></ul>
    <table><tr><th>City</th><th>城市</th></tr><tr><td></td><td>北京</td></tr></table>
    <template>TEMPLATE</template><div hidden>HIDDEN</div><p style="display: none">GONE</p>
    <pre>code
      indented</pre><noscript>NOSCRIPT</noscript>tail</body></html>"""
    assert text_of(page, "a.html") == (
        "# 标题 Title\n\nOne paragraph\ntwo lines\n\n- first\n- 第二\n\nCity | 城市\n| 北京\n\n"
        "code\n      indented\n\ntail"
    )


@pytest.mark.parametrize("end", ["", "</body></html>", "</BODY >\n</html>\n", "</body><p>tail"])
def test_html_read_to_its_end_has_no_notice(end: str) -> None:
    document = read(f"<html><body><p>first</p><p>最后</p>{end}", "a.html")
    assert document.notices == ()
    assert "最后" in document.pages[0].text


def test_html_takes_the_title_where_there_is_no_heading() -> None:
    assert text_of("<html><title>标题</title><p>text</p>", "a.html") == "# 标题\n\ntext"


def test_layout_tables_keep_their_headings() -> None:
    page = "<table><tr><td><h2>Menu</h2><table><tr><td>a<td>b</table></td></tr></table>"
    assert text_of(page, "a.html") == "## Menu\n\na | b"


def test_html_in_a_declared_charset() -> None:
    page = '<html><meta charset="gb2312"><p>检索</p>'.encode("gb18030")
    document = read(page, "a.html")
    assert (document.pages[0].text, document.notices) == ("检索", ())


def test_nothing_is_fetched_or_expanded_from_xml() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "AAAAAAAAAA"><!ENTITY b "&a;&a;&a;&a;">]>'
    content = word_with("<w:p><w:r><w:t>x</w:t></w:r></w:p>")
    assert "x" in text_of(content, "a.docx")
    assert "AAAA&" not in text_of(f"{bomb}<html><body>&b; visible</body></html>", "a.html")


def test_every_suffix_is_lower_case_and_unique() -> None:
    assert len(set(SUFFIXES)) == len(SUFFIXES)
    assert all(re.fullmatch(r"\.[a-z]+", suffix) for suffix in SUFFIXES)


# --- names and text ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/报告.pdf", "报告.pdf"),
        ("C:\\files\\a.pdf", "a.pdf"),
        ("a\x00\n\u202eb.txt", "a b.txt"),
        ("dir/", "unnamed"),
        ("x" * 400 + ".pdf", "x" * 251 + ".pdf"),
    ],
)
def test_a_name_is_only_a_name(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_invisible_characters_do_not_hide_words() -> None:
    assert clean("pass\u200bword \u202edrow\u202c 检\u2060索\x00\ud800") == "password drow 检索"
    assert clean("a\r\nb\u2028c  \n\n\n\nd") == "a\nb\nc\n\nd"
    assert clean("می\u200cخواهم 👩\u200d💻") == "می\u200cخواهم 👩\u200d💻"


def test_printed_words_are_made_whole() -> None:
    assert repair_print("infor-\nmation is\nfine") == "information\nis\nfine"
    assert repair_print("e-mail-\nbox\n1998-\n2001") == "e-mail-\nbox\n1998-\n2001"
    assert repair_print("of\ufb01ce ⽤户") == "office 用户"


# --- what is not read --------------------------------------------------------------------------


def refusal(content: bytes, name: str, limits: ReadingLimits = LIMITS) -> RAGError:
    with pytest.raises(RAGError) as caught:
        read_document(content, name, limits)
    assert caught.value.hint
    assert "Traceback" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("content", "name", "error", "words"),
    [
        (b"", "a.pdf", UnreadableFile, "is empty"),
        (b"  \n\t ", "a.txt", UnreadableFile, "no text"),
        (b"%PDF-1.7\n", "a.pdf", UnreadableFile, "damaged"),
        (b"\x00\x01\x02" * 99, "a.pdf", UnreadableFile, "damaged"),
        (b"PK\x03\x04garbage", "a.docx", UnreadableFile, "damaged"),
        (b"\x89PNG\r\n\x1a\n....", "a.png", UnsupportedFile, "an image"),
        (bytes(range(256)) * 9, "a.bin", UnsupportedFile, "not text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "WordDocument".encode("utf-16-le"), "a.doc",
         UnsupportedFile, "Word 97-2003"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "a.docx",
         UnreadableFile, "password"),
    ],
)  # fmt: skip
def test_a_refusal_says_why(content: bytes, name: str, error: type[RAGError], words: str) -> None:
    caught = refusal(content, name)
    assert type(caught) is error
    assert words in caught.message
    assert caught.message.startswith(name)


def test_a_blank_and_a_scanned_pdf_are_told_apart() -> None:
    assert "blank" in refusal(pdf_of("", ""), "a.pdf").message

    def scan(buffer: io.BytesIO) -> None:
        canvas = Canvas(buffer, A5)
        canvas.drawImage(ImageReader(Image.new("1", (8, 8))), 0, 0, 99, 99)
        canvas.save()

    caught = refusal(saved(scan), "a.pdf")
    assert "its pages are images" in caught.message
    assert "OCR" in caught.hint


def test_a_file_is_read_as_what_it_is() -> None:
    document = read(word_of(), "report.pdf")
    assert "员工手册" in document.pages[0].text
    assert document.notices == ("It is named .pdf but was read as a Word document (DOCX).",)


def test_limits_of_size_pages_and_text() -> None:
    assert "too large" in refusal(b"x" * 11, "a.txt", ReadingLimits(file_bytes=10)).message
    limits = ReadingLimits(pages=2)
    assert "3 pages" in refusal(pdf_of("1", "2", "3"), "a.pdf", limits).message
    limits = ReadingLimits(characters=100)
    assert "100 characters" in refusal(b"word " * 40, "a.txt", limits).message
    assert "100 characters" in refusal(b"word " * 400_000, "a.txt", limits).message


def test_pages_within_the_limit_of_text_are_kept() -> None:
    document = read(pdf_of("short", "x" * 60, "third"), "a.pdf", ReadingLimits(characters=50))
    assert [page.text for page in document.pages] == ["short", "", ""]
    assert document.pages_read == 1
    assert "1 of 3 pages were read" in document.notices[0]


# --- the child ---------------------------------------------------------------------------------


def children() -> list[str]:
    """The child processes of this process."""
    tasks = Path(f"/proc/{os.getpid()}/task")
    if not tasks.is_dir():
        pytest.skip("this platform has no /proc")
    found = []
    for task in tasks.iterdir():
        # A thread or a child may end while it is looked at.
        with suppress(FileNotFoundError):
            for child in (task / "children").read_text().split():
                if b"rag.documents.child" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(child)
    return found


def test_progress_counts_pages_and_can_stop_the_reading() -> None:
    seen: list[PageRead] = []
    document = read_document(pdf_of("1", "2"), "a.pdf", LIMITS, seen.append)
    assert seen == [PageRead(page, document.media_type, 2) for page in document.pages]
    assert len(seen) == 2

    def stop(page: PageRead) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_document(pdf_of(*"12345"), "a.pdf", LIMITS, stop)
    assert children() == []


def test_two_files_at_a_time() -> None:
    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(lambda n: text_of(f"文件 {n}", "a.txt"), range(6)))
    assert texts == [f"文件 {n}" for n in range(6)]
    assert children() == []


def test_the_child_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary-1234")
    environments: list[bytes] = []

    def look(page: PageRead) -> None:
        environments.extend(Path(f"/proc/{child}/environ").read_bytes() for child in children())

    read_document(pdf_of(*"123456789"), "a.pdf", LIMITS, look)
    assert environments
    assert not any(b"canary" in environment for environment in environments)


def test_the_child_ends_with_its_parent() -> None:
    """Also when the parent is killed while the child is busy."""
    code = (
        "import os, signal\n"
        "from rag.documents import read_document\n"
        "from rag.settings import ReadingLimits\n"
        "from tests.test_documents import children\n"
        "from tests.hostile_documents import GOOD, SLOW, pdf_with_pages\n"
        "def die(page):\n"
        "    print(*children(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "content = pdf_with_pages(0, 1, streams=[GOOD, SLOW])\n"
        "read_document(content, 'a.pdf', ReadingLimits(), die)\n"
    )
    children()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip().isdecimal(), done.stderr
    gone = threading.Event()
    for _ in range(100):
        if not Path(f"/proc/{done.stdout.strip()}").exists():
            return
        gone.wait(0.1)
    pytest.fail("the child outlived its parent")


def test_the_child_imports_nothing_heavy() -> None:
    code = (
        "import sys, rag.documents.child\n"
        "heavy = {'numpy', 'pydantic', 'pypdf', 'lxml', 'torch', 'lancedb'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
