"""Widgets and resources that the pages share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from pages import _people as people
from pages._markdown import plain, safe
from pages._visitor import visitor
from rag import log, opening
from rag.background import Rest
from rag.baseline import Baseline
from rag.citing import without_citations
from rag.errors import RAGError, SettingsError
from rag.history import History
from rag.models.answerers import answerer_identity, answerer_name
from rag.models.downloading import reporting
from rag.models.rerankers import reranker_identity
from rag.pipeline import Pipeline
from rag.settings import SETTINGS_FILE, IndexSettings, Settings, load_settings
from rag.store import Indexes, Store
from rag.types import (
    NOTHING_RELEVANT,
    Answer,
    DocumentRecord,
    Notice,
    Record,
    Statement,
)

_FOLDER = Path(__file__).parent
REFRESH_SECONDS = 0.5
# Giving memory back takes a moment, which nobody who is just looking at pages should wait for.
REST = Rest(seconds=2.0)


def frame() -> StreamlitPage:
    """Title, logo and navigation; gives the page that was chosen.

    Who may not come in has one page only, to sign in.
    """
    with broken_settings_shown():
        if not people.may_come_in():
            st.set_page_config(page_title="RankLens")
            return st.navigation(
                [st.Page(people.show_sign_in, title="Sign in", default=True)], position="hidden"
            )
    st.session_state["framed"] = True
    # An icon of our own: Streamlit fetches named ones from the internet.
    st.set_page_config(page_title="RankLens", page_icon=str(_FOLDER / "icon.svg"))
    st.logo(str(_FOLDER / "logo.svg"), size="large", icon_image=str(_FOLDER / "icon.svg"))
    return st.navigation(
        [
            st.Page("pages/ask.py", title="Ask", icon=":material/forum:", default=True),
            st.Page("pages/library.py", title="Library", icon=":material/folder_open:"),
            st.Page("pages/inspection.py", title="Inspect", icon=":material/frame_inspect:"),
            st.Page("pages/evaluate.py", title="Evaluate", icon=":material/science:"),
            st.Page("pages/settings.py", title="Settings", icon=":material/tune:"),
        ]
    )


def ensure_frame() -> None:
    """Begin again in `app.py` where Streamlit ran a page alone.

    It does so when a new server is first asked for the address of a page. The guard is here too,
    as a client may ask for a page alone at any time.
    """
    with broken_settings_shown():
        people.ensure_may_come_in()
    if "framed" not in st.session_state:
        frame()
        st.rerun()


def library() -> Store:
    """The library with the index that answers, opened once for all sessions.

    Parts of a page run by themselves, and what a button does runs before the page: the guard is
    also here.
    """
    people.ensure_may_come_in()
    settings = load_settings()
    return _library(str(settings.home), index_in_use(settings))


def index_in_use(settings: Settings) -> IndexSettings:
    """The index that answers."""
    return opening.index_in_use(settings, _indexes(str(settings.home)))


@st.cache_resource(show_spinner=False, max_entries=4)
def _indexes(home: str) -> Indexes:
    """A connection that stays open: a page looks several times, and opening takes longer."""
    return Indexes.at(home)


@st.cache_resource(show_spinner="Opening the library …", max_entries=4)
def _library(home: str, index: IndexSettings) -> Store:
    return opening.open_library(load_settings(Path(home)), index)


@dataclass
class Loading:
    """A pipeline that is being loaded; `done` of `total` bytes of a model are downloaded."""

    settings: Settings
    index: IndexSettings
    done: int = 0
    total: int = 0
    pipeline: Future[Pipeline] = field(init=False)

    def __post_init__(self) -> None:
        self.pipeline = ThreadPoolExecutor(max_workers=1).submit(self._load)

    def _load(self) -> Pipeline:
        with reporting(self._report):
            return opening.open_pipeline(self.settings, self.index, stand_ins=True)

    def _report(self, done: int, total: int) -> None:
        self.done, self.total = done, total

    def waited_for(self) -> Pipeline:
        """The pipeline; what is still to be done for it is shown meanwhile."""
        if not self.pipeline.done():
            with st.spinner("Loading the models …"):
                bar = st.empty()
                while not wait([self.pipeline], REFRESH_SECONDS).done:
                    if self.total:
                        text = f"Downloading {self.done / 1e6:,.0f} of {self.total / 1e6:,.0f} MB"
                        bar.progress(min(self.done / self.total, 1.0), text=text)
                bar.empty()
        return self.pipeline.result()


def loading(settings: Settings, index: IndexSettings) -> Loading:
    """The pipeline over an index, loaded once for all sessions, in the background."""
    return _loading(*_loaded(settings, index))


def _loaded(settings: Settings, index: IndexSettings) -> tuple[str, str, IndexSettings, int]:
    """What another value of is another pipeline."""
    return str(settings.home), settings.profile, index, hash(settings.embeddings)


@st.cache_resource(show_spinner=False, max_entries=2)
def _loading(home: str, profile: str, index: IndexSettings, endpoint: int) -> Loading:
    return Loading(load_settings(Path(home), profile), index)


def pipeline() -> Pipeline:
    """The pipeline of the settings as they are now, waited for where it is still being loaded."""
    return pipeline_of(load_settings())


def pipeline_of(settings: Settings) -> Pipeline:
    """The pipeline of these settings; what was loaded before is not loaded again.

    A failure is raised, and forgotten, so that the next call tries again.
    """
    people.ensure_may_come_in()
    index = index_in_use(settings)
    try:
        here = loading(settings, index).waited_for()
        models = hash((reranker_identity(settings), answerer_identity(settings)))
        return _with_models(here, *_loaded(settings, index), models, settings).with_settings(
            settings, stand_ins=True
        )
    except RAGError:
        _loading.clear(*_loaded(settings, index))
        raise


@st.cache_resource(show_spinner="Loading the models …", max_entries=4)
def _with_models(
    _pipeline: Pipeline,
    home: str,
    profile: str,
    index: IndexSettings,
    endpoint: int,
    models: int,
    _settings: Settings,
) -> Pipeline:
    """The pipeline with the reranker and the answerer of other settings, kept for the next run."""
    return _pipeline.with_settings(_settings, stand_ins=True)


def baseline() -> Future[Baseline | None]:
    """What unrelated pairs score in this library, measured in the background where it must be.

    A failure is forgotten, so that the next call measures again.
    """
    here, state = pipeline(), library().state()
    key = (here, state.fingerprint, state.chunks, str(here.settings.query.reranker))
    measuring = _measuring(*key)
    if measuring.done() and measuring.exception() is not None:
        _measuring.clear(*key)
        measuring = _measuring(*key)
    return measuring


@st.cache_resource(show_spinner=False, max_entries=8)
def _measuring(
    _pipeline: Pipeline, fingerprint: str, chunks: int, reranker: str
) -> Future[Baseline | None]:
    return ThreadPoolExecutor(max_workers=1).submit(_pipeline.baseline)


def history() -> History:
    """The questions of the person who looks at the page."""
    return History(library(), visitor())


def inspected() -> Record | None:
    """The question that Inspect shows."""
    return st.session_state.get("inspected")


def inspect(record: Record | None, chunk_id: str | None = None) -> None:
    """Let Inspect show this question, and open this passage of it."""
    st.session_state["inspected"] = record
    st.session_state["chosen"] = chunk_id


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show a RAGError as one sentence and a hint, and end the page there."""
    try:
        yield
    except RAGError as error:
        show_problem(error.notice)
        st.stop()


@contextmanager
def broken_settings_shown() -> Iterator[None]:
    """Tell how to mend the settings where they cannot be read, and end the page there.

    Until then it is not known who may come in, so nobody sees anything else.
    """
    try:
        yield
    except SettingsError as error:
        show_problem(error.notice)
        st.markdown(
            f"Open the file `{SETTINGS_FILE}` in a text editor. Correct what is named above, or "
            "take its line out to have the default again. No other setting is lost."
        )
        st.button("Read it again", icon=":material/refresh:")
        st.stop()


def unexpected_shown(error: Exception) -> bool:
    """Show a failure that nobody foresaw as a sentence, with a word that the log has as well.

    Streamlit calls it for whatever a page raises.
    """
    if isinstance(error, RAGError):
        show_problem(error.notice)
        return True
    reference = log.unexpected(error, "a page")
    show_problem(
        Notice(
            f"Something unexpected happened ({type(error).__name__}).",
            f"Try again. If it happens again, look for {reference} in the log of the server.",
        )
    )
    return True


def show_problem(notice: Notice) -> None:
    """A failure: what happened, and what to do next."""
    hint = f"  \n{plain(notice.hint)}" if notice.hint else ""
    st.error(f"**{plain(notice.message)}**{hint}", icon=":material/error:")


def show_notice(notice: Notice) -> None:
    """Something to know that did not stop the work."""
    st.warning(plain(str(notice)), icon=":material/info:")


def sidebar(records: Sequence[DocumentRecord]) -> None:
    """What the library holds, and what answers from it; models begin to load meanwhile."""
    settings = load_settings()
    loading(settings, index_in_use(settings))
    ready = [record for record in records if record.status == "ready"]
    chunks = sum(record.chunks for record in ready)
    writer = answerer_name(settings)
    with st.sidebar:
        st.caption(
            f"**{counted(len(ready), 'document')}** · {chunks:,} chunks  \nAnswers: {plain(writer)}"
        )
    people.show_person()


def show_answer_text(answer: Answer, anchors: str = "") -> None:
    """The answer with its citations, and a mark behind every sentence that is not supported.

    With `anchors`, citations lead to the cards whose anchors begin with it.
    """
    if answer.kind == "nothing relevant":
        st.markdown(f"**{NOTHING_RELEVANT}**")
    elif answer.text:
        link = (lambda source: f"[\\[{source}\\]](#{anchors}{source})") if anchors else None
        doubtful = [one.end for one in answer.statements if answer.cites and not one.supported]
        st.markdown(safe(answer.text, link, doubtful))


def show_incomplete(answer: Answer) -> None:
    """Why the answer is not whole, where it is not."""
    if answer.problem is not None:
        if answer.text:
            st.caption("The answer is incomplete.")
        show_problem(answer.problem)


def show_audit(answer: Answer) -> None:
    """How many sentences are supported, and what is wrong with the others."""
    doubtful = [one for one in answer.statements if not one.supported]
    icon = ":material/warning:" if doubtful else ":material/verified:"
    st.caption(f"{icon} {answer.support_line}")
    if not doubtful and not any(one.better for one in answer.statements):
        return
    with st.expander("What is doubtful", expanded=False):
        for statement in answer.statements:
            if statement.supported and not statement.better:
                continue
            st.markdown(
                f"“{plain(without_citations(answer.text[statement.start : statement.end]))}”"
            )
            st.caption(plain(_doubt(statement)))


def _doubt(statement: Statement) -> str:
    parts = []
    if not statement.numbers:
        parts.append("Cites no passage.")
    else:
        cited = ", ".join(f"[{number}]" for number in statement.numbers)
        parts.append(f"Support by {cited}: {statement.support:.0%}.")
    parts += [f"“{words}” is not in a cited passage." for words in statement.false_quotations]
    if statement.better:
        parts.append(f"[{statement.better}] supports it more: {statement.better_support:.0%}.")
    return " ".join(parts)


class Stoppable(Protocol):
    """Work in the background that a person may stop."""

    @property
    def cancelled(self) -> bool:
        """Whether it was stopped."""
        ...

    def cancel(self) -> None:
        """Stop it."""
        ...


def show_progress(job: Stoppable, share: float, text: str, stopping: str, key: str) -> None:
    """How far a job is, inside a fragment that is drawn again and again, and the way to stop it.

    `share` is 0..1; `stopping` says what becomes of the work that is stopped.
    """
    bar, button = st.columns([5, 1], vertical_alignment="center")
    bar.progress(min(share, 1.0), text=text)
    if button.button("Stop", key=key, disabled=job.cancelled, help=stopping):
        job.cancel()
        st.rerun(scope="fragment")


def counted(number: int, noun: str, nouns: str = "") -> str:
    """`1 page`, `2 pages`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {nouns or noun + 's'}"
