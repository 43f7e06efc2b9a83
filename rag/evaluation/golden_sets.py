"""Golden sets: documents, questions, and which documents answer which question.

A folder holds `corpus.jsonl` (id, title, text) or a folder `pdfs` with the files themselves,
`queries.jsonl` (id, text, lang, answers, answerable) and `qrels.tsv` (query-id, corpus-id, score).
Where the documents are files, gold is a file's name, or `NAME#p4` for a page of it.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from rag.errors import UnreadableFile
from rag.evaluation.lines import broken, numbered_lines
from rag.languages import language_of
from rag.types import PassageSpan

FILES = "pdfs"
CORPUS = "corpus.jsonl"
QUERIES = "queries.jsonl"
QRELS = ("qrels.tsv", "qrels.page.tsv", "qrels.doc.tsv")

# What a ranking ranks: passages of a corpus, pages of files, files, or the passages of a library
# that has golden questions of its own.
Unit = Literal["passage", "page", "document", "span"]

_HOW = f"A golden set has {CORPUS} or a folder {FILES}, {QUERIES} and {QRELS[0]}."
_PAGE = re.compile(r"#p\d+$")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class GoldenPassage:
    """One entry of the corpus; `title` may be empty."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class GoldenQuestion:
    """A question with the ids of what answers it, each with its grade, 1 or more.

    `answers` are short texts that are right, where the set gives any.
    `answerable` is False where the set says that nothing answers the question.
    `rejected` are the ids of what is known not to answer it.
    """

    id: str
    text: str
    language: str
    gold: Mapping[str, int]
    answers: tuple[str, ...] = ()
    answerable: bool = True
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """Documents and questions. Either `passages` or `files` is empty.

    Both are where the unit is "span": the documents are those of the library that is evaluated, as
    it is, and `spans` tells where gold and what was rejected stand in them, by id.
    """

    name: str
    passages: tuple[GoldenPassage, ...]
    files: tuple[Path, ...]
    questions: tuple[GoldenQuestion, ...]
    unit: Unit
    spans: Mapping[str, PassageSpan] = field(default_factory=dict)

    @property
    def rankable(self) -> tuple[GoldenQuestion, ...]:
        """The questions that a ranking can be measured by: those with gold."""
        return tuple(question for question in self.questions if question.gold)

    def content(self) -> str:
        """Short hash of the documents; the questions do not count."""
        digest = hashlib.sha256()
        for passage in self.passages:
            digest.update(json.dumps([passage.id, passage.title, passage.text]).encode())
        for file in self.files:
            digest.update(hashlib.sha256(file.read_bytes()).digest() + file.name.encode())
        return digest.hexdigest()[:12]

    def sample(self, limit: int | None, seed: int) -> tuple[GoldenQuestion, ...]:
        """At most `limit` rankable questions of each language; see `drawn`."""
        return drawn(self.rankable, limit, seed)


def drawn(
    questions: Sequence[GoldenQuestion], limit: int | None, seed: int
) -> tuple[GoldenQuestion, ...]:
    """At most `limit` questions of each language, in their order.

    Drawn at random; a larger limit only adds to what a smaller one draws.
    """
    if limit is None:
        return tuple(questions)
    chosen: set[str] = set()
    for language in sorted({question.language for question in questions}):
        ids = [question.id for question in questions if question.language == language]
        random.Random(seed).shuffle(ids)
        chosen.update(ids[:limit])
    return tuple(question for question in questions if question.id in chosen)


def read_golden_set(
    folder: Path, corpus: Path | None = None, qrels: Path | None = None
) -> GoldenSet:
    """The golden set of a folder.

    `corpus` is another folder whose documents are asked about, `qrels` another file of gold: both
    together ask the questions of one language about documents of another.
    Raises UnreadableFile, naming file and line, for what is missing or not of the layout.
    """
    corpus = corpus or folder
    qrels = qrels or _first(folder, QRELS)
    directory = corpus / FILES
    passages: tuple[GoldenPassage, ...] = ()
    files: tuple[Path, ...] = ()
    if directory.is_dir():
        files = tuple(sorted(path for path in directory.iterdir() if path.is_file()))
        known = {path.name for path in files}
    else:
        passages = tuple(_unique(corpus / CORPUS, _passage, lambda passage: passage.id))
        known = {passage.id for passage in passages}
    queries = folder / QUERIES
    asked = list(_unique(queries, _question, lambda question: question.id))
    gold, unit = _gold(qrels, {question.id for question in asked}, known, bool(files))
    questions = tuple(
        GoldenQuestion(
            id=question.id,
            text=question.text,
            language=question.language,
            gold=gold.get(question.id, {}) if question.answerable else {},
            answers=question.answers,
            answerable=question.answerable,
        )
        for question in asked
    )
    if not any(question.gold for question in questions):
        raise UnreadableFile(
            f"No question of {queries} has gold in {qrels.name}.",
            "Name at least one passage that answers one of the questions.",
        )
    name = folder.resolve().name
    own = corpus == folder and qrels.name in QRELS
    return GoldenSet(
        name if own else f"{name} ({corpus.resolve().name}, {qrels.stem})",
        passages,
        files,
        questions,
        unit,
    )


def _first(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UnreadableFile(
        f"{folder} has no {names[0]}.",
        _HOW,
    )


def _unique(
    path: Path, made: Callable[[Mapping[str, Any]], _T], name: Callable[[_T], str]
) -> Iterator[_T]:
    """The records of a JSON-lines file, no two of the same name."""
    seen: set[str] = set()
    for number, line in numbered_lines(path, _HOW):
        try:
            record = made(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            said = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise broken(path, number, said) from None
        if name(record) in seen:
            raise broken(path, number, f"the id {name(record)} was there before")
        seen.add(name(record))
        yield record


def _passage(row: Mapping[str, Any]) -> GoldenPassage:
    return GoldenPassage(_text(row, "id"), str(row.get("title") or ""), _text(row, "text"))


def _question(row: Mapping[str, Any]) -> GoldenQuestion:
    text = _text(row, "text")
    if not text.strip():
        raise ValueError("the question is empty")
    return GoldenQuestion(
        id=_text(row, "id"),
        text=text,
        language=str(row.get("lang") or "") or language_of(text),
        gold={},
        answers=tuple(str(answer) for answer in row.get("answers") or ()),
        answerable=row.get("answerable") is not False,
    )


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is not text")
    return value


def _gold(
    path: Path, questions: set[str], known: set[str], files: bool
) -> tuple[dict[str, dict[str, int]], Unit]:
    """Grades above 0 by question and unit, and what the units are."""
    rows = [(number, line.split("\t")) for number, line in numbered_lines(path, _HOW)]
    if rows and len(rows[0][1]) == 3 and not _is_whole(rows[0][1][2]):
        rows = rows[1:]
    paged = files and bool(rows) and all(_PAGE.search(row[1]) for _, row in rows if len(row) == 3)
    gold: dict[str, dict[str, int]] = {}
    for number, row in rows:
        if len(row) != 3 or not _is_whole(row[2]):
            raise broken(path, number, "it is not question id, tab, passage id, tab, grade")
        question, target, grade = row[0], row[1], int(row[2])
        document = _PAGE.sub("", target) if files else target
        if question not in questions:
            raise broken(path, number, f"there is no question {question}")
        if document not in known:
            raise broken(path, number, f"the documents hold no {document}")
        if grade > 0:
            grades = gold.setdefault(question, {})
            unit = target if paged else document
            grades[unit] = max(grade, grades.get(unit, 0))
    return gold, ("page" if paged else "document") if files else "passage"


def _is_whole(text: str) -> bool:
    return bool(re.fullmatch(r"\s*-?\d{1,9}\s*", text))
