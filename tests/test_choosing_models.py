"""Every kind of model is chosen by its name in the settings, and what it lacks is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.errors import MissingDependency, RAGError
from rag.models.embedders import make_embedder
from rag.models.rerankers import make_reranker, reranker_identity
from rag.settings import IndexSettings, RerankerKind, Settings


@pytest.fixture(autouse=True)
def without_network_or_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("COHERE_API_KEY", "CO_API_KEY", "JINA_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def settings(tmp_path: Path, **values: object) -> Settings:
    return Settings.model_validate({"home": tmp_path, "cache": tmp_path, **values})


@pytest.mark.parametrize("kind", ["cross-encoder", "bge", "api", "llm"])
def test_a_reranker_says_what_it_lacks(tmp_path: Path, kind: RerankerKind) -> None:
    with pytest.raises(RAGError) as refused:
        make_reranker(settings(tmp_path, query={"reranker": kind}))
    assert refused.value.message.endswith(".")
    assert refused.value.hint


def test_an_embedder_of_the_hub_that_is_out_of_reach_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency) as refused:
        make_embedder(IndexSettings(embedder="bge-m3", model="nobody/nothing"), tmp_path)
    assert refused.value.hint


def test_what_another_reranker_is(tmp_path: Path) -> None:
    here = reranker_identity(settings(tmp_path))
    assert here == reranker_identity(settings(tmp_path, query={"passages": 9}))
    for change in ({"reranker": "features"}, {"reranker_model": "x"}, {"remote_code": "x"}):
        assert here != reranker_identity(settings(tmp_path, query=change))
    assert here == reranker_identity(settings(tmp_path, endpoint={"model": "x"}))
    llm = {"reranker": "llm"}
    assert reranker_identity(settings(tmp_path, query=llm)) != reranker_identity(
        settings(tmp_path, query=llm, endpoint={"model": "x"})
    )
