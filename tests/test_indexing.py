"""Another index of the same library: built beside the old one, which answers until the switch."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lancedb
import pytest
from click.testing import CliRunner

from rag import opening
from rag.cli import main
from rag.errors import SettingsError
from rag.ingest import File
from rag.opening import index_in_use, index_notice, open_library, open_pipeline, switch_index
from rag.pipeline import Pipeline
from rag.settings import IndexSettings, Settings, load_settings
from rag.store import Indexes
from rag.token_codes import TokenCodec
from rag.types import AddResult, IndexProgress
from tests.fakes import FakeEmbedder

ENGLISH = "# Cats\n\nThe cat sleeps on the warm roof.\n\n# Dogs\n\nThe dog guards the old gate.\n"
CHINESE = "# 动物\n\n猫睡在温暖的屋顶上。\n\n狗守着老门。\n"
LATER = "# Birds\n\nThe stork nests on the chimney.\n"

OLD = IndexSettings(embedder="sentence-transformers", model="old")
NEW = IndexSettings(embedder="sentence-transformers", model="new", chunk_tokens=64)


@pytest.fixture(autouse=True)
def encoded(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeEmbedder]:
    """Every model is a small one that counts what it encodes, by the name of the model."""
    made: dict[str, FakeEmbedder] = {}

    def make(index: IndexSettings, *_: object) -> FakeEmbedder:
        return made.setdefault(index.model, FakeEmbedder(name=index.model))

    monkeypatch.setattr(opening, "make_embedder", make)
    for name in ("RAG_HOME", "RAG_PROFILE", "RAG_INDEX_MODEL", "RAG_LLM_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return made


def settings(home: Path, index: IndexSettings | None = None) -> Settings:
    """As the file says, or wanting another index."""
    loaded = load_settings(home, None, {})
    return loaded if index is None else loaded.model_copy(update={"index": index})


def add(pipeline: Pipeline, **files: str) -> None:
    results = pipeline.add([File.holding(f"{n}.md", text.encode()) for n, text in files.items()])
    assert {event.outcome for event in results if isinstance(event, AddResult)} == {"added"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A library of two documents, in the index OLD, which the settings file names."""
    home = tmp_path / "library"
    switch_index(settings(home), OLD)
    add(open_pipeline(settings(home)), cats=ENGLISH, 动物=CHINESE)
    return home


def built(home: Path, index: IndexSettings = NEW) -> Pipeline:
    pipeline = open_pipeline(settings(home), index)
    list(pipeline.build_index())
    return pipeline


def names_found(pipeline: Pipeline, question: str) -> str:
    return pipeline.search(question).candidates[0].document


def test_an_index_built_from_stored_pages_is_the_one_that_adding_makes(
    home: Path, tmp_path: Path
) -> None:
    store = built(home).store
    anew = open_pipeline(settings(tmp_path / "anew"), NEW)
    add(anew, cats=ENGLISH, 动物=CHINESE)
    for record in anew.store.documents():
        assert store.chunks(record.id) == anew.store.chunks(record.id)
    assert store.state().chunks == anew.store.state().chunks > 0


def test_the_old_index_answers_until_the_switch_and_after_the_way_back(home: Path) -> None:
    assert index_in_use(settings(home)) == OLD
    wanted = settings(home, NEW)
    assert index_in_use(wanted) == OLD
    notice = index_notice(wanted, open_library(wanted))
    assert notice is not None
    assert "new" in notice.message
    assert "rag index build" in notice.hint
    assert names_found(open_pipeline(wanted), "猫睡在哪里？") == "动物.md"

    building = open_pipeline(wanted, NEW).build_index()
    next(building)
    assert index_in_use(wanted) == OLD
    list(building)
    assert index_in_use(wanted) == NEW
    assert index_in_use(settings(home)) == OLD

    switch_index(settings(home), NEW)
    assert index_in_use(settings(home)) == NEW
    assert index_notice(settings(home), open_library(settings(home))) is None
    assert names_found(open_pipeline(settings(home)), "Where does the cat sleep?") == "cats.md"
    switch_index(settings(home), OLD)
    assert open_library(settings(home)).fingerprint == OLD.fingerprint


def test_progress_counts_documents_and_never_goes_back(home: Path) -> None:
    seen = list(open_pipeline(settings(home), NEW).build_index())
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares)
    assert seen[-1] == IndexProgress(2, 2)
    assert {str(progress).split(" · ")[0] for progress in seen} >= {"0 of 2 documents"}


def test_building_goes_on_where_it_was_left(home: Path, encoded: dict[str, FakeEmbedder]) -> None:
    stop = iter([False, True])
    list(open_pipeline(settings(home), NEW).build_index(lambda: next(stop)))
    half = encoded["new"].encoded
    assert half
    assert index_in_use(settings(home, NEW)) == OLD
    store = built(home).store
    assert encoded["new"].encoded == store.state().chunks
    assert not store.missing()
    assert list(open_pipeline(settings(home), NEW).build_index()) == [IndexProgress(0, 0)]


def test_killed_while_it_builds_it_loses_no_document_and_goes_on(
    home: Path, encoded: dict[str, FakeEmbedder]
) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from rag import opening
from tests.fakes import FakeEmbedder
from tests.test_indexing import NEW, settings
opening.make_embedder = lambda index, *_: FakeEmbedder(name=index.model)
pipeline = opening.open_pipeline(settings(Path(sys.argv[1])), NEW)
for progress in pipeline.build_index():
    if progress.done == 1 and progress.current and progress.current.done:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run(
        [sys.executable, "-c", script, str(home)], cwd=Path(__file__).parents[1], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert index_in_use(settings(home, NEW)) == OLD
    assert names_found(open_pipeline(settings(home)), "Where does the cat sleep?") == "cats.md"
    pipeline = built(home)
    assert 0 < encoded["new"].encoded < pipeline.store.state().chunks
    assert index_in_use(settings(home, NEW)) == NEW


def test_documents_that_come_and_go_meanwhile_are_right_in_the_end(home: Path) -> None:
    old, new = open_pipeline(settings(home)), open_pipeline(settings(home), NEW)
    building = new.build_index()
    for progress in building:
        # The first document is encoded and not yet written.
        if progress.current and progress.current.done:
            break
    in_hand = next(one for one in old.store.documents() if one.name == progress.current.name)
    old.store.remove(in_hand.id)
    add(old, birds=LATER)
    list(building)
    assert {one.name for one in new.store.documents()} == {"birds.md", "动物.md", "cats.md"} - {
        in_hand.name
    }
    assert not new.store.missing()
    assert not new.store.chunks(in_hand.id)


def test_what_was_added_to_another_index_is_told_and_caught_up(home: Path) -> None:
    built(home)
    add(open_pipeline(settings(home)), birds=LATER)
    wanted = settings(home, NEW)
    assert index_in_use(wanted) == NEW
    notice = index_notice(wanted, open_library(wanted))
    assert notice is not None
    assert notice.message.startswith("1 document is not")
    assert index_notice(wanted, built(home).store) is None


def test_a_document_without_text_for_this_way_of_cutting_stops_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = Pipeline._chunk
    monkeypatch.setattr(
        Pipeline, "_chunk", lambda self, d: [] if d.name == "cats.md" else chunk(self, d)
    )
    store = built(home).store
    assert [one.name for one in store.missing()] == ["cats.md"]
    assert index_in_use(settings(home, NEW)) == NEW


def test_an_index_is_freed_and_documents_stay(home: Path) -> None:
    store = built(home).store
    switch_index(settings(home), NEW)
    before = store.size_bytes()
    store.indexes.remove(OLD.fingerprint)
    assert store.size_bytes() < before
    assert [one.fingerprint for one in store.indexes.listed()] == [NEW.fingerprint]
    assert len(open_library(settings(home)).documents()) == 2
    list(open_pipeline(settings(home), OLD).build_index())
    assert index_in_use(settings(home, OLD)) == OLD


def test_a_list_of_indexes_that_stays_open_is_that_of_the_newest_commits(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, pipeline = Indexes.at(home), open_pipeline(settings(home))

    def agrees() -> bool:
        return kept.listed() == Indexes.at(home).listed() == kept.listed()

    def build() -> None:
        list(open_pipeline(settings(home), NEW).build_index())

    steps: list[Callable[[], object]] = [
        lambda: add(pipeline, birds=LATER),
        build,
        lambda: switch_index(settings(home), NEW),
        lambda: Indexes.at(home).remove(NEW.fingerprint),
        build,
        lambda: lancedb.connect(home).drop_table("indexes"),
        lambda: open_library(settings(home), OLD),
    ]
    assert agrees()
    for step in steps:
        before = kept.listed()
        step()
        assert kept.listed() != before
        assert agrees()

    monkeypatch.setattr("rag.store.indexes.matching", None)
    assert kept.listed(), "nothing is read again where nothing was written"


def test_an_index_from_before_names_were_read_answers_until_another_is_built(
    tmp_path: Path,
) -> None:
    home, before = tmp_path / "library", OLD.model_copy(update={"names": False})
    add(open_pipeline(settings(home, before), before), pets=ENGLISH, 动物=CHINESE)
    written = {name: value for name, value in before.model_dump().items() if name != "names"}
    indexes = lancedb.connect(home).open_table("indexes")
    indexes.update(values={"settings": json.dumps(written)})

    wanted = settings(home, OLD)
    assert wanted.index.names
    assert index_in_use(wanted) == before
    store = open_library(wanted)
    assert store.fingerprint == before.fingerprint
    notice = index_notice(wanted, store)
    assert notice is not None
    assert "not built yet (sentence-transformers old, chunks of 200 tokens under" in notice.message
    assert names_found(open_pipeline(wanted), "Where does the cat sleep?") == "pets.md"
    assert names_found(open_pipeline(wanted), "猫睡在哪里？") == "动物.md"
    assert not store.search_lexical("pets", 10), "the name is not in full text"

    built(home, OLD)
    assert index_in_use(wanted) == OLD
    assert index_notice(wanted, open_library(wanted)) is None
    assert open_library(wanted).search_lexical("pets", 10)


@pytest.mark.parametrize("names", [False, True])
def test_a_library_from_before_indexes_were_written_down_answers_as_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: bool
) -> None:
    """With names it was made by a process that was killed before it could write that down."""
    # The centre of the bundled model's tokens is not one of the small model's.
    monkeypatch.setattr(opening, "token_codec", lambda kind, dimensions: TokenCodec(dimensions))
    home = tmp_path / "library"
    default = IndexSettings(names=names)
    add(open_pipeline(settings(home), default), cats=ENGLISH)
    lancedb.connect(home).drop_table("indexes")
    assert index_in_use(settings(home)) == default
    assert index_in_use(settings(home, NEW)) == default
    assert names_found(open_pipeline(settings(home, NEW)), "Where does the cat sleep?")
    assert open_library(settings(home)).indexes.listed()[0].built


def test_an_empty_library_has_the_index_that_is_named(tmp_path: Path) -> None:
    open_library(settings(tmp_path, OLD))
    assert index_in_use(settings(tmp_path, NEW)) == NEW
    assert index_notice(settings(tmp_path, NEW), open_library(settings(tmp_path, NEW))) is None


def test_a_model_with_other_vectors_is_told_in_a_sentence(
    home: Path, encoded: dict[str, FakeEmbedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        opening, "make_embedder", lambda *_: FakeEmbedder(name="old", dimensions=128)
    )
    with pytest.raises(SettingsError) as refused:
        open_pipeline(settings(home))
    assert "128" in refused.value.message
    assert OLD.fingerprint in refused.value.hint


def test_the_environment_that_wins_over_the_file_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_INDEX_MODEL", "mine")
    with pytest.raises(SettingsError, match="RAG_INDEX_MODEL"):
        switch_index(settings(home), NEW)
    assert index_in_use(settings(home)) == OLD


@pytest.fixture
def run(home: Path) -> Callable[..., str]:
    def ran(*arguments: str, environment: dict[str, str] | None = None, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["--home", str(home), *arguments], env=environment)
        assert result.exit_code == code, result.output
        return result.output

    return ran


def test_the_command_line_builds_lists_switches_and_frees(run: Callable[..., str]) -> None:
    wanted = {"RAG_INDEX_MODEL": "new", "RAG_INDEX_CHUNK_TOKENS": "64"}
    asked = run("search", "猫睡在哪里？", environment=wanted)
    assert "rag index build" in asked
    assert "动物.md" in asked
    assert "Encoded 2 documents" in run("index", "build", environment=wanted)
    assert "rag index build" not in run("search", "猫睡在哪里？", environment=wanted)
    listed = run("index", "list")
    assert f"{OLD.fingerprint}  sentence-transformers old, chunks of 200 tokens" in listed
    assert listed.count("answers now") == 1
    run("index", "use", NEW.fingerprint)
    assert '"answers": true' in run("index", "list", "--json")
    assert "MB" in run("index", "remove", OLD.fingerprint)
    assert "There is no index" in run("index", "remove", OLD.fingerprint, code=1)
    assert OLD.fingerprint not in run("index", "list")
