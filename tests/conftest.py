"""Fixtures that several test files share."""

from tests.endpoint import endpoint

__all__ = ["endpoint"]
