"""Times as logs write them: ISO 8601 in its many spellings, Apache's, CEF's, and numbers since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(
    r"\s*(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,12}))?)?"
    r"\s*(Z|UTC|[+-]\d\d(?::?\d\d)?)?\s*",
    re.IGNORECASE | re.ASCII,
)
_APACHE = re.compile(r"\[?(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})\]?", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_FIRST = re.compile(
    r"([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d{4}) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?"
    r"(?: (Z|UTC|GMT|[+-]\d\d:?\d\d))?",
    re.ASCII,
)
_NUMBER = re.compile(r"-?\d{1,20}(?:\.\d{1,12})?", re.ASCII)


def micros(value: object) -> int | None:
    """Microseconds since 1970 of a number, by its size: seconds, milli-, micro- or nanoseconds.

    From 10^11 on they are milliseconds, from 10^14 and 10^17 on the smaller ones. Rounded to the nearest,
    ties to even. None where it is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = repr(value) if not isinstance(value, str) else value.strip()
    number = Decimal(text) if not isinstance(value, str) or _NUMBER.fullmatch(text) else None
    if number is None or not number.is_finite():
        return None
    scale = 6
    for bound in (11, 14, 17):
        scale -= 3 * (abs(number) >= Decimal(10) ** bound)
    return int((number.scaleb(scale)).to_integral_value(ROUND_HALF_EVEN))


def parse(value: object, zone: tzinfo = UTC) -> datetime | None:
    """The moment in UTC, or None where the value cannot be read as a time.

    `zone` is that of a text which names none.
    """
    number = micros(value)
    try:
        if number is not None:
            return EPOCH + timedelta(microseconds=number)
        if not isinstance(value, str):
            return None
        found = _iso(value, zone) or _apache(value) or _month_first(value, zone)
        return None if found is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def has_zone(value: str) -> bool:
    """Whether an ISO text names its zone."""
    found = _ISO.fullmatch(value)
    return found is not None and found[8] is not None


def _iso(value: str, zone: tzinfo) -> datetime | None:
    found = _ISO.fullmatch(value)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[n] or 0) for n in range(1, 7))
    fraction = int((found[7] or "0")[:6].ljust(6, "0"))
    leap = second == 60
    moment = datetime(year, month, day, hour, minute, 59 if leap else second, fraction, _zone(found[8], zone))
    return moment + timedelta(seconds=1) if leap else moment


def _zone(text: str | None, otherwise: tzinfo) -> tzinfo:
    if text is None:
        return otherwise
    if text.upper() in {"Z", "UTC"}:
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _apache(value: str) -> datetime | None:
    found = _APACHE.fullmatch(value)
    if found is None or found[2] not in _MONTHS:
        return None
    month = _MONTHS.index(found[2]) + 1
    return datetime(
        int(found[3]),
        month,
        int(found[1]),
        int(found[4]),
        int(found[5]),
        int(found[6]),
        tzinfo=_zone(found[7], UTC),
    )


def _month_first(value: str, zone: tzinfo) -> datetime | None:
    """`Mar 12 2024 09:00:00.123 UTC`, as CEF writes it; without a year it is no moment."""
    found = _MONTH_FIRST.fullmatch(value.strip())
    if found is None or found[1] not in _MONTHS:
        return None
    month, fraction = _MONTHS.index(found[1]) + 1, int((found[7] or "0")[:6].ljust(6, "0"))
    day, year, hour, minute, second = (int(found[n]) for n in range(2, 7))
    named = "UTC" if found[8] == "GMT" else found[8]
    return datetime(year, month, day, hour, minute, second, fraction, _zone(named, zone))


def to_second(value: object, *, utc: bool) -> str:
    """A time as ids of events have it, cut to the second: `2020-08-07T14:32:07Z`.

    In UTC with `Z` where the text names its zone or `utc` says that it is UTC; a local time stays as
    written, without `Z`; what cannot be read stays whole. Empty where there is nothing.
    """
    if value is None or value == "":
        return ""
    text = value if isinstance(value, str) else str(value)
    moment = parse(text)
    if moment is None or _ISO.fullmatch(text) is None:
        return text
    return f"{moment:%Y-%m-%dT%H:%M:%S}{'Z' if utc or has_zone(text) else ''}"
