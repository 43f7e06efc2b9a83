"""A rerank or embedding service over HTTP: its client, and its failures in plain sentences.

No sentence holds the key.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from rag.errors import BackendError, MissingKey, SettingsError
from rag.models.completions import certificates, on_this_machine
from rag.models.endpoint_failures import (
    KEY_PIECE,
    TooLong,
    causes,
    detail,
    plain_address,
    retry_after,
)

if TYPE_CHECKING:
    import httpx2

# A request carries the moment at which its answer must be complete under this name.
DEADLINE = "deadline"
LOG_HINT = "Try again. If it happens often, look at the log of the server."


@dataclass(frozen=True, slots=True)
class Service:
    """A service as its failures name it.

    `settings` is what the names of its settings in the environment begin with.
    """

    address: str
    model: str
    seconds: float
    key: str = field(repr=False)
    key_variable: str
    settings: str

    @property
    def where(self) -> str:
        """The address without a name, password or query."""
        return plain_address(self.address)

    def failure(self, message: str, hint: str) -> BackendError:
        """An error whose message cannot hold the key, which may stand in place of a model."""
        hidden = message.replace(self.key, "...") if len(self.key) > KEY_PIECE else message
        return BackendError(hidden, hint)

    def garbled(self, what: str) -> BackendError:
        """The words for an answer that does not follow the protocol."""
        return self.failure(
            f"{self.where} {what}.",
            f"Check {self.settings}_BASE_URL and that the server runs a model of this kind.",
        )


def check_service(service: Service, needs_key: bool) -> None:
    """Raises SettingsError for an address that is none, MissingKey for an unusable key."""
    if not service.where:
        raise SettingsError(
            f"The address in {service.settings}_BASE_URL is not an http or https address.",
            "Set it to one such as http://127.0.0.1:8080.",
        )
    if needs_key and not service.key:
        raise MissingKey(
            f"There is no API key for {service.where}.", f"Set {service.key_variable}."
        )
    if not (service.key.isascii() and service.key.isprintable()):
        raise MissingKey(
            f"The API key for {service.where} holds characters that no key has.",
            f"Copy {service.key_variable} once more.",
        )


def bounded_client(address: str, most_bytes: int, seconds: float = inf) -> httpx2.Client:
    """A client that follows no proxy to this machine and reads no endless or late answer.

    Reading raises TooLong after `most_bytes`, and httpx2.ReadTimeout after the request's DEADLINE;
    a request that has none gets one, `seconds` after it begins.
    """
    import httpx2

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, stream: httpx2.SyncByteStream, deadline: float) -> None:
            self.stream = stream
            self.deadline = deadline

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for part in self.stream:
                size += len(part)
                if size > most_bytes:
                    raise TooLong
                if monotonic() > self.deadline:
                    raise httpx2.ReadTimeout("the answer is late")
                yield part

        def close(self) -> None:
            self.stream.close()

    class Closing(httpx2.Client):
        def __del__(self) -> None:
            self.close()

    def begin(request: httpx2.Request) -> None:
        request.extensions.setdefault(DEADLINE, monotonic() + seconds)

    def bound(response: httpx2.Response) -> None:
        deadline = response.request.extensions[DEADLINE]
        response.stream = Bounded(cast(httpx2.SyncByteStream, response.stream), deadline)

    return Closing(
        verify=certificates(),
        trust_env=not on_this_machine(address),
        event_hooks={"request": [begin], "response": [bound]},
    )


def lasting(error: BaseException) -> bool:
    """Whether the same request would fail in the same way: no server, no name, no certificate."""
    kinds = (ConnectionRefusedError, socket.gaierror, ssl.SSLError)
    return any(isinstance(cause, kinds) for cause in causes(error))


def request_failed(error: Exception, service: Service) -> BackendError:
    """The words for an exception of httpx2 or openai."""
    import httpx2

    where, settings = service.where, service.settings
    response = getattr(error, "response", None)
    if isinstance(response, httpx2.Response) and not response.is_success:
        return _refused(error, response, service)
    reasons = list(causes(error))
    if any(isinstance(reason, httpx2.TimeoutException) for reason in reasons):
        return service.failure(
            f"{where} gave no answer within {service.seconds:g} seconds.",
            "Try again: a model that is being loaded may be ready then. If that does not help, "
            f"set {settings}_SECONDS higher.",
        )
    if any(isinstance(reason, ConnectionRefusedError) for reason in reasons):
        return service.failure(
            f"No server answers at {where}: the connection was refused.",
            f"Start the server, or correct {settings}_BASE_URL.",
        )
    if any(isinstance(reason, socket.gaierror) for reason in reasons):
        return service.failure(
            f"The name in {where} cannot be found.",
            f"Check {settings}_BASE_URL and the internet connection.",
        )
    if any(isinstance(reason, ssl.SSLError) for reason in reasons):
        return service.failure(
            f"No secure connection to {where} could be made.",
            f"Check whether {settings}_BASE_URL must begin with http:// or https://, and the "
            "certificate of the server.",
        )
    if any(isinstance(reason, TooLong) for reason in reasons):
        return service.garbled("did not end its answer")
    if any(isinstance(reason, httpx2.TransportError) for reason in reasons):
        return service.failure(f"The connection to {where} broke off.", LOG_HINT)
    return service.garbled(f"sent something unreadable ({type(error).__name__})")


def _refused(error: Exception, response: httpx2.Response, service: Service) -> BackendError:
    """The words for an HTTP status."""
    where, settings, status = service.where, service.settings, response.status_code
    said = detail(_message(response), service.key)
    if status == 401:
        known = "does not accept the API key" if service.key else "wants an API key"
        return service.failure(
            f"{where} {known} (401).", f"Set {service.key_variable} to a key of this service."
        )
    if status == 403:
        return service.failure(
            f"{where} does not allow the use of the model {service.model} (403).",
            "Check what the API key and its account may use.",
        )
    if status == 404:
        return service.failure(
            f"{where} has no model {service.model}, or no such service (404){said}.",
            f"Check the name of the model and {settings}_BASE_URL.",
        )
    if status == 429:
        asked = retry_after(error)
        wait = f"{asked:g} seconds" if asked else "a moment"
        return service.failure(
            f"{where} takes no more requests for now (429).",
            f"Try again in {wait}, and check the limits and the credit of the account.",
        )
    if status >= 500:
        state = "is overloaded or still starting" if status == 503 else "failed"
        return service.failure(f"{where} {state} ({status}).", LOG_HINT)
    return service.failure(
        f"{where} refused the request ({status}){said}.",
        f"Check the name of the model and the settings that begin with {settings}.",
    )


def _message(response: httpx2.Response) -> Any:
    """What the server says itself; each kind of server has another place for it."""
    try:
        said = response.json()
    except (ValueError, RuntimeError):
        return None
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and name in said:
            said = said[name]
    return said
