"""A map of characters in the form SentencePiece compiles it to, which `tokenizers` runs.

The form is a double-array trie over UTF-8 bytes followed by the outputs, each ended by a zero byte:
https://github.com/google/sentencepiece/blob/master/doc/normalization.md
The trie's units are those of https://github.com/s-yata/darts-clone.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

_HAS_LEAF = 1 << 8
_IS_VALUE = 1 << 31
_OFFSET_SHIFT = 10
_BYTES = 256
_BLOCKS_TRIED = 4


def precompiled_charsmap(replacements: Mapping[str, str]) -> str:
    """The `precompiled_charsmap` of a Precompiled normaliser, base64, for input -> output."""
    outputs = bytearray()
    trie: dict[int, Any] = {}
    for text, output in replacements.items():
        node = trie
        for byte in text.encode():
            node = node.setdefault(byte, {})
        # Zero never occurs inside a key, so the darts form uses it as the label of the value.
        node[0] = len(outputs)
        outputs += output.encode() + b"\0"
    units = _double_array(trie)
    packed = struct.pack(f"<{len(units)}I", *units)
    return base64.b64encode(struct.pack("<I", len(packed)) + packed + bytes(outputs)).decode()


def _double_array(trie: dict[int, Any]) -> list[int]:
    """The units of the trie: the child `label` of the node at `p` is at `p ^ offset ^ label`."""
    units = [0] * _BYTES
    taken = {0}
    bases: set[int] = set()
    first_free = 1
    waiting = [(0, trie)]
    while waiting:
        position, node = waiting.pop()
        # Older blocks are nearly full; looking there again and again takes most of the time.
        first_free = max(first_free, len(units) - _BLOCKS_TRIED * _BYTES)
        while first_free in taken:
            first_free += 1
        labels = sorted(node)
        candidate = first_free
        while True:
            base = candidate ^ labels[0]
            if base not in bases and taken.isdisjoint(base ^ label for label in labels):
                break
            candidate += 1
        bases.add(base)
        taken.update(base ^ label for label in labels)
        # A lookup reads the unit of any byte, also of one that is no child.
        units += [0] * max(0, (base | (_BYTES - 1)) + 1 - len(units))
        units[position] |= (position ^ base) << _OFFSET_SHIFT | (_HAS_LEAF if 0 in node else 0)
        for label, child in node.items():
            if label == 0:
                units[base] = _IS_VALUE | child
            else:
                units[base ^ label] |= label
                waiting.append((base ^ label, child))
    return units
