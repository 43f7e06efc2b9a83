"""Why a file is not read: one plain sentence and one hint for each class of failure."""

from __future__ import annotations

from typing import Literal

RefusalKind = Literal["unsupported", "unreadable", "missing"]


class Refusal(Exception):
    """A file is not read. `kind` decides which RAGError the caller meets."""

    def __init__(self, message: str, hint: str, kind: RefusalKind = "unreadable") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.kind: RefusalKind = kind


def protected(name: str) -> Refusal:
    """The file needs a password."""
    return Refusal(
        f"{name} is protected with a password.", "Save a copy without the password and add that."
    )


def broken(name: str, title: str) -> Refusal:
    """The file is damaged, cut short or not what it claims to be."""
    return Refusal(
        f"{name} is damaged or cut short: it cannot be read as {title}.",
        "Open it in the program it was made with, save it again, or fetch it once more.",
    )


def empty(name: str) -> Refusal:
    """The file has no bytes."""
    return Refusal(f"{name} is empty.", "Check that it was saved or uploaded completely.")


def without_text(name: str, images: bool) -> Refusal:
    """Everything was read and there is no text."""
    if images:
        return Refusal(
            f"{name} has no text: its pages are images.",
            "Run text recognition (OCR) on it and add the result.",
        )
    return Refusal(
        f"{name} has no text: it is blank, or damaged.",
        "If you can see text in it, run text recognition (OCR) on it and add the result.",
    )


def too_large(name: str, size: int, limit: int) -> Refusal:
    """The file has more bytes than is allowed."""
    return Refusal(
        f"{name} is too large: {size / 1e6:,.1f} MB; at most {limit / 1e6:,.1f} MB are read.",
        "Split it into smaller files, or raise the setting reading.file_bytes.",
    )


def unpacks_too_large(name: str) -> Refusal:
    """The compressed file grows out of proportion."""
    return Refusal(
        f"{name} unpacks to more than is allowed.",
        "If you trust it, save it in a simpler format, or raise the setting"
        " reading.unpacked_bytes.",
    )


def too_many_pages(name: str, pages: int, limit: int) -> Refusal:
    """The file has more pages than is allowed."""
    return Refusal(
        f"{name} has {pages:,} pages; at most {limit:,} are read.",
        "Split it into smaller files, or raise the setting reading.pages.",
    )


def too_slow(name: str, seconds: float) -> Refusal:
    """Reading was stopped because it took too long."""
    return Refusal(
        f"{name} took longer than {seconds:g} seconds to read.",
        "Split it into smaller files, or save it again in a simpler format.",
    )


def too_hungry(name: str) -> Refusal:
    """Reading was stopped because it needed too much memory."""
    return Refusal(
        f"{name} needs more memory to read than is allowed.",
        "Split it into smaller files, or raise the setting reading.memory_bytes.",
    )


def too_much_text(name: str, limit: int) -> Refusal:
    """The file holds more text than is allowed."""
    return Refusal(
        f"{name} holds more than {limit:,} characters of text.",
        "Split it into smaller files, or raise the setting reading.characters.",
    )


def crashed(name: str) -> Refusal:
    """The reading process ended without a word."""
    return Refusal(
        f"{name} stopped the reader: it is probably damaged.",
        "Open it in the program it was made with, save it again, and add that.",
    )


def not_text(name: str) -> Refusal:
    """The bytes are neither a known format nor text."""
    return Refusal(
        f"{name} is not a document that can be read: its bytes are not text.",
        "Save it as PDF, DOCX, PPTX, XLSX, HTML or plain text (UTF-8) and add that.",
        "unsupported",
    )


def unsupported(name: str, what: str, hint: str) -> Refusal:
    """The file is of a known kind for which there is no reader."""
    return Refusal(f"{name} is {what}, which is not supported.", hint, "unsupported")


def missing_package(name: str, package: str) -> Refusal:
    """A package that the reader needs is not installed."""
    return Refusal(
        f"{name} needs the package {package}, which is not installed.",
        f"Install it: pip install {package}",
        "missing",
    )
