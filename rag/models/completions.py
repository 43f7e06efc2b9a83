"""One chat completion, streamed or whole: its deadlines, its second attempts and its bounds."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from rag.errors import BackendError
from rag.metering import count
from rag.models.background import emitted
from rag.models.endpoint_failures import (
    OPENAI_ADDRESS,
    Ended,
    TooLong,
    api_key,
    causes,
    failed,
    incomplete,
    retry_after,
    timed_out,
)
from rag.prompting import token_estimate
from rag.settings import EndpointSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

# Local servers want no key, and the client wants one.
NO_KEY = "none"
# Seconds before the second and the third attempt; nothing is tried again after the first token.
RETRY_SECONDS = (0.4, 1.2)
# A longer wait is better told than waited for.
LONGEST_RETRY_AFTER = 5.0
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})
# No tokenizer makes tokens this long on average; more is an endpoint that ignores max_tokens.
CHARACTERS_PER_TOKEN = 16
# An answer of the greatest max_tokens takes about 13 MB, one token a line with its JSON around it.
RESPONSE_BYTES = 32_000_000
_THOUGHT, _THOUGHT_END = "<think>", "</think>"

Messages = list[dict[str, str]]


def completed(
    endpoint: EndpointSettings,
    messages: Messages,
    seconds: float,
    waiting: Callable[[], None] = lambda: None,
) -> str:
    """The whole answer, within `seconds`; one that is empty or cut off is an answer too.

    `waiting` is called again and again meanwhile; what it raises gives the answer up.
    Raises BackendError where the endpoint fails or is not done in time.
    """
    text = ""
    reply = _Reply(endpoint.max_tokens * CHARACTERS_PER_TOKEN)
    deadline = monotonic() + seconds
    try:
        with closing(_emitted(endpoint, messages, reply)) as pieces:
            for piece in pieces:
                text += piece
                waiting()
                if monotonic() > deadline:
                    raise BackendError(
                        f"The language model was not done within {seconds:.0f} seconds.",
                        "Ask again, or use a faster model.",
                    )
    except BackendError:
        if not reply.finish:
            raise
    return text


def streamed(endpoint: EndpointSettings, messages: Messages) -> Generator[str]:
    """The answer piece by piece; pieces are empty while the endpoint is silent.

    Closing the iterator closes the connection. Raises BackendError, also after some pieces.
    """
    return _emitted(endpoint, messages, _Reply(endpoint.max_tokens * CHARACTERS_PER_TOKEN))


def _emitted(endpoint: EndpointSettings, messages: Messages, reply: _Reply) -> Generator[str]:
    def work(emit: Callable[[str], None]) -> Coroutine[Any, Any, BackendError | None]:
        reply.emit = emit
        return _taken(endpoint, messages, reply)

    try:
        yield from emitted(work)
    finally:
        # Here, not where the reply is read: what was written until somebody hung up counts too.
        _count(endpoint, messages, reply)


def _count(endpoint: EndpointSettings, messages: Messages, reply: _Reply) -> None:
    """Count the tokens of a reply that began, by estimate where the endpoint does not tell."""
    told = reply.tokens
    if not reply.alive and told is None:
        return
    read, written = told or (
        sum(token_estimate(message["content"]) for message in messages),
        token_estimate("".join(reply.written)),
    )
    count(
        "chat",
        endpoint.model,
        input_tokens=read,
        output_tokens=written,
        counted=told is not None,
    )


async def _taken(
    endpoint: EndpointSettings, messages: Messages, reply: _Reply
) -> BackendError | None:
    """Fills the reply; gives the failure, None where the answer is complete."""
    options = {
        "model": endpoint.model,
        "messages": messages,
        "max_tokens": endpoint.max_tokens,
        "temperature": endpoint.temperature,
        "stream_options": {"include_usage": True},
    }
    try:
        client = _client(endpoint)
        async with asyncio.timeout(endpoint.first_token_seconds) as limit, client:
            await _with_retries(client, endpoint, options, reply, limit)
    except TimeoutError:
        return timed_out(endpoint, reply.alive)
    except Exception as error:  # whatever an endpoint sends ends in a sentence
        return failed(error, endpoint)
    ended = Ended(reply.media_type, reply.chunks, reply.text, reply.finish)
    return incomplete(ended, endpoint)


async def _with_retries(
    client: AsyncOpenAI,
    endpoint: EndpointSettings,
    options: dict[str, Any],
    reply: _Reply,
    limit: asyncio.Timeout,
) -> None:
    loop = asyncio.get_running_loop()
    pauses = iter(RETRY_SECONDS)
    while True:
        try:
            stream: AsyncStream[ChatCompletionChunk]
            stream = await client.chat.completions.create(**options, stream=True)
            async with stream:
                reply.media_type = stream.response.headers.get("content-type", "")
                async for chunk in stream:
                    if reply.take(chunk):
                        limit.reschedule(loop.time() + endpoint.idle_seconds)
            reply.end()
            return
        except Exception as error:
            accepted = _accepted(options, error)
            if accepted is not None:
                options = accepted
                continue
            pause = None if reply.alive else _pause(error, next(pauses, None))
            when = limit.when()
            if pause is None or (when is not None and loop.time() + pause > when):
                raise
        await asyncio.sleep(pause)


@cache
def certificates() -> ssl.SSLContext:
    """The trusted certificates; reading them takes longer than the rest of a short exchange."""
    import httpx2

    return httpx2.create_ssl_context()


def _client(endpoint: EndpointSettings) -> AsyncOpenAI:
    """A client that follows no proxy to this machine and reads no endless response."""
    import httpx2
    import openai

    class Bounded(httpx2.AsyncByteStream):
        def __init__(self, stream: httpx2.AsyncByteStream) -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for part in self.stream:
                size += len(part)
                if size > RESPONSE_BYTES:
                    raise TooLong
                yield part

        async def aclose(self) -> None:
            await self.stream.aclose()

    async def bound(response: httpx2.Response) -> None:
        response.stream = Bounded(cast(httpx2.AsyncByteStream, response.stream))

    address = endpoint.base_url or OPENAI_ADDRESS
    return openai.AsyncOpenAI(
        base_url=address,
        api_key=api_key(endpoint) or NO_KEY,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(
            timeout=None,  # the deadlines are ours: they count tokens, not bytes
            verify=certificates(),
            trust_env=not on_this_machine(address),
            event_hooks={"response": [bound]},
        ),
    )


@dataclass(slots=True)
class _Reply:
    """What came of one answer.

    `alive` says whether a token came, be it only a thought. `written` is all that came, thoughts
    included. `tokens` are those read and those written as the endpoint counts them.
    """

    room: int
    emit: Callable[[str], None] = field(init=False)
    alive: bool = False
    text: bool = False
    chunks: int = 0
    finish: str = ""
    media_type: str = ""
    held: str | None = ""
    written: list[str] = field(default_factory=list)
    tokens: tuple[int, int] | None = None

    def take(self, chunk: ChatCompletionChunk) -> bool:
        """Emits the chunk's text; gives whether it held a token."""
        self.chunks += 1
        self.tokens = _tokens(chunk.usage) or self.tokens
        if not chunk.choices:
            return False
        choice = chunk.choices[0]
        self.finish = choice.finish_reason or self.finish
        if choice.delta is None:
            return False
        extra = choice.delta.model_extra or {}
        content = choice.delta.content or ""
        thought = extra.get("reasoning_content") or extra.get("reasoning")
        if not (content or thought):
            return False
        self.alive = True
        self.written += [content, str(thought or "")]
        self._say(self._without_thoughts(content))
        return True

    def end(self) -> None:
        """Emits what was held back because it could have become a thought."""
        if self.held and not self.held.lstrip().startswith(_THOUGHT):
            self._say(self.held)
        self.held = None

    def _say(self, piece: str) -> None:
        if piece:
            self.text = self.text or not piece.isspace()
            self.emit(piece[: self.room])
            self.room -= len(piece)
        if self.room < 0:
            raise TooLong

    def _without_thoughts(self, piece: str) -> str:
        """Some servers leave a model's thoughts at the head of its answer, between tags."""
        if self.held is None:
            return piece
        self.held += piece
        head = self.held.lstrip()
        if _THOUGHT.startswith(head):
            return ""
        visible = self.held
        if head.startswith(_THOUGHT):
            _, closed, visible = head.partition(_THOUGHT_END)
            if not closed:
                return ""
        self.held = None
        return visible.lstrip()


def _tokens(usage: Any) -> tuple[int, int] | None:
    """Tokens read and written; None where the endpoint tells none."""
    read, written = (getattr(usage, f"{name}_tokens", None) for name in ("prompt", "completion"))
    return (read, written) if type(read) is int and type(written) is int else None


def _accepted(options: dict[str, Any], error: Exception) -> dict[str, Any] | None:
    """The options without the one that the endpoint refuses by name; None where it names none."""
    parameter = getattr(error, "param", None)
    status = getattr(error, "status_code", None)
    if status in {400, 422} and parameter not in options and "stream_options" in options:
        # It is the only option that not every endpoint knows, and not all name what they refuse.
        parameter = "stream_options"
    elif status != 400 or parameter not in options:
        return None
    rest = {name: value for name, value in options.items() if name != parameter}
    if parameter == "max_tokens":
        return rest | {"max_completion_tokens": options["max_tokens"]}
    return rest if parameter in {"temperature", "stream_options"} else None


def _pause(error: Exception, pause: float | None) -> float | None:
    """Seconds to wait before the next attempt; None where another one is of no use."""
    import openai

    if isinstance(error, openai.APIStatusError):
        if pause is None or error.status_code not in RETRIED:
            return None
        asked = retry_after(error)
        if asked is None:
            return pause
        return asked if asked <= LONGEST_RETRY_AFTER else None
    if isinstance(error, openai.APIConnectionError):
        lasting = (ConnectionRefusedError, socket.gaierror, ssl.SSLError)
        return None if any(isinstance(cause, lasting) for cause in causes(error)) else pause
    return None


def on_this_machine(address: str) -> bool:
    """Whether the address is one of this machine, which no proxy can reach."""
    host = urlsplit(address).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
