"""Failed attempts to get a token, counted by application and address, so that guessing is slow.

In memory, which the processes of one service share (`auth.shared`), so that a restart forgets; services of
several hosts count in their store. With secrets of 256 bits that is enough; the limit is there for the noise
of a wrong script, and against guessed refresh tokens and ids.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from indicia.auth.memory import mark_of
from indicia.auth.shared import VALUE, Counts, Kept, Shared
from indicia.errors import TooManyRequests

FAILURES = 10
"""Failed attempts of one application from one address within a window."""
WINDOW_SECONDS = 60
PLACES = 10_000
"""Pairs of application and address that are counted; the oldest window is forgotten first."""
UNKNOWN = ""
"""Stands for every application that does not exist: guessing ids is one bucket for an address."""


class Attempts:
    """Counts failures in fixed windows. Safe to use from several threads and forked processes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, counts: Counts | None = None) -> None:
        """`clock`: of all that share the `counts`."""
        self._clock = clock
        # The rank of a count is the end of its window, so that the oldest window is forgotten first.
        self._counts = Shared(PLACES) if counts is None else counts

    def __len__(self) -> int:
        return len(self._counts)

    def admit(self, client_id: str, address: str, most: int = FAILURES) -> None:
        """Raise TooManyRequests, with the seconds to wait, where the pair has failed `most` times."""
        now, kept = self._clock(), self._counts.find(_mark(client_id, address))
        if kept and _number(kept) >= most and now < kept.rank:
            wait = max(1, math.ceil(kept.rank - now))
            raise TooManyRequests(
                f"Too many failed attempts of this client from this address; try again in {wait} seconds.",
                retry_after=wait,
            )

    def failed(self, client_id: str, address: str) -> None:
        """Count a failure; `UNKNOWN` for a client id that does not exist."""
        now = self._clock()

        def more(kept: Kept | None) -> Kept:
            if kept and now < kept.rank:
                return Kept((_number(kept) + 1).to_bytes(VALUE), kept.rank)
            return Kept((1).to_bytes(VALUE), now + WINDOW_SECONDS)

        self._counts.change(_mark(client_id, address), more)

    def succeeded(self, client_id: str, address: str) -> None:
        """Forget what the pair did wrong."""
        self._counts.change(_mark(client_id, address), lambda _kept: None)


def _number(kept: Kept) -> int:
    return int.from_bytes(kept.value)


def _mark(client_id: str, address: str) -> bytes:
    return mark_of("\0".join(_place(client_id, address)))


def _place(client_id: str, address: str) -> tuple[str, str]:
    """Who and where; of IPv6 the first 64 bits, because one machine has all addresses below them."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return client_id.lower(), address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return client_id.lower(), str(IPv6Address(int(parsed) >> 64 << 64))
    return client_id.lower(), str(parsed)
