"""The process that reads one file: `python -m rag.documents.child`.

It gets a line of JSON and the bytes on its input, gives one event a line on its output, and ends.
It imports nothing heavy and holds no secrets, and it ends when its parent does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rag.documents import refusals
from rag.documents.cleaning import clean
from rag.documents.confinement import confine
from rag.documents.events import (
    OUT_OF_MEMORY,
    Detected,
    Event,
    Finished,
    PageText,
    Refused,
    Remark,
    Source,
    Total,
    to_line,
)
from rag.documents.formats import FORMATS, detect, mislabelled

_NEARLY_ALL = 0.9


def main() -> None:
    """Read the file that the input holds."""
    order = json.loads(sys.stdin.buffer.readline())
    content = sys.stdin.buffer.read(order["size"])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    confine(order["memory_bytes"], order["seconds"])
    source = Source(
        content, order["name"], order["unpacked_bytes"], order["most_pages"], order["first_page"]
    )
    try:
        for event in _guarded(source, order["memory_bytes"]):
            sys.stdout.buffer.write(to_line(event))
            sys.stdout.buffer.flush()
    except MemoryError:
        # There may be no memory left for words.
        os._exit(OUT_OF_MEMORY)


def _end_with_parent() -> None:
    """Wait for the end of the input, which comes when the parent closes it or dies."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


def _guarded(source: Source, memory_bytes: int) -> Iterator[Event]:
    """The events of the reader; every failure becomes one, too."""
    try:
        yield from _events(source)
        yield Finished()
    except refusals.Refusal as refusal:
        hungry = refusal.__cause__ is not None and _memory_ran_out(memory_bytes)
        yield _refused(refusals.too_hungry(source.name) if hungry else refusal)
    except ImportError as error:
        yield _refused(refusals.missing_package(source.name, error.name or str(error)))
    except MemoryError:
        raise
    # A parser that stumbles in a way its reader does not know of has met a broken file.
    except Exception:
        hungry = _memory_ran_out(memory_bytes)
        yield _refused((refusals.too_hungry if hungry else refusals.crashed)(source.name))


def _memory_ran_out(memory_bytes: int) -> bool:
    """Whether the limit was reached; C libraries then speak of a broken file."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        peak = next(line for line in lines if line.startswith("VmPeak:"))
        return int(peak.split()[1]) * 1024 > memory_bytes * _NEARLY_ALL
    return False


def _events(source: Source) -> Iterator[Event]:
    key = detect(source)
    yield Detected(key)
    if sentence := mislabelled(source.name, key):
        yield Remark(sentence)
    for event in FORMATS[key].read(source):
        if isinstance(event, Total) and event.pages > source.most_pages:
            raise refusals.too_many_pages(source.name, event.pages, source.most_pages)
        if isinstance(event, PageText):
            yield PageText(event.number, clean(event.text), event.problem, event.images)
        else:
            yield event


def _refused(refusal: refusals.Refusal) -> Refused:
    return Refused(refusal.kind, refusal.message, refusal.hint)


if __name__ == "__main__":
    main()
