"""Readers take turns, so that on two cores a question always finds one of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from rag.documents import process, read_document
from rag.settings import ReadingLimits
from rag.types import Document
from rag.waiting_line import WaitingLine
from tests.hostile_documents import HOSTILE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows halts no process")
ROOT = Path(__file__).parents[1]
LIMITS = ReadingLimits(seconds=8)


def running() -> set[int]:
    """The readers that are not halted."""
    found = set()
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "rag.documents.child" in child.cmdline() and child.status() not in {
                psutil.STATUS_STOPPED,
                psutil.STATUS_ZOMBIE,
            }:
                found.add(child.pid)
    return found


def test_of_two_readers_one_runs_at_a_time_and_both_come_forward(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_LINE", WaitingLine(abreast=1))
    slow = HOSTILE["pages-slowish.pdf"]()

    def read(content: bytes) -> Document:
        return read_document(content, "slow.pdf", LIMITS)

    seen: list[set[int]] = []
    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(read, content) for content in (slow, slow + b"\n")]
        while not all(one.done() for one in reading):
            seen.append(running())
            time.sleep(0.02)
        pages = [len([page for page in one.result().pages if page.text]) for one in reading]
    # Between one that is halted and the next there may be a moment of both, as at their start.
    assert sum(len(one) > 1 for one in seen) < len(seen) / 10
    assert len(set().union(*seen)) == 2
    assert min(pages) > max(pages) / 3 > 0


def test_a_halted_reader_does_not_outlive_its_parent() -> None:
    code = (
        "import os, time\n"
        "from rag.documents.process import _STOP, reading_child\n"
        "with reading_child({}, b'', 1000) as child:\n"
        "    child._signal(_STOP)\n"
        "    print(child._process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert not psutil.wait_procs([child], timeout=5)[1]
