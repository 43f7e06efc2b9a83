"""The report in a real browser, without a server and without a network."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from rag.report import html_report
from tests.test_report import HOSTILE, generated, hostile_candidates, record, trace


def test_a_report_opens_offline_and_asks_for_nothing(chromium: Browser, tmp_path: Path) -> None:
    found = trace(hostile_candidates(), question=HOSTILE)
    file = tmp_path / "report.html"
    file.write_text(html_report(record(found, generated(found, HOSTILE))), encoding="utf-8")
    asked: list[str] = []
    said: list[str] = []
    page = chromium.new_context(offline=True, viewport={"width": 390, "height": 800}).new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    width = page.evaluate("document.documentElement.scrollWidth")
    page.context.close()
    assert asked == [file.as_uri()]
    assert said == []
    assert width <= 390
