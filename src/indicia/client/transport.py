"""The two clients: the same operations, driven by httpx2 with and without asyncio.

Everything that is known about the service is in `operations` and `session`; here is only how a request is
sent and how one waits.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from indicia.client import operations
from indicia.client.details import Details
from indicia.client.pages import Listing
from indicia.client.session import Retries, Session
from indicia.client.wire import Answer, Lost, Request, Steps, Wait
from indicia.errors import InvalidValue, MissingExtra

if TYPE_CHECKING:
    import httpx2

P = ParamSpec("P")
T = TypeVar("T")
SECONDS = 60.0
"""How long a connection may take, and how long any part of an answer; a chunk of 5,000 takes a few."""
_KEPT_SECONDS = 4.0
"""An idle connection is used again so long: less than the service keeps it."""


def _blocking(
    operation: Callable[Concatenate[Session, P], Steps[T]],
) -> Callable[Concatenate[Client, P], T]:
    @wraps(operation)
    def call(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._run(operation(client._session, *args, **kwargs))

    return call


def _awaited(
    operation: Callable[Concatenate[Session, P], Steps[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    @wraps(operation)
    async def call(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client._run(operation(client._session, *args, **kwargs))

    return call


def _iterated(
    operation: Callable[Concatenate[Session, P], Listing[T]],
) -> Callable[Concatenate[Client, P], Iterator[T]]:
    @wraps(operation)
    def call(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return client._walk(operation(client._session, *args, **kwargs))

    return call


def _async_iterated(
    operation: Callable[Concatenate[Session, P], Listing[T]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]:
    @wraps(operation)
    def call(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return client._walk(operation(client._session, *args, **kwargs))

    return call


class Client:
    """The service, for programs that wait for each answer. A context manager; may be shared by threads.

        with Client.from_file("details.json") as client:
            for found in client.indicators(Indicator.Type == IndicatorType.SHA1): ...

    `details` say who asks and where; `retries` how often; `seconds` how long any part of an answer may take.
    """

    def __init__(self, details: Details, *, retries: Retries | None = None, seconds: float = SECONDS) -> None:
        self._session = Session(details, retries or Retries())
        self._http = _httpx2().Client(**_options(details, seconds))

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, retries: Retries | None = None, seconds: float = SECONDS
    ) -> Self:
        """By the file that `indicia init --save` wrote. Raises MalformedFile, MissingExtra."""
        return cls(Details.from_file(path), retries=retries, seconds=seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End its connections."""
        self._http.close()

    def _run(self, steps: Steps[T]) -> T:
        outcome: Answer | Lost | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Wait):
                time.sleep(step.seconds)
                outcome = None
            else:
                outcome = self._send(step)

    def _send(self, request: Request) -> Answer | Lost:
        try:
            return _answer(self._http.request(**_parts(request)))
        except _httpx2().HTTPError as error:
            return _lost(error)

    def _walk(self, listing: Listing[T]) -> Iterator[T]:
        url = listing.first
        while url:
            found, url = self._run(listing.page(url))
            yield from found

    definitions = _iterated(operations.definitions)
    definition = _blocking(operations.definition)
    count_definitions = _blocking(operations.count_definitions)
    add_definition = _blocking(operations.add_definition)
    change_definition = _blocking(operations.change_definition)
    delete_definition = _blocking(operations.delete_definition)
    delete_all_definitions = _blocking(operations.delete_all_definitions)
    upload_definitions = _blocking(operations.upload_definitions)
    indicators = _iterated(operations.indicators)
    indicator = _blocking(operations.indicator)
    count_indicators = _blocking(operations.count_indicators)
    add_indicator = _blocking(operations.add_indicator)
    change_indicator = _blocking(operations.change_indicator)
    move_indicator = _blocking(operations.move_indicator)
    delete_indicator = _blocking(operations.delete_indicator)
    delete_indicators = _blocking(operations.delete_indicators)
    delete_all_indicators = _blocking(operations.delete_all_indicators)
    upload_indicators = _blocking(operations.upload_indicators)
    alerts = _iterated(operations.alerts)
    alert = _blocking(operations.alert)
    change_alert = _blocking(operations.change_alert)
    comments = _iterated(operations.comments)
    add_comment = _blocking(operations.add_comment)
    count_alerts = _blocking(operations.count_alerts)
    detections = _iterated(operations.detections)
    count_detections = _blocking(operations.count_detections)
    rows = _iterated(operations.rows)


class AsyncClient:
    """The service, for asyncio: every method of `Client`, awaited or gone through by `async for`."""

    def __init__(self, details: Details, *, retries: Retries | None = None, seconds: float = SECONDS) -> None:
        self._session = Session(details, retries or Retries())
        self._http = _httpx2().AsyncClient(**_options(details, seconds))

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, retries: Retries | None = None, seconds: float = SECONDS
    ) -> Self:
        """By the file that `indicia init --save` wrote. Raises MalformedFile, MissingExtra."""
        return cls(Details.from_file(path), retries=retries, seconds=seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End its connections."""
        await self._http.aclose()

    async def _run(self, steps: Steps[T]) -> T:
        outcome: Answer | Lost | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._send(step)

    async def _send(self, request: Request) -> Answer | Lost:
        try:
            return _answer(await self._http.request(**_parts(request)))
        except _httpx2().HTTPError as error:
            return _lost(error)

    async def _walk(self, listing: Listing[T]) -> AsyncIterator[T]:
        url = listing.first
        while url:
            found, url = await self._run(listing.page(url))
            for item in found:
                yield item

    definitions = _async_iterated(operations.definitions)
    definition = _awaited(operations.definition)
    count_definitions = _awaited(operations.count_definitions)
    add_definition = _awaited(operations.add_definition)
    change_definition = _awaited(operations.change_definition)
    delete_definition = _awaited(operations.delete_definition)
    delete_all_definitions = _awaited(operations.delete_all_definitions)
    upload_definitions = _awaited(operations.upload_definitions)
    indicators = _async_iterated(operations.indicators)
    indicator = _awaited(operations.indicator)
    count_indicators = _awaited(operations.count_indicators)
    add_indicator = _awaited(operations.add_indicator)
    change_indicator = _awaited(operations.change_indicator)
    move_indicator = _awaited(operations.move_indicator)
    delete_indicator = _awaited(operations.delete_indicator)
    delete_indicators = _awaited(operations.delete_indicators)
    delete_all_indicators = _awaited(operations.delete_all_indicators)
    upload_indicators = _awaited(operations.upload_indicators)
    alerts = _async_iterated(operations.alerts)
    alert = _awaited(operations.alert)
    change_alert = _awaited(operations.change_alert)
    comments = _async_iterated(operations.comments)
    add_comment = _awaited(operations.add_comment)
    count_alerts = _awaited(operations.count_alerts)
    detections = _async_iterated(operations.detections)
    count_detections = _awaited(operations.count_detections)
    rows = _async_iterated(operations.rows)


def _httpx2() -> ModuleType:
    try:
        import httpx2  # noqa: PLC0415 - an extra; the rest of the package is there without it
    except ModuleNotFoundError:
        raise MissingExtra("the client needs httpx2: pip install 'indicia[client]'") from None
    return httpx2


def _options(details: Details, seconds: float) -> dict[str, Any]:
    """What both of httpx2's clients are made with. Raises InvalidValue for a `ca_file` that is none."""
    verify: ssl.SSLContext | bool = True
    if details.ca_file:
        try:
            verify = ssl.create_default_context(cafile=details.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidValue(
                f"{details.ca_file} cannot be read as certificates: {error}", target="ca_file"
            ) from None
    return {
        "verify": verify,
        "timeout": seconds,
        # An authority of one's own is one's own service: proxies of the environment are not for it.
        "trust_env": not details.ca_file,
        "limits": _httpx2().Limits(keepalive_expiry=_KEPT_SECONDS),
    }


def _parts(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.url,
        "content": request.body,
        "headers": dict(request.headers),
    }


def _answer(response: httpx2.Response) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content, str(response.url).partition("?")[0])


def _lost(error: Exception) -> Lost:
    """What an error of httpx2 means for the request. A certificate that is not trusted is a ConnectError."""
    known = _httpx2()
    never_made = (known.ConnectError, known.ConnectTimeout, known.PoolTimeout, known.UnsupportedProtocol)
    timed_out = isinstance(error, known.TimeoutException)
    return Lost(not isinstance(error, never_made), timed_out, f"{type(error).__name__}: {error}".rstrip(": "))
