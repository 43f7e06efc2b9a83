"""Texts of different lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def padded(texts: Sequence[Sequence[int]], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, [texts, tokens of the longest] both."""
    lengths = torch.tensor([len(text) for text in texts])
    longest = int(lengths.max())
    ids = torch.tensor([[*text, *[padding] * (longest - len(text))] for text in texts])
    return ids, (torch.arange(longest) < lengths[:, None]).long()
