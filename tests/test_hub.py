"""Models of the hub: what is fetched, how a download goes on, and what is said where it cannot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.errors import BackendError, MissingDependency, RAGError, SettingsError
from rag.models.downloading import reporting
from rag.models.hub import download_model, download_size, is_here, model_folder, require_memory
from rag.models.layouts import BGE_M3, LAYOUTS, PAIR_MODEL, SENTENCE_TRANSFORMER
from tests import tiny_models
from tests.hub_server import Hub, running_hub

PAIR = "someone/tiny-reranker"
SENTENCES = "someone/tiny-embedder"
M3 = "someone/tiny-m3"
TEXTS = ["config.json", "tokenizer.json", "tokenizer_config.json"]
NEEDED = {
    ("cross-encoder", PAIR): {*TEXTS, "model.safetensors"},
    ("bge", PAIR): {*TEXTS, "model.safetensors"},
    ("bge-m3", M3): {*TEXTS, "pytorch_model.bin", "colbert_linear.pt", "sparse_linear.pt"},
    ("sentence-transformers", SENTENCES): {
        *TEXTS,
        "model.safetensors",
        "modules.json",
        "1_Pooling/config.json",
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    pair = tiny_models.pair_model(folder / "pair")
    m3 = tiny_models.bge_m3(folder / "m3")
    sentences = folder / "sentences"
    shutil.copytree(m3, sentences, ignore=shutil.ignore_patterns("*.pt"))
    tiny_models.say_how_it_pools(sentences)
    for model in (pair, sentences):
        (model / "onnx").mkdir()
        for other in ("onnx/model.onnx", "onnx/config.json", "README.md", "pytorch_model.bin"):
            (model / other).write_bytes(b"{}")
    # Its real namesake has no other weights.
    (m3 / "model.safetensors").rename(m3 / "pytorch_model.bin")
    with running_hub() as running:
        running.models = {PAIR: pair, SENTENCES: sentences, M3: m3}
        yield running


@pytest.fixture
def hub(server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """The server as the hub of this process, with nothing in the cache."""
    address_of_a_file = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address_of_a_file)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 4096)
    server.requests.clear()
    server.ranges.clear()
    server.broken.clear()
    return server


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def same(folder: Path, hub: Hub, file: str) -> bool:
    return (folder / file).read_bytes() == (hub.models[PAIR] / file).read_bytes()


@pytest.mark.parametrize(("kind", "model"), NEEDED)
def test_a_download_is_what_loading_needs_and_no_more(
    kind: str, model: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = LAYOUTS[kind]
    size = download_size(model, layout)
    assert size == hub.size(model, *NEEDED[kind, model])
    reports: list[tuple[int, int]] = []
    folder = download_model(kind, model, lambda done, total: reports.append((done, total)))
    assert files_below(folder) == NEEDED[kind, model]
    assert reports == sorted(reports)
    assert len(reports) > len(NEEDED[kind, model])
    assert reports[-1] == (size, size)
    offline(monkeypatch)
    hub.requests.clear()
    assert is_here(model, layout)
    assert download_size(model, layout) == 0
    assert model_folder(model, layout) == folder
    assert not hub.requests


def test_loading_downloads_by_itself_and_the_next_start_needs_no_hub(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag.models.cross_encoders import load_cross_encoder
    from rag.models.sentence_transformer import load_sentence_transformer

    reports: list[int] = []
    with reporting(lambda done, total: reports.append(done)):
        first = load_sentence_transformer(SENTENCES)
        load_cross_encoder(PAIR)
    assert reports
    offline(monkeypatch)
    again = load_sentence_transformer(SENTENCES)
    assert load_cross_encoder(PAIR).name == PAIR
    assert again.name == SENTENCES
    text = ["疫苗应存放在冰箱里。 the vaccine"]
    assert (again.encode_documents(text).dense == first.encode_documents(text).dense).all()


def test_a_killed_download_loads_nothing_and_keeps_what_is_complete(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = download_size(PAIR, PAIR_MODEL)

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_model("bge", PAIR, stop)
    assert not is_here(PAIR, PAIR_MODEL)
    assert 0 < download_size(PAIR, PAIR_MODEL) < size
    with monkeypatch.context() as patch:
        offline(patch)
        with pytest.raises(MissingDependency, match="not on this machine"):
            model_folder(PAIR, PAIR_MODEL)
    hub.requests.clear()
    folder = download_model("bge", PAIR, lambda done, total: None)
    assert not any("/config.json" in request for request in hub.requests)
    assert same(folder, hub, "model.safetensors")


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub: Hub) -> None:
    hub.broken["model.safetensors"] = "cut once"
    assert same(model_folder(PAIR, PAIR_MODEL), hub, "model.safetensors")
    assert len(hub.ranges) == 1


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("fails", BackendError, "broke off"),
        ("short", BackendError, "broke off"),
        ("gated", SettingsError, "terms"),
    ],
)
def test_a_download_that_fails_is_a_sentence(
    how: str, kind: type[RAGError], words: str, hub: Hub
) -> None:
    hub.broken["model.safetensors"] = how
    with pytest.raises(kind, match=words) as caught:
        model_folder(PAIR, PAIR_MODEL)
    assert caught.value.hint
    assert not is_here(PAIR, PAIR_MODEL)
    hub.broken.clear()
    assert model_folder(PAIR, PAIR_MODEL).is_dir()


def test_a_full_disk_is_told_before_the_download(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    with pytest.raises(BackendError, match="no room") as caught:
        model_folder(PAIR, PAIR_MODEL)
    assert "HF_HOME" in caught.value.hint
    assert not any(request.startswith("GET /someone") for request in hub.requests)


def test_a_model_larger_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(100))
    require_memory(tmp_path, "large")
    monkeypatch.setattr(os, "sysconf", lambda name: 9)
    with pytest.raises(SettingsError, match="memory"):
        require_memory(tmp_path, "large")


@pytest.mark.parametrize("model", ["someone/没有这个模型", "someone/no-such-model", "a/b/c"])
def test_a_name_that_the_hub_does_not_know_is_a_setting_to_correct(hub: Hub, model: str) -> None:
    with pytest.raises(SettingsError, match="no hub model") as caught:
        model_folder(model, SENTENCE_TRANSFORMER)
    assert "RAG_INDEX_MODEL" in caught.value.hint


def test_a_model_that_will_not_do_is_refused_before_its_weights_are_fetched(hub: Hub) -> None:
    with pytest.raises(SettingsError, match="no head that judges"):
        model_folder(M3, PAIR_MODEL)
    with pytest.raises(SettingsError, match=r"colbert_linear\.pt"):
        model_folder(SENTENCES, BGE_M3)
    with pytest.raises(SettingsError, match=r"modules\.json"):
        model_folder(PAIR, SENTENCE_TRANSFORMER)
    assert not any("safetensors" in request or ".bin" in request for request in hub.requests)


def test_a_hub_out_of_reach_names_the_ways_out(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(MissingDependency, match="cannot be reached") as caught:
        model_folder(PAIR, PAIR_MODEL)
    assert "HF_ENDPOINT" in caught.value.hint
    offline(monkeypatch)
    with pytest.raises(MissingDependency) as caught:
        model_folder(PAIR, PAIR_MODEL)
    assert "HF_HUB_OFFLINE" in caught.value.hint


def test_split_weights_are_whole_only_together(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that an earlier version of the hub's library made has no list of the files."""
    snapshot = tmp_path / "cache" / "models--someone--large" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    (snapshot / "config.json").write_text("{}")
    parts = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    index = {"weight_map": {"a": parts[0], "b": parts[1]}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    (snapshot / parts[0]).touch()
    assert not is_here("someone/large", PAIR_MODEL)
    (snapshot / parts[1]).touch()
    assert is_here("someone/large", PAIR_MODEL)


def test_a_mirror_is_used_from_the_command_line(server: Hub, tmp_path: Path) -> None:
    """HF_ENDPOINT and HF_HUB_OFFLINE are read when the process starts."""
    server.broken.clear()
    command = [
        sys.executable,
        "-c",
        "from rag.cli.models import models; models(obj=(None, None))",
        "download",
        PAIR,
        "--kind",
        "cross-encoder",
    ]

    def run(**more: str) -> str:
        own = {"HF_HOME": str(tmp_path), "RAG_HOME": str(tmp_path / "library"), **more}
        done = subprocess.run(
            command, env={**os.environ, **own}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return done.stdout

    size = server.size(PAIR, *NEEDED["cross-encoder", PAIR]) / 1e6
    first = run(HF_ENDPOINT=server.address)
    assert f"{size:.1f} MB to download" in first
    assert "Downloaded" in first
    assert "is on this machine" in run(HF_HUB_OFFLINE="1")
