"""The library: adding, refusing, looking into and removing documents; hostile names and texts."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pypdf
import pytest

from tests.browser.conftest import PATIENCE_MS, Visit, Visitor, playwright

SAMPLES = Path(__file__).parents[2] / "data" / "sample"
HOSTILE = (
    "![x](http://127.0.0.2:9/a) <img src=http://127.0.0.2:9/b onerror=alert(1)> "
    "<script>alert(1)</script> [x](javascript:alert(1)) http://127.0.0.2:9/c www.evil.example "
    "a@evil.example :red[x] :material/home: :streamlit: :smile: $x^2$ a -> b "
)
HOSTILE_NAME = "![x](www.evil.example)<img src=x onerror=alert(1)>:red[x] $y$ :smile: 重排.md"


def pdf(text: str, password: str = "") -> bytes:
    canvas = pytest.importorskip("reportlab.pdfgen.canvas", reason="reportlab makes the PDF")
    made = io.BytesIO()
    drawing = canvas.Canvas(made)
    drawing.drawString(72, 700, text)
    drawing.save()
    if not password:
        return made.getvalue()
    writer = pypdf.PdfWriter(clone_from=made)
    writer.encrypt(password, algorithm="AES-256")
    closed = io.BytesIO()
    writer.write(closed)
    return closed.getvalue()


def choose(visit: Visit, name: str) -> None:
    """Choose a document's row in the table."""
    named = visit.page.get_by_test_id("stDataFrame").locator("td[aria-colindex='1']")
    playwright.expect(named.filter(has_text=name)).to_have_count(1, timeout=PATIENCE_MS)
    visit.choose(
        lambda table: table.locator("td[aria-colindex='1']").all_text_contents().index(name),
        visit.page.get_by_role("button", name="Remove", exact=True),
    )


def test_a_document_is_added_found_again_and_removed(visitor: Visitor, app: str) -> None:
    visit = visitor(app).open("Library")
    content = pdf("The ferry to Hooge leaves at seven in the morning.")
    visit.upload("ferry.pdf", content)
    assert "ferry.pdf: added (1 page, 1 chunk)" in visit.finish_adding()
    visit.upload("another name.pdf", content)
    assert "already there" in visit.finish_adding()
    choose(visit, "ferry.pdf")
    assert "The ferry to Hooge leaves at seven" in visit.text
    visit.page.get_by_role("button", name="Remove", exact=True).click()
    dialog = visit.page.get_by_role("dialog")
    dialog.get_by_text("ferry.pdf and its 1 chunk will be removed").wait_for()
    dialog.get_by_role("button", name="Remove it").click()
    dialog.wait_for(state="detached")
    names = visit.page.locator("td[aria-colindex='1']")
    playwright.expect(names.filter(has_text="ferry.pdf")).to_have_count(0, timeout=PATIENCE_MS)


def test_files_that_cannot_be_read_say_why(visitor: Visitor, app: str) -> None:
    visit = visitor(app).open("Library")
    visit.upload("garbage.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 4)
    assert re.search(r"garbage\.pdf: failed\. .*PDF", visit.finish_adding())
    visit.upload("locked.pdf", pdf("A secret.", password="x"))
    assert re.search(r"locked\.pdf: failed\. .*(password|protected)", visit.finish_adding())


def test_hostile_names_and_texts_are_only_read(visitor: Visitor, app: str) -> None:
    visit = visitor(app).open("Library")
    text = (
        f"# {HOSTILE}\n\nThe zeppelin hangar holds {HOSTILE}\n\n齐柏林飞艇的机库里有{HOSTILE}。\n"
    )
    visit.upload(HOSTILE_NAME, text.encode())
    assert f"{HOSTILE_NAME}: added" in visit.finish_adding()
    choose(visit, HOSTILE_NAME)
    for payload in HOSTILE.split():
        assert payload in visit.text
    visit.assert_nothing_foreign()
    visit.page.get_by_role("button", name="Remove", exact=True).click()
    dialog = visit.page.get_by_role("dialog")
    dialog.get_by_text("will be removed").wait_for()
    assert HOSTILE_NAME in dialog.inner_text().replace("\u2060", "")
    visit.page.keyboard.press("Escape")
    visit.open("Ask")
    for question in ("What does the zeppelin hangar hold?", f"齐柏林飞艇的机库里有什么？{HOSTILE}"):
        answer = visit.ask(question)
        assert HOSTILE_NAME in answer.inner_text().replace("\u2060", "")
    visit.assert_nothing_foreign()
