"""PDF -> one text a page, through pypdf."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rag.documents import refusals
from rag.documents.cleaning import repair_print, unreadable_share
from rag.documents.events import Event, PageText, Source, Total

if TYPE_CHECKING:
    from pypdf import PdfReader

_TITLE = "a PDF"
# Real pages stay far below; what a smaller bomb costs is bounded by the time for a page.
_STREAM_BYTES = 50_000_000
# Without a pointer to its table of objects pypdf gives up; with a wrong one it rebuilds the table.
_TRAILER = b"\nstartxref\n0\n%%EOF\n"
_INLINE_IMAGE = re.compile(rb"\bBI\b.{1,2000}?\bID\b", re.S)
_DEEPEST_FORM = 3
_MOST_UNREADABLE = 0.3


def read_pdf(source: Source) -> Iterator[Event]:
    """One page after the other, from `source.first_page` on. Raises Refusal."""
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    with pypdf.apply_configuration(
        zlib_maximum_output_length=_STREAM_BYTES,
        lzw_maximum_output_length=_STREAM_BYTES,
        run_length_maximum_output_length=_STREAM_BYTES,
        array_based_stream_maximum_output_length=_STREAM_BYTES,
        jbig2dec_binary=None,
        disable_legacy_handling=True,
    ):
        reader, total = _open(source)
        yield Total(total)
        for index in range(source.first_page - 1, total):
            yield _page(reader, index)


def _open(source: Source) -> tuple[PdfReader, int]:
    """The reader and its page count, after the repair that the file may need."""
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    failure: Exception | None = None
    for content in (source.content, source.content + _TRAILER):
        try:
            reader = PdfReader(io.BytesIO(content))
            if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
                raise refusals.protected(source.name)
            if total := len(reader.pages):
                return reader, total
        except (refusals.Refusal, MemoryError):
            raise
        except FileNotDecryptedError as error:
            raise refusals.protected(source.name) from error
        except DependencyError as error:
            raise refusals.missing_package(source.name, "cryptography") from error
        # A broken file takes pypdf to any exception, of its own and of Python's.
        except Exception as error:
            failure = error
    raise refusals.broken(source.name, _TITLE) from failure


def _page(reader: PdfReader, index: int) -> PageText:
    from pypdf.errors import LimitReachedError

    number = index + 1
    try:
        page = reader.pages[index]
        text = page.extract_text()
    except MemoryError:
        return PageText(number, "", f"page {number} needs too much memory")
    except LimitReachedError:
        return PageText(number, "", f"page {number} unpacks to more than is allowed")
    except Exception:
        return PageText(number, "", f"page {number} is damaged")
    if unreadable_share(text) > _MOST_UNREADABLE:
        return PageText(
            number, "", f"the font of page {number} does not say which letters it shows"
        )
    text = repair_print(text.replace("\ufffd", ""))
    return PageText(number, text, images=not text.strip() and _shows_images(page))


def _shows_images(page: Any) -> bool:
    try:
        contents = page.get_contents()
        return _has_image(page, 0) or bool(
            contents is not None and _INLINE_IMAGE.search(contents.get_data())
        )
    except Exception:
        return False


def _has_image(holder: Any, depth: int) -> bool:
    """Whether the resources of a page or form name an image."""
    resources = holder.get("/Resources", {}).get_object()
    for form in resources.get("/XObject", {}).get_object().values():
        entry = form.get_object()
        if entry.get("/Subtype") == "/Image":
            return True
        if depth < _DEEPEST_FORM and _has_image(entry, depth + 1):
            return True
    return False
