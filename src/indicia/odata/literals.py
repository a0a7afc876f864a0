"""Integers, times, dates and durations as OData spells them (OData ABNF 4.01)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as time_of_day_of

INT64_MAX = 2**63 - 1

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}\Z")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?([Zz]|[+-]\d\d:\d\d)?\Z",
    re.ASCII,
)
_TIME_OF_DAY = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?\Z", re.ASCII)
_DURATION = re.compile(
    r"([+-])?P(?:(\d{1,7})D)?(?:T(?=\d)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})(?:\.(\d{1,12}))?S)?)?\Z",
    re.ASCII | re.IGNORECASE,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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
            _fraction(fraction),
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


def micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def days(text: str) -> int:
    """An Edm.Date as days since 1970. Raises ValueError where there is no such day."""
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH.toordinal()
    except ValueError:
        raise ValueError("is not a date that exists") from None


def time_of_day(text: str) -> int:
    """An Edm.TimeOfDay as microseconds since midnight. Raises ValueError where there is no such time."""
    found = _TIME_OF_DAY.match(text)
    try:
        if found is None:
            raise ValueError(text)
        hour, minute, second, fraction = found.groups()
        moment = time_of_day_of(int(hour), int(minute), int(second or 0), _fraction(fraction))
    except ValueError:
        raise ValueError("is not a time of day that exists") from None
    return ((moment.hour * 60 + moment.minute) * 60 + moment.second) * 1_000_000 + moment.microsecond


def duration(text: str) -> int:
    """An Edm.Duration such as `P1DT12H` in microseconds. Raises ValueError."""
    found = _DURATION.match(text)
    if found is None or not any(found.groups()[1:]):
        raise ValueError("must be a duration such as P1D, PT12H or P1DT2H30M0.5S")
    sign, in_days, hours, minutes, seconds, fraction = found.groups()
    whole = ((int(in_days or 0) * 24 + int(hours or 0)) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    value = whole * 1_000_000 + _fraction(fraction)
    return -value if sign == "-" else value


def _fraction(digits: str | None) -> int:
    """Digits after the point, cut to microseconds."""
    return int((digits or "0")[:6].ljust(6, "0"))
