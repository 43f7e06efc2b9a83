"""What the settings on the page do to the golden questions, worked out before they are saved."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import streamlit as st

from pages import _ui as ui
from pages._markdown import plain
from pages._settings import effect_shown
from rag import opening
from rag.errors import RAGError
from rag.evaluation.effect import Effect, Kept, measured_effect, search_identity
from rag.evaluation.golden_sets import GoldenSet
from rag.evaluation.progress import Cancelled, Report
from rag.golden.sets import golden_set_of
from rag.jobs import EvaluationJob
from rag.models.rerankers import reranker_identity
from rag.pipeline import Pipeline
from rag.settings import IndexSettings, Settings
from rag.store import Store
from rag.types import LibraryState

MOST = 200
_QUICK = {"late-interaction", "features", "none"}
_REFRESH_SECONDS = 0.5
_SESSION = "settings-effects"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two choices of settings, the golden questions, and the library they are asked of."""

    golden: GoldenSet
    before: Settings
    after: Settings
    state: LibraryState

    @property
    def key(self) -> Hashable:
        """What another value of needs other searches."""
        questions = tuple((one.id, one.text) for one in self.golden.rankable)
        return search_identity(self.before), search_identity(self.after), questions, self.state

    @property
    def told(self) -> str:
        """What is compared, where that is not just what would be saved."""
        if self.before.index == self.after.index:
            return ""
        same = self.after.model_copy(update={"index": self.before.index})
        changed = search_identity(same) != search_identity(self.before)
        return "With the other index" + (" and the other changes:" if changed else ":")


@dataclass
class Effects:
    """What this session has found out.

    `kept` is what golden questions found under which settings, `jobs` the work on each pair of
    settings, and `latest` the pipeline that was held last against the one in use.
    """

    kept: Kept = field(default_factory=dict)
    jobs: dict[Hashable, EvaluationJob[Effect | None]] = field(default_factory=dict)
    latest: Pipeline | None = None

    def stop_all_but(self, pair: Pair | None) -> None:
        """Nobody waits for these any more; what they asked is kept."""
        wanted = pair.key if pair else None
        for key, job in list(self.jobs.items()):
            if key != wanted and job.running:
                job.cancel()
                del self.jobs[key]

    def start(self, pair: Pair) -> EvaluationJob[Effect | None]:
        """Ask in the background."""
        loading = ui.loading(pair.before, pair.before.index)

        def work(report: Report, cancelled: Cancelled) -> Effect | None:
            here = loading.pipeline.result().with_settings(pair.before)
            there = self._opened(here, pair.after)
            return measured_effect(pair.golden, here, there, self.kept, report, cancelled)

        job = EvaluationJob(pair.golden.name, work)
        self.jobs[pair.key] = job
        return job

    def after(self, pair: Pair) -> Pipeline:
        """The pipeline of the settings that are not saved."""
        here = ui.loading(pair.before, pair.before.index).waited_for()
        return self._opened(here, pair.after)

    def _opened(self, here: Pipeline, after: Settings) -> Pipeline:
        """With models that are loaded already, if they fit."""
        fits = [one for one in (self.latest, here) if one is not None and _same_vectors(one, after)]
        wanted = reranker_identity(after)
        loaded = [one for one in fits if reranker_identity(one.settings) == wanted]
        near = next(iter(loaded or fits), None)
        self.latest = (near or opening.open_pipeline(after, after.index)).with_settings(after)
        return self.latest


def offer(saved: Settings, chosen: Settings, *, at_hand: bool) -> None:
    """Above the Save button: what is changed by `chosen`, which may name another index too.

    `at_hand` says whether the models it names are on this machine.
    """
    effects: Effects = st.session_state.setdefault(_SESSION, Effects())
    if chosen == saved:
        effects.stop_all_but(None)
        return
    try:
        store = ui.library()
    except RAGError:
        # The sidebar has said why.
        return
    try:
        golden = golden_set_of(store)
    except RAGError as error:
        effects.stop_all_but(None)
        st.bottom.caption(plain(f"What a change does to golden questions is shown here. {error}"))
        return
    _compare(effects, store, golden, saved, chosen, at_hand)


def _compare(
    effects: Effects,
    store: Store,
    golden: GoldenSet,
    saved: Settings,
    chosen: Settings,
    at_hand: bool,
) -> None:
    asked = ui.counted(len(golden.rankable), "golden question")
    in_use = ui.index_in_use(saved)
    index = chosen.index if _complete(store, chosen.index) else in_use
    if chosen.index not in {index, saved.index}:
        st.bottom.caption(
            f"Another index can be compared on your {asked} once it is built. The present one "
            "stays, so you can switch back."
        )
    before, after = _searching(saved, in_use), _searching(chosen, index)
    if search_identity(before) == search_identity(after):
        effects.stop_all_but(None)
        if chosen.model_copy(update={"index": saved.index}) != saved:
            st.bottom.caption(f"This does not change what is found for your {asked}.")
        return
    _told(effects, Pair(golden, before, after, store.state()), at_hand=at_hand)


def _told(effects: Effects, pair: Pair, *, at_hand: bool) -> None:
    """What comes of it, how far it is, or the way to begin."""
    effects.stop_all_but(pair)
    asked = ui.counted(len(pair.golden.rankable), "golden question")
    job = effects.jobs.get(pair.key)
    if job is None:
        if not at_hand:
            st.bottom.caption(f"Shown on your {asked} once the model is on this machine.")
            return
        costs = _costs(pair)
        if costs and not _pressed(f"Show what this does to the {asked}", costs):
            return
        job = effects.start(pair)
    if job.running:
        with st.bottom:
            _progress(job)
        return
    if job.result is not None:
        effect_shown.show(job.result, pair.told, lambda: effects.after(pair), pair.golden)
    if job.problem is not None:
        with st.bottom:
            ui.show_problem(job.problem)
    if (job.result is None or not job.result.complete) and _pressed("Go on"):
        effects.start(pair)
        st.rerun()


def _pressed(label: str, caption: str = "") -> bool:
    """A button and what it means."""
    with st.bottom, st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(label, key="show-effect", icon=":material/science:")
        if caption:
            st.caption(plain(caption))
    return pressed


@st.fragment(run_every=_REFRESH_SECONDS)
def _progress(job: EvaluationJob[Effect | None]) -> None:
    """How far it is, and the way to stop it."""
    if not job.running:
        st.rerun()
    progress = job.progress
    share = progress.done / max(progress.total, 1) if progress else 0.0
    said = f"asking, {progress.done} of {progress.total}" if progress else "loading the models …"
    bar, button = st.columns([5, 1], vertical_alignment="center")
    bar.progress(min(share, 1.0), text=f"What this does to your golden questions: {said}")
    if button.button("Stop", key="stop-effect", disabled=job.cancelled):
        job.cancel()
        st.rerun(scope="fragment")


def _searching(settings: Settings, index: IndexSettings) -> Settings:
    """The settings over an index, without a model that writes: none is needed to search."""
    query = settings.query.model_copy(update={"answerer": "quotes"})
    return settings.model_copy(update={"index": index, "query": query})


def _complete(store: Store, index: IndexSettings) -> bool:
    """Whether an index is built and holds every document."""
    built = {one.fingerprint for one in store.indexes.listed() if one.built}
    if index.fingerprint not in built:
        return False
    ready = {one.id for one in store.documents() if one.status == "ready"}
    return ready <= set(store.indexes.documents(index.fingerprint))


def _same_vectors(pipeline: Pipeline, settings: Settings) -> bool:
    """Whether a pipeline has the embedder and the index of these settings."""
    here = pipeline.settings
    same_service = settings.index.embedder != "openai" or here.embeddings == settings.embeddings
    return (here.home, here.index) == (settings.home, settings.index) and same_service


def _costs(pair: Pair) -> str:
    """What a person should know before the questions are asked; empty where they cost little."""
    questions, requests = len(pair.golden.rankable), dict[str, int]()
    for one in (pair.before, pair.after):
        services = (
            ("the embedding service", one.index.embedder == "openai"),
            ("the rerank service", one.query.reranker == "api"),
            ("the chat model", one.query.reranker == "llm"),
        )
        for name, used in services:
            if used:
                requests[name] = requests.get(name, 0) + questions
    if requests:
        asked = " and ".join(f"{name} for {count:,} searches" for name, count in requests.items())
        return f"It asks {asked}, which may cost."
    if not {pair.before.query.reranker, pair.after.query.reranker} <= _QUICK:
        return "The reranker reads every passage on this machine, which may take minutes."
    if questions > MOST:
        return f"More than {MOST} questions take a while."
    return ""
