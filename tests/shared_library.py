"""Many processes and threads on one library, and what must be true of it afterwards.

The processes write down what they were told had happened. One that starts when they are gone holds
the library against that. All of them are children of `python -m tests.shared_library`, because
importing LanceDB takes seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import IO, Any

from rag import opening, pipeline
from rag.errors import RAGError
from rag.golden.marks import mark_of
from rag.history import History, recorded
from rag.ingest import File, ReportPage
from rag.opening import open_pipeline, switch_index
from rag.pipeline import Pipeline
from rag.settings import IndexSettings, ReadingLimits, Settings, load_settings
from rag.settings_file import save_settings
from rag.store import Store
from rag.types import AddResult, Document, Page, PageRead
from tests import fakes
from tests.fakes import FakeEmbedder

THREADS = 2
FIRST = IndexSettings(
    embedder="sentence-transformers", model="first", chunk_tokens=32, overlap_tokens=0
)
OTHER = IndexSettings(
    embedder="sentence-transformers", model="other", chunk_tokens=48, overlap_tokens=0
)

# Everybody adds these, nobody removes them.
WANTED = range(8)
# Everybody removes these, nobody adds them.
UNWANTED = range(8, 14)
# Everybody adds and removes these.
CONTESTED = range(14, 18)
# From here on a thread has files of its own.
OWN, OWN_FILES = 100, 6
# Of each of these one thread is the owner.
_SETTINGS = (
    "input_tokens",
    "output_tokens",
    "embedding_tokens",
    "rerank_tokens",
    "rerank_searches",
)


def name(number: int) -> str:
    """English and Chinese names in turn."""
    return f"说明 {number}.md" if number % 2 else f"notes {number}.md"


def content(number: int) -> bytes:
    """A text of several chunks, with a word that no other file has."""
    english = f"# Report word{number}\n\nThe cat number {number} sleeps on the warm roof. "
    chinese = f"第{number}只猫睡在温暖的屋顶上。狗守着老门。"
    return ((english * 2 + "\n\n" + chinese * 2 + "\n\n") * (1 + number % 3)).encode()


def document_id(number: int) -> str:
    return hashlib.sha256(content(number)).hexdigest()


def read(text: bytes, named: str, limits: object, report: ReportPage) -> Document:
    """One page; a process of its own for each of thousands of files would be the whole test."""
    page = Page(1, text.decode())
    report(PageRead(page, "text/markdown", 1))
    digest = hashlib.sha256(text).hexdigest()
    return Document(digest, named, "text/markdown", len(text), (page,))


def with_small_models() -> None:
    """Only for a process that was started for this."""
    fakes.word_vector = cache(fakes.word_vector)
    opening.make_embedder = lambda index, *_: FakeEmbedder(name=index.model)
    pipeline.read_document = read


def settings(home: Path) -> Settings:
    return load_settings(home, None, {})


@dataclass
class Told:
    """What one thread was told: `there` holds its own files that must be there in the end."""

    there: dict[int, bool] = field(default_factory=dict)
    added: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    saved: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)


class Thread:
    """One of those who use the library; what it does is chance, after its seed."""

    def __init__(self, home: Path, number: int, seed: int) -> None:
        self.home = home
        self.number = number
        self.random = random.Random(seed * 1000 + number)
        self.asker = f"asker {number}"
        self.told = Told()
        self.pipeline = open_pipeline(settings(home))
        self.actions: list[tuple[int, Callable[[], None]]] = [
            (8, self.add_own),
            (5, self.remove_own),
            (4, self.add_wanted),
            (2, self.remove_unwanted),
            (3, self.add_contested),
            (3, self.remove_contested),
            (6, self.ask),
            (2, self.mark),
            (1, self.build),
            (1, self.switch),
            (2, self.save),
            (1, self.optimize),
            (1, self.start_again),
        ]

    def run(self, seconds: float) -> None:
        weights = [weight for weight, _ in self.actions]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            (_, action) = self.random.choices(self.actions, weights)[0]
            try:
                action()
                self.told.done[action.__name__] += 1
            except RAGError as error:
                self.told.problems.append(f"{action.__name__}: {error} ({error.__cause__!r})")
            except Exception:
                self.told.problems.append(f"{action.__name__}: {traceback.format_exc()}")

    def add(self, number: int) -> str:
        files = [File.holding(name(number), content(number))]
        (result,) = [one for one in self.pipeline.add(files) if isinstance(one, AddResult)]
        if result.outcome == "failed":
            raise RuntimeError(str(result))
        return result.outcome

    def add_own(self) -> None:
        number = OWN + self.number * OWN_FILES + self.random.randrange(OWN_FILES)
        # Until it says what became of it, the file may be there or not.
        before = self.told.there.pop(number, False)
        outcome = self.add(number)
        self.told.there[number] = True
        if (outcome == "already there") != before:
            raise RuntimeError(f"{outcome}, and before that it was there: {before}")

    def remove_own(self) -> None:
        mine = [number for number, there in self.told.there.items() if there]
        if mine:
            number = self.random.choice(mine)
            del self.told.there[number]
            self.pipeline.store.remove(document_id(number))
            self.told.there[number] = False

    def add_wanted(self) -> None:
        number = self.random.choice(WANTED)
        if self.add(number) == "added":
            self.told.added.append(number)

    def remove_unwanted(self) -> None:
        number = self.random.choice(UNWANTED)
        self.pipeline.store.remove(document_id(number))
        self.told.removed.append(number)

    def add_contested(self) -> None:
        number = self.random.choice(CONTESTED)
        try:
            self.add(number)
        except RuntimeError as error:
            # What a person is told who adds what another one removes.
            if "was removed while it was added" not in str(error):
                raise

    def remove_contested(self) -> None:
        self.pipeline.store.remove(document_id(self.random.choice(CONTESTED)))

    def ask(self) -> None:
        number = self.random.choice(WANTED)
        asked = self.random.choice(["Where does the cat sleep?", "猫睡在哪里？", f"word{number}"])
        record = recorded(self.pipeline.search(asked))
        History(self.pipeline.store, self.asker).keep(record)
        self.told.questions.append(record.id)

    def mark(self) -> None:
        trace = self.pipeline.search("猫睡在哪里？")
        best = trace.candidates[0]
        asked = f"question {self.number} {len(self.told.marks)} 猫"
        mark = mark_of(asked, best.chunk, best.document, self.asker, relevant=True)
        self.pipeline.store.golden.put([mark])
        self.told.marks.append(mark.id)

    def build(self) -> None:
        index = self.random.choice([FIRST, OTHER])
        list(open_pipeline(settings(self.home), index).build_index())

    def switch(self) -> None:
        built = [one for one in self.pipeline.store.indexes.listed() if one.built]
        index = opening.index_settings(self.random.choice(built))
        if index is not None:
            switch_index(settings(self.home), index)

    def save(self) -> None:
        """Save a setting that nobody else saves."""
        for own in _SETTINGS[self.number : self.number + 1]:
            before = settings(self.home)
            value = self.told.saved.pop(own, 0) + 1
            prices = before.prices.model_copy(update={own: value})
            save_settings(before, before.model_copy(update={"prices": prices}), {})
            self.told.saved[own] = value

    def optimize(self) -> None:
        self.pipeline.store.optimize()

    def start_again(self) -> None:
        self.pipeline = open_pipeline(settings(self.home))


def _worker(home: Path, process: int, seconds: float, seed: int) -> None:
    with_small_models()
    numbers = range(process * THREADS, (process + 1) * THREADS)
    users = [Thread(home, number, seed) for number in numbers]
    threads = [threading.Thread(target=user.run, args=(seconds,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for user in users:
        told = {"asker": user.asker} | {key: getattr(user.told, key) for key in _FIELDS}
        (home.parent / f"told-{user.number}.json").write_text(json.dumps(told))


_FIELDS = ("there", "added", "removed", "questions", "marks", "saved", "problems", "done")


def _first(home: Path) -> None:
    """A library whose unwanted documents are there."""
    with_small_models()
    switch_index(settings(home), FIRST)
    files = [File.holding(name(number), content(number)) for number in UNWANTED]
    # One stays, so that there is always something to be asked.
    files.append(File.holding("stays.md", b"# Stays\n\nThe cat sleeps here for good.\n"))
    outcomes = [one.outcome for one in open_pipeline(settings(home)).add(files) if _is_result(one)]
    assert set(outcomes) == {"added"}


def _is_result(event: object) -> bool:
    return isinstance(event, AddResult)


def _check(home: Path) -> None:
    """Print what happened and what is wrong with the library."""
    with_small_models()
    told = [json.loads(path.read_text()) for path in home.parent.glob("told-*.json")]
    wrong = [problem for one in told for problem in one["problems"]]
    here = open_pipeline(settings(home))
    there: dict[int, bool] = {}
    for one in told:
        there |= dict.fromkeys(one["added"], True) | dict.fromkeys(one["removed"], False)
        there |= {int(number): whether for number, whether in one["there"].items()}
    adders = Counter(number for one in told for number in one["added"])
    wrong += [f"{number} was added {times} times" for number, times in adders.items() if times > 1]
    for index in (FIRST, OTHER):
        if index.fingerprint in {one.fingerprint for one in here.store.indexes.listed()}:
            wrong += _wrong(open_pipeline(settings(home), index), there)
    for one in told:
        for own, value in one["saved"].items():
            if getattr(settings(home).prices, own) != value:
                wrong.append(f"the setting {own} is not what was saved")
        kept = History(here.store, one["asker"])
        listed = {asked.id for asked in kept.listed()}
        wrong += [f"question {lost} is lost" for lost in set(one["questions"]) ^ listed]
        wrong += [f"question {asked}" for asked in listed if kept.opened(asked) is None]
        marks = {mark.id for mark in here.store.golden.listed()}
        wrong += [f"mark {lost} is lost" for lost in set(one["marks"]) - marks]
    done: Counter[str] = Counter()
    for one in told:
        done.update(one["done"])
    _say({"wrong": wrong, "done": done, "documents": len(here.store.documents())})


def _wrong(here: Pipeline, there: dict[int, bool]) -> Iterator[str]:
    """What is wrong with the documents and one index of them."""
    store = here.store
    index = here.settings.index
    records = {record.id: record for record in store.documents()}
    numbers = {document_id(number): number for number in (*range(OWN), *there)}
    missing = {record.id for record in store.missing()}
    expected: dict[str, list[Any]] = {}
    for number, whether in there.items():
        if (document_id(number) in records) != whether:
            yield f"{name(number)} is {'lost' if whether else 'still there'}"
    for one, record in records.items():
        if record.status != "ready":
            yield f"{record.name} is {record.status}: {record.message}"
        if one not in numbers:
            continue
        text = content(numbers[one])
        document = read(text, record.name, ReadingLimits(), lambda page: None)
        chunks = here._chunk(document)
        if store.original(one) != text or store.pages(one) != list(document.pages):
            yield f"{record.name} has another original or other pages"
        if one not in missing:
            expected[one] = chunks
            if store.chunks(one) != chunks:
                yield f"{record.name} has other chunks in {index.model}"
    yield from _rows(store, set(records), sum(map(len, expected.values())), set(expected))


def _rows(store: Store, known: set[str], chunks: int, expected: set[str]) -> Iterator[str]:
    """What rows there are twice, and which have no document."""
    tables = store._tables
    for table, column in (
        (tables.documents, "id"),
        (tables.originals, "id"),
        (tables.pages, "document_id"),
        (tables.chunks, "document_id"),
    ):
        rows = table.search().select(list({"id", column})).to_arrow()
        ids = rows["id"].to_pylist()
        if len(ids) != len(set(ids)):
            yield f"{table.name} has rows twice"
        if strays := set(rows[column].to_pylist()) - known:
            yield f"{table.name} has rows of {len(strays)} documents that are gone"
        if table is tables.chunks:
            owners = Counter(rows[column].to_pylist())
            if sum(owners[one] for one in expected) != chunks:
                yield f"{table.name} has another number of chunks than single adds"


def _rounds(rounds: int) -> range:
    """The numbers of files that nobody has added before."""
    return range(OWN, OWN + rounds)


def _at_once(home: Path, process: int, rounds: int) -> None:
    """Add the same file as all the others, in the same moment, again and again."""
    with_small_models()
    outcomes: list[list[str]] = []

    def add(worker: int) -> None:
        here = open_pipeline(settings(home))
        for number in _rounds(rounds):
            (home.parent / f"ready-{number}-{worker}").touch()
            while len(list(home.parent.glob(f"ready-{number}-*"))) < 2 * THREADS:
                time.sleep(0.002)
            file = File.holding(f"{worker} {name(number)}", content(number))
            results = [str(one.outcome) for one in here.add([file]) if isinstance(one, AddResult)]
            outcomes.append([str(number), *results])

    workers = range(process * THREADS, (process + 1) * THREADS)
    threads = [threading.Thread(target=add, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (home.parent / f"outcomes-{process}.json").write_text(json.dumps(outcomes))


def _check_at_once(home: Path, rounds: int) -> None:
    with_small_models()
    paths = home.parent.glob("outcomes-*.json")
    outcomes = [one for path in paths for one in json.loads(path.read_text())]
    told = Counter(tuple(one) for one in outcomes)
    wrong = [
        f"{number}: {told}"
        for number in _rounds(rounds)
        if told[str(number), "added"] != 1 or told[str(number), "already there"] != 2 * THREADS - 1
    ]
    wrong += _wrong(open_pipeline(settings(home)), dict.fromkeys(_rounds(rounds), True))
    _say({"wrong": wrong, "done": {"rounds": rounds, "adds": len(outcomes)}})


def add_for(home: Path, seconds: float) -> None:
    """Add, remove and ask, and say each time when it was done: number, "added" or "removed"."""
    with_small_models()
    here = open_pipeline(settings(home))
    end = time.monotonic() + seconds
    number = OWN
    while time.monotonic() < end:
        number += 1
        list(here.add([File.holding(name(number), content(number))]))
        _say([number, "added"])
        record = recorded(here.search("猫睡在哪里？"))
        History(here.store, "asker").keep(record)
        _say([record.id, "asked"])
        if number % 3 == 0:
            _say([number - 1, "removing"])
            here.store.remove(document_id(number - 1))


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def shared(folder: Path, seconds: float, seed: int, processes: int) -> dict[str, Any]:
    """Let many use a library in a folder for some seconds; gives what was done and is wrong."""
    return _ran("shared", folder, seconds, seed, processes)


def at_once(folder: Path, rounds: int) -> dict[str, Any]:
    """Let two processes of two threads add the same file at once, and then the next one."""
    return _ran("at_once", folder, rounds)


def started(
    mode: str, folder: Path, *arguments: float, stdout: IO[str] | int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """A process of this module that works on the library in a folder."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.shared_library", mode, str(folder)]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        env={k: v for k, v in os.environ.items() if not k.startswith(("RAG_", "OPENAI_"))},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def _ran(mode: str, folder: Path, *arguments: float) -> dict[str, Any]:
    process = started(mode, folder, *arguments)
    told, problems = process.communicate()
    assert process.returncode == 0, told + problems
    return dict(json.loads(told.splitlines()[-1]))


def _forked(*works: Callable[[], None]) -> None:
    """Do each in a process of its own, all at once."""
    for work in works:
        if os.fork() == 0:
            code = 1
            try:
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
            os._exit(code)
    codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in works]
    if any(codes):
        sys.exit(f"a process ended with {codes}")


def main(mode: str, folder: str, *arguments: str) -> None:
    home = Path(folder) / "library"
    if mode == "shared":
        seconds, seed, processes = float(arguments[0]), int(arguments[1]), int(arguments[2])
        _forked(lambda: _first(home))
        _forked(*(partial(_worker, home, one, seconds, seed) for one in range(processes)))
        _forked(lambda: _check(home))
    elif mode == "at_once":
        rounds = int(arguments[0])
        _forked(lambda: _first(home))
        _forked(*(partial(_at_once, home, one, rounds) for one in range(2)))
        _forked(lambda: _check_at_once(home, rounds))
    elif mode == "adding":
        add_for(home, float(arguments[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
