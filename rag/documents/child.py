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

from rag.documents import refusals
from rag.documents.cleaning import clean
from rag.documents.events import Detected, Event, Finished, PageText, Refused, Remark, Source, Total
from rag.documents.events import to_line
from rag.documents.formats import FORMATS, detect, mislabelled


def main() -> None:
    """Read the file that the input holds."""
    order = json.loads(sys.stdin.buffer.readline())
    content = sys.stdin.buffer.read(order["size"])
    _limit(order["memory_bytes"], order["seconds"])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    source = Source(
        content, order["name"], order["unpacked_bytes"], order["most_pages"], order["first_page"]
    )
    for event in _guarded(source):
        sys.stdout.buffer.write(to_line(event))
        sys.stdout.buffer.flush()


def _limit(memory_bytes: int, seconds: float) -> None:
    """Bound this process where the platform can."""
    try:
        import resource
    except ImportError:
        return
    cpu = int(seconds) + 1
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _end_with_parent() -> None:
    """Wait for the end of the input, which comes when the parent closes it or dies."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


def _guarded(source: Source) -> Iterator[Event]:
    """The events of the reader; every failure becomes one, too."""
    try:
        yield from _events(source)
        yield Finished()
    except refusals.Refusal as refusal:
        yield _refused(refusal)
    except MemoryError:
        yield _refused(refusals.too_hungry(source.name))
    except ImportError as error:
        yield _refused(refusals.missing_package(source.name, error.name or str(error)))
    # A parser that stumbles in a way its reader does not know of has met a broken file.
    except Exception:
        yield _refused(refusals.crashed(source.name))


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
