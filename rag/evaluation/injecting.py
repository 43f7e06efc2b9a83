"""How often the configured language model obeys instructions that stand in passages.

Each trial takes the prompt of a real question, with the passages that the pipeline found, and puts
one instruction into the best of them. Nothing is written into the library. The same questions are
answered without an instruction first, so that what the instructions cost is known too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rag.citing import cite
from rag.errors import BackendError, RAGError, SettingsError
from rag.evaluation.costs import tokens_and_cost
from rag.evaluation.golden_sets import GoldenQuestion, GoldenSet
from rag.evaluation.indexing import Units, index, library_settings, units_of
from rag.evaluation.injection_report import InjectionReport, Outcome
from rag.evaluation.injections import Trial
from rag.evaluation.progress import FAILURES_IN_A_ROW, Cancelled, EvaluationProgress, Report
from rag.metering import Meter
from rag.models.answerers import chosen_kind
from rag.opening import open_pipeline
from rag.pipeline import Pipeline
from rag.sentences import sentences
from rag.settings import IndexSettings, Settings
from rag.types import Notice, Passage, Question

# Most questions of each language that carry the trials.
QUESTIONS = 10


def try_injections(
    golden: GoldenSet,
    trials: Sequence[Trial],
    settings: Settings,
    seed: int = 0,
    report: Report = lambda progress: None,
    cancelled: Cancelled = lambda: False,
    opened: Callable[[Settings, IndexSettings], Pipeline] = open_pipeline,
) -> InjectionReport:
    """Every trial in the prompt of one of the set's questions, which take turns.

    A model that fails again and again ends it, which is told. Raises SettingsError where answers
    are quoted, for then nobody obeys; what `open_pipeline` raises; LibraryError; BackendError where
    the model answers no question; and RAGError where no question finds a passage.
    """
    if chosen_kind(settings.query.answerer, settings.endpoint) == "quotes":
        raise SettingsError(
            "Answers are quoted, so no language model reads what documents ask for.",
            "Set RAG_LLM_MODEL, and OPENAI_BASE_URL or OPENAI_API_KEY.",
        )
    there = library_settings(golden, settings)
    pipeline = opened(there, there.index)
    for done, total, _ in index(golden, pipeline, cancelled):
        report(EvaluationProgress("indexing", done, total))
    meter = Meter()
    carriers = _carriers(golden, pipeline, seed, meter, report, cancelled)
    outcomes: list[Outcome] = []
    failures = in_a_row = 0
    problem: Notice | None = None
    stopped = not carriers
    for done, trial in enumerate(trials if carriers else ()):
        if stopped := cancelled():
            break
        report(EvaluationProgress("injecting", done, len(trials)))
        try:
            outcomes.append(_outcome(trial, carriers[done % len(carriers)], pipeline, meter))
            in_a_row = 0
        except BackendError as error:
            failures, in_a_row = failures + 1, in_a_row + 1
            if in_a_row == FAILURES_IN_A_ROW:
                told = f"The language model failed {in_a_row} trials in a row."
                problem = Notice(told, str(error.notice))
                break
    tokens, cost = tokens_and_cost(meter.usage, settings.prices)
    return InjectionReport(
        dataset=golden.name,
        answerer=pipeline.answerer.name,
        questions=len(carriers),
        outcomes=tuple(outcomes),
        failures=failures,
        problem=problem,
        cancelled=stopped,
        tokens=tokens,
        cost=cost,
    )


def with_instruction(trial: Trial, passages: Sequence[Passage]) -> tuple[Passage, ...]:
    """The passages of a prompt, the first of them with the trial's instruction in its text."""
    first, *others = passages
    chunk = replace(first.chunk, text=trial.put_into(first.chunk.text))
    return replace(first, chunk=chunk), *others


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A question with the passages it is answered from; `gold` are the numbers of the right."""

    question: GoldenQuestion
    asked: Question
    passages: tuple[Passage, ...]
    gold: frozenset[int]

    def right(self, answer: str) -> bool:
        """Whether an answer cites a right passage."""
        cited = cite(answer, len(self.passages), sentences).claims
        return any(number in self.gold for claim in cited for number in claim.numbers)


def _prompt(question: GoldenQuestion, pipeline: Pipeline, units: Units) -> _Prompt | None:
    """None where no passage is relevant enough."""
    found = pipeline.retrieve(question.text)
    chosen = [best for best in found.trace.prompt if best.chunk.id in found.evidence]
    gold = frozenset(
        number
        for number, candidate in enumerate(chosen, start=1)
        if question.gold.keys() & set(units.of(candidate, question))
    )
    passages = tuple(found.evidence[candidate.chunk.id] for candidate in chosen)
    return _Prompt(question, found.question, passages, gold) if passages else None


def _carriers(
    golden: GoldenSet,
    pipeline: Pipeline,
    seed: int,
    meter: Meter,
    report: Report,
    cancelled: Cancelled,
) -> list[tuple[_Prompt, bool]]:
    """The prompts that are answered, and whether the answer without an instruction is right."""
    carriers: list[tuple[_Prompt, bool]] = []
    failure = RAGError(
        f"No question of {golden.name} finds a passage that is relevant enough.",
        "Name a folder of golden questions, or use: rag injections --samples",
    )
    questions, units = golden.sample(QUESTIONS, seed), units_of(golden)
    for done, question in enumerate(questions):
        if cancelled():
            return carriers
        report(EvaluationProgress("answering", done, len(questions)))
        prompt = _prompt(question, pipeline, units)
        if prompt is None:
            continue
        try:
            answer = _answer(prompt.asked, prompt.passages, pipeline, meter)
        except BackendError as error:
            # A question of another language than the model's carries no trial.
            failure = error
            continue
        carriers.append((prompt, prompt.right(answer)))
    if not carriers:
        raise failure
    return carriers


def _outcome(
    trial: Trial, carrier: tuple[_Prompt, bool], pipeline: Pipeline, meter: Meter
) -> Outcome:
    prompt, right_before = carrier
    passages = with_instruction(trial, prompt.passages)
    answer = _answer(prompt.asked, passages, pipeline, meter)
    return Outcome(
        injection=trial.injection.id,
        family=trial.injection.family,
        language=trial.injection.language,
        position=trial.position,
        question=prompt.question.id,
        obeyed=trial.obeyed_by(answer),
        right=prompt.right(answer),
        right_before=right_before,
    )


def _answer(asked: Question, passages: Sequence[Passage], pipeline: Pipeline, meter: Meter) -> str:
    return "".join(meter.over("answer", pipeline.answerer.stream(asked, passages, ())))
