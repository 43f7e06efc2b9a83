"""One child process: started with little, listened to with patience, always ended."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import IO

from rag.waiting_line import WaitingLine

# What Python and the loader need; keys and tokens stay in the parent.
_KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SYSTEMROOT", "TEMP", "TMP", "LD_LIBRARY_PATH")
_ROOT = Path(__file__).resolve().parents[2]
_ENDING_SECONDS = 5.0
# On two cores one child runs at a time, in turns, so that questions have the other core.
_LINE = WaitingLine(abreast=max(1, (os.cpu_count() or 1) // 2))
_TURN_SECONDS = 0.5
_STOP, _GO = getattr(signal, "SIGSTOP", None), getattr(signal, "SIGCONT", None)


class Child:
    """A reader and the lines it has written; it is halted while it is the turn of others."""

    def __init__(self, process: subprocess.Popen[bytes], most_bytes: int) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._left = most_bytes
        self._threads: list[threading.Thread] = []
        self._turn = ExitStack()
        self._turn_ends = 0.0

    def line(self, seconds: float, end: float) -> bytes | None:
        """The next line; None after the last.

        Raises TimeoutError when none comes in `seconds` of its turns, or until the monotonic time
        `end`.
        """
        while True:
            self._take_turn()
            began = monotonic()
            patience = min(seconds, end - began)
            try:
                return self._lines.get(timeout=max(min(patience, self._turn_ends - began), 0.0))
            except queue.Empty:
                seconds -= monotonic() - began
                if patience <= self._turn_ends - began:
                    raise TimeoutError from None

    def _take_turn(self) -> None:
        """Go on where it is this one's turn, else wait for it."""
        if monotonic() < self._turn_ends:
            return
        if not self._turn_ends or _LINE.awaited():
            self._signal(_STOP)
            self._turn.close()
            self._turn.enter_context(_LINE.turn())
            self._signal(_GO)
        self._turn_ends = monotonic() + _TURN_SECONDS

    def _signal(self, number: int | None) -> None:
        if number is not None and sys.platform != "win32":
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    @property
    def overflowed(self) -> bool:
        """Whether the child wrote more than it may."""
        return self._left <= 0

    def exit_code(self) -> int:
        """The exit code of a child that has closed its output; negative for a signal."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_SECONDS)
        return self._process.returncode or 0

    def start(self, first_line: bytes, content: bytes) -> None:
        """Begin to feed the child and to listen to it."""
        feeding = threading.Thread(target=self._feed, args=(first_line, content), daemon=True)
        listening = threading.Thread(target=self._listen, daemon=True)
        for thread in (feeding, listening):
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the process and everything it started, and wait for it."""
        if self._process.returncode is None:
            if sys.platform == "win32":
                self._process.kill()
            else:
                self._signal(signal.SIGKILL)
        self._turn.close()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                _open(pipe).close()

    def _feed(self, first_line: bytes, content: bytes) -> None:
        """Write the input; it stays open, for its end tells the child that the parent is gone."""
        pipe = _open(self._process.stdin)
        with suppress(OSError):
            pipe.write(first_line)
            pipe.write(content)
            pipe.flush()

    def _listen(self) -> None:
        pipe = _open(self._process.stdout)
        while not self.overflowed and (line := pipe.readline(self._left)):
            self._left -= len(line)
            self._lines.put(line)
        self._lines.put(None)


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the child has no pipe")
    return pipe


@contextmanager
def reading_child(order: Mapping[str, object], content: bytes, most_bytes: int) -> Iterator[Child]:
    """A child that reads the content; it is gone when the block is left, however it is left.

    `most_bytes` bounds what it may write. Raises OSError where no process can be started.
    """
    environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
    paths = [str(_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment |= {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
        "MALLOC_ARENA_MAX": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "rag.documents.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        # A group of its own can be ended as a whole. A session of its own would make its low
        # priority worthless: Linux weighs sessions equally, see autogroup in sched(7).
        process_group=0,
    )
    child = Child(process, most_bytes)
    try:
        child.start(json.dumps(order).encode() + b"\n", content)
        yield child
    finally:
        child.stop()
