"""What every format yields, and the words that files use for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from indicia.model import Category, DetectionFunction, Indicator, IndicatorType, Severity
from indicia.odata import literals

NOTHING: Mapping[str, str] = MappingProxyType({})


class FeedRow(NamedTuple):
    """One indicator as a file gives it; `value` is not judged yet."""

    line: int
    """1-based line on which it stands."""
    type: IndicatorType
    value: str
    function: DetectionFunction | None = None
    source: str | None = None
    valid_from: datetime | None = None
    expires_at: datetime | None = None
    enabled: bool = True
    definition: Mapping[str, str] = NOTHING
    """Columns about its alert definition, as they stand: those of DEFINITION_COLUMNS that are not empty."""
    warning: str | None = None
    """What its reader should know of how it was found."""


class FeedFault(NamedTuple):
    """A row that cannot be used."""

    line: int
    reason: str


DEFINITION_COLUMNS = (
    "definition",
    "definition_uid",
    "title",
    "severity",
    "category",
    "group_by",
    "window_seconds",
)
"""`definition` is its name."""

EXPORTED = (
    "type",
    "value",
    "function",
    "source",
    "valid_from",
    "expires_at",
    "enabled",
    "definition",
    "title",
    "severity",
    "category",
    "definition_uid",
    "group_by",
    "window_seconds",
)
"""Columns of an export, as the csv and ndjson formats read them."""


def exported(one: Indicator) -> tuple[object, ...]:
    """An indicator under those columns."""
    owner = one.definition
    return (
        one.type,
        one.value,
        one.function,
        one.source,
        one.valid_from,
        one.expires_at,
        one.enabled,
        owner.name,
        owner.title,
        owner.severity,
        owner.category,
        owner.uid,
        owner.group_by,
        owner.window_seconds,
    )


_TYPES: dict[str, IndicatorType] = {
    "md5": IndicatorType.MD5,
    "sha1": IndicatorType.SHA1,
    "sha256": IndicatorType.SHA256,
    **dict.fromkeys(("ipaddress", "ip", "ipv4", "ipv6", "ipv4addr", "ipv6addr"), IndicatorType.IP_ADDRESS),
    **dict.fromkeys(("address", "ipdst", "ipsrc", "cidr", "network", "netblock"), IndicatorType.IP_ADDRESS),
    **dict.fromkeys(("domainname", "domain", "hostname", "host", "fqdn"), IndicatorType.DOMAIN_NAME),
    **dict.fromkeys(("url", "uri", "link"), IndicatorType.URL),
    **dict.fromkeys(("filename", "file"), IndicatorType.FILE_NAME),
}
_FUNCTIONS: dict[str, DetectionFunction] = {
    **{member.value.lower(): member for member in DetectionFunction},
    "startswith": DetectionFunction.START_WITH,
    "endswith": DetectionFunction.END_WITH,
}
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def squeezed(word: str) -> str:
    """A word without letter case, blanks, `_` and `-`: `Expires At`, `expires_at` and `ExpiresAt` are one."""
    return word.strip().lower().replace("_", "").replace("-", "").replace(" ", "")


@lru_cache(maxsize=256)
def type_of(word: str) -> IndicatorType:
    """A type by its name in any letter case, or by another usual one (`ip`, `Cidr`, `domain`). ValueError."""
    found = _TYPES.get(squeezed(word))
    if found is None:
        raise ValueError(f"{_shown(word)} is no type; known: {', '.join(IndicatorType)}, Cidr")
    return found


@lru_cache(maxsize=256)
def function_of(word: str) -> DetectionFunction:
    """A detection function by its name in any letter case. ValueError."""
    found = _FUNCTIONS.get(squeezed(word))
    if found is None:
        raise ValueError(f"{_shown(word)} is no detection function; known: {', '.join(DetectionFunction)}")
    return found


def severity_of(word: str) -> Severity:
    """A severity in any letter case. ValueError."""
    for member in Severity:
        if member.value.lower() == squeezed(word):
            return member
    raise ValueError(f"{_shown(word)} is no severity; known: {', '.join(Severity)}")


def category_of(word: str) -> Category:
    """A category in any letter case. ValueError."""
    for member in Category:
        if member.value.lower() == squeezed(word):
            return member
    raise ValueError(f"{_shown(word)} is no category; known: {', '.join(Category)}")


def boolean_of(word: str) -> bool:
    """`true`, `false`, `yes`, `no`, `1`, `0`. ValueError."""
    found = _BOOLEANS.get(word.strip().lower())
    if found is None:
        raise ValueError(f"{_shown(word)} must be true or false")
    return found


def time_of(word: str) -> datetime:
    """A time with its zone, or a date (then its midnight, UTC). ValueError."""
    text = word.strip()
    if len(text) == 10:
        try:
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        except ValueError:
            pass
    if len(text) > 10 and text[10] == " ":
        text = f"{text[:10]}T{text[11:]}"
    try:
        return literals.time(text)
    except ValueError as error:
        raise ValueError(f"{_shown(word)} {error}") from None


def _shown(word: str) -> str:
    return repr(word if len(word) <= 60 else word[:57] + "...")
