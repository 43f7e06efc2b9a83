"""Who may come in: the allow-list, and what the sign-in service says of a person.

The service says who somebody is, never whether they may come in: that is the allow-list's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rag.settings import PeopleSettings
from rag.types import Notice

_HOUR_SECONDS = 3600
# Clocks of two machines differ.
_CLOCK_SECONDS = 300


def refusal(
    claims: Mapping[str, Any], people: PeopleSettings, now: float | None = None
) -> Notice | None:
    """Why a person may not come in; None for one who may.

    `claims` is what the service says of the person (OpenID Connect Core 1.0, section 5.1), and
    empty for somebody who did not sign in; `now` is in seconds since 1970.
    """
    if not people.sign_in:
        return None
    if not claims.get("is_logged_in"):
        return Notice("Sign in to use this library.")
    since = claims.get("iat")
    age = (time.time() if now is None else now) - _number(since)
    if not -_CLOCK_SECONDS <= age < people.hours * _HOUR_SECONDS:
        return Notice("Your sign-in has ended.", "Sign in again.")
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is not True:
        return Notice(
            "The sign-in service does not vouch for your e-mail address.",
            "Confirm the address there, or sign in with another account.",
        )
    if not any(_matches(email, pattern) for pattern in people.allowed):
        return Notice(
            f"{email} may not use this library.",
            "Ask the person who runs it, or sign in with another account.",
        )
    return None


def _number(value: object) -> float:
    """A time of the service in seconds since 1970; 0 for what is none."""
    return float(value) if isinstance(value, (int, float)) else 0.0


def _matches(email: str, pattern: str) -> bool:
    """Whether an address is the one of the allow-list, or one of its domain."""
    # Of letters beyond ASCII, different ones may look the same, or fold to the same.
    if not email.isascii() or email.count("@") != 1:
        return False
    name, _, domain = email.lower().partition("@")
    wanted, _, wanted_domain = pattern.lower().partition("@")
    return domain == wanted_domain and bool(name) and wanted in ("*", name)
