"""Rankings as TREC run files: `question Q0 passage rank score tag`, one line a passage."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from rag.errors import UnreadableFile
from rag.evaluation.lines import broken, numbered_lines

Rankings = Mapping[str, Sequence[str]]


def write_run(rankings: Rankings, tag: str) -> str:
    """The rankings as a run file.

    The format parts its columns by blanks, so blanks in ids become `%20` (and `%` `%25`).
    The score is 1 / rank: only the order counts, and programs that read runs sort by the score.
    """
    tag = _escaped(tag)
    return "".join(
        f"{_escaped(question)} Q0 {_escaped(unit)} {place} {1 / place:.8f} {tag}\n"
        for question, ranking in rankings.items()
        for place, unit in enumerate(ranking, start=1)
    )


def read_run(path: Path, questions: Collection[str]) -> dict[str, list[str]]:
    """Rankings by question, of these questions only, ordered by score as trec_eval does.

    Equal scores are in falling order of their ids; the column of ranks does not count.
    Raises UnreadableFile, naming file and line, for a line that is not of the format, for a
    passage that a question has twice, and where no question of the file is one of these.
    """
    scores: dict[str, dict[str, float]] = {}
    for number, line in numbered_lines(path):
        columns = line.split()
        if len(columns) != 6 or (score := _number(columns[4])) is None:
            raise broken(path, number, "it is not: question Q0 passage rank score tag")
        found = scores.setdefault(unquote(columns[0]), {})
        unit = unquote(columns[2])
        if unit in found:
            raise broken(path, number, f"question {columns[0]} had {columns[2]} before")
        found[unit] = score
    kept = {question: found for question, found in scores.items() if question in questions}
    if not kept:
        raise UnreadableFile(
            f"No question of {path} is one of the golden set.",
            "Score a run that was made for these questions; their ids are the first column.",
        )
    return {
        question: sorted(found, key=lambda unit: (found[unit], unit.encode()), reverse=True)
        for question, found in kept.items()
    }


def _escaped(text: str) -> str:
    return re.sub(r"[%\s]", lambda found: quote(found[0], safe=""), text)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
