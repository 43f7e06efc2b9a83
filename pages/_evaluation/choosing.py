"""What to evaluate: the golden set, the pipelines, how many questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from pages import _ui as ui
from pages._evaluation.remembered import remembered
from pages._evaluation.sources import SOURCES, likely
from pages._markdown import plain
from rag.errors import RAGError
from rag.evaluation.asking import query_of
from rag.evaluation.golden_sets import GoldenSet
from rag.evaluation.pipelines import STANDARD, PipelineSpec, parse_pipelines
from rag.models.answerers import answerer_name
from rag.models.rerankers import make_reranker
from rag.settings import Settings

_OFFERED = (*STANDARD, "fused+rerank:features", "dense+rerank", "llm", "dense+llm")
_ASK_A_SERVICE = ("llm", "api")
_LANGUAGES = {"all": "All questions", "en": "English", "zh": "Chinese"}


@dataclass(frozen=True, slots=True)
class Choice:
    """Everything an evaluation needs; `limit` is of each language, None for all questions.

    `answers` says whether questions are also answered, and `judge` whether a model judges that.
    """

    source: str
    place: str
    golden: GoldenSet
    specs: tuple[PipelineSpec, ...]
    limit: int | None
    seed: int
    answers: bool
    judge: bool


def choose(settings: Settings) -> Choice | None:
    """Show the choices; None where something is missing, which is then told."""
    source = _source()
    place = SOURCES[source].choose()
    golden = None if place is None else _golden(source, place)
    specs = _pipelines(settings)
    left, right = st.columns(2)
    with left, remembered("evaluation-limit", None) as key:
        limit = st.number_input(
            "Most questions of each language", 1, None, key=key, placeholder="all of them"
        )
    with right, remembered("evaluation-seed", 0) as key:
        seed = st.number_input("Seed", 0, None, key=key, help="Which questions are drawn.")
    answers, judge = _answers(settings, golden)
    if place is None or golden is None or not specs:
        return None
    return Choice(source, place, golden, specs, limit, seed, answers, judge)


def language(code: str) -> str:
    """A language, or all of them together, in words."""
    return _LANGUAGES.get(code, code)


def counts(languages: Sequence[str]) -> str:
    """`60 English, 40 Chinese`."""
    found = Counter(languages)
    return ", ".join(f"{found[code]:,} {language(code)}" for code in sorted(found))


def _answers(settings: Settings, golden: GoldenSet | None) -> tuple[bool, bool]:
    """Whether to measure answers, and whether the language model judges them."""
    writer, model = answerer_name(settings), settings.endpoint.model
    lacking = sum(not one.answerable for one in golden.questions) if golden else 0
    with remembered("evaluation-answers", False) as key:
        answers = st.checkbox(
            "Measure answers too",
            key=key,
            help="Every question is also answered, with the settings as they are, and as many are "
            "that the documents do not answer, where the golden set has such questions. Exact "
            "match, F1, citations and refusals.",
        )
    if not answers:
        return False, False
    costs = f" One request to {model} a question." if writer == model else ""
    others = f" Questions without an answer ({lacking:,}) are asked too." if lacking else ""
    st.caption(plain(f"Answered by {writer}.{costs}{others}"))
    if not settings.endpoint.configured:
        return True, False
    with remembered("evaluation-judge", False) as key:
        judge = st.checkbox(
            f"Let {plain(model)} judge the answers: one more request an answer, which may cost",
            key=key,
            help="It reads the question, the right answers and the answer, and says in one word "
            "whether that is correct. A model may favour what it wrote itself.",
        )
    return True, judge


def _source() -> str:
    with remembered("evaluation-source", likely()) as key:
        chosen = st.radio(
            "Golden set",
            list(SOURCES),
            format_func=lambda one: SOURCES[one].name,
            horizontal=True,
            key=key,
        )
    return str(chosen)


def _golden(source: str, place: str) -> GoldenSet | None:
    try:
        golden = SOURCES[source].read(place)
    except RAGError as error:
        ui.show_problem(error.notice)
        return None
    documents = ""
    if golden.files:
        documents = ui.counted(len(golden.files), "file") + ", "
    elif golden.passages:
        documents = ui.counted(len(golden.passages), "passage") + ", "
    asked = ui.counted(len(golden.rankable), "question")
    spoken = counts([question.language for question in golden.rankable])
    st.markdown(
        f":material/check_circle: **{plain(golden.name)}**: {documents}{asked} with an "
        f"answer ({plain(spoken)})"
    )
    return golden


def _pipelines(settings: Settings) -> tuple[PipelineSpec, ...]:
    with remembered("evaluation-pipelines", list(STANDARD)) as key:
        names = st.multiselect(
            "Pipelines",
            list(_OFFERED),
            key=key,
            accept_new_options=True,
            placeholder="Choose, or type a name",
            help="Any name will do: RECALL+rerank:KIND@DEPTH, such as `dense+rerank:features@20`.",
        )
    try:
        specs = parse_pipelines(",".join(names), settings.query)
    except RAGError as error:
        ui.show_problem(error.notice)
        return ()
    for spec in specs:
        if spec.reranker in _ASK_A_SERVICE:
            try:
                make_reranker(settings.model_copy(update={"query": query_of(spec, settings.query)}))
            except RAGError as error:
                st.caption(f":material/info: {plain(f'{spec.name}: {error.notice}')}")
    return specs
