"""The three seams between RankLens and its models.

A backend implements one of these protocols and nothing else: batching by the caller, sorting,
cutting, timing and calibration live outside it. `make_embedder`, `make_reranker` and
`make_answerer` in the modules beside this one choose a backend by its explicit kind.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol

from rag.types import AnswerKind, Encoding, Passage, Question, Turn


class Embedder(Protocol):
    """Turns texts into vectors.

    `name` also goes into the index fingerprint: another name is another index.
    """

    @property
    def name(self) -> str:
        """What the backend is called in traces."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    @property
    def computes_here(self) -> bool:
        """Whether it takes the processor of this machine, where two at once are no faster."""
        ...

    def encode_documents(self, texts: Sequence[str], context: str = "") -> Encoding:
        """Vectors of passages.

        `context` is read as a line above each text and moves its vectors; it has no token vectors
        and no sparse weights of its own.
        """
        ...

    def encode_question(self, text: str) -> Question:
        """The vectors of one question."""
        ...

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Character offsets of the tokens of each text, without the prompt and special tokens.

        The spans of a text are parallel to its token vectors, unless the text is longer than the
        model reads: then there are more spans than vectors.
        """
        ...


class Reranker(Protocol):
    """Judges passages for one question."""

    @property
    def name(self) -> str:
        """What the backend is called in traces."""
        ...

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities were fitted on data, and are more than an order."""
        ...

    @property
    def by_words(self) -> bool:
        """Whether it compares word by word, so that its score can be taken apart by words."""
        ...

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        """The probability, 0..1, that each passage answers the question; same order and length.

        The other passages may move all scores together, but never change the order of two.
        """
        ...


class Answerer(Protocol):
    """Writes an answer from numbered passages; `kind` says how."""

    @property
    def kind(self) -> AnswerKind:
        """Whether the answer's sentences are the passages' own or a model's."""
        ...

    @property
    def name(self) -> str:
        """What the backend is called in traces."""
        ...

    def stream(
        self, question: Question, passages: Sequence[Passage], history: Sequence[Turn]
    ) -> Generator[str]:
        """The answer piece by piece; it cites passages as `[1]`, the first of them being 1.

        Raises BackendError where the model fails, also after some pieces.
        """
        ...
