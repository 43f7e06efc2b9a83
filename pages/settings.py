"""Settings: everything that can be set, tried before it is saved."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _index
from pages import _ui as ui
from pages._markdown import plain
from pages._settings import effect, keys, models, saving, trying
from pages._settings.form import LABELS, Form
from rag.errors import RAGError, SettingsError
from rag.models.known_models import OWN_MODELS
from rag.models.rerank_providers import PROVIDERS
from rag.settings import SETTINGS_FILE, Settings, load_settings, profiles
from rag.settings_file import set_by

PROFILE = "setting profile"


def page() -> None:
    """The whole page, top to bottom."""
    ui.ensure_frame()
    saving.tell()
    Form.come_back()
    st.title("Settings")
    with ui.errors_shown():
        saved = load_settings()
        sidebar()
        shown = profile(saved)
    form = Form(shown)
    cards = [card(show, form) for show in (embedder, retrieval, reranker, answers, prices)]
    try:
        chosen = form.settings()
    except SettingsError as error:
        ui.show_problem(error.notice)
        chosen = None
    tested: dict[trying.Part, DeltaGenerator] = {
        "embedder": cards[0],
        "reranker": cards[2],
        "answerer": cards[3],
    }
    ready: dict[trying.Part, bool] = {}
    for part, place in tested.items():
        with place:
            ready[part] = chosen is not None and models.show(part, chosen)
            trying.offer(part, chosen if ready[part] else None)
    if chosen is not None:
        with cards[0]:
            indexes(chosen)
        effect.offer(saved, chosen, at_hand=ready["embedder"] and ready["reranker"])
        # Another index is first built, and saved when it is switched to.
        saving.offer(saved, shown, chosen.model_copy(update={"index": shown.index}))


def card(show: Callable[[Form], None], form: Form) -> DeltaGenerator:
    """A part of the form; gives the place below it, for what needs the whole form."""
    with st.container(border=True):
        show(form)
        return st.container()


def sidebar() -> None:
    """As on every page, but where the library cannot be opened the settings can be mended."""
    try:
        ui.sidebar(ui.library().documents())
    except RAGError as error:
        ui.show_notice(error.notice)


def indexes(chosen: Settings) -> None:
    """The way to the index of these settings, and what indexes there are."""
    try:
        _index.show_indexes(chosen)
    except RAGError as error:
        ui.show_notice(error.notice)


def profile(saved: Settings) -> Settings:
    """The settings of the profile that is chosen."""
    variable = set_by("profile")
    st.session_state.setdefault(PROFILE, saved.profile)
    names = profiles(saved.home)
    if variable or st.session_state[PROFILE] not in names:
        st.session_state[PROFILE] = saved.profile
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    with left:
        name = st.selectbox(LABELS["profile"], names, key=PROFILE, disabled=bool(variable))
    right.caption(
        f"Set by `{variable}`"
        if variable
        else "A named set of models and values. What you change below belongs to it. The file is "
        f"{plain(str(saved.home / SETTINGS_FILE))}; the environment wins over it."
    )
    return load_settings(profile=name)


def embedder(form: Form) -> None:
    """What makes vectors, and how documents are cut."""
    st.subheader("Embedder and chunking", anchor=False)
    left, right = st.columns(2)
    with left:
        kind = form.choice("index.embedder")
    with right:
        if kind == "bundled":
            form.forget("index.model", "index.embedder")
        else:
            form.model(
                "index.model", "index.embedder", models.known(kind), OWN_MODELS.get(kind, "")
            )
    left, middle, right = st.columns(3)
    with left:
        form.number("index.chunk_tokens")
    with middle:
        form.number("index.overlap_tokens")
    with right:
        if kind == "openai":
            form.number("index.dimensions")
        else:
            form.forget("index.dimensions", "index.embedder")
    form.switch("index.names")
    if kind == "openai":
        left, right = st.columns([2, 1])
        with left:
            address = form.text("embedding_endpoint.base_url", "http://127.0.0.1:8080/v1")
        with right:
            form.number("embedding_endpoint.seconds")
        own = ["RAG_EMBEDDING_ENDPOINT_API_KEY"]
        keys.show(own if address else ["OPENAI_API_KEY", *own, "RAG_ENDPOINT_API_KEY"])


def retrieval(form: Form) -> None:
    """How many passages each stage passes on, and how long it may take."""
    st.subheader("Retrieval", anchor=False)
    names = ("recall_depth", "rerank_depth", "fusion_constant", "passages", "relevance")
    for place, name in enumerate((*names, "rerank_budget_ms", "rerank_seconds")):
        if place % 3 == 0:
            columns = st.columns(3)
        with columns[place % 3]:
            form.number(f"query.{name}")


def reranker(form: Form) -> None:
    """What judges the passages, and the service behind it where it is one."""
    st.subheader("Reranker", anchor=False)
    left, right = st.columns(2)
    with left:
        kind = form.choice("query.reranker")
    if kind in ("cross-encoder", "bge"):
        with right:
            form.model(
                "query.reranker_model", "query.reranker", models.known(kind), OWN_MODELS[kind]
            )
    else:
        form.forget("query.reranker_model", "query.reranker")
    if kind == "cross-encoder":
        form.text("query.remote_code", "none")
    if kind == "llm":
        st.caption("The chat model below grades the passages.")
    if kind == "api":
        service(form)


def service(form: Form) -> None:
    """The rerank service."""
    left, right = st.columns(2)
    with left:
        chosen = form.choice("rerank_endpoint.provider")
    provider = PROVIDERS.get(chosen)
    with right:
        known = [provider.model] if provider and provider.model else []
        form.model("rerank_endpoint.model", "rerank_endpoint.provider", known)
    left, right = st.columns([2, 1])
    with left:
        own = provider.address if provider else ""
        form.text("rerank_endpoint.base_url", own or "http://127.0.0.1:8080")
    with right:
        form.number("rerank_endpoint.seconds")
    keys.show([*(provider.key_variables if provider else ()), "RAG_RERANK_ENDPOINT_API_KEY"])


def answers(form: Form) -> None:
    """What writes the answers, and the chat endpoint."""
    st.subheader("Answers", anchor=False)
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        form.choice("query.answerer")
    with right:
        form.switch("query.rewrite")
    left, right = st.columns(2)
    with left:
        form.text("endpoint.base_url", "https://api.openai.com/v1")
    with right:
        form.text("endpoint.model", "none")
    names = ("temperature", "max_tokens", "first_token_seconds", "idle_seconds")
    for column, name in zip(st.columns(4), names, strict=True):
        with column:
            form.number(f"endpoint.{name}")
    keys.show(["OPENAI_API_KEY", "RAG_ENDPOINT_API_KEY"])


def prices(form: Form) -> None:
    """What models cost, for the figures in a trace."""
    st.subheader("Prices", anchor=False)
    st.caption("For a million tokens, and for a thousand requests. 0 where nothing is known.")
    left, *others = st.columns(3)
    with left:
        form.text("prices.currency")
    names = (
        "input_tokens",
        "output_tokens",
        "embedding_tokens",
        "rerank_tokens",
        "rerank_searches",
    )
    places = [*others, *st.columns(3)]
    for column, name in zip(places, names, strict=True):
        with column:
            form.number(f"prices.{name}")


page()
