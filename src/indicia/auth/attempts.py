"""Failed attempts to get a token, counted by application and address, so that guessing is slow.

Per process and in memory: a restart forgets, and two processes count apart. With secrets of 256 bits that
is enough; the limit is there for the noise of a wrong script, and against guessed refresh tokens and ids.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from indicia.errors import TooManyRequests

FAILURES = 10
"""Failed attempts of one application from one address within a window."""
WINDOW_SECONDS = 60
PLACES = 10_000
"""Pairs of application and address that are counted; the oldest window is forgotten first."""
UNKNOWN = ""
"""Stands for every application that does not exist: guessing ids is one bucket for an address."""


@dataclass(slots=True)
class _Window:
    end: float
    failures: int


class Attempts:
    """Counts failures in fixed windows. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, str], _Window] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._windows)

    def admit(self, client_id: str, address: str) -> None:
        """Raise TooManyRequests, with the seconds to wait, where the pair has failed too often."""
        now = self._clock()
        window = self._windows.get(_place(client_id, address))
        if window and window.failures >= FAILURES and now < window.end:
            wait = max(1, math.ceil(window.end - now))
            raise TooManyRequests(
                f"Too many failed attempts of this client from this address; try again in {wait} seconds.",
                retry_after=wait,
            )

    def failed(self, client_id: str, address: str) -> None:
        """Count a failure; `UNKNOWN` for a client id that does not exist."""
        place, now = _place(client_id, address), self._clock()
        with self._lock:
            window = self._windows.get(place)
            if window and now < window.end:
                window.failures += 1
                return
            self._windows.pop(place, None)
            while len(self._windows) >= PLACES:
                self._windows.pop(next(iter(self._windows)))
            self._windows[place] = _Window(now + WINDOW_SECONDS, 1)

    def succeeded(self, client_id: str, address: str) -> None:
        """Forget what the pair did wrong."""
        with self._lock:
            self._windows.pop(_place(client_id, address), None)


def _place(client_id: str, address: str) -> tuple[str, str]:
    """Who and where; of IPv6 the first 64 bits, because one machine has all addresses below them."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return client_id.lower(), address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return client_id.lower(), str(IPv6Address(int(parsed) >> 64 << 64))
    return client_id.lower(), str(parsed)
