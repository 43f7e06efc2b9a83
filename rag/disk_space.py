"""Space on the disk: how much adding a file must leave, and what a full disk says."""

from __future__ import annotations

from rag.errors import LibraryError

# A file's bytes, its pages with their vectors, and a search index that is built anew.
FILE_SIZES = 3

_SIGNS = ("no space left", "os error 28", "errno 28", "quota exceeded", "os error 122")


def check_space(name: str, size: int, free: int, spare: int) -> None:
    """Raise LibraryError where a file of `size` bytes would leave less than `spare` bytes free.

    `free` are the bytes that the disk has now.
    """
    needed = FILE_SIZES * size + spare
    if free < needed:
        raise LibraryError(
            f"{name} was not added: the disk has {_megabytes(free)} left, and a file of "
            f"{_megabytes(size)} is added where there are {_megabytes(needed)}.",
            "Free some space and add it again, or lower the setting limits.free_disk_bytes.",
        )


def says_full(error: BaseException) -> bool:
    """Whether an exception, of whatever library, is about a disk without space."""
    said = str(error).lower()
    return any(sign in said for sign in _SIGNS)


def disk_full() -> LibraryError:
    """A full disk in words."""
    return LibraryError(
        "The disk is full, so nothing was written.",
        "Free some space and try again; what the library already holds is kept.",
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
