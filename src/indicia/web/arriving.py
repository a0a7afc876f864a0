"""How bodies of events come in: in pieces, at a least rate, within a share of what there is room for.

A client is waited for without a thread. The next piece is received while the one before is worked on, and no
further, so that memory stays bounded and a fast sender waits. Who sends nothing for SILENCE seconds, or less
than LEAST bytes a second over a minute, is answered 408: what was recorded stays, and sending it again has no
second effect. What a tenant holds is never more than what is free, so that no tenant shuts out another one.
"""

from __future__ import annotations

import asyncio
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import zstandard
from starlette.requests import ClientDisconnect, Request

from indicia.errors import InputError, TooLarge, TooManyRequests, TooSlow, WrongMediaType
from indicia.telemetry import inflate

PIECE = 1 << 20
"""Bytes that are received, or decompressed, at once."""
SILENCE = 30.0
"""Seconds without a byte."""
MINUTE = 60.0
"""Seconds over which a rate is taken."""
LEAST = 1000
"""Bytes a second."""
FREE = 64 << 20
"""Bytes that any body may expand to, within the limit."""
RATIO = 500
"""Beyond FREE: bytes that a compressed byte may expand to. Logs have 10 to 40, repeated ones some hundred."""
WINDOW = 8 << 20
"""Bytes that a zstd frame of a body may look back (RFC 9659)."""
RETRY_SECONDS = 1
_FORMS = {"": None, "identity": None, "gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}


class Room:
    """Something of which there is so much, for all tenants together. For one thread."""

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._held: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """By all of them."""
        return self._held.total()

    def take(self, tenant: str, amount: int) -> None:
        """Raise TooManyRequests where the tenant would hold more than what is left free then."""
        if self._held[tenant] + amount > self._total - self.used - amount:
            raise TooManyRequests(
                f"{self._what} of your tenant are waiting; send them again", retry_after=RETRY_SECONDS
            )
        self._held[tenant] += amount

    def give(self, tenant: str, amount: int) -> None:
        """Back what was taken."""
        self._held[tenant] -= amount
        if not self._held[tenant]:
            del self._held[tenant]


class Holding:
    """What one request holds."""

    def __init__(self, room: Room, tenant: str) -> None:
        self._room, self._tenant = room, tenant
        self._amount = 0

    def hold(self, amount: int) -> None:
        """So much from now on. Raises TooManyRequests."""
        if amount > self._amount:
            self._room.take(self._tenant, amount - self._amount)
        else:
            self._room.give(self._tenant, self._amount - amount)
        self._amount = amount


@contextmanager
def holding(room: Room, tenant: str, amount: int) -> Iterator[Holding]:
    """A part of a room, until the end of the block. Raises TooManyRequests."""
    held = Holding(room, tenant)
    held.hold(amount)
    try:
        yield held
    finally:
        held.hold(0)


class Arriving:
    """The body of a request, in pieces."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._stream = request.stream()
        self._waited, self._came = 0.0, 0
        self._ahead: asyncio.Task[tuple[bytes, bool]] | None = None
        self._leaving: asyncio.Task[object] | None = None

    async def next(self) -> tuple[bytes, bool]:
        """The next piece, and whether it is the last one. Raises TooSlow, ClientDisconnect."""
        piece, last = await (self._ahead or self._piece())
        if last:
            self._ahead, self._leaving = None, asyncio.create_task(self._left())
        else:
            self._ahead = asyncio.create_task(self._piece())
        return piece, last

    def must_be_wanted(self) -> None:
        """Raise what ends the request already: the client has left, or its next piece does not come."""
        if self._leaving is not None and self._leaving.done():
            raise ClientDisconnect
        if self._ahead is not None and self._ahead.done() and (fault := self._ahead.exception()):
            raise fault

    def close(self) -> None:
        """Wait for nothing more."""
        for task in (self._ahead, self._leaving):
            if task is not None and not task.cancel() and not task.cancelled():
                task.exception()  # it was seen

    async def _left(self) -> None:
        """Until the client is no more there."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass

    async def _piece(self) -> tuple[bytes, bool]:
        parts, size = list[bytes](), 0
        while size < PIECE:
            part = await self._part()
            if part is None:
                return b"".join(parts), True
            parts.append(part)
            size += len(part)
        return b"".join(parts), False

    async def _part(self) -> bytes | None:
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            async with asyncio.timeout(SILENCE):
                part = await anext(self._stream, None)
        except TimeoutError:
            raise _too_slow(f"nothing came for {SILENCE:.0f} seconds") from None
        self._waited += clock() - begun
        self._came += len(part or b"")
        if self._waited > MINUTE:
            if self._came < LEAST * MINUTE:
                raise _too_slow(f"less than {LEAST} bytes a second came for {MINUTE:.0f} seconds")
            self._waited, self._came = 0.0, 0
        return part


def _too_slow(what: str) -> TooSlow:
    return TooSlow(f"{what}; send the events again in smaller parts, what was recorded is not recorded twice")


def form_of(request: Request) -> str | None:
    """How a body is compressed; WrongMediaType for a form that is not read."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in _FORMS:
        raise WrongMediaType(f"send gzip, zstd or nothing, not {encoding[:40]}", target="Content-Encoding")
    return _FORMS[encoding]


def announced(request: Request) -> int | None:
    """How many bytes a body is said to have."""
    given = request.headers.get("content-length", "")
    if not given.isdecimal():
        return None
    return int(given) if len(given) <= 18 else 1 << 62


def must_fit(request: Request, limit: int) -> None:
    """Raise TooLarge where a body is announced that is longer than the limit."""
    size = announced(request)
    if size is not None and size > limit:
        raise _too_large(limit)


class Expanded:
    """A body that comes in pieces, decompressed. Memory: a piece as it came, one as it becomes, a window."""

    def __init__(self, form: str | None, limit: int) -> None:
        self._form, self._limit = form, limit
        self._pushed = inflate.Pushed(form, window=WINDOW) if form else None
        self._came = self._given = 0

    def take(self, data: bytes, last: bool) -> tuple[bytes, bool]:
        """What that gives, and whether there is more of it: then nothing is to be given next time.

        `last`: nothing comes behind it. Raises TooLarge, InputError for damage.
        """
        self._came += len(data)
        if self._came > self._limit:
            raise _too_large(self._limit)
        if self._pushed is None:
            return data, False
        try:
            found, more = self._some(self._pushed, data)
            if last and not more:
                self._pushed.end()
        except (OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError) as error:
            raise InputError(f"damaged {self._form} data: {error}", target="Content-Encoding") from None
        return found, more

    def _some(self, pushed: inflate.Pushed, data: bytes) -> tuple[bytes, bool]:
        pushed.put(data)
        found = io.BytesIO()
        while found.tell() < PIECE:
            piece = pushed.take()
            if not piece:
                return found.getvalue(), False
            found.write(piece)
            self._given += len(piece)
            if self._given > self._limit:
                raise _too_large(self._limit)
            if self._given > max(FREE, RATIO * self._came):
                raise TooLarge(
                    f"the events expand to more than {RATIO} times their compressed size, as no log does;"
                    " send them without compression"
                )
        return found.getvalue(), True


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the events are larger than {limit} bytes; send them in smaller parts")
