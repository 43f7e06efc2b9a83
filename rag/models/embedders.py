"""Embedders: texts -> one vector a text and one a token, from a single forward pass.

Two networks stand behind one embedder: the bundled model on torch alone, and any model of
sentence-transformers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rag.errors import BackendError, MissingDependency
from rag.folding import encodable
from rag.models import Embedder
from rag.models.bundled import (
    PASSAGE_PROMPT,
    QUESTION_PROMPT,
    bundled_model_folder,
)
from rag.models.known_models import OWN_MODELS
from rag.settings import EmbedderKind, EmbeddingEndpointSettings, IndexSettings
from rag.sparse_weights import sparse_weights
from rag.types import Encoding, Question, SparseWeights, Vector

if TYPE_CHECKING:
    from tokenizers import Encoding as TokenizedText
    from tokenizers import Tokenizer

HUB_NAME = "intfloat/multilingual-e5-small"

# Measured on two machines: from 1024 to 4096 each was up to 9 % faster than another on one of them.
# What a layer keeps in memory meanwhile grows with it, 12 MB at this size.
TOKENS_PER_BATCH = 2048


@dataclass(frozen=True, slots=True)
class Output:
    """What one forward pass over n texts gives.

    `pooled` is [n, dimensions]; `tokens` has [tokens, dimensions] a text and `weights` the sparse
    weights [tokens], special tokens included. None where the model has no such output.
    """

    pooled: Vector
    tokens: Sequence[Vector] | None = None
    weights: Sequence[Vector] | None = None


class Network(Protocol):
    """A model between token ids and vectors."""

    @property
    def dimensions(self) -> int:
        """Length of a pooled vector."""
        ...

    @property
    def longest(self) -> int:
        """Most tokens that are read of a text, special tokens included."""
        ...

    def __call__(self, texts: Sequence[Sequence[int]], prompt_tokens: int) -> Output:
        """All that the model makes of the texts, in their order.

        `texts` are token ids with special tokens, longest first; the first `prompt_tokens` of
        each are the prompt's.
        """
        ...


class BundledNetwork:
    """A folder with a BERT encoder and mean pooling, on torch alone."""

    def __init__(self, folder: Path) -> None:
        from rag.models.bert import Bert

        self._encoder = Bert(folder)
        self.dimensions = self._encoder.dimensions
        self.longest = self._encoder.positions

    def __call__(self, texts: Sequence[Sequence[int]], prompt_tokens: int) -> Output:
        """See `Network`."""
        states = [text.numpy() for text in self._encoder(texts)]
        return Output(np.stack([text.mean(axis=0) for text in states]), states)


class TextEmbedder:
    """The `Embedder` over a network and its tokenizer.

    Safe to use from several threads: a call changes nothing.
    """

    computes_here = True

    def __init__(
        self,
        name: str,
        network: Network,
        tokenizer: Tokenizer,
        question_prompt: str,
        passage_prompt: str,
    ) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.name = name
        self.dimensions = network.dimensions
        self._network = network
        self._tokenizer = tokenizer
        self._question_prompt = question_prompt
        self._passage_prompt = passage_prompt

    def encode_documents(self, texts: Sequence[str], context: str = "") -> Encoding:
        """Vectors of passages; where `context` makes one longer than is read, its end is left out.

        The token vectors of one text take 1.5 kB a token, so a caller gives some hundred texts at
        a time. Raises BackendError where the model fails or gives vectors that are not finite.
        """
        return self._encode(texts, self._passage_prompt, f"{context}\n" if context else "")

    def encode_question(self, text: str) -> Question:
        """The vectors of one question. Raises BackendError as `encode_documents` does."""
        encoding = self._encode([text], self._question_prompt)
        return Question(
            text=text,
            dense=encoding.dense[0],
            tokens=None if encoding.tokens is None else encoding.tokens[0],
            sparse=None if encoding.sparse is None else encoding.sparse[0],
            weights=None if encoding.tokens is None else self._weights(text),
        )

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Character offsets of the tokens of each text, parallel to its token vectors."""
        prompt = self._passage_prompt
        return [
            [(max(start - len(prompt), 0), end - len(prompt)) for start, end in text.offsets[skip:]]
            for text in self._tokenized(texts, prompt)
            for skip in [_tokens_before(len(prompt), text)]
        ]

    def _weights(self, text: str) -> Vector | None:
        """How much each token of a question tells, [tokens]; None where nothing says so.

        SentencePiece's Unigram numbers its pieces by their probability, and the logarithm of a
        rank goes with that of a probability (Zipf), so the logarithm of a piece's number says how
        rare it is without counting any words.
        """
        from tokenizers.models import Unigram

        if not isinstance(self._tokenizer.model, Unigram):
            return None
        [(ids, own)] = self._inputs([text], self._question_prompt)
        return np.log(np.array(ids[own], dtype=np.float32) + 1)

    def _tokenized(self, texts: Sequence[str], prompt: str) -> list[TokenizedText]:
        """Prompt and text as tokens, without special tokens and at any length."""
        # A language model may write half a surrogate pair, which tokenizers take for no text.
        return self._tokenizer.encode_batch(
            [encodable(prompt + text) for text in texts], add_special_tokens=False
        )

    def _encode(self, texts: Sequence[str], prompt: str, context: str = "") -> Encoding:
        # The same text twice, as in forms and filings, is encoded once.
        unique = list(dict.fromkeys(texts))
        dense = np.empty((len(unique), self.dimensions), dtype=np.float32)
        tokens: dict[int, Vector] = {}
        sparse: dict[int, SparseWeights] = {}
        inputs = self._inputs(unique, prompt, context)
        for batch in _batches([len(ids) for ids, _ in inputs]):
            output = self._forward([inputs[place][0] for place in batch], prompt)
            dense[batch] = _normalised(output.pooled)
            if output.tokens is not None:
                for place, states in zip(batch, output.tokens, strict=True):
                    tokens[place] = _normalised(states[inputs[place][1]])
            if output.weights is not None:
                for place, weights in zip(batch, output.weights, strict=True):
                    ids, own = inputs[place]
                    sparse[place] = sparse_weights(ids[own], weights[own])
        places = {text: place for place, text in enumerate(unique)}
        order = [places[text] for text in texts]
        return Encoding(
            dense[order],
            tuple(tokens[place] for place in order) if len(tokens) == len(unique) else None,
            tuple(sparse[place] for place in order) if len(sparse) == len(unique) else None,
        )

    def _inputs(
        self, texts: Sequence[str], prompt: str, context: str = ""
    ) -> list[tuple[list[int], slice]]:
        """Of each text the ids the network reads, and where the text's own tokens are in them."""
        alone = self._tokenized(texts, prompt)
        own = [len(text) - _tokens_before(len(prompt), text) for text in alone]
        whole = self._tokenized(texts, prompt + context) if context else alone
        return [self._input(text, tokens) for text, tokens in zip(whole, own, strict=True)]

    def _input(self, text: TokenizedText, own: int) -> tuple[list[int], slice]:
        """What the network reads of a text whose last `own` tokens are its own."""
        special = self._tokenizer.num_special_tokens_to_add(False)
        # Counted from the end, as a tokenizer may cut otherwise where a context meets the text.
        skip = max(len(text) - own, 0)
        text.truncate(self._network.longest - special)
        whole = self._tokenizer.post_process(text)
        leading = next(
            (place for place, special in enumerate(whole.special_tokens_mask) if not special), 0
        )
        return whole.ids, slice(leading + skip, leading + len(text.ids))

    def _forward(self, batch: Sequence[Sequence[int]], prompt: str) -> Output:
        try:
            output = self._network(batch, self._prompt_tokens(prompt))
        except RuntimeError as error:
            raise BackendError(
                f"The model {self.name} failed: {error}.",
                "Free some memory, or choose a smaller model.",
            ) from error
        given = (output.pooled, *(output.tokens or ()), *(output.weights or ()))
        if not all(np.isfinite(one).all() for one in given):
            raise BackendError(
                f"The model {self.name} gave vectors that are not finite.",
                "Load it again, or choose another model.",
            )
        return output

    def _prompt_tokens(self, prompt: str) -> int:
        whole = self._tokenizer.encode(prompt)
        return len(whole.ids) - whole.special_tokens_mask[-1:].count(1)


def _tokens_before(position: int, text: TokenizedText) -> int:
    """How many tokens end at or before a character."""
    return sum(end <= position for _, end in text.offsets)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts, longest first, in batches of at most TOKENS_PER_BATCH with padding."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _normalised(vectors: Vector) -> Vector:
    """The rows at length 1."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    unit: Vector = vectors / np.maximum(lengths, np.float32(1e-12))[:, None]
    return unit


def make_embedder(
    settings: IndexSettings,
    cache: Path,
    endpoint: EmbeddingEndpointSettings | None = None,
) -> Embedder:
    """The embedder that the settings name; a model on this machine is loaded.

    Raises MissingDependency where the model is neither here nor on the hub, SettingsError where
    it cannot serve as an embedder, BackendError where its files are broken.
    """
    return _MAKERS[settings.embedder](settings, cache, endpoint or EmbeddingEndpointSettings())


def _bundled(settings: IndexSettings, cache: Path, endpoint: EmbeddingEndpointSettings) -> Embedder:
    try:
        folder = bundled_model_folder(cache)
    except MissingDependency as missing:
        return _bundled_from_hub(missing)
    import torch
    from safetensors import SafetensorError
    from tokenizers import Tokenizer

    torch.set_num_threads(min(torch.get_num_threads(), available_cores()))
    try:
        network = BundledNetwork(folder)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise BackendError(
            f"The bundled model cannot be read: {error}.", f"Delete {folder} and start again."
        ) from error
    return TextEmbedder(
        "multilingual-e5-small (bundled)", network, tokenizer, QUESTION_PROMPT, PASSAGE_PROMPT
    )


def _bundled_from_hub(missing: MissingDependency) -> Embedder:
    from rag.models.sentence_transformer import load_sentence_transformer

    try:
        return load_sentence_transformer(
            HUB_NAME, {"query": QUESTION_PROMPT, "document": PASSAGE_PROMPT}
        )
    except MissingDependency as error:
        raise MissingDependency(f"{missing.message} {error.message}", missing.hint) from error


def _sentence_transformer(
    settings: IndexSettings, cache: Path, endpoint: EmbeddingEndpointSettings
) -> Embedder:
    from rag.models.sentence_transformer import load_sentence_transformer

    return load_sentence_transformer(settings.model)


def _bge_m3(settings: IndexSettings, cache: Path, endpoint: EmbeddingEndpointSettings) -> Embedder:
    from rag.models.bge import load_bge_m3

    return load_bge_m3(settings.model or OWN_MODELS["bge-m3"])


def _openai(settings: IndexSettings, cache: Path, endpoint: EmbeddingEndpointSettings) -> Embedder:
    from rag.models.openai_embedder import load_openai_embedder

    return load_openai_embedder(
        settings.model or OWN_MODELS["openai"], settings.dimensions or None, endpoint
    )


_Maker = Callable[[IndexSettings, Path, EmbeddingEndpointSettings], Embedder]
_MAKERS: dict[EmbedderKind, _Maker] = {
    "bundled": _bundled,
    "bge-m3": _bge_m3,
    "openai": _openai,
    "sentence-transformers": _sentence_transformer,
}


def available_cores() -> int:
    """Cores this process may use, which a container or `taskset` can make fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
