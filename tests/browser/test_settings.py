"""The Settings page: everything on it is tried for real, and saved for the next question."""

from __future__ import annotations

from pathlib import Path

from rag.settings import SETTINGS_FILE
from tests.browser.conftest import CANARY, Visitor


def test_models_are_tried_and_a_change_is_saved(
    visitor: Visitor, written_app: str, library_home: Path
) -> None:
    """One visit, on a narrow screen: what the environment sets, two trials, Save, and no key."""
    visit = visitor(written_app)
    visit.resize(700, "light")
    page = visit.page
    page.goto(f"{written_app}/settings")
    currency = page.get_by_role("textbox", name="Currency")
    currency.wait_for()
    visit.settle()
    assert "Set by RAG_LLM_MODEL" in visit.text
    assert page.get_by_role("textbox", name="Chat model").is_disabled()
    assert "API key: set (OPENAI_API_KEY)" in visit.text

    page.locator(".st-key-test-embedder button").click()
    page.get_by_text("prefers the passage that answers the question, in English").wait_for()
    page.locator(".st-key-test-answerer button").click()
    page.get_by_text("as-asked: Vaccines should be stored").wait_for()
    visit.settle()
    assert "冰箱" in visit.text

    assert page.get_by_role("button", name="Save").count() == 0
    currency.fill("人民币")
    currency.press("Enter")
    page.get_by_text("Currency: USD → 人民币").wait_for()
    try:
        page.get_by_role("button", name="Save").click()
        page.get_by_text("Saved: Currency.").wait_for()
        visit.settle()
        saved = (library_home / SETTINGS_FILE).read_text(encoding="utf-8")
    finally:
        # The other tests share this library.
        (library_home / SETTINGS_FILE).unlink(missing_ok=True)
    assert saved == '[prices]\ncurrency = "人民币"\n'
    assert page.get_by_role("button", name="Save").count() == 0
    assert CANARY not in page.content()
    # Nothing reaches beyond the screen.
    wider = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wider) == 0
