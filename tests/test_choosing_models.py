"""Every kind of model is chosen by its name in the settings, and what it lacks is said."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from rag.errors import MissingDependency, MissingKey, RAGError, SettingsError
from rag.models.embedders import make_embedder
from rag.models.rerankers import make_reranker
from rag.settings import IndexSettings, QuerySettings, RerankerKind, Settings


@pytest.fixture(autouse=True)
def without_network_or_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("COHERE_API_KEY", "CO_API_KEY", "JINA_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def settings(tmp_path: Path, **values: object) -> Settings:
    return Settings.model_validate({"home": tmp_path, "cache": tmp_path, **values})


@pytest.mark.parametrize("kind", get_args(RerankerKind))
def test_a_reranker_is_made_or_says_what_it_lacks(tmp_path: Path, kind: RerankerKind) -> None:
    chosen = settings(tmp_path, query={"reranker": kind})
    if kind in ("late-interaction", "features"):
        assert make_reranker(chosen) is not None
    elif kind == "none":
        assert make_reranker(chosen) is None
    else:
        with pytest.raises(RAGError) as refused:
            make_reranker(chosen)
        assert refused.value.message.endswith(".")
        assert refused.value.hint


def test_a_missing_key_names_its_variable(tmp_path: Path) -> None:
    api = settings(
        tmp_path,
        query={"reranker": "api"},
        rerank_endpoint={"provider": "cohere", "model": "rerank-v3.5"},
    )
    with pytest.raises(MissingKey, match="COHERE_API_KEY"):
        make_reranker(api)


def test_an_unknown_provider_names_the_known_ones(tmp_path: Path) -> None:
    api = settings(tmp_path, query={"reranker": "api"}, rerank_endpoint={"provider": "nobody"})
    with pytest.raises(SettingsError) as refused:
        make_reranker(api)
    assert "cohere" in str(refused.value)


def test_an_embedder_of_the_hub_that_is_out_of_reach_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency) as refused:
        make_embedder(IndexSettings(embedder="bge-m3", model="nobody/nothing"), tmp_path)
    assert refused.value.hint


def test_another_reranker_or_model_is_another_reranker() -> None:
    here = QuerySettings()
    assert here.same_reranker(QuerySettings(passages=9))
    assert not here.same_reranker(QuerySettings(reranker="features"))
    assert not here.same_reranker(QuerySettings(reranker_model="x"))
