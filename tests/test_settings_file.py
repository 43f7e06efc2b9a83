"""Saving settings: what changed is written, and nothing else in the file is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.errors import SettingsError
from rag.settings import SETTINGS_FILE, QuerySettings, load_settings
from rag.settings_file import save_query_settings

WRITTEN = """\
# 我的设置
[query]
passages = 6  # six is enough

[profiles.quick.query]
rerank_depth = 20
"""


def save(home: Path, profile: str | None = None, **changes: float) -> tuple[str, ...]:
    settings = load_settings(home, profile, {})
    query = QuerySettings.model_validate({**settings.query.model_dump(), **changes})
    return save_query_settings(settings, query, {})


def test_a_first_change_makes_the_file(tmp_path: Path) -> None:
    home = tmp_path / "新的"
    assert save(home, passages=7, relevance=0.2) == ("passages", "relevance")
    query = load_settings(home, None, {}).query
    assert (query.passages, query.relevance) == (7, 0.2)
    assert "recall_depth" not in (home / SETTINGS_FILE).read_text()


def test_comments_and_other_sections_stay(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(WRITTEN, encoding="utf-8")
    assert save(tmp_path, passages=8) == ("passages",)
    text = (tmp_path / SETTINGS_FILE).read_text(encoding="utf-8")
    assert text == WRITTEN.replace("passages = 6", "passages = 8")


def test_a_profile_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(WRITTEN, encoding="utf-8")
    assert save(tmp_path, "quick", recall_depth=40) == ("recall_depth",)
    assert load_settings(tmp_path, "quick", {}).query.recall_depth == 40
    assert load_settings(tmp_path, None, {}).query.recall_depth == 100


def test_nothing_changed_writes_nothing_new(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(WRITTEN, encoding="utf-8")
    assert save(tmp_path) == ()
    assert (tmp_path / SETTINGS_FILE).read_text(encoding="utf-8") == WRITTEN


def test_what_the_environment_says_cannot_be_saved_over(tmp_path: Path) -> None:
    environment = {"RAG_QUERY_PASSAGES": "3"}
    settings = load_settings(tmp_path, None, environment)
    query = settings.query.model_copy(update={"passages": 9})
    with pytest.raises(SettingsError, match="RAG_QUERY_PASSAGES"):
        save_query_settings(settings, query, environment)
    assert not (tmp_path / SETTINGS_FILE).exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    settings = load_settings(tmp_path / "library", None, {})
    (tmp_path / "library").write_text("a file where a folder was due")
    with pytest.raises(SettingsError, match="cannot be written"):
        save_query_settings(settings, settings.query.model_copy(update={"passages": 9}), {})
