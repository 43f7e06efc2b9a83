"""The Settings page: what is on it can be tried and saved, and what is wrong is said."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import rag.models.hub
import rag.opening
import rag.trial
from pages._settings.effect import Effects
from rag.errors import BackendError
from rag.models.downloading import Report
from rag.pipeline import Pipeline
from rag.settings import SETTINGS_FILE, Settings, load_settings
from tests.fakes import FakeEmbedder
from tests.model_endpoint import Services, services
from tests.test_golden import BREAD, CAT, filled, make, marked, 猫
from tests.test_pages import assert_clean, press, refuse, texts

__all__ = ["filled", "services"]

ROOT = Path(__file__).parents[1]
SETTINGS = "pages/settings.py"
KEY = "sk-canary-77aa"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAG_PROFILE", "RAG_LLM_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "library"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(rag.trial, "make_embedder", lambda *settings: FakeEmbedder())
    monkeypatch.setattr(
        rag.opening, "open_pipeline", lambda settings, index=None, **_: refuse(settings)
    )
    st.cache_resource.clear()
    return tmp_path / "library"


def opened(page: str = SETTINGS) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    return app.switch_page(page).run() if page else app


def field(app: AppTest, label: str) -> Any:
    kinds = (app.number_input, app.selectbox, app.text_input, app.toggle)
    return next(one for kind in kinds for one in kind if one.label == label)


def write(home: Path, text: str) -> None:
    home.mkdir(exist_ok=True)
    (home / SETTINGS_FILE).write_text(text, encoding="utf-8")


def test_what_is_changed_is_told_and_saved_and_stays(home: Path) -> None:
    write(home, "# 我的\n[query]\npassages = 6\n")
    app = opened()
    assert_clean(app)
    assert not [button for button in app.button if button.label == "Save"]
    assert (field(app, "Passages in the prompt").min, field(app, "Passages in the prompt").max) == (
        1,
        20,
    )
    assert field(app, "Recall depth").help == "Passages each recall arm returns. 1 to 1,000."
    field(app, "Passages in the prompt").set_value(8)
    field(app, "Reranker").set_value("features")
    field(app, "Rewrite follow-up questions").set_value(False)
    app = field(app, "Currency").set_value("人民币").run()
    assert_clean(app)
    assert "Passages in the prompt: 6 → **8**" in texts(app)
    assert "Reranker: Late interaction → **BM25 + features**" in texts(app)
    assert "Rewrite follow-up questions: on → **off**" in texts(app)
    app = press(app, "Save")
    assert_clean(app)
    saved = load_settings()
    assert (saved.query.passages, saved.query.reranker) == (8, "features")
    assert (saved.query.rewrite, saved.prices.currency) == (False, "人民币")
    assert (home / SETTINGS_FILE).read_text(encoding="utf-8").startswith("# 我的\n[query]\npass")
    assert "Saved: " in app.toast[0].value
    assert not [button for button in app.button if button.label == "Save"]
    assert field(app, "Passages in the prompt").value == 8


def test_what_was_saved_elsewhere_meanwhile_is_shown_and_undo_forgets(home: Path) -> None:
    app = opened()
    app = field(app, "Fusion constant").set_value(30).run()
    write(home, "[query]\npassages = 9\n")
    app = app.run()
    assert field(app, "Passages in the prompt").value == 9
    assert "Fusion constant: 60 → **30**" in texts(app)
    app = press(app, "Undo")
    assert field(app, "Fusion constant").value == 60
    assert "→" not in texts(app)


def test_another_profile_shows_its_own_values_and_is_saved(home: Path) -> None:
    write(home, '[profiles."快".query]\npassages = 2\n')
    app = opened()
    app = field(app, "Profile").set_value("快").run()
    assert field(app, "Passages in the prompt").value == 2
    app = field(app, "Passages in the prompt").set_value(3).run()
    assert "Profile: local → **快**" in texts(app)
    app = press(app, "Save")
    assert_clean(app)
    assert (load_settings().profile, load_settings().query.passages) == ("快", 3)
    assert load_settings(profile="local").query.passages == 5


def test_what_the_environment_sets_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_QUERY_PASSAGES", "3")
    monkeypatch.setenv("RAG_LLM_MODEL", "qwen")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    app = opened()
    assert_clean(app)
    for label, value in (("Passages in the prompt", 3), ("Chat model", "qwen")):
        assert field(app, label).disabled
        assert field(app, label).value == value
    assert not field(app, "Recall depth").disabled
    assert "Set by `RAG_QUERY_PASSAGES`" in texts(app)
    assert "Set by `RAG_LLM_MODEL`" in texts(app)
    assert "API key: set (`OPENAI_API_KEY`)" in texts(app)
    assert KEY not in repr(app.main)


def test_a_service_is_tried_with_what_stands_on_the_page(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is saved, a working one and one that refuses the key."""
    monkeypatch.setenv("SILICONFLOW_API_KEY", KEY)
    app = field(opened(), "Reranker").set_value("api").run()
    app = field(app, "Rerank service").set_value("siliconflow").run()
    assert "API key: set (`SILICONFLOW_API_KEY`)" in texts(app)
    field(app, "Address of the rerank service").set_value(services.address)
    app = field(app, "Model of the rerank service").set_value("BAAI/bge-reranker-v2-m3").run()
    app = app.button(key="test-reranker").click().run()
    assert_clean(app)
    assert ":green[:material/check_circle:] BAAI/bge-reranker-v2-m3 (siliconflow)" in texts(app)
    assert re.search(r"\d ms \(loading \d+ ms\)", texts(app))
    app = field(app, "Address of the rerank service").set_value(f"{services.address}/hang").run()
    assert "check_circle" not in texts(app)
    app = field(app, "Address of the rerank service").set_value("nowhere").run()
    app = app.button(key="test-reranker").click().run()
    assert ":red[:material/cancel:] The address in" in texts(app)
    assert KEY not in texts(app)
    assert load_settings().query.reranker == "late-interaction"


def test_only_what_a_kind_needs_is_asked_for() -> None:
    app = opened()
    labels = {one.label for one in (*app.selectbox, *app.text_input, *app.number_input)}
    assert not labels & {"Reranker model", "Rerank service", "Embedding model", "Dimensions"}
    assert field(app, "Read document names").value is True
    assert "together with its document's name." in field(app, "Read document names").help
    app = field(app, "Embedder").set_value("openai").run()
    assert field(app, "Embedding model").value == ""
    assert field(app, "Dimensions").value == 0
    assert field(app, "Address for embeddings").value == ""
    app = field(app, "Reranker").set_value("cross-encoder").run()
    assert_clean(app)
    assert field(app, "Reranker model").value == ""
    assert field(app, "May run its own code").value == ""
    # Another index is built, never just saved.
    assert "Embedder: " not in texts(app)


def test_a_model_of_the_hub_is_downloaded_before_it_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its size before, its progress during; a download that breaks off is told."""
    told, going_on = Event(), Event()

    def breaks_off(kind: str, model: str, report: Report, remote_code: bool = False) -> Path:
        report(5_000_000, 2_290_000_000)
        told.set()
        going_on.wait(30)
        raise BackendError(f"The download of {model} broke off.", "Start again.")

    monkeypatch.setattr(rag.models.hub, "download_model", breaks_off)
    monkeypatch.setattr(rag.models.hub, "is_here", lambda model, layout: False)
    app = field(opened(), "Reranker").set_value("bge").run()
    assert_clean(app)
    assert "2,290 MB to fetch" in texts(app)
    assert app.button(key="test-reranker").disabled
    app = press(app, "Download")
    assert told.wait(30)
    app = app.run()
    bars = [bar.proto.text for bar in app.get("progress")]
    assert [re.sub(r"\\", "", text) for text in bars] == ["BAAI/bge-reranker-v2-m3: 5 of 2,290 MB"]
    going_on.set()
    while not app.error:
        app = app.run()
    assert_clean(app)
    assert "The download of BAAI/bge-reranker-v2-m3 broke off." in texts(app)
    assert [button for button in app.button if button.label == "Download"]


def test_what_stands_on_the_page_and_is_not_valid_is_told() -> None:
    app = field(opened(), "Rerank limit (s)").set_value(0.0).run()
    assert_clean(app)
    assert "Rerank limit (s): Input should be greater than 0." in texts(app)
    assert not [button for button in app.button if button.label == "Save"]
    assert app.button(key="test-reranker").disabled


def test_a_mistake_in_the_file_is_named_on_every_page(home: Path) -> None:
    """Also where the library was opened before the mistake was made; one page says more."""
    app = opened("")
    write(home, "[query]\npasages = 3\n")
    for page in ("pages/ask.py", "pages/library.py", "pages/inspection.py", SETTINGS):
        app = app.switch_page(page).run()
        assert_clean(app)
        assert len(app.error) == 1
        assert "The setting query.pasages is not valid" in texts(app)
        assert "library/settings.toml" in texts(app)
    assert "take its line out to have the default again" in texts(app)
    write(home, "[query]\npassages = 3\n")
    app = press(app, "Read it again")
    assert_clean(app)
    assert field(app, "Passages in the prompt").value == 3


# --- what a change does to golden questions ---


@pytest.fixture
def golden(home: Path, filled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library under two indexes with golden questions."""
    shutil.copytree(filled, home)
    write(home, "[index]\nchunk_tokens = 76\noverlap_tokens = 0\n")

    def open_pipeline(settings: Settings, index: object = None, **_: bool) -> Pipeline:
        return make(settings.home, index or settings.index).with_settings(settings)

    for question in (CAT, 猫, BREAD):
        marked(make(home), question)
    monkeypatch.setattr(rag.opening, "open_pipeline", open_pipeline)
    return home


def effects(app: AppTest) -> Effects:
    found: Effects = app.session_state["settings-effects"]
    return found


def waited(app: AppTest) -> AppTest:
    """The page when the questions were asked."""
    for job in effects(app).jobs.values():
        job.wait(30)
    app = app.run()
    assert_clean(app)
    return app


def test_without_golden_questions_the_page_says_how_to_get_some() -> None:
    assert "golden questions" not in texts(opened())
    app = field(opened(), "Passages in the prompt").set_value(8).run()
    assert_clean(app)
    assert "This library has no golden questions yet. Mark the right source" in texts(app)


def test_what_a_change_does_to_golden_questions_is_shown_before_it_is_saved(golden: Path) -> None:
    app = opened()
    assert "golden questions" not in texts(app)
    app = waited(field(app, "Relevance threshold").set_value(1.0).run())
    assert "On your 3 golden questions hit@1 stays at " in texts(app)
    assert "; 3 are left without an answer instead of 0; " in texts(app)
    table = app.table[0].value
    assert list(table["No answer"])[:2] == ["0\u00a0%", "100\u00a0%"]
    assert set(app.dataframe[0].value["Question"]) == {CAT, 猫, BREAD}
    assert len(effects(app).kept) == 6
    # Another value asks only what was not asked, and the first one nothing.
    app = waited(field(app, "Relevance threshold").set_value(0.0).run())
    assert len(effects(app).kept) == 9
    jobs = list(effects(app).jobs.values())
    app = field(app, "Relevance threshold").set_value(1.0).run()
    assert "3 are left without an answer" in texts(app)
    assert list(effects(app).jobs.values()) == jobs
    app = field(app, "Currency").set_value("人民币").run()
    app = field(app, "Relevance threshold").set_value(0.05).run()
    assert "This does not change what is found for your 3 golden questions." in texts(app)
    app = press(app, "Save")
    assert_clean(app)
    assert load_settings().prices.currency == "人民币"
    assert "golden questions" not in texts(app)


def test_services_are_asked_when_a_person_says_so(
    golden: Path, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that is down is told, while saving goes on."""
    monkeypatch.setenv("SILICONFLOW_API_KEY", KEY)
    with (golden / SETTINGS_FILE).open("a") as file:
        file.write('[rerank_endpoint]\nprovider = "siliconflow"\nmodel = "m"\n')
        file.write(f'base_url = "{services.address}"\n')
    app = field(opened(), "Reranker").set_value("api").run()
    assert_clean(app)
    assert "It asks the rerank service for 3 searches, which may cost." in texts(app)
    assert not effects(app).jobs
    app = waited(press(app, "Show what this does to the 3 golden questions"))
    assert "On your 3 golden questions hit@1 " in texts(app)
    app = field(app, "Address of the rerank service").set_value("http://127.0.0.1:9").run()
    app = waited(press(app, "Show what this does to the 3 golden questions"))
    assert "The reranker failed 3 questions in a row." in texts(app)
    assert KEY not in texts(app)
    assert {"Go on", "Save"} <= {button.label for button in app.button}


def test_another_index_is_compared_once_it_is_built(golden: Path) -> None:
    app = field(opened(), "Chunk length").set_value(50).run()
    assert_clean(app)
    assert "Another index can be compared on your 3 golden questions once it is built." in (
        texts(app)
    )
    assert not effects(app).jobs
    app = waited(field(app, "Chunk length").set_value(32).run())
    assert "With the other index: On your 3 golden questions hit@1 " in texts(app)
    assert not [button for button in app.button if button.label == "Save"]


def test_what_was_typed_is_there_again_after_a_look_at_inspect(home: Path) -> None:
    def go() -> None:
        import streamlit as st

        from pages._settings.form import Form

        st.session_state["setting query.passages"] = 8
        Form.leave()

    app = AppTest.from_function(go).run()
    kept = app.session_state["settings-left"]
    app = opened("")
    app.session_state["settings-left"] = kept
    app = app.switch_page(SETTINGS).run()
    assert_clean(app)
    assert field(app, "Passages in the prompt").value == 8
    assert "Passages in the prompt: 5 → **8**" in texts(app)
