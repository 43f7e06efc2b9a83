"""What went wrong with a chat endpoint, in one plain sentence and a next step.

No sentence holds the key. What the endpoint says itself is shown only where no part of the key is
in it.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from rag.errors import BackendError
from rag.redacting import forms
from rag.settings import EndpointSettings

OPENAI_ADDRESS = "https://api.openai.com/v1"
DETAIL_CHARACTERS = 200
# Endpoints mask keys as "sk-ab...wxyz"; a shorter piece of a key says nothing about it.
KEY_PIECE = 4


class TooLong(Exception):
    """The endpoint does not stop."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a response ended: its media type, how many chunks, whether text, why it finished."""

    media_type: str
    chunks: int
    text: bool
    finish: str


def unusable(endpoint: EndpointSettings) -> BackendError | None:
    """Why the endpoint cannot even be asked; None where it can."""
    key, where = api_key(endpoint), _address(endpoint)
    if not where:
        return BackendError(
            "The address of the language model is not an http or https address.",
            "Set OPENAI_BASE_URL to one such as http://127.0.0.1:11434/v1.",
        )
    if not (key.isascii() and key.isprintable()):
        return BackendError(
            "The API key holds characters that no key has.", "Copy OPENAI_API_KEY once more."
        )
    if not key and not endpoint.base_url:
        return BackendError(
            f"There is no API key for {where}.",
            "Set OPENAI_API_KEY, or set OPENAI_BASE_URL to a local server.",
        )
    return None


def timed_out(endpoint: EndpointSettings, alive: bool) -> BackendError:
    """The words for a deadline that passed, after a first token or before it."""
    if alive:
        return _error(
            endpoint,
            f"{_address(endpoint)} stopped in the middle of the answer: nothing came for "
            f"{endpoint.idle_seconds:g} seconds.",
            "Ask again, or set RAG_ENDPOINT_IDLE_SECONDS higher.",
        )
    return _error(
        endpoint,
        f"{_address(endpoint)} gave no answer within {endpoint.first_token_seconds:g} seconds.",
        "Ask again: a model that is being loaded may be ready then. If that does not help, set "
        "RAG_ENDPOINT_FIRST_TOKEN_SECONDS higher.",
    )


def incomplete(reply: Ended, endpoint: EndpointSettings) -> BackendError | None:
    """What an answer lacks that ended without an error; None where it lacks nothing."""
    where, model = _address(endpoint), endpoint.model
    if reply.finish == "length":
        cut = "was cut off" if reply.text else "did not begin"
        return _error(
            endpoint,
            f"The answer {cut} within the longest answer allowed, {endpoint.max_tokens} tokens.",
            "Set RAG_ENDPOINT_MAX_TOKENS higher, or ask for less.",
        )
    if reply.finish == "content_filter":
        return _error(
            endpoint,
            f"The content filter of {where} stopped the answer.",
            "Ask in other words, or use another model.",
        )
    if not reply.chunks:
        media_type = reply.media_type.partition(";")[0].strip()[:40] or "nothing"
        kind = "a web page" if media_type == "text/html" else media_type
        return _error(
            endpoint,
            f"{where} sent {kind} instead of an answer.",
            "Check OPENAI_BASE_URL: it must be the address of an OpenAI-compatible interface and "
            "usually ends in /v1.",
        )
    if not reply.finish:
        return _error(
            endpoint,
            f"{where} closed the connection before the answer was complete.",
            "Ask again. If it happens often, look at the log of the model server.",
        )
    if not reply.text:
        return _error(
            endpoint,
            f"The model {model} ended its answer without any text.",
            "Ask again in other words, or use another model.",
        )
    return None


def failed(error: Exception, endpoint: EndpointSettings) -> BackendError:
    """The words for an exception of the client."""
    import openai

    where = _address(endpoint)
    if isinstance(error, openai.APIStatusError):
        return _refused(error, endpoint)
    if isinstance(error, openai.APIConnectionError):
        reasons = list(causes(error))
        if any(isinstance(cause, ConnectionRefusedError) for cause in reasons):
            return _error(
                endpoint,
                f"No model server answers at {where}: the connection was refused.",
                "Start the server, or correct OPENAI_BASE_URL.",
            )
        if any(isinstance(cause, socket.gaierror) for cause in reasons):
            return _error(
                endpoint,
                f"The name in {where} cannot be found.",
                "Check OPENAI_BASE_URL and the internet connection.",
            )
        if any(isinstance(cause, ssl.SSLError) for cause in reasons):
            return _error(
                endpoint,
                f"No secure connection to {where} could be made.",
                "Check whether OPENAI_BASE_URL must begin with http:// or https://, and the "
                "certificate of the server.",
            )
        return _error(
            endpoint,
            f"The connection to {where} broke off.",
            "Ask again. If it happens often, look at the log of the model server.",
        )
    if isinstance(error, TooLong):
        return _error(
            endpoint,
            f"{where} did not end its answer; it was stopped.",
            "Ask again, or use another model: this one ignores the longest answer allowed.",
        )
    if isinstance(error, openai.APIError):
        return _error(
            endpoint,
            f"{where} reported an error{_detail(error, endpoint)}.",
            "Ask again. If it happens often, look at the log of the model server.",
        )
    return _error(
        endpoint,
        f"{where} sent something that is not an answer ({type(error).__name__}).",
        "Check that OPENAI_BASE_URL is the address of an OpenAI-compatible interface.",
    )


def _refused(error: Any, endpoint: EndpointSettings) -> BackendError:
    """The words for an HTTP status."""
    where, model, status = _address(endpoint), endpoint.model, error.status_code
    if status == 401:
        known = "does not accept the API key" if api_key(endpoint) else "wants an API key"
        return _error(
            endpoint, f"{where} {known} (401).", "Set OPENAI_API_KEY to a key of this service."
        )
    if status == 403:
        return _error(
            endpoint,
            f"{where} does not allow the use of the model {model} (403).",
            "Check what the API key and its account may use, or set RAG_LLM_MODEL to another.",
        )
    if status == 404:
        return _error(
            endpoint,
            f"{where} has no model {model}, or no chat (404){_detail(error, endpoint)}.",
            "Check RAG_LLM_MODEL and OPENAI_BASE_URL; the address usually ends in /v1.",
        )
    if status == 429:
        asked = retry_after(error)
        wait = f"{asked:g} seconds" if asked else "a moment"
        return _error(
            endpoint,
            f"{where} takes no more questions for now (429).",
            f"Ask again in {wait}, and check the limits and the credit of the account.",
        )
    if status >= 500:
        state = "is overloaded or still starting" if status == 503 else "failed"
        return _error(
            endpoint,
            f"{where} {state} ({status}).",
            "Ask again in a moment. If it stays so, look at the log of the model server.",
        )
    return _error(
        endpoint,
        f"{where} refused the question ({status}){_detail(error, endpoint)}.",
        "Check RAG_LLM_MODEL and the endpoint's settings, or ask with fewer passages.",
    )


def _detail(error: Any, endpoint: EndpointSettings) -> str:
    """What the endpoint says itself, unless some of the key can be in it."""
    body = error.body if isinstance(error.body, dict) else {}
    return detail(body.get("message"), api_key(endpoint))


def detail(text: object, key: str) -> str:
    """A server's own words, to end a sentence with; empty where some of the key can be in them."""
    if not isinstance(text, str):
        return ""
    text = " ".join(text.split())[:DETAIL_CHARACTERS].rstrip(".")
    for form in forms(key):
        pieces = (form[start : start + KEY_PIECE] for start in range(len(form) - KEY_PIECE + 1))
        if any(piece in shown for piece in pieces for shown in (text, unquote(text))):
            return ""
    return f": {text}" if text else ""


def _error(endpoint: EndpointSettings, message: str, hint: str) -> BackendError:
    key = api_key(endpoint)
    # A key can stand in the place of a model's name by mistake.
    return BackendError(message.replace(key, "...") if len(key) > KEY_PIECE else message, hint)


def api_key(endpoint: EndpointSettings) -> str:
    """The key in clear; empty where there is none."""
    return endpoint.api_key.get_secret_value().strip()


def _address(endpoint: EndpointSettings) -> str:
    return plain_address(endpoint.base_url or OPENAI_ADDRESS)


def plain_address(address: str) -> str:
    """The address without a name, password or query; empty where it is not one of HTTP."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def retry_after(error: Exception) -> float | None:
    """Seconds that the endpoint asks to wait."""
    response = getattr(error, "response", None)
    text = response.headers.get("retry-after", "") if response is not None else ""
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d+)?", text) else None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and all that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
