"""The corpus of difficult and malformed files: each is read, or refused in plain words."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rag.documents import read_document
from rag.errors import RAGError, UnreadableFile
from rag.settings import ReadingLimits
from rag.types import Document

CORPUS = Path(__file__).parents[2] / "shared" / "evaldata" / "badfiles"
MANIFEST = CORPUS / "manifest.jsonl"
ROWS: list[dict[str, Any]] = (
    [json.loads(line) for line in MANIFEST.read_text(encoding="utf-8").splitlines()]
    if MANIFEST.is_file()
    else []
)
pytestmark = [
    pytest.mark.evaldata,
    pytest.mark.skipif(not ROWS, reason="the corpus of bad files is not beside the repository"),
]


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    document: Document | None
    error: RAGError | None
    seconds: float

    @property
    def text(self) -> str:
        return "".join(page.text for page in self.document.pages) if self.document else ""


def read(row: dict[str, Any]) -> Outcome:
    content = (CORPUS / "files" / row["file"]).read_bytes()
    start = time.monotonic()
    try:
        document = read_document(content, row["file"], ReadingLimits())
        return Outcome(document, None, time.monotonic() - start)
    except RAGError as error:
        return Outcome(None, error, time.monotonic() - start)


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, Outcome]]:
    with ThreadPoolExecutor(2) as pool:
        yield dict(zip((row["file"] for row in ROWS), pool.map(read, ROWS), strict=True))


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_the_file_meets_its_expectation(row: dict[str, Any], outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[row["file"]]
    said = str(outcome.error or "")
    # The corpus calls 30 seconds a hang; a busy machine gets twice that.
    assert outcome.seconds < 60
    match row["expect"]:
        case "text":
            assert outcome.error is None, said
            missing = [p for p in row["probe"] if squeezed(p) not in squeezed(outcome.text)]
            assert not missing
        case "no_text":
            assert isinstance(outcome.error, UnreadableFile)
            assert "no text" in said
        case "password":
            assert "password" in said
        case "error" | "empty" | "unsupported":
            assert outcome.error is not None
        case _:
            assert outcome.text or outcome.error
    if outcome.error is not None:
        assert outcome.error.hint
        assert row["file"] in said
    assert outcome.text.count("\ufffd") <= len(outcome.text) / 1000
    assert not any(word in outcome.text for word in row.get("must_not") or ())


def test_pages_without_text_are_reported(outcomes: dict[str, Outcome]) -> None:
    document = outcomes["gen-zh-mixed-scan-text.pdf"].document
    assert document is not None
    assert document.notices == ("2 of 7 pages have no text (scanned images?).",)
