"""Several people at once, without browsers: nobody sees another's question, and each can stop."""

from __future__ import annotations

import asyncio
import secrets
import time

from tests.browser.conftest import CANARY as KEY
from tests.endpoint import Endpoint
from tests.streamlit_client import session as visitor
from tests.trust.sessions import Session, active_sessions, played, session

QUESTION = "When is a reranker worth having?"


async def person(url: str, canary: str) -> tuple[Session, list[str]]:
    """Asks twice and looks at the history; gives the tab and what was wrong on the way."""
    async with session(url, f"ranklens_visitor={canary}-{secrets.token_hex(6)}") as tab:
        await tab.run()
        problems = list(tab.problems)
        for question in (QUESTION, "重排模型为什么比向量召回更准？"):
            await tab.ask(f"{question} ({canary})")
            problems += tab.problems
        await tab.visit("inspection")
        return tab, [*problems, *tab.problems]


def test_two_people_at_once_never_see_each_other(written_app: str, chat_endpoint: Endpoint) -> None:
    canaries = [f"canary-{secrets.token_hex(6)}" for _ in range(2)]

    async def both() -> list[tuple[Session, list[str]]]:
        return await asyncio.gather(*(person(written_app, canary) for canary in canaries))

    for canary, (tab, problems) in zip(canaries, played(both()), strict=True):
        assert problems == []
        assert tab.seen == {canary}
        assert "History: 2 questions" in str(tab.shown)
    prompts = [str(one.body["messages"]) for one in chat_endpoint.requests]
    assert all(sum(canary in prompt for canary in canaries) <= 1 for prompt in prompts)
    assert sum(canaries[0] in prompt for prompt in prompts) >= 2


def test_a_stopped_answer_closes_the_connection_to_the_model(
    written_app: str, chat_endpoint: Endpoint
) -> None:
    async def stopped() -> tuple[Session, float]:
        async with session(written_app) as tab:
            await tab.run()
            await tab.send(tab.typed(f"{QUESTION} (dawdles)"))
            await tab.heard(lambda _: "Part 3 " in tab.text)
            chat_endpoint.hung_up.clear()
            started = time.perf_counter()
            await tab.run(tab.pressed("Stop"))
            seconds = time.perf_counter() - started
            assert await asyncio.to_thread(chat_endpoint.hung_up.wait, 3)
            assert "The answer was stopped." in tab.text
            assert "Part 3 " in tab.text
            assert "The answer is incomplete." in tab.text
            assert "choosing-a-reranker.docx, p. 1" in tab.text
            await tab.ask(QUESTION)
            assert tab.problems[1:] == []
            return tab, seconds

    tab, seconds = played(stopped())
    assert KEY not in tab.text
    assert seconds < 5, "a second on a quiet machine"
    assert active_sessions(written_app) >= 0


def test_what_was_drawn_while_an_answer_was_written_is_gone_once_it_is_there(
    written_app: str,
) -> None:
    with visitor(written_app) as tab:
        tab.ask(f"{QUESTION} (hang-midway)")
        lines = [one for one in tab.text.splitlines() if one.startswith("The answer begins here")]
        assert len(lines) == 1
        assert "Writing the answer" not in tab.text
