"""Questions that were asked, each with its trace and answer, exactly as they were."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from rag import log_events
from rag.errors import UnreadableTrace
from rag.store import Store
from rag.trace_files import LARGEST_BYTES, read_record, write_record
from rag.types import Answer, AskedQuestion, Record, Trace

# A question may take 50 kB; 200 Chinese passages take twice that even when packed.
_WHOLE_CANDIDATES = 50
_BEGINNING_CHARACTERS = 60


def recorded(trace: Trace, answer: Answer | None = None) -> Record:
    """What was just asked, with a new id and the present time."""
    return Record(uuid4().hex, datetime.now(UTC), trace, answer)


class History:
    """The questions of one asker; nobody else's can be listed, opened or forgotten.

    The best candidates are kept whole. Of the others only the beginning of the text is kept, and
    the rest is taken from the library again as long as it is there.

    Every method raises LibraryError where the library cannot be read or written.
    """

    def __init__(self, store: Store, asker: str) -> None:
        self._store = store
        self._questions = store.questions
        self._asker = asker

    def keep(self, record: Record) -> None:
        """Keep a question, and tell the log of it."""
        log_events.question(record)
        packed = zlib.compress(write_record(_shortened(record)).encode("utf-8", "replace"))
        asked = AskedQuestion(record.id, record.trace.question, record.asked_at)
        self._questions.put(asked, self._asker, packed)

    def listed(self) -> list[AskedQuestion]:
        """What was asked, the newest first."""
        return self._questions.of(self._asker)

    def opened(self, question_id: str) -> Record | None:
        """The question exactly as it was, or None where it was forgotten.

        Raises UnreadableTrace where what was kept is damaged or of a newer version.
        """
        packed = self._questions.trace(question_id, self._asker)
        if packed is None:
            return None
        try:
            unpacked = zlib.decompressobj().decompress(packed, LARGEST_BYTES)
        except zlib.error:
            raise UnreadableTrace("What was kept of this question is damaged.") from None
        record = read_record(unpacked)
        return _with_texts(record, self._store.texts(_cut_ones(record)))

    def forget(self, question_ids: list[str]) -> None:
        """Remove these questions for good."""
        self._questions.remove(question_ids, self._asker)


def _shortened(record: Record) -> Record:
    """The record with only the beginning of the text of all but the best candidates."""
    return _with_texts(
        record,
        {
            candidate.chunk.id: candidate.chunk.text[:_BEGINNING_CHARACTERS]
            for candidate in record.trace.candidates
            if candidate.rank > _WHOLE_CANDIDATES
        },
    )


def _cut_ones(record: Record) -> list[str]:
    """The chunks of which only the beginning was kept."""
    chunks = [candidate.chunk for candidate in record.trace.candidates]
    return [chunk.id for chunk in chunks if len(chunk.text) < chunk.end - chunk.start]


def _with_texts(record: Record, texts: Mapping[str, str]) -> Record:
    """The record with these texts, by chunk id, in its trace. An answer's passages are the best."""
    candidates = tuple(
        replace(candidate, chunk=replace(candidate.chunk, text=texts[candidate.chunk.id]))
        if candidate.chunk.id in texts
        else candidate
        for candidate in record.trace.candidates
    )
    trace = replace(record.trace, candidates=candidates)
    answer = record.answer and replace(record.answer, trace=trace)
    return replace(record, trace=trace, answer=answer)
