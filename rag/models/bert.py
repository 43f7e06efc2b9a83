"""BERT's encoder on texts of different lengths without padding.

It runs on torch alone: importing transformers and sentence-transformers takes longer than a cold
`rag ask` may. The vectors are those of sentence-transformers on the same folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor
from torch.nn import functional

# A question has fewer tokens and gains little by a second thread (13 tokens: 29 instead of 31 ms).
# On a busy machine it loses ten times that: at every layer one waits for the other's core.
_TOKENS_FOR_THREADS = 64
# For so long after a question passages leave a core to what follows it.
_QUESTION_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Tensor
    bias: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        return functional.linear(values, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, values: Tensor) -> Tensor:
        return functional.layer_norm(
            values, self.weight.shape, self.weight, self.bias, self.epsilon
        )


@dataclass(frozen=True, slots=True)
class _Layer:
    """`attention_in` gives query, key and value in one product."""

    attention_in: _Linear
    attention_out: _Linear
    attention_norm: _Norm
    wide: _Linear
    narrow: _Linear
    output_norm: _Norm

    def __call__(self, states: Tensor, lengths: Sequence[int], heads: int) -> Tensor:
        attended = _attention(self.attention_in(states), lengths, heads)
        states = self.attention_norm(self.attention_out(attended).add_(states))
        widened = functional.gelu(self.wide(states))
        return self.output_norm(self.narrow(widened).add_(states))


class Bert:
    """The encoder of a Hugging Face folder with a `BertModel` and absolute positions.

    Safe to call from several threads.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors.torch import load_file

        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.dimensions: int = settings["hidden_size"]
        self.positions: int = settings["max_position_embeddings"]
        self._heads: int = settings["num_attention_heads"]
        self._threads = torch.get_num_threads()
        self._asked = -_QUESTION_SECONDS
        # The file is mapped into memory, so of the large word table only the rows in use are read.
        weights = load_file(folder / "model.safetensors")
        epsilon: float = settings["layer_norm_eps"]

        def linear(*names: str) -> _Linear:
            kinds = ("weight", "bias")
            return _Linear(
                *(torch.cat([weights[f"{name}.{kind}"] for name in names]) for kind in kinds)
            )

        def norm(name: str) -> _Norm:
            return _Norm(weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon)

        def layer(name: str) -> _Layer:
            attention = f"{name}.attention"
            parts = (f"{attention}.self.{part}" for part in ("query", "key", "value"))
            return _Layer(
                attention_in=linear(*parts),
                attention_out=linear(f"{attention}.output.dense"),
                attention_norm=norm(f"{attention}.output.LayerNorm"),
                wide=linear(f"{name}.intermediate.dense"),
                narrow=linear(f"{name}.output.dense"),
                output_norm=norm(f"{name}.output.LayerNorm"),
            )

        self._words = weights["embeddings.word_embeddings.weight"]
        # Every token is of the first type, so its vector is added to the positions once.
        self._places = (
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = norm("embeddings.LayerNorm")
        self._layers = [
            layer(f"encoder.layer.{number}") for number in range(settings["num_hidden_layers"])
        ]

    @torch.inference_mode()
    def __call__(self, texts: Sequence[Sequence[int]]) -> tuple[Tensor, ...]:
        """The last hidden states, one [tokens, dimensions] a text, of texts given as token ids.

        Fastest where texts of equal length stand side by side.
        """
        lengths = [len(text) for text in texts]
        tokens = torch.tensor([token for text in texts for token in text])
        places = torch.cat([self._places[:length] for length in lengths])
        with _threads(self._threads_for(len(tokens)), self._threads):
            states = self._norm(functional.embedding(tokens, self._words).add_(places))
            for layer in self._layers:
                states = layer(states, lengths, self._heads)
        return tuple(torch.split_with_sizes(states, lengths))

    def _threads_for(self, tokens: int) -> int:
        """One for a question, all for passages, and all but one for these while questions come."""
        now = monotonic()
        if tokens < _TOKENS_FOR_THREADS:
            self._asked = now
            return 1
        return max(1, self._threads - (now - self._asked < _QUESTION_SECONDS))


@contextmanager
def _threads(now: int, usually: int) -> Iterator[None]:
    """Let this thread compute with so many threads `now`.

    Torch keeps the number for each thread, and hands the latest to every new one: the usual.
    """
    torch.set_num_threads(now)
    try:
        yield
    finally:
        torch.set_num_threads(usually)


def _attention(projected: Tensor, lengths: Sequence[int], heads: int) -> Tensor:
    """Attention within each text; `projected` is [all tokens, query + key + value]."""
    runs = [(length, len(list(texts))) for length, texts in groupby(lengths)]
    sizes = [length * texts for length, texts in runs]
    parts = torch.split_with_sizes(projected, sizes)
    attended = []
    for (length, texts), part in zip(runs, parts, strict=True):
        shaped = part.view(texts, length, 3, heads, -1)
        query, key, value = shaped.permute(2, 0, 3, 1, 4)
        result = functional.scaled_dot_product_attention(query, key, value)
        attended.append(result.transpose(1, 2).reshape(texts * length, -1))
    return torch.cat(attended)
