"""What a question asked of services: requests, tokens and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Literal

ServiceKind = Literal["chat", "embeddings", "rerank"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one stage asked of one model behind a service; models in this process have none.

    `stage` is named as in the seconds. `requests` are counted as a rerank service bills them where
    it says how many it does. `counted` tells whether all tokens are the service's own count; else
    some are estimated. `cost` is in `currency`, and None where no price is set.
    """

    stage: str
    service: ServiceKind
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    counted: bool
    cost: float | None = None
    currency: str = ""


def usage_line(usage: Sequence[Usage], first_word: float | None = None) -> str:
    """Tokens, seconds to the first word and cost in words; empty where there is none of them."""
    waited = [] if first_word is None else [f"first word {first_word:.2f} s"]
    return ", ".join([*_asked(usage), *waited, *_cost(usage)])


def _asked(usage: Sequence[Usage]) -> list[str]:
    about = "" if all(one.counted for one in usage) else "about "
    tokens_in = sum(one.input_tokens for one in usage)
    tokens_out = sum(one.output_tokens for one in usage)
    requests = sum(one.requests for one in usage)
    parts = [f"{about}{tokens_in:,} tokens in"] if tokens_in else []
    parts += [f"{tokens_out:,} out"] if tokens_out else []
    if requests and not parts:
        parts = [f"{requests} {'request' if requests == 1 else 'requests'}"]
    return parts


def _cost(usage: Sequence[Usage]) -> list[str]:
    known = [one for one in usage if one.cost is not None]
    if not known:
        return []
    cost = sum(one.cost or 0.0 for one in known)
    # Two decimals, and as many more as two digits take.
    decimals = 2 if cost <= 0 else max(2, 1 - floor(log10(cost)))
    about = "" if all(one.counted for one in known) else "about "
    least = "at least " if len(known) < len(usage) else about
    return [f"{least}{cost:.{decimals}f} {known[0].currency}"]
