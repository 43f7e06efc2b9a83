"""The configured language model as judge of answers, with the prompt in `data/judge_prompt.txt`.

It is the option beside our own arithmetic: it reads answers in other words as a person would, costs
a request an answer, and may favour what it wrote itself (Zheng et al. 2023, arXiv 2306.05685).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from rag.citing import without_citations
from rag.errors import BackendError, RAGError
from rag.evaluation.answered import Answered
from rag.evaluation.golden_sets import GoldenQuestion
from rag.metering import Meter
from rag.models.completions import Messages, completed
from rag.models.endpoint_failures import unusable
from rag.prompting import cut, plain
from rag.settings import EndpointSettings
from rag.types import Usage

Verdict = Literal["correct", "incorrect", "unparsable"]
Complete = Callable[[EndpointSettings, Messages, float], str]

SECONDS = 60.0
# A word takes two; a model that thinks takes more.
LEAST_ANSWER_TOKENS = 512
QUESTION_TOKENS = 400
ANSWER_TOKENS = 1200
RIGHT_ANSWERS = 10
RIGHT_ANSWER_TOKENS = 100

_AROUND = " \t\n.。*`\"'"
_VERDICTS: dict[str, Verdict] = {"correct": "correct", "incorrect": "incorrect"}


@dataclass(frozen=True, slots=True)
class Judged:
    """What the judge says of one answer; `problem` says why it said nothing, and is empty else.

    `usage` is what was asked of services, without its cost.
    """

    question: str
    verdict: Verdict
    problem: str = ""
    usage: tuple[Usage, ...] = ()


def judging_messages(question: GoldenQuestion, answer: str) -> Messages:
    """The rules, and question, right answers and answer as one JSON object.

    JSON cannot be left from within a string, so nothing in an answer can pass for an instruction.
    """
    data = {
        "question": cut(plain(question.text), QUESTION_TOKENS),
        "right_answers": [
            cut(plain(right), RIGHT_ANSWER_TOKENS) for right in question.answers[:RIGHT_ANSWERS]
        ],
        "answer": cut(plain(without_citations(answer)), ANSWER_TOKENS),
    }
    rules = (files("rag.evaluation") / "data" / "judge_prompt.txt").read_text(encoding="utf-8")
    return [
        {"role": "system", "content": rules.strip()},
        {"role": "user", "content": json.dumps(data, ensure_ascii=False)},
    ]


def verdict_of(written: str) -> Verdict:
    """The one word that was asked for; anything else is unparsable."""
    return _VERDICTS.get(written.strip(_AROUND).casefold(), "unparsable")


def no_judge(endpoint: EndpointSettings) -> RAGError | None:
    """Why the endpoint cannot judge; None where it can be asked."""
    if not endpoint.configured:
        return BackendError(
            "No language model is configured that could judge answers.",
            "Set RAG_LLM_MODEL, and OPENAI_BASE_URL or OPENAI_API_KEY.",
        )
    return unusable(endpoint)


def judged(
    question: GoldenQuestion,
    one: Answered,
    endpoint: EndpointSettings,
    complete: Complete = completed,
) -> Judged:
    """What the model says of an answer; a failing endpoint is its problem."""
    meter = Meter()
    settings = endpoint.model_copy(
        update={
            "temperature": 0.0,
            "max_tokens": max(endpoint.max_tokens, LEAST_ANSWER_TOKENS),
        }
    )
    try:
        with meter.stage("judge"):
            written = complete(settings, judging_messages(question, one.text), SECONDS)
    except BackendError as error:
        return Judged(question.id, "unparsable", str(error.notice), meter.usage)
    return Judged(question.id, verdict_of(written), usage=meter.usage)
