"""What is known of the space of a model's token vectors, and the codec that makes use of it."""

from __future__ import annotations

import io
from importlib.resources import files

import numpy as np

from rag.settings import EmbedderKind
from rag.token_codes import TokenCodec
from rag.types import Vector

# Made by `scripts/fit_reranker.py` from passages in Chinese and English.
_CENTRES: dict[EmbedderKind, str] = {"bundled": "bundled_token_centre.npy"}
_LANGUAGES: dict[EmbedderKind, str] = {"bundled": "bundled_language_direction.npy"}


def token_codec(kind: EmbedderKind, dimensions: int) -> TokenCodec:
    """The codec of a model's token vectors, with what was measured of them."""
    return TokenCodec(dimensions, token_centre(kind), language_direction(kind))


def token_centre(kind: EmbedderKind) -> Vector | None:
    """The mean of the model's token vectors, [dimensions]; None where none was measured."""
    return _measured(_CENTRES.get(kind, ""))


def language_direction(kind: EmbedderKind) -> Vector | None:
    """Where Chinese token vectors lie from English ones, [dimensions], of length 1; or None."""
    return _measured(_LANGUAGES.get(kind, ""))


def _measured(name: str) -> Vector | None:
    if not name:
        return None
    content = (files("rag.models") / "data" / name).read_bytes()
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), dtype=np.float32)
