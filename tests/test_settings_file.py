"""Saving settings: what changed is written, and nothing else in the file is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag.errors import SettingsError
from rag.settings import SETTINGS_FILE, Settings, load_settings
from rag.settings_file import save_settings, set_by

WRITTEN = """\
# 我的设置
[query]
passages = 6  # six is enough

[profiles.quick.query]
rerank_depth = 20
"""


def changed(settings: Settings, **values: Any) -> Settings:
    """The settings with other values, by names such as `query__passages`; not validated."""
    for name, value in values.items():
        section, _, field = name.rpartition("__")
        if section:
            inner = getattr(settings, section).model_copy(update={field: value})
            settings = settings.model_copy(update={section: inner})
        else:
            settings = settings.model_copy(update={field: value})
    return settings


def save(home: Path, profile: str | None = None, **values: Any) -> tuple[str, ...]:
    settings = load_settings(home, profile, {})
    return save_settings(settings, changed(settings, **values), {})


def text(home: Path) -> str:
    return (home / SETTINGS_FILE).read_text(encoding="utf-8")


def test_a_first_change_makes_the_file(tmp_path: Path) -> None:
    home = tmp_path / "新的"
    assert save(home, query__passages=7, query__relevance=0.2) == (
        "query.passages",
        "query.relevance",
    )
    query = load_settings(home, None, {}).query
    assert (query.passages, query.relevance) == (7, 0.2)
    assert text(home) == "[query]\npassages = 7\nrelevance = 0.2\n"
    assert {path.name for path in home.iterdir()} <= {SETTINGS_FILE, ".settings.lock"}


def test_comments_and_other_sections_stay(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(WRITTEN, encoding="utf-8")
    (tmp_path / SETTINGS_FILE).chmod(0o600)
    assert save(tmp_path, query__passages=8) == ("query.passages",)
    assert text(tmp_path) == WRITTEN.replace("passages = 6", "passages = 8")
    assert (tmp_path / SETTINGS_FILE).stat().st_mode & 0o777 == 0o600


def test_every_section_is_saved_and_read_back(tmp_path: Path) -> None:
    values = {
        "index__embedder": "openai",
        "index__model": "文本向量",
        "query__rewrite": False,
        "endpoint__base_url": "http://127.0.0.1:1/v1",
        "rerank_endpoint__provider": "tei",
        "embedding_endpoint__seconds": 9.0,
        "prices__currency": "元",
        "reading__pages": 10,
    }
    names = save(tmp_path, **values)
    assert set(names) == {name.replace("__", ".") for name in values}
    read = load_settings(tmp_path, None, {})
    assert read == changed(read, **values)
    assert read.prices.currency == "元"


def test_a_profile_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(WRITTEN, encoding="utf-8")
    assert save(tmp_path, "quick", query__recall_depth=40) == ("query.recall_depth",)
    assert save(tmp_path, "bge", index__overlap_tokens=0) == ("index.overlap_tokens",)
    assert load_settings(tmp_path, "quick", {}).query.recall_depth == 40
    assert load_settings(tmp_path, "bge", {}).index.overlap_tokens == 0
    assert load_settings(tmp_path, None, {}).query.recall_depth == 100
    assert "[profiles.bge.index]\noverlap_tokens = 0\n" in text(tmp_path)


def test_what_the_local_profile_says_itself_is_changed_there(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text("[profiles.local.query]\npassages = 3\n")
    save(tmp_path, query__passages=4)
    assert load_settings(tmp_path, None, {}).query.passages == 4


def test_another_profile_is_saved_with_only_what_it_does_not_say_itself(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(WRITTEN, encoding="utf-8")
    before = load_settings(tmp_path, None, {})
    after = changed(load_settings(tmp_path, "bge", {}), query__passages=9)
    assert save_settings(before, after, {}) == ("profile", "query.passages")
    assert load_settings(tmp_path, None, {}) == after
    assert text(tmp_path).startswith('# 我的设置\nprofile = "bge"\n\n[query]\npassages = 6  # six')
    assert "embedder" not in text(tmp_path)


def test_nothing_changed_writes_nothing(tmp_path: Path) -> None:
    assert save(tmp_path / "new") == ()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"query__passages": 0}, "query.passages"),
        ({"query__reranker": "nobody"}, "query.reranker"),
        ({"index__chunk_tokens": 100_000}, "index.chunk_tokens"),
        ({"prices__input_tokens": float("nan")}, "prices.input_tokens"),
        ({"profile": "missing"}, "missing"),
    ],
)
def test_a_value_that_is_not_valid_is_never_saved(
    tmp_path: Path, values: dict[str, Any], named: str
) -> None:
    (tmp_path / SETTINGS_FILE).write_text(WRITTEN, encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        save(tmp_path, **values)
    assert named in refused.value.message
    assert refused.value.hint
    assert text(tmp_path) == WRITTEN
    assert {path.name for path in tmp_path.iterdir()} <= {SETTINGS_FILE, ".settings.lock"}


@pytest.mark.parametrize("section", ["endpoint", "rerank_endpoint", "embedding_endpoint"])
def test_a_key_is_never_saved(tmp_path: Path, section: str) -> None:
    known = load_settings(tmp_path, None, {f"RAG_{section.upper()}_API_KEY": "sk-canary"})
    with pytest.raises(SettingsError, match="never saved") as refused:
        save_settings(load_settings(tmp_path, None, {}), known, {})
    assert "canary" not in str(refused.value)
    assert save_settings(known, changed(known, query__passages=9), {}) == ("query.passages",)
    assert "canary" not in text(tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("RAG_QUERY_PASSAGES", "3", "query.passages"),
        ("RAG_LLM_MODEL", "qwen", "endpoint.model"),
        ("RAG_ENDPOINT_MODEL", "qwen", "endpoint.model"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:1", "endpoint.base_url"),
        ("RAG_PROFILE", "bge", "profile"),
    ],
)
def test_what_the_environment_says_cannot_be_saved_over(
    tmp_path: Path, variable: str, value: str, name: str
) -> None:
    environment = {variable: value}
    settings = load_settings(tmp_path, None, environment)
    assert set_by(name, environment) == variable
    assert set_by(name, {variable: ""}) == ""
    other: Any = {"query.passages": 9, "profile": "local"}.get(name, "other")
    with pytest.raises(SettingsError, match=variable):
        save_settings(settings, changed(settings, **{name.replace(".", "__"): other}), environment)
    assert not (tmp_path / SETTINGS_FILE).exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    settings = load_settings(tmp_path / "library", None, {})
    (tmp_path / "library").write_text("a file where a folder was due")
    with pytest.raises(SettingsError, match="cannot be written"):
        save_settings(settings, changed(settings, query__passages=9), {})
