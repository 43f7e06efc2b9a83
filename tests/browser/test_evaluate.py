"""The Evaluate page: a golden set in two languages, from its folder to a question on Inspect."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.evaluation.golden_sets import read_golden_set
from rag.evaluation.indexing import cache_folder
from rag.settings import load_settings
from tests.browser.conftest import Visitor
from tests.test_evaluation import write

PASSAGES = {
    "telnet": "Telnet lets a terminal talk to a computer far away.",
    "bread": "Bread is baked for an hour in a hot oven.",
    "warship": "The frigate had three masts and forty guns.",
    "vaccine": "Vaccines are stored between two and eight degrees.",
    "长城": "长城是中国古代的军事防御工事，全长两万多公里。",
    "面包": "面包要在烤箱里烤一个小时。",
    "疫苗": "疫苗应保存在二到八摄氏度之间。",
    "熊猫": "大熊猫主要吃竹子，生活在四川的山里。",
}
GOLD = {
    "en1": ("What is the purpose of Telnet?", "telnet"),
    "en2": ("How many masts did the warship have?", "warship"),
    "zh1": ("长城有多长？", "长城"),
    "zh2": ("大熊猫吃什么？", "熊猫"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The golden set; what the server keeps of it in its cache goes when the test ends."""
    corpus = [{"id": name, "title": "", "text": text} for name, text in PASSAGES.items()]
    folder = write(tmp_path / "金", corpus, GOLD)
    golden = read_golden_set(folder)
    yield folder
    monkeypatch.delenv("RAG_CACHE", raising=False)
    shutil.rmtree(cache_folder(golden, load_settings(tmp_path)), ignore_errors=True)


def test_a_golden_set_is_evaluated_and_a_question_opens_on_inspect(
    visitor: Visitor, app: str, folder: Path
) -> None:
    """One visit: a folder that is not there, the run, the figures, the files, one question."""
    visit = visitor(app)
    page = visit.page
    page.goto(f"{app}/evaluate")
    field = page.get_by_role("textbox", name="Folder on this machine")
    field.wait_for()
    visit.settle()
    field.fill(str(folder / "nowhere"))
    field.press("Enter")
    page.get_by_text("has no qrels.tsv").wait_for()
    assert page.get_by_role("button", name="Evaluate", exact=True).is_disabled()
    field.fill(str(folder))
    field.press("Enter")
    page.get_by_text("8 passages, 4 questions with an answer (2 English, 2 Chinese)").wait_for()
    visit.settle()
    page.get_by_role("button", name="Evaluate", exact=True).click()
    page.get_by_text("Question by question").wait_for()
    visit.settle()
    assert "4 questions do not tell" in visit.text or "Reranking" in visit.text
    page.get_by_test_id("stTable").nth(2).wait_for()
    chart = page.get_by_test_id("stVegaLiteChart")
    chart.hover()
    with page.expect_download() as download:
        # The buttons above a chart fade in and out under the mouse.
        page.get_by_role("button", name="Download as PNG").press("Enter")
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    assert "fused+rerank,zh,2," in Path(download.value.path()).read_text(encoding="utf-8-sig")

    page.get_by_role("radio", name="Ties").click()
    visit.settle()
    inspect = page.get_by_role("button", name="Open on Inspect")
    visit.choose(lambda table: 0, inspect)
    inspect.click()
    page.get_by_text("Asked of the documents of the golden set “金”").wait_for()
    visit.settle()
    assert page.get_by_test_id("stVegaLiteChart").count()
