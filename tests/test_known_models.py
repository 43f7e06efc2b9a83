"""The list of known models, what it says of each, and `rag models`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import get_args

import pytest
from click.testing import CliRunner

from rag.cli.models import models as command
from rag.models.known_models import KNOWN_MODELS, known_model, models_table
from rag.models.layouts import LAYOUTS
from rag.models.rerank_providers import PROVIDERS
from rag.models.status import ModelStatus, chosen_models, model_statuses
from rag.settings import AnswererKind, EmbedderKind, RerankerKind, Settings, load_settings
from tests.endpoint import Endpoint, running_endpoint

KEY = "sk-canary-0123456789abcdef"
KINDS = {"embedder": EmbedderKind, "reranker": RerankerKind, "answerer": AnswererKind}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key of this machine, no cache and no hub."""
    for variable in ("OPENAI_API_KEY", "RAG_LLM_MODEL"):
        monkeypatch.delenv(variable, raising=False)
    for record in PROVIDERS.values():
        for variable in record.key_variables:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


def settings(tmp_path: Path, **environment: str) -> Settings:
    return load_settings(tmp_path, environment=environment)


def status(of: Settings, name: str) -> ModelStatus:
    return next(one for one in model_statuses(of) if one.model.name == name)


def test_every_kind_that_can_be_chosen_is_in_the_list() -> None:
    for task, kinds in KINDS.items():
        found = {one.kind for one in KNOWN_MODELS if one.task == task}
        assert found == set(get_args(kinds)) - {"auto"}


def test_names_are_found_in_any_case_and_are_the_name_of_one_model() -> None:
    assert len({one.name.lower() for one in KNOWN_MODELS}) == len(KNOWN_MODELS)
    found = known_model("baai/BGE-M3")
    assert found is not None
    assert found.name == "BAAI/bge-m3"
    assert known_model("没有") is None


def test_what_comes_from_the_hub_has_a_size_and_a_licence_and_embedders_have_dimensions() -> None:
    for one in KNOWN_MODELS:
        assert bool(one.dimensions) == (one.task == "embedder")
        if one.kind in LAYOUTS:
            assert one.megabytes
            assert one.licence
    assert all(one.name in models_table() for one in KNOWN_MODELS)


def test_the_defaults_are_chosen_and_ready(tmp_path: Path) -> None:
    chosen = [one for one in model_statuses(settings(tmp_path)) if one.chosen]
    assert [one.model.kind for one in chosen] == ["bundled", "late-interaction", "quotes"]
    assert not any(one.missing for one in chosen if one.model.kind != "bundled")


def test_a_model_that_only_the_settings_name_is_in_the_list(tmp_path: Path) -> None:
    own = settings(
        tmp_path, RAG_INDEX_EMBEDDER="sentence-transformers", RAG_INDEX_MODEL="某人/嵌入模型"
    )
    found = status(own, "某人/嵌入模型")
    assert found.chosen
    assert found.model.licence == "see its page"
    assert (found.cached, found.reachable) == (False, False)
    assert "hub cannot be reached" in found.missing


def test_a_folder_needs_no_hub(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "modules.json").write_text("[]")
    name = str(tmp_path / "model")
    own = settings(tmp_path, RAG_INDEX_EMBEDDER="sentence-transformers", RAG_INDEX_MODEL=name)
    found = status(own, name)
    assert (found.cached, found.reachable, found.missing) == (True, None, "")


def test_the_profiles_choose_their_models(tmp_path: Path) -> None:
    names = {
        profile: [one.name for one in chosen_models(load_settings(tmp_path, profile, {}))]
        for profile in ("bge", "api")
    }
    assert names["bge"] == ["BAAI/bge-m3", "BAAI/bge-reranker-v2-m3", "quotes"]
    assert names["api"][0] == "text-embedding-3-small"


def test_a_service_is_asked_only_where_it_is_chosen_or_has_a_key(tmp_path: Path) -> None:
    found = status(settings(tmp_path), "cohere")
    assert (found.reachable, found.missing) == (None, "Set COHERE_API_KEY.")
    assert status(settings(tmp_path), "text-embedding-3-small").missing == "Set OPENAI_API_KEY."
    assert status(settings(tmp_path), "the chat endpoint").missing == "Set RAG_LLM_MODEL."


def test_endpoints_that_answer_and_that_do_not(server: Endpoint, tmp_path: Path) -> None:
    own = settings(
        tmp_path,
        RAG_LLM_MODEL="m",
        OPENAI_BASE_URL=server.base_url,
        OPENAI_API_KEY=KEY,
        RAG_QUERY_RERANKER="api",
        RAG_RERANK_ENDPOINT_PROVIDER="tei",
        RAG_RERANK_ENDPOINT_BASE_URL="http://127.0.0.1:9",
    )
    found = {one.model.name: one for one in model_statuses(own)}
    assert (found["the chat endpoint"].reachable, found["the chat endpoint"].missing) == (True, "")
    assert found["text-embedding-3-small"].reachable
    assert found["tei"].chosen
    assert found["tei"].missing == "http://127.0.0.1:9 does not answer."
    assert KEY not in repr(list(found.values()))


def test_a_hub_that_is_silent_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("rag.models.status.ASKING_SECONDS", 0.5)
        started = monotonic()
        found = status(settings(tmp_path), "BAAI/bge-small-zh-v1.5")
        assert monotonic() - started < 5
    assert (found.cached, found.reachable) == (False, False)


def test_a_model_that_would_be_refused_is_not_offered(tmp_path: Path) -> None:
    assert "Refused" in status(settings(tmp_path), "BAAI/bge-reranker-v2-minicpm-layerwise").missing


def test_a_model_with_its_own_code_has_to_be_allowed(tmp_path: Path) -> None:
    name = "jinaai/jina-reranker-v2-base-multilingual"
    assert "RAG_QUERY_REMOTE_CODE" in status(settings(tmp_path), name).missing
    allowed = settings(tmp_path, RAG_QUERY_REMOTE_CODE=name)
    assert "hub cannot be reached" in status(allowed, name).missing


def test_the_list_is_printed_and_given_as_json(tmp_path: Path) -> None:
    printed = CliRunner().invoke(command, obj=(tmp_path, None), catch_exceptions=False)
    assert all(one.name in printed.output for one in KNOWN_MODELS)
    assert printed.output.count("*") == 3
    given = CliRunner().invoke(command, ["--json"], obj=(tmp_path, None), catch_exceptions=False)
    rows = json.loads(given.output)
    assert len(rows) == len(KNOWN_MODELS)
    assert {"name", "installed", "cached", "reachable", "missing"} <= set(rows[0])


@pytest.mark.parametrize(
    ("name", "words"),
    [("someone/unknown", "not in the list"), ("cohere", "not come from the model hub")],
)
def test_what_cannot_be_downloaded_says_so(name: str, words: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["download", name], obj=(tmp_path, None))
    assert words in str(result.exception)


def test_the_list_needs_no_library_of_models(tmp_path: Path) -> None:
    source = """
import sys
from rag.models.status import model_statuses
from rag.settings import load_settings
model_statuses(load_settings())
print(sorted(sys.modules))
"""
    environment = {"HF_HUB_OFFLINE": "1", "RAG_HOME": str(tmp_path), "HF_HOME": str(tmp_path)}
    loaded = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
    for heavy in ("torch", "transformers", "sentence_transformers", "openai", "lancedb"):
        assert f"'{heavy}'" not in loaded


def test_the_documentation_names_every_known_model() -> None:
    text = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    assert [one.name for one in KNOWN_MODELS if one.name not in text] == []
    assert all(row in text for row in models_table().splitlines())
