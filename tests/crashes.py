"""A library that is worked on and ended at any moment, and what must be true of it afterwards.

What is begun and what is done is written into a journal, so that another process can tell what the
library must hold: an operation that was acknowledged took place, one that was only begun took place
wholly or not at all.

LanceDB takes seconds to import and must not be forked once it was used. `main` therefore imports
it, uses nothing of it, and runs everything in forks of itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rag import fault_points, opening, pipeline
from rag.chunking import chunk_document
from rag.errors import RAGError
from rag.golden.marks import add_mark, mark_of
from rag.history import History, recorded
from rag.ingest import File
from rag.opening import open_pipeline, switch_index
from rag.pipeline import Pipeline
from rag.settings import SETTINGS_FILE, IndexSettings, LimitSettings, Settings, load_settings
from rag.settings_file import save_settings
from rag.store import Store
from rag.store.tables import matching
from rag.types import AddResult, Chunk, Document, DocumentRecord, Page
from tests.fakes import FakeEmbedder

# What some chunk of any text here has a word of, and more chunks than any library here holds.
EVERYTHING = "reranker 仓库"
MANY = 100_000

INDEXES = {
    "old": IndexSettings(embedder="sentence-transformers", model="old"),
    "new": IndexSettings(embedder="sentence-transformers", model="new", chunk_tokens=64),
}

# What nobody adds any more and no start could write down yet.
UNSETTLED = "embedding"
# What is in a library's folder besides its tables.
KEPT = {SETTINGS_FILE, "checksums.sha256", "spares"}

Operation = tuple[str, str]


def content(key: str) -> bytes:
    """A document in two languages, on a page each; long enough for several chunks."""
    english = " ".join(f"The reranker of {key} reads passage {n} again." for n in range(12))
    chinese = "".join(f"第{n}个仓库里放着{key}的文件。" for n in range(12))
    return f"{english}\n\n{chinese}".encode()


def document_id(key: str) -> str:
    return hashlib.sha256(content(key)).hexdigest()


def read(data: bytes, name: str, *_: object) -> Document:
    """One page a paragraph."""
    pages = tuple(Page(n, text) for n, text in enumerate(data.decode().split("\n\n"), start=1))
    return Document(hashlib.sha256(data).hexdigest(), name, "text/markdown", len(data), pages)


def chunks(key: str, index: IndexSettings) -> list[Chunk]:
    """What the library must hold of a document."""
    document = read(content(key), f"{key}.md")
    return chunk_document(document, FakeEmbedder().token_spans, index)


def with_fakes() -> None:
    """Let this process embed and read files in no time."""
    opening.make_embedder = lambda index, *_: FakeEmbedder(name=index.model)
    pipeline.read_document = read


def settings_of(home: Path) -> Settings:
    return load_settings(home, None, {})


def begin_library(home: Path) -> None:
    """A folder whose settings name the old index, and nothing else yet."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    old = INDEXES["old"]
    (home / SETTINGS_FILE).write_text(
        f'[index]\nembedder = "{old.embedder}"\nmodel = "{old.model}"\n', encoding="utf-8"
    )


# --- the journal ---------------------------------------------------------------------------


def outcome(operation: Operation) -> tuple[str, str]:
    """What an operation decides, and how."""
    word, key = operation
    match word:
        case "add":
            return f"document {key}", "ready"
        case "remove":
            return f"document {key}", "absent"
        case "ask" | "mark":
            return f"{word} {key}", "kept"
        case "index" | "settings":
            return word, key
    return word, ""


@dataclass
class Journal:
    """What was begun and done, one line each, written at once."""

    path: Path

    def write(self, word: str, subject: str, value: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([word, subject, value]) + "\n")

    def allowed(self) -> dict[str, set[str]]:
        """What may be true of everything that was ever begun."""
        found: dict[str, set[str]] = {
            "index": {"old"},
            "settings": {str(LimitSettings().session_questions - 100)},
        }
        for line in self.path.read_text("utf-8").splitlines() if self.path.exists() else ():
            word, subject, value = json.loads(line)
            if word == "begun" and not value:
                continue
            if word == "begun":
                found.setdefault(subject, {"absent"}).add(value)
                if subject.startswith("document "):
                    found[subject].add("failed")
            elif value:
                found[subject] = {value}
        return found


# --- the work ------------------------------------------------------------------------------


@dataclass
class Work:
    """One process that has the library open."""

    home: Path
    journal: Journal
    pipeline: Pipeline = field(init=False)
    start_seconds: float = 0.0

    def __post_init__(self) -> None:
        started = time.perf_counter()
        self.open()
        self.start_seconds = time.perf_counter() - started

    def open(self) -> None:
        self.pipeline = open_pipeline(settings_of(self.home))

    def do(self, operation: Operation) -> None:
        """Carry out an operation. Raises RAGError where it failed."""
        self.journal.write("begun", *outcome(operation))
        word, key = operation
        getattr(self, f"_{word}")(key)
        self.journal.write("done", *outcome(operation))

    def _add(self, key: str) -> None:
        events = self.pipeline.add([File.holding(f"{key}.md", content(key))])
        (result,) = [event for event in events if isinstance(event, AddResult)]
        if result.problem is not None:
            raise RAGError(result.problem.message, result.problem.hint)

    def _remove(self, key: str) -> None:
        self.pipeline.store.remove(document_id(key))

    def _index(self, name: str) -> None:
        index = INDEXES[name]
        list(open_pipeline(settings_of(self.home), index).build_index())
        switch_index(settings_of(self.home), index)
        self.open()

    def _settings(self, number: str) -> None:
        before = settings_of(self.home)
        limits = before.limits.model_copy(update={"session_questions": 100 + int(number)})
        save_settings(before, before.model_copy(update={"limits": limits}), {})

    def _ask(self, key: str) -> None:
        trace = self.pipeline.search(f"Which reranker reads 仓库 {key}")
        History(self.pipeline.store, "somebody").keep(recorded(trace))

    def _mark(self, key: str) -> None:
        store = self.pipeline.store
        (chunk, _), *_ = store.search_lexical(EVERYTHING, 1)
        name = store.names([chunk.document_id])[chunk.document_id]
        question = f"Which reranker reads 仓库 {key}"
        add_mark(store.golden, mark_of(question, chunk, name, "somebody", relevant=True))

    def _free(self, name: str) -> None:
        self.pipeline.store.indexes.remove(INDEXES[name].fingerprint)

    def _start(self, key: str) -> None:
        """Start again; with a key, where somebody was killed while he added that document."""
        if key:
            self.abandon(key)
        self.open()

    def abandon(self, key: str) -> None:
        """What a process that was killed before the commit of the chunks leaves."""
        store, document = self.pipeline.store, read(content(key), f"{key}.md")
        store.put_document(
            DocumentRecord(
                document.id, document.name, "", document.size, "embedding", "", 2, 2, 0,
                datetime.now(UTC),
            )
        )  # fmt: skip
        store.put_original(document.id, content(key))
        store.put_pages(document)


def random_operations(
    chance: random.Random, round_number: int, allowed: dict[str, set[str]]
) -> Iterator[Operation]:
    """Work without an end: about a document added for every one removed once there are 20."""
    there = [
        subject.removeprefix("document ")
        for subject, values in allowed.items()
        if subject.startswith("document ") and values == {"ready"}
    ]
    (index, *_) = sorted(allowed["index"])
    for number in range(10_000):
        key = f"{round_number}x{number}"
        drawn = chance.random()
        if drawn < 0.35 or not there:
            there.append(key)
            yield "add", key
        elif drawn < 0.42:
            yield "add", chance.choice(there)
        elif drawn < (0.5 if len(there) < 20 else 0.75):
            yield "remove", there.pop(chance.randrange(len(there)))
        elif drawn < 0.83:
            yield "settings", str(chance.randrange(1000))
        elif drawn < 0.9:
            yield "ask", key
        elif drawn < 0.95:
            yield "mark", key
        else:
            index = "new" if index == "old" else "old"
            yield "index", index


# --- the invariant -------------------------------------------------------------------------


def half_visible(store: Store, expected: Callable[[DocumentRecord], list[Chunk]]) -> list[str]:
    """What of the library is neither there whole nor gone; empty where all is well.

    `expected` gives the chunks that a document must have in the index of the store.
    """
    records = {record.id: record for record in store.documents()}
    # Where a full disk keeps it from being called ready, it may be there whole all the same.
    ready = [
        one
        for one in records.values()
        if one.status == "ready" or (one.status == UNSETTLED and one.chunks)
    ]
    found = [
        f"{record.name} is {record.status}"
        for record in records.values()
        if record.status not in {"ready", "failed"}
    ]
    whole = sorted((chunk for record in ready for chunk in expected(record)), key=_id)
    dense = store.search_dense(np.ones(store.dimensions, dtype=np.float32), MANY)
    for arm, hits in (("dense", dense), ("lexical", store.search_lexical(EVERYTHING, MANY))):
        seen = sorted((chunk for chunk, _ in hits), key=_id)
        if seen != whole:
            found.append(f"{arm} finds {len(seen)} chunks of {len(whole)}")
    tables = store._tables
    for table in (tables.documents, tables.pages, tables.originals, *tables.every_chunks()):
        rows = matching(table, ["id"])["id"].to_pylist()
        found += [
            f"{table.name} has {row} twice" for row, count in Counter(rows).items() if count > 1
        ]
        owner = "document_id" if "document_id" in table.schema.names else "id"
        owners = set(matching(table, [owner])[owner].to_pylist())
        found += [f"{table.name} has a stray {row}" for row in owners - set(records)]
    return found


def lost(pipeline: Pipeline, journal: Journal) -> list[str]:
    """What was acknowledged and is not so; empty where all is well."""
    store, now, found = pipeline.store, present(pipeline), []
    for subject, values in journal.allowed().items():
        is_now = now.get(subject, "absent")
        if len(values) > 1:
            # From now on it must stay so.
            journal.write("seen", subject, is_now)
        if is_now not in values:
            found.append(f"{subject} is {is_now} and not {' or '.join(sorted(values))}")
        if is_now == "ready":
            key = subject.removeprefix("document ")
            if store.original(document_id(key)) != content(key):
                found.append(f"the original of {key} differs")
            if store.pages(document_id(key)) != list(read(content(key), "").pages):
                found.append(f"the pages of {key} differ")
    return found


def present(pipeline: Pipeline) -> dict[str, str]:
    """What the library holds and says, by the subjects of a journal."""
    store, settings = pipeline.store, settings_of(pipeline.settings.home)
    history = History(store, "somebody")
    kept = [asked.question for asked in history.listed() if history.opened(asked.id)]
    marked = [mark.question for mark in store.golden.listed()]
    return (
        {f"document {one.name.removesuffix('.md')}": one.status for one in store.documents()}
        | {f"ask {question.split()[-1]}": "kept" for question in kept}
        | {f"mark {question.split()[-1]}": "kept" for question in marked}
        | {
            "index": next(k for k, one in INDEXES.items() if one == pipeline.settings.index),
            "settings": str(settings.limits.session_questions - 100),
        }
    )


@dataclass
class Checked:
    """What a new process finds: complaints, and how long the start took."""

    lost: list[str]
    half_visible: list[str]
    start_seconds: float

    @property
    def complaints(self) -> list[str]:
        return self.lost + self.half_visible


def checked(work: Work) -> Checked:
    """Hold a library that was just opened against its journal."""
    opened = work.pipeline

    def expected(record: DocumentRecord) -> list[Chunk]:
        return chunks(record.name.removesuffix(".md"), opened.settings.index)

    half = half_visible(opened.store, expected)
    half += [
        f"{path.name} was left behind"
        for path in work.home.iterdir()
        if path.suffix != ".lance" and path.name[0] != "." and path.name not in KEPT
    ]
    return Checked(lost(opened, work.journal), half, work.start_seconds)


def _id(chunk: Chunk) -> str:
    return chunk.id


# --- processes -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a fork ended, and what it gave."""

    code: int
    given: Any


def in_a_fork(work: Callable[[], Any], kill_after: float | None = None) -> Ended:
    """Run something in a process of its own, which may be killed after some seconds."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        code = 1
        try:
            given = json.dumps(work())
            os.write(writing, given.encode())
            code = 0
        except BaseException as error:
            if os.environ.get("CRASHES_TRACEBACK"):
                raise
            os.write(writing, json.dumps(f"{type(error).__name__}: {error}").encode())
        finally:
            os._exit(code)
    os.close(writing)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Ended(code, json.loads(said) if said else None)


def arm(fault: str) -> None:
    """Let a fault happen in this process from now on; an empty one ends that."""
    os.environ[fault_points.VARIABLE] = fault
    fault_points._fault.cache_clear()


@dataclass(frozen=True)
class Place:
    """A fault point at one of the times that an operation reaches it."""

    point: str
    word: str
    # What comes before, so that the operation reaches the point.
    before: tuple[str, ...] = ()
    times: int = 1
    # Whether nobody is told of a failure there, because nothing is lost by it.
    quiet: bool = False

    def __str__(self) -> str:
        return f"{self.word} {self.point}:{self.times}"

    def operation(self, word: str, key: str) -> Operation:
        """The operation on a subject of its own; `index old` names its own."""
        name, _, own = word.partition(" ")
        return name, own or key


ANEW = ("index old", "free new")
# Those that build an index come first, while there are few documents.
PLACES = (
    Place("store.indexes.describe", "index new", ANEW),
    Place("store.library.chunks", "index new", ANEW, times=2),
    Place("store.indexes.finish", "index new", ANEW),
    Place("store.indexes.use", "index new", ANEW),
    Place("store.indexes.remove", "free new", ("index new", "index old")),
    Place("store.library.document", "add"),
    Place("store.library.original", "add"),
    Place("store.library.pages", "add"),
    Place("store.library.chunks", "add"),
    Place("store.library.document", "add", times=2),
    Place("store.checksums.flush", "add"),
    Place("store.checksums.append", "add"),
    Place("store.upkeep.optimize", "add", quiet=True),
    Place("store.upkeep.merge", "add", quiet=True),
    Place("store.library.document", "remove", ("add",)),
    Place("store.healing.chunks", "remove", ("add",)),
    Place("store.healing.pages", "remove", ("add",)),
    Place("store.healing.original", "remove", ("add",)),
    Place("store.healing.row", "remove", ("add",)),
    Place("store.healing.settle", "start", quiet=True),
    Place("settings_file.write", "settings"),
    Place("settings_file.replace", "settings"),
    Place("settings_file.replaced", "settings"),
    Place("store.questions.keep", "ask"),
    Place("store.golden.put", "mark"),
)
# The same points in other operations and at other times.
MORE_PLACES = (
    Place("store.library.chunks", "index new", ANEW),
    Place("store.upkeep.optimize", "index new", ANEW),
    Place("settings_file.write", "index new", ANEW),
    Place("settings_file.replace", "index new", ANEW),
    Place("settings_file.replaced", "index new", ANEW),
    Place("store.library.document", "remove", ("add",), times=2),
)
FIRST_START = ("store.opening.tables", "store.opening.indexes", "store.indexes.describe")


def kill_at(place: Place, key: str, home: Path, journal: Journal) -> list[str]:
    """Be killed there; give what a new process has to complain of, before and after it goes on."""
    operation = place.operation(place.word, key)

    def be_killed() -> None:
        work = Work(home, journal)
        for word in place.before:
            work.do(place.operation(word, key))
        arm(f"{place.point}:kill:{place.times}")
        work.do(operation)

    def look_and_go_on() -> list[str]:
        work = Work(home, journal)
        found = checked(work).complaints
        work.do(operation)
        return found

    return _killed_and_looked_after(be_killed, look_and_go_on)


def kill_at_first_start(point: str, home: Path) -> list[str]:
    """Be killed while a library is made; give what the next process has to complain of."""
    journal = Journal(home.parent / "journal of the first start")
    journal.path.unlink(missing_ok=True)

    def be_killed() -> None:
        arm(f"{point}:kill")
        Work(home, journal)

    def look_and_go_on() -> list[str]:
        work = Work(home, journal)
        found = checked(work).complaints
        work.do(("add", "first"))
        return found + checked(work).complaints

    begin_library(home)
    return _killed_and_looked_after(be_killed, look_and_go_on)


def _killed_and_looked_after(
    be_killed: Callable[[], None], look_and_go_on: Callable[[], list[str]]
) -> list[str]:
    killed = in_a_fork(be_killed)
    if killed.code != -signal.SIGKILL:
        return [f"it was not killed: {killed.given}"]
    ended = in_a_fork(look_and_go_on)
    return ended.given if ended.code == 0 else [f"it cannot go on: {ended.given}"]


def fail_at(place: Place, number: int, work: Work, actions: Sequence[str]) -> list[str]:
    """Fail there in each of these ways; the process goes on without a restart.

    Gives what is wrong with what was said, and what a store that is opened anew complains of.
    """
    complaints = []
    operations = [place.operation(place.word, f"{number}{n}") for n in range(len(actions))]
    for operation, action in zip(operations, actions, strict=True):
        for word in place.before:
            work.do(place.operation(word, operation[1]))
        arm(f"{place.point}:{action}:{place.times}")
        complaints += [f"{place} {action} {one}" for one in failed_to_do(work, operation, place)]
        arm("")
    anew = Work(work.home, work.journal)
    complaints += [f"{place} afterwards: {one}" for one in checked(anew).complaints]
    for operation in dict.fromkeys(operations):
        work.do(operation)
    return complaints


def failed_to_do(work: Work, operation: Operation, place: Place) -> list[str]:
    """What is wrong with what the person is told when an operation fails."""
    said = ""
    try:
        work.do(operation)
    except RAGError as error:
        said = str(error)
    except RuntimeError as error:
        # The settings' own writes raise what the system does, which is never that.
        if not place.point.startswith("settings_file"):
            return [f"is told by {type(error).__name__}"]
        said = str(error)
    fault = fault_points._fault()
    if fault is None or fault.times > 0:
        return ["is not reached"]
    if bool(said) == place.quiet:
        return [f"says {said or 'nothing'}"]
    if fault.action == "full" and said and "disk" not in said:
        return [f"does not name the disk: {said}"]
    return []


def killed_at_every_place(home: Path, more: bool = False) -> list[str]:
    """Kill a process at every point; give all complaints of the new processes that look."""
    complaints = []
    for point in FIRST_START:
        found = kill_at_first_start(point, home)
        complaints += [f"first start {point}: {one}" for one in found]
    journal = two_documents(home)
    for number, place in enumerate((MORE_PLACES if more else ()) + PLACES):
        found = kill_at(place, str(number), home, journal)
        complaints += [f"killed at {place}: {one}" for one in found]
    return complaints + last_look(home, journal)


def failed_at_every_place(home: Path, more: bool = False) -> list[str]:
    """Fail at every point, in one process; give all complaints.

    As a full disk and as LanceDB does in turn; with `more` both at every point.
    """
    journal, places = two_documents(home), (MORE_PLACES if more else ()) + PLACES

    def fail() -> list[str]:
        work, complaints = Work(home, journal), []
        for number, place in enumerate(places):
            actions = ("raise", "full") if more else (("full", "raise")[number % 2],)
            complaints += fail_at(place, number, work, actions)
        return complaints

    failed = in_a_fork(fail)
    complaints = failed.given if failed.code == 0 else [f"it ended: {failed.given}"]
    return complaints + last_look(home, journal)


def two_documents(home: Path) -> Journal:
    """A library of two documents."""
    journal = Journal(home.parent / "journal")
    journal.path.unlink(missing_ok=True)
    begin_library(home)

    def add() -> None:
        work = Work(home, journal)
        for key in ("first", "second"):
            work.do(("add", key))

    in_a_fork(add)
    return journal


def last_look(home: Path, journal: Journal) -> list[str]:
    """What one more process has to complain of."""
    looked = in_a_fork(lambda: checked(Work(home, journal)).complaints)
    return looked.given if looked.code == 0 else [f"it does not start: {looked.given}"]


@dataclass
class Figures:
    """What random kills came to."""

    kills: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    half_visible: list[str] = field(default_factory=list)
    failed_starts: list[str] = field(default_factory=list)
    slowest_start_over_normal: float = 0.0


def kill_at_random(home: Path, kills: int, seed: int, seconds: float) -> Figures:
    """Kill as many processes, each within so many seconds of its work; a new one looks each time.

    A fifth of them is killed while it starts.
    """
    chance = random.Random(seed)
    journal = Journal(home.parent / "journal")
    figures = Figures()
    begin_library(home)
    normal = [in_a_fork(lambda: Work(home, journal).start_seconds).given for _ in range(2)][-1]
    for number in range(kills):
        looked = in_a_fork(lambda: vars(checked(Work(home, journal))))
        if looked.code != 0:
            figures.failed_starts.append(f"round {number}: {looked.given}")
            break
        found = Checked(**looked.given)
        figures.lost += [f"round {number}: {one}" for one in found.lost]
        figures.half_visible += [f"round {number}: {one}" for one in found.half_visible]
        over = found.start_seconds - normal
        figures.slowest_start_over_normal = max(figures.slowest_start_over_normal, over)

        def work(number: int = number) -> None:
            operations = random_operations(chance, number, journal.allowed())
            work = Work(home, journal)
            for operation in operations:
                work.do(operation)

        longest = normal if chance.random() < 0.2 else seconds + normal
        if in_a_fork(work, kill_after=chance.uniform(0, longest)).code == -signal.SIGKILL:
            figures.kills += 1
    looked = in_a_fork(lambda: vars(checked(Work(home, journal))))
    if looked.code != 0:
        figures.failed_starts.append(f"the last: {looked.given}")
    else:
        figures.lost += looked.given["lost"]
        figures.half_visible += looked.given["half_visible"]
    figures.acknowledged = journal.path.read_text("utf-8").count('["done"')
    return figures


def main() -> None:
    """Run a function of this module, named on the command line, with arguments as JSON."""
    with_fakes()
    home, name, arguments = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    given = globals()[name](home, **arguments)
    sys.stdout.write(json.dumps(given, default=vars))


if __name__ == "__main__":
    main()
