"""The makers of answers: a language model behind an OpenAI-compatible endpoint, or quotes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.errors import SettingsError
from rag.late_interaction import Span
from rag.models import Answerer, Embedder
from rag.models.completions import streamed
from rag.models.endpoint_failures import unusable
from rag.models.quoting import QuoteAnswerer
from rag.prompting import PROMPT_TOKENS, chat_messages
from rag.settings import AnswererKind, EndpointSettings, Settings
from rag.types import AnswerKind, Passage, Question, Turn

TINY_LLM = "SmolLM2-135M (demonstration)"


def chosen_kind(kind: AnswererKind, endpoint: EndpointSettings) -> AnswererKind:
    """What a setting means: `auto` is `chat` where an endpoint is configured, else `quotes`."""
    if kind == "auto":
        return "chat" if endpoint.configured else "quotes"
    return kind


def make_answerer(
    kind: AnswererKind,
    endpoint: EndpointSettings,
    embedder: Embedder,
    sentences: Callable[[str], list[Span]],
    cache: Path,
    prompt_tokens: int = PROMPT_TOKENS,
) -> Answerer:
    """The answerer of a kind, see `chosen_kind`.

    `embedder` and `sentences` are for quotes, see `QuoteAnswerer`; a small model on this machine is
    kept in `cache`. `prompt_tokens` are the most that a chat model is sent, about.
    Raises SettingsError for `chat` without a model, MissingDependency and BackendError.
    """
    kind = chosen_kind(kind, endpoint)
    if kind == "tiny-llm":
        from rag.models.tiny_llm import load_tiny_llm

        return load_tiny_llm(cache)
    if kind == "quotes":
        return QuoteAnswerer(embedder, sentences)
    if not endpoint.configured:
        raise SettingsError(
            "No language model is configured.",
            "Set RAG_LLM_MODEL, and OPENAI_BASE_URL or OPENAI_API_KEY.",
        )
    return ChatAnswerer(endpoint, prompt_tokens)


def answerer_name(settings: Settings) -> str:
    """What writes the answers, without making it."""
    match chosen_kind(settings.query.answerer, settings.endpoint):
        case "tiny-llm":
            return TINY_LLM
        case "chat":
            return settings.endpoint.model or "no language model"
    return QuoteAnswerer.name


def answerer_identity(settings: Settings) -> Hashable:
    """What another value of makes another answerer."""
    return settings.query.answerer, settings.endpoint, settings.limits.prompt_tokens


@dataclass(frozen=True, slots=True)
class ChatAnswerer:
    """Streams chat completions of one endpoint and model.

    It holds no connection, so one instance serves any number of threads.
    """

    endpoint: EndpointSettings
    prompt_tokens: int = PROMPT_TOKENS

    @property
    def kind(self) -> AnswerKind:
        """A model writes the sentences."""
        return "generated"

    @property
    def name(self) -> str:
        """The model as the endpoint calls it."""
        return self.endpoint.model

    def stream(
        self, question: Question, passages: Sequence[Passage], history: Sequence[Turn]
    ) -> Generator[str]:
        """The answer piece by piece; none, and no request, where there are no passages.

        Pieces are empty while the endpoint is silent, so that a caller may stop at any time.
        Closing the iterator closes the connection.
        Raises BackendError, also after some pieces; it holds neither the key nor a cause.
        """
        if not passages:
            return
        failure = unusable(self.endpoint)
        if failure is not None:
            raise failure
        messages = chat_messages(question.text, passages, history, self.prompt_tokens)
        yield from streamed(self.endpoint, messages)
