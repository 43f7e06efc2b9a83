"""What an evaluation asked of services."""

from __future__ import annotations

from collections.abc import Iterable

from rag.metering import priced
from rag.settings import PriceSettings
from rag.types import Usage

NO_PRICES = PriceSettings()


def tokens_and_cost(
    usage: Iterable[Usage], prices: PriceSettings
) -> tuple[int | None, float | None]:
    """Tokens read and written, and what it cost at these prices, each in all.

    Tokens are None where nobody counted any, and the cost where no price of a service is set.
    """
    asked = priced(usage, prices)
    tokens = sum(one.input_tokens + one.output_tokens for one in asked)
    known = [one.cost for one in asked if one.cost is not None]
    return tokens or None, sum(known) if known else None
