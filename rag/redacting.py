"""Keys taken out of texts, in every form in which a program may write them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

# Of anything shorter nothing is lost, and much else would be hidden with it.
SHORTEST_KEY = 5
HIDDEN = "..."

_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/@\s\"']+@")


def keys_of(environment: Mapping[str, str]) -> list[str]:
    """The values of the variables whose names say that they are secret, the longest first."""
    found = {
        value.strip()
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and len(value.strip()) >= SHORTEST_KEY
    }
    return sorted(found, key=lambda key: (-len(key), key))


def forms(key: str) -> Iterator[str]:
    """The key as it is, in addresses, in JSON, and in base64, wherever in the coded bytes it is."""
    yield from dict.fromkeys([key, quote(key, safe=""), quote(key), json.dumps(key)[1:-1]])
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + key.encode()).decode().rstrip("=")
        # The characters at either end also hold bits of what stands beside the key.
        whole = coded[-(-before * 8 // 6) : (before + len(key.encode())) * 8 // 6]
        yield from dict.fromkeys([whole, whole.translate(str.maketrans("+/", "-_"))])


def redacted(text: str, keys: Iterable[str]) -> str:
    """The text without these keys, and without the login of any address."""
    for key in keys:
        for form in forms(key):
            text = text.replace(form, HIDDEN)
    return _LOGIN.sub(f"{HIDDEN}@", text)
