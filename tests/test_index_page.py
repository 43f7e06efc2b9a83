"""The indexes on the Settings page: another one is built beside the old, switched to, and freed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from pages import _ui as ui
from rag import opening
from rag.errors import BackendError
from rag.ingest import File
from rag.opening import index_in_use, open_pipeline, switch_index
from rag.settings import load_settings
from tests.fakes import FakeEmbedder
from tests.test_indexing import CHINESE, ENGLISH, OLD
from tests.test_pages import LIBRARY, ask, assert_clean, press, texts
from tests.test_settings_page import SETTINGS, field, opened

# The driver of the page can only choose what is listed.
NEW = OLD.model_copy(update={"model": "BAAI/bge-small-zh-v1.5", "chunk_tokens": 64})


class Models:
    """Stands for the models: each is a small one, and `broken` may keep one from working."""

    def __init__(self) -> None:
        self.broken = ""

    def make(self, index: object, *_: object) -> FakeEmbedder:
        embedder = FakeEmbedder(name=index.model)
        embedder.before = lambda: self._check(embedder.name)
        return embedder

    def _check(self, name: str) -> None:
        if name == self.broken:
            raise BackendError("The model ran out of memory.", "Free some memory.")


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Models:
    models = Models()
    monkeypatch.setattr(opening, "make_embedder", models.make)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("RAG_PROFILE", "RAG_LLM_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return models


@pytest.fixture
def home(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library in the index OLD, which its settings name."""
    home = tmp_path / "library"
    monkeypatch.setenv("RAG_HOME", str(home))
    switch_index(load_settings(), OLD)
    files = [File.holding("cats.md", ENGLISH.encode()), File.holding("动物.md", CHINESE.encode())]
    list(open_pipeline(load_settings()).add(files))
    st.cache_resource.clear()
    return home


def choose_new() -> AppTest:
    """The Settings page with the index NEW chosen on it."""
    app = opened(SETTINGS)
    field(app, "Chunk length").set_value(NEW.chunk_tokens)
    return field(app, "Embedding model").set_value(NEW.model).run()


def waited(app: AppTest) -> AppTest:
    """The page after the index is built, or given up."""
    for _ in range(300):
        app = app.run()
        if not any(button.label == "Stop" for button in app.button):
            return app
        time.sleep(0.05)
    raise AssertionError("the index is not built")


def test_another_index_is_built_switched_to_undone_and_freed(home: Path) -> None:
    app = choose_new()
    assert_clean(app)
    assert "2 documents of 2 must be encoded" in texts(app)
    app = waited(press(app, "Build and switch"))
    assert_clean(app)
    assert load_settings().index == NEW
    assert index_in_use(load_settings()) == NEW
    assert "answers now" in texts(app)

    asked = ask(opened(""), "Where does the cat sleep?")
    assert_clean(asked)
    assert "cats.md" in texts(asked)
    assert asked.session_state["history"][-1].trace.library.fingerprint == NEW.fingerprint

    app = press(app, "Switch to it")
    app = waited(app)
    assert index_in_use(load_settings()) == OLD
    app = next(one for one in app.button if one.label.startswith("Free ")).click().run()
    assert_clean(app)
    assert "1 index" in " ".join(one.label for one in app.get("expander"))
    assert len(open_pipeline(load_settings()).store.documents()) == 2


def test_a_build_that_fails_is_told_and_the_old_index_answers(home: Path, models: Models) -> None:
    models.broken = NEW.model
    app = waited(press(choose_new(), "Build and switch"))
    assert_clean(app)
    assert "The model ran out of memory." in texts(app)
    assert index_in_use(load_settings()) == OLD
    assert "cats.md" in texts(ask(opened(""), "Where does the cat sleep?"))
    models.broken = ""
    app = waited(press(choose_new(), "Build and switch"))
    assert index_in_use(load_settings()) == NEW


@pytest.mark.parametrize("page", ["", LIBRARY])
def test_settings_that_name_an_index_that_is_not_built_are_told_on_every_page(
    home: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setenv("RAG_INDEX_MODEL", NEW.model)
    app = opened(page)
    assert_clean(app)
    assert "not built yet" in texts(app)
    if not page:
        assert "动物.md" in texts(ask(app, "猫睡在哪里？"))


def test_another_embedding_endpoint_is_another_embedder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ui.pipeline_of(load_settings())
    assert ui.pipeline_of(load_settings()).embedder is here.embedder
    monkeypatch.setenv("RAG_EMBEDDING_ENDPOINT_BASE_URL", "http://127.0.0.1:9")
    assert ui.pipeline_of(load_settings()).embedder is not here.embedder
