"""Settings: code < file < environment, and every mistake is named."""

from pathlib import Path

import pytest

from rag.errors import SettingsError
from rag.settings import IndexSettings, Settings, load_settings, profiles


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


def test_the_named_profiles_choose_their_models(tmp_path: Path) -> None:
    assert load_settings(tmp_path, "bge", {}).index.embedder == "bge-m3"
    assert load_settings(tmp_path, "bge", {}).query.reranker == "bge"
    assert load_settings(tmp_path, "api", {}).query.reranker == "api"
    (tmp_path / "settings.toml").write_text('[profiles.bge.query]\nreranker = "features"\n')
    changed = load_settings(tmp_path, "bge", {})
    assert (changed.index.embedder, changed.query.reranker) == ("bge-m3", "features")
    assert profiles(tmp_path) == ["local", "bge", "api"]


def test_an_index_made_before_a_setting_came_keeps_its_name() -> None:
    before = IndexSettings(names=False)
    assert before.fingerprint == "97f45650f8c9"
    assert len({before.fingerprint, IndexSettings().fingerprint}) == 2
    assert IndexSettings(dimensions=256).fingerprint != IndexSettings().fingerprint


def test_embeddings_use_the_chat_endpoint_unless_they_have_their_own(tmp_path: Path) -> None:
    chat = {"OPENAI_BASE_URL": "http://chat/v1", "OPENAI_API_KEY": "one"}
    assert load_settings(tmp_path, None, chat).embeddings.base_url == "http://chat/v1"
    own = {**chat, "RAG_EMBEDDING_ENDPOINT_BASE_URL": "http://other/v1"}
    embeddings = load_settings(tmp_path, None, own).embeddings
    assert embeddings.base_url == "http://other/v1"
    assert embeddings.api_key.get_secret_value() == "", "a key goes to its own server only"


@pytest.mark.parametrize("section", ["endpoint", "rerank_endpoint", "embedding_endpoint"])
def test_no_section_of_the_file_may_hold_a_key(tmp_path: Path, section: str) -> None:
    (tmp_path / "settings.toml").write_text(f'[{section}]\napi_key = "sk-1"\n')
    with pytest.raises(SettingsError, match="holds an API key") as refused:
        load_settings(tmp_path, None, {})
    assert "sk-1" not in str(refused.value)
