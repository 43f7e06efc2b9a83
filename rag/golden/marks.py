"""Marks: somebody says that a passage answers a question, or that it does not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from rag.folding import fold
from rag.languages import language_of
from rag.types import Chunk, GoldenMark, GoldenOrigin, PassageSpan

BEGINNING_CHARACTERS = 200
# From here on two places are one passage, of which only the latest mark is kept.
_SAME_PASSAGE = 0.8


class Kept(Protocol):
    """What the store keeps marks in."""

    def put(self, marks: Sequence[GoldenMark], in_place_of: Collection[str] = ()) -> None:
        """Keep marks in place of others."""
        ...

    def listed(self) -> list[GoldenMark]:
        """All marks, the newest first."""
        ...

    def remove(self, ids: Collection[str]) -> None:
        """Forget marks."""
        ...


def question_key(question: str) -> str:
    """The question without what does not make another one: blanks, width and case."""
    return " ".join(fold(question).split())


def made_mark(
    question: str,
    span: PassageSpan,
    document: str,
    text: str,
    asker: str,
    *,
    relevant: bool = True,
    origin: GoldenOrigin = "marked",
    language: str = "",
    answer: str = "",
) -> GoldenMark:
    """A mark made now; `text` is what the span holds. Drafts are not confirmed."""
    key = question_key(question)
    return GoldenMark(
        id=hashlib.sha256(f"{key}\n{span.document_id}\n{span.id}".encode()).hexdigest()[:16],
        question=" ".join(question.split()),
        language=language or language_of(question),
        span=span,
        document=document,
        beginning=text[:BEGINNING_CHARACTERS],
        relevant=relevant,
        origin=origin,
        confirmed=origin != "drafted",
        made_at=datetime.now(UTC),
        asker=asker,
        answer=answer,
    )


def mark_of(
    question: str, chunk: Chunk, document: str, asker: str, *, relevant: bool
) -> GoldenMark:
    """A mark that a person sets on a chunk that was found."""
    return made_mark(
        question, PassageSpan.of(chunk), document, chunk.text, asker, relevant=relevant
    )


def add_mark(kept: Kept, mark: GoldenMark) -> None:
    """Keep a mark in place of what was said before of the same question and passage."""
    add_marks(kept, [mark])


def add_marks(kept: Kept, marks: Iterable[GoldenMark]) -> list[GoldenMark]:
    """Keep these marks, in one commit; those that said something new.

    A later mark takes the place of an earlier one of the same question and passage. One that says
    the same as a confirmed one is passed over.
    """
    known = {question: list(said) for question, said in by_question(kept.listed()).items()}
    new: dict[str, GoldenMark] = {}
    replaced: set[str] = set()
    for mark in marks:
        said = known.setdefault(question_key(mark.question), [])
        same = [one for one in said if one.span.likeness(mark.span) >= _SAME_PASSAGE]
        if any(_says_the_same(one, mark) for one in same):
            continue
        for one in same:
            said.remove(one)
            new.pop(one.id, None)
            replaced.add(one.id)
        said.append(mark)
        new[mark.id] = mark
    if new:
        kept.put(list(new.values()), in_place_of=replaced)
    return list(new.values())


def _says_the_same(earlier: GoldenMark, later: GoldenMark) -> bool:
    if not later.confirmed:
        # A draft takes the place of nothing.
        return True
    same = earlier.relevant == later.relevant and later.answer in {"", earlier.answer}
    return earlier.confirmed and same


def by_question(marks: Iterable[GoldenMark]) -> dict[str, list[GoldenMark]]:
    """The marks of each question, by the key of the question."""
    found: dict[str, list[GoldenMark]] = {}
    for mark in marks:
        found.setdefault(question_key(mark.question), []).append(mark)
    return found


def standing(marks: Iterable[GoldenMark], question: str, chunk: Chunk) -> GoldenMark | None:
    """What is said of a chunk as the answer to a question; None where nothing is.

    Of several places that match the chunk the one most like it decides, as it does in the lab.
    Drafts say nothing yet.
    """
    place, key = PassageSpan.of(chunk), question_key(question)
    matching = [
        mark
        for mark in marks
        if mark.confirmed and mark.span.matches(place) and question_key(mark.question) == key
    ]
    return max(matching, key=lambda mark: mark.span.likeness(place), default=None)


def confirm(kept: Kept, mark: GoldenMark, asker: str) -> None:
    """Let a draft count from now on; `asker` is who answers for it."""
    kept.put([replace(mark, confirmed=True, asker=asker, made_at=datetime.now(UTC))])
