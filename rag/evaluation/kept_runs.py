"""Rankings that were made before, so that a killed evaluation goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import IO

from rag import __version__
from rag.evaluation.asking import Contender, Ranking


class KeptRun:
    """The rankings of one pipeline, one line a question, only ever appended to.

    `rankings` are those of all questions asked so far, by question. A line that a kill cut short
    is passed over. Use it in a `with` block to append.
    """

    def __init__(self, folder: Path, contender: Contender, contents: str) -> None:
        self._path = folder / f"{_key(contender, contents)}.jsonl"
        self.rankings: dict[str, Ranking] = {}
        self._file: IO[str] | None = None
        if self._path.is_file():
            for line in self._path.read_text(encoding="utf-8", errors="replace").split("\n"):
                ranking = _read(line)
                if ranking is not None:
                    self.rankings[ranking.question] = ranking

    def __enter__(self) -> KeptRun:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8")
        # Ends the line that a killed process may have left open.
        self._file.write("\n")
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def keep(self, ranking: Ranking) -> None:
        """Remember a ranking; one that has a problem is made again the next time."""
        self.rankings[ranking.question] = ranking
        if self._file is not None and not ranking.problem:
            row = {
                "question": ranking.question,
                "units": ranking.units,
                "scores": ranking.scores,
                "seconds": dict(ranking.seconds),
            }
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self._file.flush()

    def forget(self) -> None:
        """Start anew."""
        self.rankings.clear()
        self._path.unlink(missing_ok=True)


def _key(contender: Contender, contents: str) -> str:
    """Names everything that a ranking depends on: library, models and settings."""
    spec, pipeline = contender.spec, contender.pipeline
    query = pipeline.settings.query
    coefficients = hashlib.sha256()
    for file in sorted((files("rag.models") / "data").iterdir(), key=lambda file: file.name):
        coefficients.update(file.read_bytes())
    made_of = [
        __version__,
        coefficients.hexdigest(),
        contents,
        pipeline.embedder.name,
        pipeline.reranker.name if pipeline.reranker else "none",
        [spec.recall, spec.reranker, spec.rerank_depth, spec.whole],
        [query.recall_depth, query.fusion_constant, query.rerank_seconds, query.reranker_model],
    ]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


def _read(line: str) -> Ranking | None:
    try:
        row = json.loads(line)
        return Ranking(row["question"], tuple(row["units"]), tuple(row["scores"]), row["seconds"])
    except (ValueError, KeyError, TypeError):
        return None
