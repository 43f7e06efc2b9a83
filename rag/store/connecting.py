"""Connections to a library, each of which keeps only so much of it in memory."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb

# LanceDB's own limits are 6 GB and 1 GB. Each commit adds what describes it to the second, so a
# server would grow by 100 kB a question until it is reached. A small library needs 400 kB of it,
# and one of 400 documents is as fast with 8 MB as with 32, which takes 50 with what it is made of.
INDEX_BYTES = 1_000_000_000
METADATA_BYTES = 8_000_000


def connected(uri: str | Path, *, sees_others_at_once: bool = False) -> Any:
    """A connection to the library at a folder or an address.

    With `sees_others_at_once` its tables look for what other processes committed at every read.
    """
    return lancedb.connect(
        str(uri),
        read_consistency_interval=timedelta(0) if sees_others_at_once else None,
        session=lancedb.Session(INDEX_BYTES, METADATA_BYTES),
    )
