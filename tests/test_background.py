"""Work in the background steps back for questions, and gives its memory back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, sleep

import psutil
import pytest

from rag import background
from rag.background import Rest
from rag.documents.process import reading_child
from rag.jobs import Job

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")
ROOT = Path(__file__).parents[1]


def priority(thread: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


def test_only_the_thread_of_a_job_and_its_own_step_back() -> None:
    before, seen = priority(threading.get_native_id()), []

    def look() -> None:
        seen.append(priority(threading.get_native_id()))

    def work() -> None:
        look()
        inner = threading.Thread(target=look)
        inner.start()
        inner.join()

    Job(work).wait()
    assert len(seen) == 2
    assert all(one > before or one == 19 for one in seen)
    assert priority(threading.get_native_id()) == before


def test_a_reader_is_in_the_session_of_the_app_for_priority_counts_within_one_only() -> None:
    with reading_child({}, b"", 1_000):
        children = psutil.Process().children()
        [reader] = [one.pid for one in children if "rag.documents.child" in one.cmdline()]
        assert os.getsid(reader) == os.getsid(0)
        assert os.getpgid(reader) == reader


def test_memory_is_given_back_once_after_the_last_of_several_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_back: SimpleQueue[float] = SimpleQueue()
    monkeypatch.setattr(background, "return_memory", lambda: given_back.put(monotonic()))
    rest = Rest(seconds=1.0)
    for _ in range(2):
        for _ in range(5):
            last = monotonic()
            rest.after_work()
            sleep(0.05)
        assert given_back.get(timeout=30) - last >= 1
        assert given_back.empty()


def test_a_job_gives_its_memory_back() -> None:
    code = (
        "from pathlib import Path\n"
        "from rag.jobs import Job\n"
        "def resident():\n"
        "    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096\n"
        "kept = []\n"
        "def work():\n"
        "    blocks = [bytearray(100_000) for _ in range(2_000)]\n"
        "    kept.append(bytearray(blocks.pop()))\n"
        "Job(lambda: None).wait()\n"
        "before = resident()\n"
        "Job(work).wait()\n"
        "print(resident() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert int(done.stdout) < 20_000_000
