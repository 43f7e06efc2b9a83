"""What can be set, its default and its range: code < file < environment.

A profile is a named set of overrides. The file is `settings.toml` in the library's folder:

    profile = "local"

    [index]
    chunk_tokens = 200

    [profiles.quick.query]
    rerank_depth = 20

The environment names a field by its section and name, `RAG_QUERY_RERANK_DEPTH=20`; the few
variables that people know from elsewhere (`RAG_HOME`, `RAG_PROFILE`, `RAG_LLM_MODEL`,
`OPENAI_BASE_URL`, `OPENAI_API_KEY`) are taken as they are. Keys come from the environment only.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path, user_data_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from rag.errors import SettingsError

SETTINGS_FILE = "settings.toml"
LOCAL_PROFILE = "local"
# An address, or all of a domain that has a dot; a star elsewhere would let strangers in.
_ALLOWED = re.compile(r"(?:\*|[\w.!#$%&'/=?^`{|}~+-]+)@[\w-]+(?:\.[\w-]+)+", re.ASCII)

EmbedderKind = Literal["bundled", "sentence-transformers", "bge-m3", "openai"]
RerankerKind = Literal["late-interaction", "features", "cross-encoder", "bge", "api", "llm", "none"]
AnswererKind = Literal["auto", "chat", "tiny-llm", "quotes"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IndexSettings(_Section):
    """What decides how a library is cut and encoded; another value is another index."""

    embedder: EmbedderKind = Field(
        "bundled", description="what turns texts into vectors, for recall by meaning"
    )
    model: str = Field("", description="name or folder of the model; empty for the kind's own")
    dimensions: int = Field(
        0,
        ge=0,
        le=4096,
        description="length of vectors, where the model offers several; 0 for its own",
    )
    chunk_tokens: int = Field(200, ge=32, le=480, description="most tokens a chunk may have")
    overlap_tokens: int = Field(40, ge=0, le=200, description="most tokens repeated from before")
    names: bool = Field(
        True, description="whether a passage is encoded together with its document's name"
    )

    @property
    def fingerprint(self) -> str:
        """Short name of these settings, the same in every process and version."""
        # A field that came later does not rename the indexes that were made before it.
        later = {name for name in ("dimensions", "names") if not getattr(self, name)}
        return hashlib.sha256(self.model_dump_json(exclude=later).encode()).hexdigest()[:12]


class QuerySettings(_Section):
    """What decides how a question is answered; may differ from question to question."""

    recall_depth: int = Field(100, ge=1, le=1000, description="passages each recall arm returns")
    rerank_depth: int = Field(50, ge=0, le=1000, description="passages the reranker reads")
    fusion_constant: int = Field(60, ge=1, le=1000, description="k of reciprocal rank fusion")
    passages: int = Field(5, ge=1, le=20, description="passages the answer is written from")
    relevance: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="least probability of relevance a passage needs, where the reranker gives one",
    )
    reranker: RerankerKind = Field(
        "late-interaction", description="what judges each passage together with the question"
    )
    reranker_model: str = Field("", description="name or folder; empty for the kind's own")
    remote_code: str = Field(
        "", description="name of the one model whose own program code may run; empty for none"
    )
    rerank_seconds: float = Field(
        5, gt=0, le=120, description="longest wait for the reranker, in seconds"
    )
    rerank_budget_ms: int = Field(
        0, ge=0, le=60_000, description="milliseconds the reranker should take; 0 for any"
    )
    answerer: AnswererKind = Field(
        "auto", description="what writes the answer; auto is chat where a model is configured"
    )
    rewrite: bool = Field(
        True, description="whether a follow-up question is made standalone by the language model"
    )


class EndpointSettings(_Section):
    """An OpenAI-compatible chat endpoint; none is configured while `model` is empty."""

    base_url: str = Field("", description="address of the endpoint; empty for OpenAI")
    model: str = Field("", description="name of the model; empty for no language model")
    api_key: SecretStr = SecretStr("")
    temperature: float = Field(
        0.1, ge=0.0, le=2.0, description="how freely the model chooses its words"
    )
    max_tokens: int = Field(1024, ge=16, le=32768, description="longest answer, in tokens")
    first_token_seconds: float = Field(
        30, gt=0, le=600, description="longest wait for the first token, in seconds"
    )
    idle_seconds: float = Field(
        30, gt=0, le=600, description="longest wait between two tokens, in seconds"
    )

    @property
    def configured(self) -> bool:
        """Whether answers can be generated."""
        return bool(self.model)


class RerankEndpointSettings(_Section):
    """A rerank endpoint, for the reranker "api"."""

    provider: str = Field("", description="cohere, jina, voyage, siliconflow, tei, vllm, infinity")
    base_url: str = Field("", description="empty for the provider's own")
    model: str = Field("", description="name of the model as the service calls it")
    api_key: SecretStr = SecretStr("")
    seconds: float = Field(5, gt=0, le=60, description="longest wait for one request, in seconds")


class EmbeddingEndpointSettings(_Section):
    """An OpenAI-compatible `/v1/embeddings` endpoint, for the embedder "openai"."""

    base_url: str = Field("", description="empty for the address of the chat endpoint")
    api_key: SecretStr = SecretStr("")
    seconds: float = Field(60, gt=0, le=600, description="longest wait for one request, in seconds")


class PriceSettings(_Section):
    """What models cost, so that a trace can tell what a question cost; 0 where nothing is known.

    Tokens by the million, searches by the thousand, as services list them.
    """

    currency: str = Field("USD", min_length=1, max_length=8, description="what the prices are in")
    input_tokens: float = Field(0, ge=0, description="a million tokens read by the chat model")
    output_tokens: float = Field(0, ge=0, description="a million tokens written by it")
    embedding_tokens: float = Field(0, ge=0, description="a million tokens embedded")
    rerank_tokens: float = Field(0, ge=0, description="a million tokens read by a rerank service")
    rerank_searches: float = Field(0, ge=0, description="a thousand requests to a rerank service")


class ReadingLimits(_Section):
    """Bounds on reading one file in its child process."""

    file_bytes: int = Field(50_000_000, ge=1, description="largest file")
    seconds: float = Field(300, gt=0, description="longest time for a file")
    seconds_per_page: float = Field(10, gt=0, description="longest time for a page")
    memory_bytes: int = Field(1_500_000_000, ge=200_000_000, description="most memory")
    pages: int = Field(2_000, ge=1, description="most pages")
    unpacked_bytes: int = Field(200_000_000, ge=1, description="largest size after unpacking")
    characters: int = Field(20_000_000, ge=1, description="longest text")


class LimitSettings(_Section):
    """Bounds on what is asked, for everybody who uses the page."""

    question_characters: int = Field(4_000, ge=100, le=100_000, description="longest question")
    prompt_tokens: int = Field(
        3_000,
        ge=800,
        le=200_000,
        description="most tokens of the prompt of an answer; a model's context must hold these and "
        "max_tokens",
    )
    session_questions: int = Field(
        20, ge=0, description="questions that one visitor may ask a minute; 0 for any number"
    )
    all_questions: int = Field(
        200, ge=0, description="questions that all together may ask a minute; 0 for any number"
    )
    free_disk_bytes: int = Field(
        200_000_000, ge=0, description="space on the disk that adding a file must leave free"
    )


class PeopleSettings(_Section):
    """Who may use the page, where `.streamlit/secrets.toml` names a sign-in service."""

    sign_in: bool = Field(False, description="whether people must sign in")
    allowed: tuple[str, ...] = Field(
        (), description="e-mail addresses that may come in; `*@example.org` for all of a domain"
    )
    hours: int = Field(24, ge=1, le=720, description="hours until people must sign in again")

    @field_validator("allowed", mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        """The environment has them in one text, with commas or spaces between."""
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("allowed")
    @classmethod
    def _only_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not _ALLOWED.fullmatch(one):
                raise ValueError(f"{one!r} is neither an e-mail address nor *@ and a domain")
        return value


class LogSettings(_Section):
    """What is written down about questions and files."""

    texts: bool = Field(False, description="whether questions and file names are written down too")


class Settings(_Section):
    """All settings of one library."""

    home: Path
    cache: Path
    profile: str = LOCAL_PROFILE
    index: IndexSettings = IndexSettings()
    query: QuerySettings = QuerySettings()
    endpoint: EndpointSettings = EndpointSettings()
    rerank_endpoint: RerankEndpointSettings = RerankEndpointSettings()
    embedding_endpoint: EmbeddingEndpointSettings = EmbeddingEndpointSettings()
    prices: PriceSettings = PriceSettings()
    reading: ReadingLimits = ReadingLimits()
    limits: LimitSettings = LimitSettings()
    people: PeopleSettings = PeopleSettings()
    log: LogSettings = LogSettings()

    @property
    def embeddings(self) -> EmbeddingEndpointSettings:
        """The endpoint of embeddings: its own address and key, or else those of the chat."""
        own, chat = self.embedding_endpoint, self.endpoint
        if own.base_url or own.api_key.get_secret_value():
            return own
        return own.model_copy(update={"base_url": chat.base_url, "api_key": chat.api_key})


def default_home() -> Path:
    """Where the library lives: `data/library` in a checkout, else the person's data folder."""
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / "data" / "library"
    return user_data_path("ranklens", appauthor=False) / "library"


def load_settings(
    home: Path | None = None,
    profile: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from code, `settings.toml` and environment, the later winning.

    `home` and `profile` win over `RAG_HOME` and `RAG_PROFILE`.
    Raises SettingsError for a broken file, an unknown key, a value out of range or an unknown
    profile; the message names it.
    """
    environment = os.environ if environment is None else environment
    home = Path(home or environment.get("RAG_HOME") or default_home()).expanduser().resolve()
    file = _read_file(home / SETTINGS_FILE)
    named = file.pop("profiles", {})
    name = profile or environment.get("RAG_PROFILE") or file.pop("profile", LOCAL_PROFILE)
    file.pop("profile", None)
    for layer in (file, *named.values()):
        if any("api_key" in layer.get(section, {}) for section in _ENDPOINTS):
            raise SettingsError(
                f"{home / SETTINGS_FILE} holds an API key.",
                "Take it out of the file and set it in the environment, as OPENAI_API_KEY.",
            )
    if name not in {*_PROFILES, *named}:
        known = ", ".join(sorted({*_PROFILES, *named}))
        raise SettingsError(f"There is no profile {name!r}.", f"Choose one of: {known}.")
    values: dict[str, Any] = {
        "home": home,
        "cache": environment.get("RAG_CACHE") or user_cache_path("ranklens", appauthor=False),
        "profile": name,
    }
    own = _PROFILES.get(name, {})
    for layer in (file, own, named.get(name, {}), _from_environment(environment)):
        values = _merged(values, layer)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"The setting {key} is not valid: {first['msg']}.",
            f"Correct it in {home / SETTINGS_FILE} or in the environment.",
        ) from None


def profiles(home: Path) -> list[str]:
    """The names of the profiles of a library, the local one first. Raises SettingsError."""
    named = _read_file(home / SETTINGS_FILE).get("profiles", {})
    return [*_PROFILES, *sorted(set(named) - set(_PROFILES))]


def built_in_indexes() -> list[IndexSettings]:
    """The index settings of the profiles that come with RankLens."""
    return [IndexSettings.model_validate(one.get("index", {})) for one in _PROFILES.values()]


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.", "Correct the file.") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be opened: {error.strerror}.") from None


KNOWN_VARIABLES = {
    "RAG_LLM_MODEL": ("endpoint", "model"),
    "OPENAI_BASE_URL": ("endpoint", "base_url"),
    "OPENAI_API_KEY": ("endpoint", "api_key"),
}
_SECTIONS = (
    "index",
    "query",
    "endpoint",
    "rerank_endpoint",
    "embedding_endpoint",
    "prices",
    "reading",
    "limits",
    "people",
    "log",
)
_ENDPOINTS = ("endpoint", "rerank_endpoint", "embedding_endpoint")

# Named pairs of models; a library's own profile of the same name changes them field by field.
_PROFILES: dict[str, dict[str, Any]] = {
    LOCAL_PROFILE: {},
    "bge": {
        "index": {"embedder": "bge-m3"},
        # Without a GPU a passage takes a second or more: it reads what ten seconds allow.
        "query": {"reranker": "bge", "rerank_seconds": 60, "rerank_budget_ms": 10_000},
    },
    "api": {"index": {"embedder": "openai"}, "query": {"reranker": "api"}},
}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The overrides that the environment names."""
    values: dict[str, Any] = {}
    for variable, text in environment.items():
        if not text:
            continue
        if variable in KNOWN_VARIABLES:
            section, field = KNOWN_VARIABLES[variable]
            values.setdefault(section, {})[field] = text
            continue
        for section in _SECTIONS:
            prefix = f"RAG_{section.upper()}_"
            if variable.startswith(prefix):
                values.setdefault(section, {})[variable.removeprefix(prefix).lower()] = text
    return values


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(inner, value) if both and isinstance(inner, Mapping) else value
    return merged
