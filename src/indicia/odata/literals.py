"""Integers and times as OData spells them (OData ABNF 4.01: int64Value, dateTimeOffsetValue)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

INT64_MAX = 2**63 - 1
INT64_DIGITS = 19

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}\Z")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?([Zz]|[+-]\d\d:\d\d)?\Z",
    re.ASCII,
)


def integer(text: str) -> int | None:
    """An Edm.Int64 in decimal digits; None for anything else."""
    if not _INTEGER.match(text):
        return None
    value = int(text)
    return value if -INT64_MAX - 1 <= value <= INT64_MAX else None


def time(text: str) -> datetime:
    """An Edm.DateTimeOffset in UTC, cut to microseconds.

    Raises ValueError that says what is wrong: a time without zone is refused, because it would mean
    another moment on another machine.
    """
    found = _TIME.match(text)
    if not found:
        raise ValueError("must be a time such as 2030-01-31T12:00:00Z")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    if zone is None:
        raise ValueError("lacks its time zone: add Z for UTC, or an offset such as +02:00")
    try:
        moment = datetime(
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute),
            int(second or 0),
            int((fraction or "0")[:6].ljust(6, "0")),
            tzinfo=_zone(zone),
        )
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a time that exists") from None


def _zone(text: str) -> timezone:
    if text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[4:6])
    if minutes > 59:
        raise ValueError(text)
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
