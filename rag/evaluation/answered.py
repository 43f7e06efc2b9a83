"""One golden question answered, and what each measure gives that answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rag.citing import without_citations
from rag.errors import RAGError
from rag.evaluation.answer_measures import exact_match, holds, says_nothing_found, token_f1
from rag.evaluation.golden_sets import GoldenQuestion
from rag.pipeline import Pipeline
from rag.support import support_model
from rag.types import Answer, AnswerKind, Usage

# What answers are measured by, in words; each is a share of 1, and higher is better but for
# refusing what can be answered.
MEASURES: Mapping[str, str] = {
    "exact_match": "exact match",
    "token_f1": "token F1",
    "gold_in_answer": "gold in the answer",
    "gold_in_passages": "gold in the passages",
    "judged_correct": "judged correct",
    "citation_precision": "citation precision",
    "citation_recall": "citation recall",
    "refused_answerable": "refused, answerable",
    "refused_unanswerable": "refused, unanswerable",
}
# Sentences in which a model says that the passages do not answer; more of them say something.
REFUSAL_SENTENCES = 2


@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered to one question, as far as measures need it.

    `passages` are the texts in the prompt, none where nothing was relevant.
    `citations` are the probabilities, 0..1, that each cited passage says what its sentence says,
    and `statements` tell of each sentence whether a passage that it cites supports it.
    `refused` says that the answer leaves the question open.
    `problem` says why there is no whole answer; empty where there is one.
    `usage` is what was asked of services, without its cost.
    """

    question: str
    text: str
    kind: AnswerKind
    passages: tuple[str, ...]
    citations: tuple[float, ...]
    statements: tuple[bool, ...]
    refused: bool
    seconds: Mapping[str, float]
    problem: str = ""
    usage: tuple[Usage, ...] = ()


def answered(question: GoldenQuestion, pipeline: Pipeline) -> Answered:
    """What a pipeline answers; a failure is its problem."""
    try:
        answer = pipeline.ask(question.text).answer
    except RAGError as error:
        return Answered(
            question.id, "", "nothing relevant", (), (), (), True, {}, str(error.notice)
        )
    # The time to the first word is a part of the time that the answer took.
    seconds = {stage: taken for stage, taken in answer.seconds.items() if stage != "first token"}
    return Answered(
        question=question.id,
        text=answer.text,
        kind=answer.kind,
        passages=tuple(candidate.chunk.text for candidate in answer.passages),
        citations=tuple(citation.support for citation in answer.citations),
        statements=tuple(statement.supported for statement in answer.statements),
        refused=refuses(answer),
        seconds=seconds,
        problem=str(answer.problem or ""),
        usage=tuple(replace(one, cost=None, currency="") for one in answer.usage),
    )


def refuses(answer: Answer) -> bool:
    """Whether an answer leaves the question open.

    Either nothing relevant was found and none was made, or a language model says in one or two
    sentences, without citing anything, that its passages do not answer.
    """
    if not answer.answered:
        return True
    return (
        answer.kind == "generated"
        and not answer.citations
        and len(answer.statements) <= REFUSAL_SENTENCES
        and says_nothing_found(answer.text)
    )


def values(one: Answered, question: GoldenQuestion) -> dict[str, float]:
    """What each measure that applies to an answer gives it, 0..1.

    Citation recall is the share of the sentences that a passage they cite supports, and citation
    precision the share of the citations whose passage supports the sentence. Source: Gao et al.
    2023 (ALCE, arXiv 2305.14627). Ours takes the audit for their entailment model, holds a sentence
    against each cited passage and not against all of them together, and counts a citation that
    supports its sentence also where another would do.
    """
    found: dict[str, float] = {}
    if question.answerable and question.answers:
        bare = "" if one.refused else without_citations(one.text)
        found["exact_match"] = exact_match(bare, question.answers)
        found["token_f1"] = token_f1(bare, question.answers)
        found["gold_in_answer"] = float(holds(bare, question.answers))
        found["gold_in_passages"] = float(
            any(holds(passage, question.answers) for passage in one.passages)
        )
    kind = "answerable" if question.answerable else "unanswerable"
    found[f"refused_{kind}"] = float(one.refused)
    if not one.refused:
        if one.citations:
            threshold = support_model().threshold
            supporting = sum(support >= threshold for support in one.citations)
            found["citation_precision"] = supporting / len(one.citations)
        if one.statements:
            found["citation_recall"] = sum(one.statements) / len(one.statements)
    return found
