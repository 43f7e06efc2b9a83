"""Many people at once, many one after the other, and one who asks too much."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, quantiles

import pytest

from tests.browser.conftest import serving
from tests.endpoint import MODES, Connection, Endpoint, running_endpoint
from tests.trust.sessions import CANARY, active_sessions, memory, played, session

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
QUESTIONS = (
    "When is a reranker worth having?",
    "重排模型为什么比向量召回更准？",
    "Which constant does reciprocal rank fusion use?",
    "What does BM25 count?",
    "为什么不用重排模型直接搜索全部文档？",
)
MEGABYTE = 1_000_000
# Streamlit forgets a tab that was closed after so long; two minutes if nobody says otherwise.
FORGOTTEN_SECONDS = 2
UNLIMITED = {"RAG_LIMITS_SESSION_QUESTIONS": "0", "RAG_LIMITS_ALL_QUESTIONS": "0"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with the sample documents."""
    home = tmp_path_factory.mktemp("load") / "library"
    add = [sys.executable, "-c", "from rag.cli import main; main()", "--home", str(home), "add"]
    subprocess.run([*add, str(SAMPLE)], check=True, capture_output=True)
    return home


def remembers(seconds: float) -> Callable[[Connection], None]:
    """A model that takes so long and then repeats every canary of its prompt."""

    def mode(connection: Connection) -> None:
        time.sleep(seconds)
        prompt, _, asked = connection.body["messages"][-1]["content"].rpartition("Question:")
        if "<conversation>" in prompt:
            connection.answer(asked.partition("\n")[0].strip())
            return
        everything = json.dumps(connection.body["messages"]).encode()
        canaries = sorted({found.decode() for found in CANARY.findall(everything)})
        connection.answer("Remembered: ", *canaries, " [1].")

    return mode


@contextmanager
def crowded_app(
    library: Path, seconds: float, **environment: str
) -> Iterator[tuple[str, Endpoint]]:
    """The app over the library with a model that remembers, and its endpoint."""
    with pytest.MonkeyPatch.context() as patch, running_endpoint() as endpoint:
        patch.setitem(MODES, "remembers", remembers(seconds))
        settings = {
            "OPENAI_BASE_URL": endpoint.base_url,
            "RAG_LLM_MODEL": "remembers",
            "STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL": str(FORGOTTEN_SECONDS),
            **environment,
        }
        with serving(library, **settings) as url:
            yield url, endpoint


@dataclass
class Crowd:
    """What became of many people at once; times in seconds."""

    pages: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)
    bytes: int = 0
    memory_open: int = 0


async def gather_crowd(url: str, people: int, questions: int) -> Crowd:
    """So many people open the page at once, ask, and look at their history, each with a canary."""
    crowd = Crowd()
    async with AsyncExitStack() as tabs:

        async def person(canary: str) -> None:
            cookie = f"ranklens_visitor={canary}-{secrets.token_hex(6)}"
            came = time.perf_counter()
            tab = await tabs.enter_async_context(session(url, cookie))
            await tab.run()
            crowd.pages.append(time.perf_counter() - came)
            for number in range(questions):
                question = f"{QUESTIONS[number % len(QUESTIONS)]} ({canary}, {number})"
                crowd.answers.append(await tab.ask(question))
                crowd.problems += tab.problems
                if f"Remembered: {canary} [1]" not in _plain(tab.text):
                    crowd.problems.append(f"no answer to {question}: {tab.text[-300:]}")
            await tab.visit("inspection")
            crowd.problems += tab.problems
            if f"History: {questions} question" not in str(tab.shown):
                crowd.problems.append(f"{canary} does not see its history")
            crowd.foreign |= tab.seen - {canary}
            crowd.bytes += tab.bytes

        await asyncio.gather(*(person(f"canary-{secrets.token_hex(6)}") for _ in range(people)))
        crowd.memory_open = memory(url)
    return crowd


def _plain(text: str) -> str:
    """The text without the marks of citations."""
    return re.sub(r"\[\[(\d+)\]\]\(#[^)]*\)", r"[\1]", text)


def foreign_histories(endpoint: Endpoint) -> int:
    """How many prompts held the canary of more than one person."""
    prompts = (json.dumps(one.body["messages"]).encode() for one in endpoint.requests)
    return sum(len(set(CANARY.findall(prompt))) > 1 for prompt in prompts)


async def warmed_up(url: str, people: int = 3) -> int:
    """Let the models be loaded and used; gives the memory after that, in bytes."""
    for _ in range(people):
        async with session(url) as tab:
            await tab.run()
            for question in QUESTIONS:
                await tab.ask(question)
                assert tab.problems == []
    return memory(url)


async def forgotten(url: str) -> int:
    """Wait until all tabs are forgotten; gives the memory after that, in bytes."""
    await asyncio.sleep(FORGOTTEN_SECONDS + 1)
    # What is to be forgotten is looked for when somebody comes.
    for _ in range(3):
        async with session(url) as tab:
            await tab.run()
        await asyncio.sleep(FORGOTTEN_SECONDS)
    for _ in range(20):
        if active_sessions(url) == 0:
            break
        await asyncio.sleep(0.5)
    return memory(url)


def p95(seconds: list[float]) -> float:
    return quantiles(seconds, n=20, method="inclusive")[-1]


async def crowd_of(
    url: str, endpoint: Endpoint, people: int, questions: int
) -> tuple[Crowd, dict[str, object]]:
    """A crowd, and its figures."""
    before = await warmed_up(url)
    files_before = memory(url, "RssFile")
    endpoint.requests.clear()
    crowd = await gather_crowd(url, people, questions)
    after = await forgotten(url)
    files = memory(url, "RssFile") - files_before
    return crowd, {
        "sessions": people,
        "answers": len(crowd.answers),
        "errors": len(crowd.problems),
        "foreign canaries": len(crowd.foreign),
        "prompts with two canaries": foreign_histories(endpoint),
        "MB read": round(crowd.bytes / MEGABYTE),
        "page p95 s": round(p95(crowd.pages), 1),
        "answer p50 s": round(quantiles(crowd.answers, n=2)[0], 1),
        "answer p95 s": round(p95(crowd.answers), 1),
        "MB before": round(before / MEGABYTE),
        "MB a session while open": round((crowd.memory_open - before) / people / MEGABYTE, 2),
        "MB more afterwards": round((after - before) / MEGABYTE),
        "MB of these pages of files": round(files / MEGABYTE),
        "sessions afterwards": active_sessions(url),
    }


@pytest.mark.row("18, 19")
def test_fifty_people_at_once_are_answered_and_never_see_each_other(
    library: Path, record_property: Callable[[str, object], None]
) -> None:
    with crowded_app(library, 2.0, **UNLIMITED) as (url, endpoint):
        crowd, figures = played(crowd_of(url, endpoint, people=50, questions=10))
    for name, value in figures.items():
        record_property(name, value)
    assert crowd.problems == []
    assert crowd.foreign == set()
    assert len(crowd.answers) == 500
    assert figures["prompts with two canaries"] == 0
    assert figures["sessions afterwards"] == 0
    assert figures["MB a session while open"] <= 10
    assert figures["MB more afterwards"] <= 50


async def one_after_the_other(url: str, people: int, lanes: int, seconds: float) -> list[int]:
    """People who come, ask once and go, `lanes` at a time; the memory after each, in bytes.

    Ends early after so many seconds.
    """
    memories: list[int] = []
    coming = iter(range(people))
    end = time.monotonic() + seconds

    async def lane() -> None:
        for number in coming:
            if time.monotonic() > end:
                return
            async with session(url) as tab:
                await tab.run()
                await tab.ask(QUESTIONS[number % len(QUESTIONS)])
                assert tab.problems == []
            memories.append(memory(url))

    await asyncio.gather(*(lane() for _ in range(lanes)))
    return memories


def slope(memories: list[int]) -> float:
    """Megabytes more from one session to the next."""
    return linear_regression(range(len(memories)), memories).slope / MEGABYTE


@pytest.mark.row(20)
def test_a_thousand_people_one_after_the_other_leave_nothing_behind(
    library: Path, record_property: Callable[[str, object], None]
) -> None:
    with crowded_app(library, 0.0, **UNLIMITED) as (url, _):
        played(warmed_up(url))
        started = time.monotonic()
        memories = played(one_after_the_other(url, 1_000, lanes=4, seconds=480))
        seconds = time.monotonic() - started
        played(forgotten(url))
        left = active_sessions(url)
    growth = slope(memories[-500:])
    record_property("sessions", len(memories))
    record_property("seconds", round(seconds))
    record_property("sessions afterwards", left)
    record_property("MB a session, last 500", round(growth, 3))
    assert len(memories) >= 500, "too slow to tell"
    assert left == 0
    assert growth <= 0.1


@pytest.mark.row(22)
def test_who_asks_too_much_is_told_and_the_others_are_answered(
    library: Path, record_property: Callable[[str, object], None]
) -> None:
    async def scene(url: str) -> tuple[int, int, list[str], list[float]]:
        async with session(url) as greedy, session(url) as other:
            await asyncio.gather(greedy.run(), other.run())
            await other.ask(QUESTIONS[0])
            answered, told, seconds = 0, 0, []
            for number in range(100):
                await greedy.ask(f"{QUESTIONS[number % len(QUESTIONS)]} {number}")
                refused = any("Ask again in" in problem for problem in greedy.problems)
                told += refused
                answered += not greedy.problems
                if number % 20 == 0:
                    seconds.append(await other.ask(QUESTIONS[1]))
            return answered, told, other.problems, seconds

    with crowded_app(
        library, 0.0, RAG_LIMITS_SESSION_QUESTIONS="20", RAG_LIMITS_ALL_QUESTIONS="1000"
    ) as (url, _):
        played(warmed_up(url, people=1))
        started = time.monotonic()
        answered, told, problems, seconds = played(scene(url))
        minutes = (time.monotonic() - started) / 60
    record_property("asked", 100)
    record_property("answered", answered)
    record_property("told to wait", told)
    record_property("minutes", round(minutes, 1))
    record_property("the other's slowest answer s", round(max(seconds), 1))
    assert answered + told == 100
    assert answered <= 20 * (minutes + 1)
    assert told >= 1
    assert problems == []


@pytest.mark.row(22)
def test_an_endless_answer_ends_and_a_stopped_one_hangs_up_within_a_second(
    library: Path, record_property: Callable[[str, object], None]
) -> None:
    async def ended(url: str) -> str:
        async with session(url) as tab:
            await tab.run()
            await tab.ask(QUESTIONS[0])
            return tab.text

    async def stopped(url: str, endpoint: Endpoint) -> list[float]:
        seconds = []
        for _ in range(5):
            async with session(url) as tab:
                await tab.run()
                await tab.send(tab.typed(QUESTIONS[0]))
                await tab.heard(lambda _: "and so on" in tab.text)
                endpoint.hung_up.clear()
                started = time.perf_counter()
                stopping = asyncio.create_task(tab.run(tab.pressed("Stop")))
                assert await asyncio.to_thread(endpoint.hung_up.wait, 10)
                seconds.append(time.perf_counter() - started)
                await stopping
                assert "The answer was stopped." in tab.text
        return seconds

    with crowded_app(library, 0.0, RAG_LLM_MODEL="endless+slow", **UNLIMITED) as (url, endpoint):
        assert "The answer is incomplete." in played(ended(url))
        seconds = played(stopped(url, endpoint))
    record_property("stops", len(seconds))
    record_property("slowest stop s", round(max(seconds), 2))
    assert max(seconds) <= 1
