"""Named places where a crash, an exception or a full disk can be made to happen.

They are in the product because what is promised of crashes is promised of what people run: the
tests kill the very code that is installed, at the places between two writes. Without the variable
`RAG_FAULT` a point costs one comparison.

`RAG_FAULT=store.library.chunks:kill` ends the process there, at once and without clearing up;
`raise` raises RuntimeError, as LanceDB does; `full` raises the OSError of a full disk; `sleep`
waits a second. `store.library.document:kill:2` begins with the second time the point is reached.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass
from functools import cache

from rag.errors import SettingsError

VARIABLE = "RAG_FAULT"
ACTIONS = ("kill", "raise", "full", "sleep")
PAUSE_SECONDS = 1.0

# What comes before the last dot is the module below `rag` that reaches the point, once.
POINTS = {
    "store.opening.tables": "the table of documents is made; those of its pages and chunks are not",
    "store.opening.indexes": "all tables are made; the full-text index is not",
    "store.indexes.describe": "an index has its table; no row says what it was made with",
    "store.library.document": "a document's row is to be written: adding, ready, failed, removing",
    "store.library.original": "its row says that it is being added; its bytes are not kept",
    "store.library.pages": "its bytes are kept; its pages are not",
    "store.library.chunks": "its pages are kept and its chunks encoded; no chunk is written",
    "store.checksums.flush": "files of a table are written; the disk may not hold them for good",
    "store.checksums.append": "the disk holds them for good; the checksums are not written down",
    "store.upkeep.optimize": "documents are ready; the search indexes do not know them",
    "store.upkeep.merge": "the search indexes are up to date; small files are not merged",
    "store.healing.settle": "nobody adds a document any more; its row says that somebody does",
    "store.healing.chunks": "a row says that its document is being removed; all its data is there",
    "store.healing.pages": "its chunks are gone from every index; its pages are there",
    "store.healing.original": "its pages are gone; its bytes are there",
    "store.healing.row": "all its data is gone; its row is there",
    "store.indexes.finish": "another index holds all documents; its row does not say so",
    "store.indexes.use": "the settings name the other index; its row does not say it was used",
    "store.indexes.remove": "the table of an index is gone; its row is there",
    "store.questions.keep": "a question is answered; it is not kept",
    "store.golden.put": "a passage is marked; the mark is not kept",
    "settings_file.write": "settings are to be saved; nothing is written",
    "settings_file.replace": "the new settings are in a file of their own; the old ones stand",
    "settings_file.replaced": "the new settings stand; the folder they were written in is there",
}


def reached(point: str) -> None:
    """Do what `RAG_FAULT` asks for at this point; as a rule nothing."""
    fault = _fault()
    if fault is not None and fault.point == point:
        fault.times -= 1
        if fault.times <= 0:
            _act(fault)


@dataclass(slots=True)
class _Fault:
    """What is to happen where; `times` counts down to when."""

    point: str
    action: str
    times: int


@cache
def _fault() -> _Fault | None:
    """What the environment asks for; read once."""
    said = os.environ.get(VARIABLE, "")
    if not said:
        return None
    point, _, rest = said.partition(":")
    action, _, times = rest.partition(":")
    times = times or "1"
    if point not in POINTS or action not in ACTIONS or not times.isdecimal():
        raise SettingsError(
            f"{VARIABLE} names no fault: {said}.",
            f"Take it out of the environment, or name one of {', '.join(POINTS)} with one of "
            f"{', '.join(ACTIONS)}.",
        )
    return _Fault(point, action, int(times))


def _act(fault: _Fault) -> None:
    if fault.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault.action == "raise":
        raise RuntimeError(f"the fault {fault.point}")
    elif fault.action == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), fault.point)
    else:
        time.sleep(PAUSE_SECONDS)
