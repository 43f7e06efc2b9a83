"""What LanceDB keeps of a library in memory stays within its limit, however much is written."""

from datetime import UTC, datetime
from pathlib import Path

import lancedb
import pytest

from rag.store import Store, connecting
from rag.types import AskedQuestion

LIMIT = 400_000
MADE_BY = datetime(2026, 11, 22, tzinfo=UTC)


def test_many_questions_do_not_let_a_server_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[lancedb.Session] = []

    def session(*limits: int) -> lancedb.Session:
        made.append(Session(*limits))
        return made[-1]

    Session = lancedb.Session  # noqa: N806
    monkeypatch.setattr(lancedb, "Session", session)
    monkeypatch.setattr(connecting, "METADATA_BYTES", LIMIT)
    questions = Store.open(tmp_path, "test", 8).questions
    for number in range(60):
        asked = AskedQuestion(str(number), f"Which one? 哪一个？ {number}", MADE_BY)
        questions.put(asked, "ada", b"trace" * 100)
        assert max(one.size_bytes for one in made) < 1.5 * LIMIT
    assert max(one.size_bytes for one in made) > LIMIT / 2, "nothing was kept, so nothing is shown"
    assert len(questions.of("ada")) == 60
