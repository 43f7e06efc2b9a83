"""The last evaluations of a library, to be opened again."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from rag.errors import UnreadableTrace
from rag.evaluation.asking import Ranking
from rag.evaluation.results import Evaluation
from rag.store.measurements import Measurements

MOST = 20
# How much of each ranking is kept.
DEPTH = 10
_BEGINNING = "evaluation "
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True, slots=True)
class KeptEvaluation:
    """An evaluation and where its golden set comes from.

    `source` is the kind of place and `place` which one, such as "folder" and its path.
    """

    evaluation: Evaluation
    source: str
    place: str


@dataclass(frozen=True, slots=True)
class Label:
    """An evaluation as a list shows it; `name` opens it."""

    name: str
    made_at: datetime
    golden: str


class KeptEvaluations:
    """The evaluations of one library, the last `MOST` of them.

    Of every ranking only the best `DEPTH` are kept, and no passages of answers. Every method raises
    LibraryError where the library cannot be read or written.
    """

    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements

    def keep(self, kept: KeptEvaluation) -> None:
        """Keep an evaluation, and forget the oldest of too many."""
        made_at = kept.evaluation.made_at.astimezone(UTC)
        name = f"{_BEGINNING}{made_at.strftime(_TIME)} {kept.evaluation.golden}"
        self._measurements.put(name, zlib.compress(_adapter().dump_json(shortened(kept))))
        for old in self._measurements.names(_BEGINNING)[:-MOST]:
            self._measurements.remove(old)

    def listed(self) -> list[Label]:
        """What is kept, the newest first."""
        return [_label(name) for name in reversed(self._measurements.names(_BEGINNING))]

    def opened(self, name: str) -> KeptEvaluation | None:
        """What was kept under a name, or None where it was forgotten.

        Raises UnreadableTrace where it is damaged or of another version.
        """
        packed = self._measurements.get(name)
        if packed is None:
            return None
        try:
            return _adapter().validate_json(zlib.decompress(packed))
        except (zlib.error, ValidationError):
            raise UnreadableTrace(
                "This evaluation is damaged or of another version.", "Evaluate again."
            ) from None


def shortened(kept: KeptEvaluation) -> KeptEvaluation:
    """With the best `DEPTH` of each ranking, and answers without the passages behind them."""
    rows = tuple(
        replace(row, rankings=tuple(map(_shortened, row.rankings))) for row in kept.evaluation.rows
    )
    answers = kept.evaluation.answers
    if answers is not None:
        answered = tuple(replace(one, passages=()) for one in answers.answered)
        answers = replace(answers, answered=answered)
    return replace(kept, evaluation=replace(kept.evaluation, rows=rows, answers=answers))


def _shortened(ranking: Ranking) -> Ranking:
    return replace(ranking, units=ranking.units[:DEPTH], scores=ranking.scores[:DEPTH])


def _label(name: str) -> Label:
    time, _, golden = name.removeprefix(_BEGINNING).partition(" ")
    return Label(name, datetime.strptime(time, _TIME).replace(tzinfo=UTC), golden)


def _adapter() -> TypeAdapter[KeptEvaluation]:
    return TypeAdapter(KeptEvaluation)
