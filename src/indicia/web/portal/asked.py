"""What a URL of the queue asks for: filters, order and place, read and written again.

Without any query it is what is open; what is named by other parts of the portal (`?machine=…`) is of any
status unless it says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from indicia.errors import InvalidValue
from indicia.model import ASSIGNED_TO_LIMIT, MACHINE_LIMIT, VALUE_LIMIT, AlertStatus, Severity
from indicia.store import AlertFilter, Sort

PATH = "/portal/alerts"
OPEN, ALL = "open", "all"
ME, NOBODY = "me", "nobody"
STATUSES: Mapping[str, tuple[AlertStatus, ...]] = {
    OPEN: (AlertStatus.NEW, AlertStatus.IN_PROGRESS),
    ALL: (),
    **{str(one): (one,) for one in AlertStatus},
}
_TEXTS = {"machine": MACHINE_LIMIT, "value": VALUE_LIMIT, "assigned": ASSIGNED_TO_LIMIT, "q": 200}
_INT64 = 1 << 63
_DAY = timedelta(days=1)
Word = TypeVar("Word", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Asked:
    """A view of the queue."""

    wanted: AlertFilter
    sort: Sort
    after: tuple[int | None, int] | None
    given: tuple[tuple[str, str], ...]
    """Filters and order as the URL has them, without the place."""

    def url(self, path: str = PATH, **changes: str) -> str:
        """The same view with other filters, at its beginning; an empty one leaves a filter out."""
        pairs = [(name, value) for name, value in self.given if name not in changes]
        pairs += [(name, value) for name, value in changes.items() if value]
        return f"{path}?{urlencode(pairs)}" if pairs else path

    def one(self, name: str) -> str:
        """What the URL has for a filter, for its field."""
        return next((value for key, value in self.given if key == name), "")

    @property
    def narrowed(self) -> bool:
        """Whether something beside the status is filtered."""
        return any(name not in ("status", "sort") for name, _ in self.given)


def read(query: QueryParams, me: str) -> Asked:
    """The view of a query string; `me` is who asks. InvalidValue names the part that is wrong."""
    given = tuple(
        (name, value.strip())
        for name, value in query.multi_items()
        if name in _READ and value.strip() and name != "after"
    )
    if not given and "status" not in query:
        given = (("status", OPEN),)
    values = dict(given)
    status = values.get("status", ALL)
    if status not in STATUSES:
        raise InvalidValue(f"{status[:50]!r} is none of {', '.join(STATUSES)}", target="status")
    for name, limit in _TEXTS.items():
        if len(values.get(name, "")) > limit:
            raise InvalidValue(f"this filter has at most {limit} characters", target=name)
    start, end = _time(values.get("from", ""), "from"), _time(values.get("to", ""), "to", ends=True)
    opened = [_time(values.get(name, ""), name, ends=name == "opened-to") for name in _OPENED]
    wanted = AlertFilter(
        status=STATUSES[status],
        severity=tuple(_word(Severity, value, "severity") for name, value in given if name == "severity"),
        definition=_definition(values.get("definition", "")),
        machine=values.get("machine", ""),
        value=values.get("value", ""),
        assigned=_assigned(values.get("assigned"), me),
        seen_from=start,
        seen_to=end,
        opened_from=opened[0],
        opened_to=opened[1],
        text=values.get("q", ""),
    )
    sort = _word(Sort, values.get("sort", Sort.NEWEST), "sort")
    return Asked(wanted, sort, _place(query.get("after", "")), given)


_OPENED = ("opened-from", "opened-to")
_READ = frozenset(("status", "severity", "definition", "from", "to", "sort", "after", *_OPENED, *_TEXTS))


def place(after: tuple[int | None, int] | None) -> str:
    """A place as the URL has it: `17.204`; `.204` without a sort key."""
    return "" if after is None else f"{'' if after[0] is None else after[0]}.{after[1]}"


def numbers(texts: Sequence[str]) -> list[int]:
    """Numbers of alerts, each once; what is none is left out."""
    found = [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 19]
    return list(dict.fromkeys(found))


def _place(text: str) -> tuple[int | None, int] | None:
    if not text:
        return None
    key, _, number = text.partition(".")
    try:
        found = (int(key) if key else None, int(number))
    except ValueError:
        found = (None, _INT64)
    if any(abs(part) >= _INT64 for part in found if part is not None):
        raise InvalidValue("there is no such place in the list; begin with its first page", target="after")
    return found


def _word(words: type[Word], text: str, name: str) -> Word:
    try:
        return words(text)
    except ValueError:
        known = ", ".join(words)
        raise InvalidValue(f"{text[:50]!r} is none of {known}", target=name) from None


def _definition(text: str) -> int | None:
    if not text:
        return None
    found = numbers([text])
    if not found:
        raise InvalidValue(f"{text[:50]!r} is no number of an alert definition", target="definition")
    return found[0]


def _assigned(text: str | None, me: str) -> str | None:
    return {None: None, ME: me, NOBODY: ""}.get(text, text)


def _time(text: str, name: str, *, ends: bool = False) -> datetime | None:
    """A day or a time, in UTC unless it says otherwise; the end of a span holds its whole day."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        if len(text) == len("2026-11-25") and ends:
            found += _DAY
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidValue(
            f"{text[:50]!r} is neither a day, as 2026-11-25, nor a time, as 2026-11-25T08:31", target=name
        ) from None
    return found
