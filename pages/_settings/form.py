"""The settings as they stand on the page: a widget each, whose range and help are the setting's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from rag.errors import SettingsError
from rag.models.rerank_providers import PROVIDERS
from rag.settings import Settings
from rag.settings_file import changes, set_by

LABELS = {
    "profile": "Profile",
    "index.embedder": "Embedder",
    "index.model": "Embedding model",
    "index.dimensions": "Dimensions",
    "index.chunk_tokens": "Chunk length",
    "index.overlap_tokens": "Overlap",
    "index.names": "Read document names",
    "embedding_endpoint.base_url": "Address for embeddings",
    "embedding_endpoint.seconds": "Request limit (s)",
    "query.recall_depth": "Recall depth",
    "query.rerank_depth": "Rerank depth",
    "query.fusion_constant": "Fusion constant",
    "query.passages": "Passages in the prompt",
    "query.relevance": "Relevance threshold",
    "query.rerank_budget_ms": "Latency budget (ms)",
    "query.rerank_seconds": "Rerank limit (s)",
    "query.reranker": "Reranker",
    "query.reranker_model": "Reranker model",
    "query.remote_code": "May run its own code",
    "rerank_endpoint.provider": "Rerank service",
    "rerank_endpoint.base_url": "Address of the rerank service",
    "rerank_endpoint.model": "Model of the rerank service",
    "rerank_endpoint.seconds": "Service limit (s)",
    "query.answerer": "Answers are written by",
    "query.rewrite": "Rewrite follow-up questions",
    "endpoint.base_url": "Address of the chat endpoint",
    "endpoint.model": "Chat model",
    "endpoint.temperature": "Temperature",
    "endpoint.max_tokens": "Longest answer",
    "endpoint.first_token_seconds": "First token (s)",
    "endpoint.idle_seconds": "Next token (s)",
    "prices.currency": "Currency",
    "prices.input_tokens": "Chat, tokens read",
    "prices.output_tokens": "Chat, tokens written",
    "prices.embedding_tokens": "Embedding, tokens",
    "prices.rerank_tokens": "Rerank service, tokens",
    "prices.rerank_searches": "Rerank service, requests",
}
# How the values of a setting read.
CHOICES: Mapping[str, Mapping[str, str]] = {
    "index.embedder": {
        "bundled": "Bundled: multilingual-e5-small",
        "sentence-transformers": "sentence-transformers",
        "bge-m3": "BGE-M3",
        "openai": "Embedding service",
    },
    "query.reranker": {
        "late-interaction": "Late interaction",
        "features": "BM25 + features",
        "cross-encoder": "Cross-encoder",
        "bge": "BGE reranker",
        "api": "Rerank service",
        "llm": "Chat model",
        "none": "None: recall order",
    },
    "rerank_endpoint.provider": {"": "none", **dict(zip(PROVIDERS, PROVIDERS, strict=True))},
    "query.answerer": {
        "auto": "Chat model, or else quotes",
        "chat": "Chat model",
        "tiny-llm": "Small model on this machine",
        "quotes": "Quoted sentences",
    },
}
_KEY = "setting "
_SHOWN = "settings-shown"
_LEFT = "settings-left"


@dataclass
class Form:
    """The settings that are saved, `shown`, and the values that stand on the page instead."""

    shown: Settings
    values: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Forget what was typed where the saved value has changed since."""
        before = st.session_state.get(_SHOWN, self.shown)
        changed = {_KEY + name for name in changes(before, self.shown) if name != "profile"}
        for key in [key for key in st.session_state if str(key).split(" of ")[0] in changed]:
            del st.session_state[key]
        st.session_state[_SHOWN] = self.shown

    @staticmethod
    def reset() -> None:
        """Forget all that was typed."""
        for key in [key for key in st.session_state if _is_typed(key)]:
            del st.session_state[key]

    @staticmethod
    def leave() -> None:
        """Keep what was typed, which Streamlit forgets on another page, for the way back."""
        typed = {key: st.session_state[key] for key in st.session_state if _is_typed(key)}
        st.session_state[_LEFT] = typed

    @staticmethod
    def come_back() -> None:
        """Have again what was typed before."""
        for key, value in st.session_state.pop(_LEFT, {}).items():
            st.session_state.setdefault(key, value)

    def saved(self, name: str) -> Any:
        """The value that the settings have."""
        section, _, own = name.partition(".")
        return getattr(getattr(self.shown, section), own)

    def number(self, name: str) -> None:
        """A number within the setting's range."""
        lowest, highest = _range(self._info(name))
        # A default of 5 seconds is written as a whole number.
        kind = float if self._info(name).annotation is float else int
        common = self._begin(name, start=kind(self.saved(name)))
        self.values[name] = st.number_input(
            min_value=None if lowest is None else kind(lowest),
            max_value=None if highest is None else kind(highest),
            step=_step(kind, highest),
            format="%d" if kind is int else "%g",
            **common,
        )
        self._end(name)

    def text(self, name: str, placeholder: str = "") -> str:
        """A line of text."""
        text = str(st.text_input(placeholder=placeholder, **self._begin(name))).strip()
        self._end(name)
        self.values[name] = text
        return text

    def switch(self, name: str) -> None:
        """On or off."""
        self.values[name] = st.toggle(**self._begin(name))
        self._end(name)

    def choice(self, name: str) -> str:
        """One of the values in `CHOICES`, or the saved one."""
        names = CHOICES[name]
        saved = self.saved(name)
        chosen = st.selectbox(
            options=list(dict.fromkeys([*names, saved])),
            format_func=lambda one: names.get(one, one),
            **self._begin(name),
        )
        self._end(name)
        self.values[name] = chosen
        return str(chosen)

    def model(self, name: str, kind_setting: str, known: Sequence[str], own: str = "") -> str:
        """The name of a model of the chosen kind: a known one, a folder, or any that is typed.

        `own` is what stands for an empty name. Another kind begins with an empty name.
        """
        kind = self.values[kind_setting]
        start = self.saved(name) if kind == self.saved(kind_setting) else ""
        options = list(dict.fromkeys(["", *known, start]))
        common = self._begin(name, f" of {kind}", start)
        typed = st.session_state[common["key"]]
        if typed and typed not in options:
            options.append(typed)
        chosen = st.selectbox(
            options=options,
            format_func=lambda one: one or (f"{own} (default)" if own else "none"),
            accept_new_options=True,
            **common,
        )
        self._end(name)
        self.values[name] = (chosen or "").strip()
        return self.values[name] or own

    def forget(self, name: str, kind_setting: str) -> None:
        """A setting that the chosen kind does not have: another kind's value goes with it."""
        if self.values[kind_setting] != self.saved(kind_setting) and not set_by(name):
            self.values[name] = self._info(name).default

    def settings(self) -> Settings:
        """The settings with the values on the page. Raises SettingsError for one out of range."""
        values = self.shown.model_dump()
        for name, value in self.values.items():
            section, _, own = name.partition(".")
            values[section][own] = value
        try:
            return Settings.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            label = LABELS[".".join(str(part) for part in first["loc"])]
            raise SettingsError(f"{label}: {first['msg']}.", "Correct it above.") from None

    def _info(self, name: str) -> FieldInfo:
        section, _, own = name.partition(".")
        values: BaseModel = getattr(self.shown, section)
        return type(values).model_fields[own]

    def _begin(self, name: str, kind: str = "", start: Any = None) -> dict[str, Any]:
        """What every widget of a setting is given; its value is in the session before."""
        key = _KEY + name + kind
        start = self.saved(name) if start is None else start
        if set_by(name):
            st.session_state[key] = start
        st.session_state.setdefault(key, start)
        return {
            "label": LABELS[name],
            "key": key,
            "help": _help(self._info(name)),
            "disabled": bool(set_by(name)),
        }

    def _end(self, name: str) -> None:
        if variable := set_by(name):
            st.caption(f"Set by `{variable}`")


def _is_typed(key: Any) -> bool:
    return str(key).startswith(_KEY)


def _range(info: FieldInfo) -> tuple[float | None, float | None]:
    """The least and the greatest value, None where there is none."""
    found: dict[str, float] = {}
    for rule in info.metadata:
        for name in ("ge", "gt", "le"):
            if (bound := getattr(rule, name, None)) is not None:
                found[name] = bound
    return found.get("ge", found.get("gt")), found.get("le")


def _step(kind: type, highest: float | None) -> float:
    if kind is int:
        return 1 if highest is None or highest <= 100 else 10 if highest <= 5_000 else 100
    return 0.01 if highest is None or highest <= 1 else 0.1 if highest <= 10 else 1.0


def _help(info: FieldInfo) -> str:
    description = info.description or ""
    said = f"{description[:1].upper()}{description[1:]}."
    lowest, highest = _range(info)
    if highest is None or lowest is None:
        return said
    return f"{said} {lowest:,g} to {highest:,g}."
