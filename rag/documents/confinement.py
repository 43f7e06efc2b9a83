"""What the process that reads a file may not do, whatever the file makes a parser do.

Bounds on time and memory hold for everything in it; what it may touch is refused at Python's own
calls, and libxml2, which is not, is told to fetch nothing.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from rag.background import NICENESS

# Prefixes of Python's audit events: https://docs.python.org/3/library/audit_events.html
_REFUSED = (
    *("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "subprocess.", "pty.", "webbrowser."),
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile"),
    *("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"),
    *("os.symlink", "os.truncate", "os.kill", "os.killpg", "shutil.", "tempfile."),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def confine(memory_bytes: int, seconds: float) -> None:
    """Bound this process, for good: its memory, its processor time, its priority and its reach.

    From here on it opens no connection, starts no program and writes no file: PermissionError.
    """
    _limit(memory_bytes, seconds)
    if hasattr(os, "nice"):
        # What starts it may have stepped back already.
        os.nice(max(NICENESS - os.nice(0), 0))
    sys.addaudithook(_refuse)


def _limit(memory_bytes: int, seconds: float) -> None:
    """Bound what the platform can."""
    try:
        import resource
    except ImportError:
        return
    for kind, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        # The system may know a limit by name only, or hold a stricter one already.
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook; what it raises is raised at the call."""
    if event.startswith(_REFUSED):
        raise PermissionError(f"a reader does no {event}")
    if event == "open":
        path, mode, flags = arguments
        if (isinstance(flags, int) and flags & _WRITING) or set(str(mode or "")) & set("wax+"):
            raise PermissionError(f"a reader does not write {path}")
