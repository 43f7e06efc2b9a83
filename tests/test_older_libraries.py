"""Libraries as earlier versions wrote them: they open, answer as they did, and grow.

The archives in tests/data/libraries were made by the versions of this repository from before
questions were kept (1d8e7db), from before evaluation (ef332c3) and from before names were read with
passages (c0b53bc), each by adding two files and, since questions are kept, by asking one.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from rag import opening
from rag.history import History
from rag.ingest import File
from rag.models import Embedder
from rag.models.embedders import make_embedder
from rag.opening import index_in_use, index_notice, open_pipeline
from rag.settings import load_settings
from rag.store.backup import write_backup
from rag.store.restore import restore_backup
from rag.types import AddResult

ARCHIVES = Path(__file__).parent / "data" / "libraries"
ASKED = {
    "When does the ferry leave on Sundays?": "ferries.md",
    "鹿特丹的仓库周五几点关门？": "仓库.md",
}


@pytest.fixture(scope="module")
def bundled() -> Embedder:
    """Loaded once: every opening needs it."""
    settings = load_settings(Path("nowhere"), None, {})
    return make_embedder(settings.index, settings.cache, settings.embeddings)


@pytest.mark.parametrize("version", ["before-questions", "before-evaluation", "before-names"])
def test_a_library_of_an_earlier_version_answers_grows_and_is_brought_up_to_date(
    version: str, tmp_path: Path, bundled: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "make_embedder", lambda *_: bundled)
    with tarfile.open(ARCHIVES / f"{version}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    home = tmp_path / "library"
    settings = load_settings(home, None, {})
    here = open_pipeline(settings)

    assert {record.name: record.status for record in here.store.documents()} == dict.fromkeys(
        ASKED.values(), "ready"
    )
    for question, document in ASKED.items():
        assert here.search(question).candidates[0].document == document
    for record in here.store.documents():
        assert here.store.original(record.id)
        assert here.store.pages(record.id)
    kept = History(here.store, "command line")
    asked = [kept.opened(one.id).trace.question for one in kept.listed()]
    assert asked == ([] if version == "before-questions" else [next(iter(ASKED))])

    # Vectors of before and of now are never mixed: the old index answers, and says that it is old.
    assert not index_in_use(settings).names
    assert index_notice(settings, here.store) is not None
    (added,) = [
        one
        for one in here.add([File.holding("渡轮.md", "# 渡轮\n\n冬天渡轮八点开。\n".encode())])
        if isinstance(one, AddResult)
    ]
    assert added.outcome == "added"
    assert here.search("冬天渡轮几点开？").candidates[0].document == "渡轮.md"

    # The index of now is built from the stored pages; a backup keeps both.
    list(open_pipeline(settings, settings.index).build_index())
    write_backup(home, tmp_path / "backup.tar")
    restore_backup(tmp_path / "backup.tar", tmp_path / "restored")
    restored = load_settings(tmp_path / "restored", None, {})
    assert index_in_use(restored) == settings.index
    assert index_notice(restored, open_pipeline(restored).store) is None
    for question, document in ASKED.items():
        assert open_pipeline(restored).search(question).candidates[0].document == document
