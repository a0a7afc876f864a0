"""The query string: what a request asks beside its path (OData 4.01 Part 2, 5).

First form: `$top`, `$count` and the opaque `$skiptoken` of our own next links. The other options of the
standard are named with 501 until they are done; an option that the standard does not know gets 400, so
that a typing error is never ignored.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from indicia.errors import InputError, InvalidValue, NotSupported
from indicia.odata import literals

QUERY_LIMIT = 16_384
PAGE_LIMIT = 1000
"""Entities of one page; the rest follows by @odata.nextLink."""
LIST_OPTIONS = frozenset({"$top", "$count", "$skiptoken"})
STANDARD = LIST_OPTIONS | {
    "$apply",
    "$compute",
    "$deltatoken",
    "$expand",
    "$filter",
    "$format",
    "$id",
    "$index",
    "$levels",
    "$orderby",
    "$schemaversion",
    "$search",
    "$select",
    "$skip",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What a list was asked for."""

    top: int | None = None
    """At most so many entities over all pages; None for all."""
    count: bool = False
    after: int = 0
    """Id of the last entity of the page before; 0 for the first page."""

    @property
    def page(self) -> int:
        """Entities on this page."""
        return PAGE_LIMIT if self.top is None else min(self.top, PAGE_LIMIT)


def parse(query: str, allowed: frozenset[str]) -> Options:
    """The options of a query string, still percent-encoded.

    Raises NotSupported for an option of the standard that is not done, InvalidValue (target: the option)
    for a bad value, one given twice, one that does not apply here, and one that does not exist.
    """
    given: dict[str, str] = {}
    for name, value in _pairs(query):
        _admit(name, allowed)
        if name in given:
            raise InvalidValue(f"the query option {name} is given twice", target=name)
        given[name] = value
    return Options(
        top=_top(given["$top"]) if "$top" in given else None,
        count=_count(given.get("$count", "false")),
        after=_after(given["$skiptoken"]) if "$skiptoken" in given else 0,
    )


def none(query: str) -> None:
    """For requests that take no option at all."""
    parse(query, frozenset())


def refuse_any(query: str) -> None:
    """For calls that delete many: an option that was meant to narrow them must not be passed over."""
    if query:
        raise InputError(
            "this call deletes everything it names and takes no query string; nothing was deleted"
        )


def next_query(options: Options, returned: int, last: int) -> str | None:
    """The query string of the following page; None where $top is used up."""
    parts: dict[str, str] = {}
    if options.top is not None:
        if options.top <= returned:
            return None
        parts["$top"] = str(options.top - returned)
    if options.count:
        parts["$count"] = "true"
    parts["$skiptoken"] = base64.urlsafe_b64encode(f"1:{last}".encode()).rstrip(b"=").decode()
    return urlencode(parts, safe="$")


def _pairs(query: str) -> list[tuple[str, str]]:
    if len(query) > QUERY_LIMIT:
        raise InputError(f"the query string is longer than {QUERY_LIMIT} characters")
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except UnicodeDecodeError:
        raise InputError("the query string is not UTF-8 under its percent-encoding") from None
    except ValueError:
        raise InputError("the query string has more than 100 options") from None


def _admit(name: str, allowed: frozenset[str]) -> None:
    if name in allowed:
        return
    if name in LIST_OPTIONS:
        raise InvalidValue(f"the query option {name} does not apply here", target=name)
    if name in STANDARD:
        raise NotSupported(f"the query option {name} is not supported by this service yet", target=name)
    hint = f"; did you mean ${name}?" if f"${name}" in STANDARD else ""
    raise InvalidValue(f"there is no query option {name[:80]!r}{hint}", target=name[:80])


def _top(text: str) -> int:
    value = literals.integer(text)
    if value is None or value < 0:
        raise InvalidValue(f"must be an integer of 0 or more, not {text[:40]!r}", target="$top")
    return value


def _count(text: str) -> bool:
    if text not in ("true", "false"):
        raise InvalidValue(f"must be true or false, not {text[:40]!r}", target="$count")
    return text == "true"


def _after(text: str) -> int:
    try:
        number, last = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii").split(":")
        value = literals.integer(last) if number == "1" else None
    except (ValueError, binascii.Error):
        value = None
    if value is None or value < 0:
        raise InvalidValue(
            "is not a token that this service made: follow @odata.nextLink", target="$skiptoken"
        )
    return value
