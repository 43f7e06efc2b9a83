"""What stands in for a model that could not be made, so that a question still shows its sources."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from threading import Lock
from time import monotonic

from rag.errors import BackendError, RAGError
from rag.models import Answerer, Embedder, Reranker
from rag.models.answerers import answerer_name, make_answerer
from rag.models.rerankers import make_reranker
from rag.sentences import sentences
from rag.settings import Settings
from rag.types import AnswerKind, Passage, Question, Turn

_RETRY_SECONDS = 60.0


def reranker_of(settings: Settings, *, stand_in: bool) -> Reranker | None:
    """As `make_reranker`; with `stand_in` one that cannot be made is stood in for."""
    try:
        return make_reranker(settings)
    except RAGError as failure:
        if not stand_in:
            raise
        query = settings.query
        name = query.reranker_model or query.reranker
        return StandInReranker(name, lambda: make_reranker(settings), failure)


def answerer_of(settings: Settings, embedder: Embedder, *, stand_in: bool) -> Answerer:
    """As `make_answerer`; with `stand_in` one that cannot be made is stood in for."""
    try:
        return make_answerer(
            settings.query.answerer,
            settings.endpoint,
            embedder,
            sentences,
            settings.cache,
            settings.limits.prompt_tokens,
        )
    except RAGError as failure:
        if not stand_in:
            raise
        return StandInAnswerer(answerer_name(settings), failure)


class StandInReranker:
    """Fails every time it is asked, with the reason, until the reranker can be made after all.

    It tries that when it is asked, at most once a minute and never twice at the same time.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Reranker | None],
        failure: RAGError,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._name = name
        self._make = make
        self._failure = failure
        self._clock = clock
        self._tried = clock()
        self._making = Lock()
        self._made: Reranker | None = None

    @property
    def name(self) -> str:
        """The reranker's own name once it is there."""
        return self._made.name if self._made else f"{self._name} (not available)"

    @property
    def calibrated(self) -> bool:
        """As the reranker says; without it nothing can be told irrelevant."""
        return self._made is not None and self._made.calibrated

    @property
    def by_words(self) -> bool:
        """As the reranker says; without it words are all there is."""
        return self._made is None or self._made.by_words

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        """What the reranker says. Raises the reason where it could not be made."""
        if self._made is None:
            self._try_again()
        if self._made is None:
            raise self._failure
        return self._made.score(question, passages)

    def _try_again(self) -> None:
        if not self._making.acquire(blocking=False):
            raise BackendError(f"{self._name} is being loaded.", "Ask again in a moment.")
        try:
            if self._clock() - self._tried >= _RETRY_SECONDS:
                self._tried = self._clock()
                self._made = self._make()
        except RAGError as error:
            self._failure = error
        finally:
            self._making.release()


class StandInAnswerer:
    """Writes nothing, and says why."""

    kind: AnswerKind = "generated"

    def __init__(self, name: str, failure: RAGError) -> None:
        self.name = f"{name} (not available)"
        self._failure = failure

    def stream(
        self, question: Question, passages: Sequence[Passage], history: Sequence[Turn]
    ) -> Generator[str]:
        """No piece. Raises the reason why the answerer could not be made."""
        yield ""
        raise self._failure
