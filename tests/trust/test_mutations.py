"""Changed files by the thousand: each is read, or refused in plain words."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.mutations import outcomes

SEED = int(os.environ.get("TRUST_SEED", random.SystemRandom().randrange(1_000_000)))
SECONDS = 120
BATCH = 500
LONGEST_SECONDS = 60


@pytest.mark.row(34)
def test_changed_files_of_every_format_end_in_text_or_in_words(
    record_property: Callable[[str, object], None],
) -> None:
    record_property("seed", SEED)
    end, batches = time.monotonic() + SECONDS, []
    while time.monotonic() < end:
        batches.append(outcomes(BATCH, SEED + len(batches), seconds=300))
    wrong = [one for batch in batches for one in batch.wrong]
    unforeseen = sum((batch.unforeseen for batch in batches), Counter[str]())
    record_property("files", sum(batch.files for batch in batches))
    record_property("seconds", SECONDS)
    record_property("read", sum(batch.read for batch in batches))
    record_property("other exceptions", len(wrong))
    record_property("stopped by the last resort", unforeseen.total())
    record_property("longest, s", round(max(batch.longest for batch in batches), 1))
    assert wrong == []
    assert max(batch.longest for batch in batches) <= LONGEST_SECONDS
