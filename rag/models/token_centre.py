"""The mean token vector of a model, around which its token vectors are coded."""

from __future__ import annotations

import io
from importlib.resources import files

import numpy as np

from rag.settings import EmbedderKind
from rag.types import Vector

_FILES: dict[EmbedderKind, str] = {"bundled": "bundled_token_centre.npy"}


def token_centre(kind: EmbedderKind) -> Vector | None:
    """The mean of the model's token vectors, [dimensions]; None where none was measured.

    Made by `scripts/fit_reranker.py` from passages in Chinese and English.
    """
    if kind not in _FILES:
        return None
    content = (files("rag.models") / "data" / _FILES[kind]).read_bytes()
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), dtype=np.float32)
