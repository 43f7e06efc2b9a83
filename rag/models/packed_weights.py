"""The file format of the bundled model: 4-bit weights with their tokenizer.

Little-endian: header, Unigram tokenizer with its normalisation map, tensor directory, tensors.
A q4_0 block is an f16 scale and 16 bytes: byte j holds weight j in its low nibble and weight
j + 16 in its high one, each minus 8. Dequantised weights are exact in float32 and in no shorter
format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.types import Vector

BLOCK = 32
BLOCK_LAYOUT = np.dtype([("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)])

TENSOR_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
    "w": "weight",
    "b": "bias",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The network's sizes."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class Pieces:
    """The Unigram: `pieces` are (text, log probability), their place is their id."""

    pieces: list[tuple[str, float]]
    start: int
    end: int
    padding: int
    unknown: int
    normalisation: dict[str, str]


@dataclass(frozen=True, slots=True)
class PackedWeights:
    """What the file holds; `tensors` go by the names of Hugging Face's BertModel."""

    shape: Shape
    tokenizer: Pieces
    tensors: dict[str, Vector]


def unpack(content: bytes) -> PackedWeights:
    """Read a whole file."""
    reader = _Reader(content)
    shape, pieces = _read_shape(reader), _read_pieces(reader)
    return PackedWeights(shape, pieces, _read_tensors(reader, shape))


class _Reader:
    """Reads values one after the other from bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0

    def values(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{layout}", self.content, self.position)
        self.position += struct.calcsize(f"<{layout}")
        return found

    def value(self, layout: str) -> Any:
        return self.values(layout)[0]

    def take(self, length: int) -> bytes:
        self.position += length
        return self.content[self.position - length : self.position]

    def array(self, kind: str, length: int) -> NDArray[Any]:
        return np.frombuffer(self.take(np.dtype(kind).itemsize * length), kind)


def _read_shape(reader: _Reader) -> Shape:
    reader.values("4sI")
    shape = Shape(*reader.values("7if"))
    reader.values("i")
    return shape


def _read_pieces(reader: _Reader) -> Pieces:
    count, start, end, padding, unknown, length = reader.values("5iQ")
    offsets = reader.array("<u4", count + 1).tolist()
    scores = reader.array("<f4", count).tolist()
    text = reader.take(length)
    pieces = [
        (text[left:right].decode(), score)
        for left, right, score in zip(offsets, offsets[1:], scores, strict=False)
    ]
    entries, _ = reader.values("iI")
    normalisation = {}
    for _ in range(entries):
        code_point, outputs = reader.values("IB")
        normalisation[chr(code_point)] = "".join(map(chr, reader.values(f"{outputs}I")))
    return Pieces(pieces, start, end, padding, unknown, normalisation)


def _read_tensors(reader: _Reader, shape: Shape) -> dict[str, Vector]:
    tensors = {}
    for _ in range(reader.value("i")):
        name = reader.take(reader.value("H")).decode()
        quantised, elements, offset, length = reader.values("BIQQ")
        values = reader.content[offset : offset + length]
        flat = dequantised(values) if quantised else np.frombuffer(values, "<f4")
        tensors[_tensor_name(name)] = flat[:elements].reshape(_tensor_shape(name, shape))
    return tensors


def dequantised(blocks: bytes) -> Vector:
    """The weights, [n] float32, of q4_0 blocks."""
    read = np.frombuffer(blocks, BLOCK_LAYOUT)
    nibbles = np.concatenate((read["nibbles"] & 15, read["nibbles"] >> 4), axis=1)
    weights = nibbles.astype(np.float32)
    weights -= 8
    weights *= read["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def _tensor_name(name: str) -> str:
    """`l3.q.w` -> `encoder.layer.3.attention.self.query.weight`."""
    if name in TENSOR_NAMES:
        return TENSOR_NAMES[name]
    module, kind = name.rsplit(".", 1)
    if module in TENSOR_NAMES:
        return f"{TENSOR_NAMES[module]}.{TENSOR_NAMES[kind]}"
    layer, part = module.split(".")
    return f"encoder.layer.{layer.removeprefix('l')}.{TENSOR_NAMES[part]}.{TENSOR_NAMES[kind]}"


def _tensor_shape(name: str, shape: Shape) -> tuple[int, ...]:
    part = name.removesuffix(".w").split(".")[-1]
    if name.startswith("emb.") and not name.startswith("emb.ln"):
        return (-1, shape.hidden)
    if name.endswith(".b") or part in {"ln", "aln", "oln"}:
        return (-1,)
    return (-1, shape.feed_forward if part == "fo" else shape.hidden)
