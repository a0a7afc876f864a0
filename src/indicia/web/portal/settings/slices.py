"""A part of a short list that the store gives whole: as many rows as one page shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
AT_ONCE = 50


class Slice(NamedTuple, Generic[T]):
    """Rows of a page, and where the next one begins; None on the last page."""

    rows: Sequence[T]
    mark: str | None


def behind(found: Sequence[T], key: Callable[[T], object], mark: str) -> Slice[T]:
    """The rows behind the one whose key is the mark; from the first one where there is none such."""
    places = [place for place, one in enumerate(found, 1) if str(key(one)) == mark]
    begin = places[0] if places else 0
    rows = found[begin : begin + AT_ONCE]
    return Slice(rows, str(key(rows[-1])) if begin + AT_ONCE < len(found) else None)
