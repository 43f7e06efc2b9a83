"""Hostile files are added while somebody asks: the app goes on, and is afterwards what it was."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path, PurePosixPath

import psutil
import pytest

from rag.documents import SUFFIXES
from rag.opening import open_library
from rag.settings import default_home, load_settings
from tests.browser.conftest import serving
from tests.hostile_documents import HOSTILE
from tests.streamlit_client import Client, session
from tests.test_badfiles import CORPUS, ROWS
from tests.test_hostile_names import LONG, seconds_of_long_text, wrongly_removed

Files = Sequence[tuple[str, bytes]]

QUESTIONS = (
    "When is a reranker worth having?",
    "重排模型为什么比向量召回更准？",
    "Which constant does reciprocal rank fusion use?",
    "什么是倒数排名融合？",
    "What does a cross-encoder read?",
)
SEED = int(os.environ.get("TRUST_SEED", random.SystemRandom().randrange(1_000_000)))
# The default is five minutes, for long PDFs; a server for many may set less.
READING_SECONDS = 55
LONGEST_SECONDS = 60
QUIET_SECONDS = 60
BATCH = 12
GROWTH_BYTES = 50_000_000
# How long the server keeps the session of a page that was closed.
FORGET_SECONDS = 5
# As many passages as the longest of the files: what encoding keeps for the next time, it has then.
WARM = [("warm.md", "".join(f"# 热身 {n}\n\nwarming up {n}\n\n" * 9 for n in range(400)).encode())]
_RESULT = re.compile(r"^:material/(?:check_circle|content_copy|error): (.+)$", re.MULTILINE)


@dataclass
class Probe:
    """One question a second in sessions of a few questions, and how long each answer took."""

    url: str
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def ask_until(self, stop: Callable[[], bool]) -> None:
        """Ask until told to stop."""
        questions = cycle(QUESTIONS)
        while not stop():
            with session(self.url) as client:
                for _ in QUESTIONS:
                    started = time.monotonic()
                    self.seconds.append(client.ask(next(questions)))
                    if "dense" not in client.text:
                        self.failures.append(client.text[-500:])
                    time.sleep(max(0.0, started + 1 - time.monotonic()))
                    if stop():
                        return

    def p95(self) -> float:
        """The time that 95 of 100 answers took at most."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.95)]


@dataclass
class Outcome:
    """The line that each file ended in, the seconds since the line before, and the pages seen."""

    lines: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)

    def longest(self) -> tuple[float, str]:
        """The longest time for a file, and what became of it."""
        return max(zip(self.seconds, self.lines, strict=True))


def add(url: str, files: Files) -> Outcome:
    """Upload files in batches, and wait for what becomes of each."""
    outcome = Outcome()
    with session(url, "library") as client:
        for first in range(0, len(files), BATCH):
            client.upload(files[first : first + BATCH])
            since, seen = time.monotonic(), 0
            for text in _looks(client):
                outcome.pages.append(text)
                if lines := _RESULT.findall(text)[seen:]:
                    # All that ended since the last look count as long as together.
                    outcome.lines += lines
                    outcome.seconds += [time.monotonic() - since] * len(lines)
                    since, seen = time.monotonic(), seen + len(lines)
            client.press("Close")
    return outcome


def _looks(client: Client) -> Iterator[str]:
    """The page again and again until all files are done, and then."""
    yield from client.wait_for(_is_done, seconds=600)
    yield client.text


def _is_done(client: Client) -> bool:
    return client.shows("Close")


def answers(url: str) -> list[list[str]]:
    """To each question the answer and the names of its sources."""
    found = []
    with session(url) as client:
        for question in QUESTIONS:
            client.ask(question)
            written = client.text[client.text.rfind(question) :]
            found.append([line for line in written.splitlines() if "[" in line])
    return found


def badfiles() -> Iterator[tuple[str, bytes]]:
    """The corpus of difficult files, under names that the upload box takes."""
    for row in ROWS:
        name = row["file"]
        taken = PurePosixPath(name).suffix.lower() in SUFFIXES
        yield name if taken else f"{name}.txt", (CORPUS / "files" / row["file"]).read_bytes()


def files_below(folders: Iterable[Path]) -> set[Path]:
    return {path for folder in folders for path in folder.rglob("*") if path.is_file()}


def memory_after_upload(url: str, server: psutil.Process) -> int:
    """The server's own memory in bytes, once ended sessions are forgotten and a file was added.

    Pages of the model's file are not its own: the more words were met, the more of it was read,
    and the system drops them when it needs the place.
    """
    time.sleep(2 * FORGET_SECONDS)
    add(url, WARM)
    memory = server.memory_info()
    return int(memory.rss - memory.shared)


def attack(url: str, attackers: Sequence[Files]) -> tuple[Probe, list[Outcome]]:
    """Let everybody upload at once while the probe asks, each in a process of its own."""
    probe, over = Probe(url), threading.Event()
    with (
        ThreadPoolExecutor(1) as pool,
        ProcessPoolExecutor(len(attackers), mp_context=get_context("spawn")) as processes,
    ):
        asking = pool.submit(probe.ask_until, over.is_set)
        adding = [processes.submit(add, url, files) for files in attackers]
        try:
            outcomes = [one.result() for one in adding]
        finally:
            over.set()
        asking.result()
    return probe, outcomes


@pytest.mark.row(5)
@pytest.mark.evaldata
@pytest.mark.skipif(not ROWS, reason="the corpus of bad files is not beside the repository")
def test_hostile_files_never_stop_the_app_for_others(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("seed", SEED)
    attackers = [list(badfiles()), [(name, make()) for name, make in HOSTILE.items()]]
    for files in attackers:
        random.Random(SEED).shuffle(files)
    home, elsewhere = tmp_path / "library", [tmp_path / "temporary", tmp_path / "person"]
    for folder in elsewhere:
        folder.mkdir()
    with serving(
        home,
        RAG_CACHE=str(load_settings(default_home()).cache),
        RAG_READING_SECONDS=str(READING_SECONDS),
        RAG_LIMITS_SESSION_QUESTIONS="0",
        RAG_LIMITS_ALL_QUESTIONS="0",
        STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL=str(FORGET_SECONDS),
        TMPDIR=str(elsewhere[0]),
        HOME=str(elsewhere[1]),
    ) as url:
        port = url.rpartition(":")[2]
        server = next(one for one in psutil.Process().children() if port in one.cmdline())
        with session(url) as client:
            client.press("Add the sample documents")
            for _ in client.wait_for(_is_done):
                pass
        add(url, WARM)
        store = open_library(load_settings(home))
        kept = {record.id for record in store.documents()}
        before, answered = store.state(), answers(url)
        quiet, end = Probe(url), time.monotonic() + QUIET_SECONDS
        quiet.ask_until(lambda: time.monotonic() > end)
        files_before, memory_before = files_below(elsewhere), memory_after_upload(url, server)

        started = time.monotonic()
        probe, outcomes = attack(url, attackers)
        record_property("files", sum(map(len, attackers)))
        record_property("seconds", round(time.monotonic() - started))
        longest, what = max(one.longest() for one in outcomes)
        record_property("longest file, s", f"{longest:.1f} ({what})")
        record_property("questions", len(probe.seconds))
        record_property("p95 quiet, s", round(quiet.p95(), 2))
        record_property("p95 meanwhile, s", round(probe.p95(), 2))

        children = server.children(recursive=True)
        for record in store.documents():
            if record.id not in kept:
                store.remove(record.id)
        store.optimize()
        after, answered_after = store.state(), answers(url)
        growth = memory_after_upload(url, server) - memory_before
        record_property("memory, MB", round(growth / 1e6))
        record_property("processes left", len(children))
        files_after = files_below(elsewhere)

    for files, outcome in zip(attackers, outcomes, strict=True):
        assert len(outcome.lines) == len(files)
        assert not any("Traceback" in page for page in outcome.pages)
    assert longest <= LONGEST_SECONDS
    assert "Traceback" not in (home / "server.log").read_text(encoding="utf-8")
    assert children == []
    assert files_after == files_before
    assert probe.failures == []
    assert (after.contents, after.documents) == (before.contents, before.documents)
    assert answered_after == answered
    assert growth <= GROWTH_BYTES
    assert probe.p95() <= 2 * quiet.p95()


@pytest.mark.row(6)
def test_removing_500_documents_with_hostile_ids_removes_nothing_else(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    wrong = wrongly_removed(tmp_path / "library", count=600, removals=500)
    record_property("removed", 500)
    record_property("rows gone or left in error", wrong)
    assert wrong == 0


@pytest.mark.row(21)
def test_a_million_characters_of_anything_are_cut_in_bounded_time(
    record_property: Callable[[str, object], None],
) -> None:
    seconds = {text: seconds_of_long_text(text, 1_000_000) for text in LONG}
    record_property("texts", len(LONG))
    record_property("longest, processor seconds", round(max(seconds.values()), 1))
    assert max(seconds.values()) < LONGEST_SECONDS
