"""What was made of questions before, so that a killed evaluation goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import IO, Generic, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from rag import __version__
from rag.evaluation.asking import Contender
from rag.pipeline import Pipeline
from rag.settings import EndpointSettings


class Kept(Protocol):
    """What was made of one question; `problem` says why that failed, and is empty else."""

    @property
    def question(self) -> str:
        """The question's id."""

    @property
    def problem(self) -> str:
        """Why it failed."""


_Kept = TypeVar("_Kept", bound=Kept)


class KeptRun(Generic[_Kept]):
    """What one pipeline made of questions, one line a question, only ever appended to.

    A record is found again by its question's id and by what it was made of, so that it is made
    again for a question that was rewritten. A line that a kill cut short is passed over. Use it in
    a `with` block to append.
    """

    def __init__(self, folder: Path, name: str, kind: type[_Kept]) -> None:
        self._path = folder / f"{name}.jsonl"
        self._adapter = TypeAdapter(kind)
        self._records: dict[tuple[str, str], _Kept] = {}
        self._file: IO[str] | None = None
        if self._path.is_file():
            for line in self._path.read_text(encoding="utf-8", errors="replace").split("\n"):
                self._take(line)

    def __enter__(self) -> KeptRun[_Kept]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8")
        # Ends the line that a killed process may have left open.
        self._file.write("\n")
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def get(self, question: str, made_of: str) -> _Kept | None:
        """What was made of a question, if it was made of the same."""
        return self._records.get((question, _digest(made_of)))

    def keep(self, record: _Kept, made_of: str) -> None:
        """Remember a record; one that has a problem is made again the next time."""
        key = _digest(made_of)
        self._records[record.question, key] = record
        if self._file is not None and not record.problem:
            row = {"made_of": key, "record": self._adapter.dump_python(record, mode="json")}
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self._file.flush()

    def forget(self) -> None:
        """Start anew."""
        self._records.clear()
        self._path.unlink(missing_ok=True)

    def _take(self, line: str) -> None:
        try:
            row = json.loads(line)
            record = self._adapter.validate_python(row["record"])
            self._records[record.question, row["made_of"]] = record
        except (ValueError, KeyError, TypeError, ValidationError):
            return


def ranking_run(contender: Contender, contents: str) -> str:
    """Names everything that a ranking depends on: library, models and settings."""
    spec, pipeline = contender.spec, contender.pipeline
    query = pipeline.settings.query
    return _name(
        pipeline,
        contents,
        [
            [spec.recall, spec.reranker, spec.rerank_depth, spec.whole],
            [query.recall_depth, query.fusion_constant, query.rerank_seconds, query.reranker_model],
        ],
    )


def answer_run(pipeline: Pipeline, contents: str) -> str:
    """Names everything that an answer depends on: library, models and settings."""
    query, endpoint = pipeline.settings.query, pipeline.settings.endpoint
    return _name(
        pipeline,
        contents,
        [
            pipeline.answerer.name,
            query.model_dump(mode="json"),
            endpoint.model_dump(mode="json", include={"base_url", "temperature", "max_tokens"}),
        ],
    )


def judgement_run(endpoint: EndpointSettings) -> str:
    """Names the judge and the rules it is given."""
    judge = endpoint.model_dump(mode="json", include={"model", "base_url", "max_tokens"})
    rules = (files("rag.evaluation") / "data" / "judge_prompt.txt").read_text(encoding="utf-8")
    return _digest(json.dumps([judge, rules]))


def _name(pipeline: Pipeline, contents: str, settings: list[object]) -> str:
    coefficients = hashlib.sha256()
    for file in sorted((files("rag.models") / "data").iterdir(), key=lambda file: file.name):
        coefficients.update(file.read_bytes())
    return _digest(
        json.dumps(
            [
                __version__,
                coefficients.hexdigest(),
                contents,
                pipeline.embedder.name,
                pipeline.reranker.name if pipeline.reranker else "none",
                *settings,
            ]
        )
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
