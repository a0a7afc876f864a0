"""What an operation and a transport say to each other.

An operation is a generator: it yields a Request, or a Wait, and is sent the Answer, or that it was Lost;
what it returns is its result. It opens no socket and never sleeps, so the blocking and the asynchronous
client run the very same one.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """What to send."""

    method: str
    url: str
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    repeatable: bool = False
    """Whether doing it twice is the same as doing it once."""


@dataclass(frozen=True, slots=True)
class Wait:
    """How long to wait before the next step."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer."""

    sent: bool
    """False where no connection was made, so that nothing can have been done."""
    timed_out: bool
    reason: str


Steps: TypeAlias = Generator[Request | Wait, Answer | Lost | None, T]
