"""Settings: code < file < environment, and every mistake is named."""

from pathlib import Path

import pytest

from rag.errors import SettingsError
from rag.settings import IndexSettings, Settings, load_settings


def load(home: Path, text: str = "", profile: str | None = None, **environment: str) -> Settings:
    (home / "settings.toml").write_text(text, encoding="utf-8")
    return load_settings(home, profile, environment)


def test_defaults_need_no_file(tmp_path: Path) -> None:
    settings = load_settings(tmp_path / "new", environment={})
    assert settings.profile == "local"
    assert settings.query.passages == 5
    assert not settings.endpoint.configured


def test_file_beats_code_and_environment_beats_file(tmp_path: Path) -> None:
    text = "[query]\nrerank_depth = 30\npassages = 3\n"
    settings = load(tmp_path, text, RAG_QUERY_RERANK_DEPTH="20")
    assert (settings.query.rerank_depth, settings.query.passages) == (20, 3)


def test_a_profile_overrides_the_file_field_by_field(tmp_path: Path) -> None:
    text = (
        "profile = 'quick'\n[query]\nrerank_depth = 30\npassages = 3\n"
        "[profiles.quick.query]\nrerank_depth = 10\n"
    )
    settings = load(tmp_path, text)
    assert (settings.profile, settings.query.rerank_depth, settings.query.passages) == (
        "quick",
        10,
        3,
    )
    assert load(tmp_path, text, profile="local").query.rerank_depth == 30
    assert load(tmp_path, text, RAG_PROFILE="local").query.rerank_depth == 30


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[query]\nrerank_depht = 3", "query.rerank_depht"),
        ("[query]\nrerank_depth = -1", "query.rerank_depth"),
        ("[index]\nchunk_tokens = 'many'", "index.chunk_tokens"),
        ("[quary]\nx = 1", "quary"),
        ("profile = 'missing'", "missing"),
        ("not toml at all", "settings.toml"),
        ("[endpoint]\napi_key = 'sk-canary'", "API key"),
        ("[profiles.a.endpoint]\napi_key = 'sk-canary'", "API key"),
    ],
)
def test_a_mistake_is_named_with_a_hint(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, text)
    assert named in error.value.message
    assert error.value.hint
    assert "sk-canary" not in str(error.value)


def test_a_mistake_in_the_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"query\.passages"):
        load(tmp_path, RAG_QUERY_PASSAGES="none")
    with pytest.raises(SettingsError, match=r"query\.pasages"):
        load(tmp_path, RAG_QUERY_PASAGES="3")


def test_known_variables_configure_the_endpoint_and_the_key_stays_secret(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        OPENAI_BASE_URL="http://localhost:1/v1",
        OPENAI_API_KEY="sk-canary",
        RAG_LLM_MODEL="qwen",
    )
    assert settings.endpoint.configured
    assert settings.endpoint.api_key.get_secret_value() == "sk-canary"
    assert "sk-canary" not in repr(settings) + settings.model_dump_json()


def test_the_fingerprint_changes_with_the_index_alone(tmp_path: Path) -> None:
    plain = load(tmp_path)
    assert load(tmp_path, "[query]\npassages = 3").index.fingerprint == plain.index.fingerprint
    assert IndexSettings(chunk_tokens=100).fingerprint != plain.index.fingerprint


def test_home_comes_from_the_option_then_the_environment(tmp_path: Path) -> None:
    other = tmp_path / "库 one"
    assert load_settings(None, None, {"RAG_HOME": str(other)}).home == other
    assert load_settings(tmp_path, None, {"RAG_HOME": str(other)}).home == tmp_path
