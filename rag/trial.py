"""Tries a model for real: made as for a question, and asked something small in both languages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar, cast

import numpy as np

from rag import log
from rag.errors import RAGError
from rag.folding import one_line
from rag.models import Answerer, Embedder, Reranker
from rag.models.answerers import chosen_kind, make_answerer
from rag.models.embedders import make_embedder
from rag.models.rerankers import make_reranker
from rag.models.token_space import token_codec
from rag.retrieval import checked
from rag.sentences import sentences
from rag.settings import Settings
from rag.stopwatch import Stopwatch
from rag.token_codes import TokenCodec
from rag.types import Chunk, Passage, Question, Vector

_ANSWER_CHARACTERS = 60
_ANOTHER_MODEL = "Choose another model, or look at what it was made for."

Made = TypeVar("Made")
MakeEmbedder = Callable[[Settings], Embedder]
# Whether all is well, what happened, and what to do next.
Verdict = tuple[bool, str, str]


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of trying a model.

    `sentence` says what happened and `hint` what to do next, empty where nothing is to be done.
    `milliseconds` is the time of the requests, `loading_milliseconds` that of making the model.
    """

    ok: bool
    sentence: str
    hint: str
    milliseconds: float
    loading_milliseconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """A question with a passage that answers it and one that does not.

    `instruction` asks for a short answer.
    """

    language: str
    question: str
    instruction: str
    fitting: str
    unrelated: str


SAMPLES = (
    Sample(
        "English",
        "Where should vaccines be stored?",
        "Answer with one word.",
        "Vaccines should be stored in the refrigerator.",
        "The museum opens at nine o'clock.",
    ),
    Sample(
        "Chinese",
        "疫苗应该存放在哪里？",
        "请用一个词回答。",
        "疫苗应该存放在冰箱里。",
        "博物馆上午九点开门。",
    ),
)


def embedder_of(settings: Settings) -> Embedder:
    """The embedder of these settings; see `make_embedder`."""
    return make_embedder(settings.index, settings.cache, settings.embeddings)


def try_embedder(settings: Settings, make_embedder: MakeEmbedder = embedder_of) -> Trial:
    """Try the embedder of these settings with questions and passages. Never raises."""
    return _tried(lambda: make_embedder(settings), _use_embedder)


def try_reranker(settings: Settings, make_embedder: MakeEmbedder = embedder_of) -> Trial:
    """Try the reranker of these settings, with the embedder's vectors where it compares words.

    Never raises.
    """

    def make() -> tuple[Reranker | None, list[Question], list[list[Passage]]]:
        reranker = make_reranker(settings)
        embedder = None
        if reranker is not None and reranker.by_words:
            embedder = make_embedder(settings)
        codec = None
        if embedder is not None:
            codec = token_codec(settings.index.embedder, embedder.dimensions)
        questions = [_question(sample.question, embedder, codec) for sample in SAMPLES]
        passages = [
            _passages([sample.fitting, sample.unrelated], question, embedder, codec)
            for sample, question in zip(SAMPLES, questions, strict=True)
        ]
        return reranker, questions, passages

    return _tried(make, lambda made: _use_reranker(*made))


def try_answerer(settings: Settings, make_embedder: MakeEmbedder = embedder_of) -> Trial:
    """Try what writes answers with these settings. Never raises."""
    endpoint = settings.endpoint
    kind = chosen_kind(settings.query.answerer, endpoint)

    def make() -> tuple[Answerer, Embedder | None]:
        embedder = None
        if kind == "quotes":
            embedder = make_embedder(settings)
        # Only quotes look at vectors.
        return make_answerer(
            kind,
            endpoint,
            cast(Embedder, embedder),
            sentences,
            settings.cache,
            settings.limits.prompt_tokens,
        ), embedder

    return _tried(make, lambda made: _use_answerer(*made))


def _tried(make: Callable[[], Made], use: Callable[[Made], Verdict]) -> Trial:
    stopwatch = Stopwatch()
    try:
        with stopwatch.stage("loading"):
            made = make()
        with stopwatch.stage("request"):
            ok, sentence, hint = use(made)
    except RAGError as error:
        ok, sentence, hint = False, error.message, error.hint
    # The libraries behind the models document no exceptions of their own.
    except Exception as error:
        log.unexpected(error, "trying a model")
        ok, sentence = False, f"The model failed unexpectedly ({type(error).__name__})."
        hint = "Look at the log of the server, or choose another model."
    loading, request = (stopwatch.seconds.get(stage, 0.0) for stage in ("loading", "request"))
    return Trial(ok, sentence, hint, 1000 * request, 1000 * loading)


def _use_embedder(embedder: Embedder) -> Verdict:
    texts = [text for sample in SAMPLES for text in (sample.fitting, sample.unrelated)]
    dense = embedder.encode_documents(texts).dense
    if dense.shape != (len(texts), embedder.dimensions) or not np.isfinite(dense).all():
        return False, f"{embedder.name} did not give one finite vector a text.", _ANOTHER_MODEL
    right = []
    for place, sample in enumerate(SAMPLES):
        fitting, unrelated = (
            dense[2 * place :][:2] @ embedder.encode_question(sample.question).dense
        )
        right.append(bool(fitting > unrelated))
    return _judged(f"{embedder.name} ({embedder.dimensions} dimensions)", right)


def _use_reranker(
    reranker: Reranker | None, questions: Sequence[Question], passages: Sequence[list[Passage]]
) -> Verdict:
    if reranker is None:
        return True, "There is no reranker: passages stay in the order of recall.", ""
    right = []
    for question, pair in zip(questions, passages, strict=True):
        fitting, unrelated = checked(reranker.score(question, pair), len(pair))
        right.append(fitting > unrelated)
    return _judged(reranker.name, right)


def _judged(name: str, right: Sequence[bool]) -> Verdict:
    """What to say of a model that put the fitting passage of these samples first, or did not."""
    languages = [one.language for one, well in zip(SAMPLES, right, strict=True) if well]
    others = [one.language for one, well in zip(SAMPLES, right, strict=True) if not well]
    if not languages:
        return False, f"{name} works, but prefers an unrelated passage.", _ANOTHER_MODEL
    prefers = f"{name} prefers the passage that answers the question, in {' and '.join(languages)}"
    if others:
        return True, f"{prefers}, but not in {others[0]}.", f"Use it for {languages[0]} texts only."
    return True, f"{prefers}.", ""


def _use_answerer(answerer: Answerer, embedder: Embedder | None) -> Verdict:
    answers, first_seconds = [], []
    for sample in SAMPLES:
        asked = f"{sample.question} {sample.instruction}"
        question = _question(asked, embedder, None)
        passages = _passages([sample.fitting], question, embedder, None)
        start = perf_counter()
        pieces: list[str] = []
        for piece in filter(None, answerer.stream(question, passages, ())):
            if not pieces:
                first_seconds.append(perf_counter() - start)
            pieces.append(piece)
        answers.append(_shortened(one_line("".join(pieces))))
    if not all(answers):
        return False, f"{answerer.name} gave no answer.", _ANOTHER_MODEL
    wrote = f"{answerer.name}: {' · '.join(answers)}"
    if answerer.kind == "generated":
        wrote += f" (first words after {max(first_seconds):.1f} s)"
    return True, wrote, ""


def _shortened(text: str) -> str:
    return text if len(text) <= _ANSWER_CHARACTERS else f"{text[:_ANSWER_CHARACTERS].rstrip()} …"


def _question(text: str, embedder: Embedder | None, codec: TokenCodec | None) -> Question:
    """The question with its vectors, or with none where nothing looks at them."""
    if embedder is None:
        return Question(text, np.zeros(1, np.float32), None)
    question = embedder.encode_question(text)
    return question if codec is None else codec.turned(question)


def _passages(
    texts: Sequence[str], question: Question, embedder: Embedder | None, codec: TokenCodec | None
) -> list[Passage]:
    """The texts as passages of a document, their vectors as an index would give them."""
    cosines = [0.0] * len(texts)
    tokens: Sequence[Vector | None] = [None] * len(texts)
    if embedder is not None:
        encoding = embedder.encode_documents(texts)
        cosines = [float(cosine) for cosine in encoding.dense @ question.dense]
        tokens = encoding.tokens or tokens
    return [
        Passage(
            Chunk(f"sample-{place}", "sample", place, 1, 0, len(text), text),
            "sample",
            dense=cosine,
            lexical=0.0,
            tokens=codec.decode(codec.encode(own)) if codec and own is not None else own,
        )
        for place, (text, cosine, own) in enumerate(zip(texts, cosines, tokens, strict=True))
    ]
