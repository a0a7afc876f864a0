"""Collections, read page by page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from indicia.client.session import Session
from indicia.client.wire import Steps
from indicia.errors import BadAnswer, InvalidValue

T = TypeVar("T")
LAST = ""


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A collection that has been asked for; nothing is sent before the first page is wanted."""

    session: Session
    first: str
    """The URL of the first page."""
    read: Callable[[Any], T]

    def page(self, url: str) -> Steps[tuple[list[T], str]]:
        """The entities of one page, and the URL of the next; LAST after the last one."""
        content = yield from self.session.call("GET", url)
        found = content.get("value") if isinstance(content, dict) else None
        following = content.get("@odata.nextLink", LAST) if isinstance(content, dict) else LAST
        if not isinstance(found, list) or not isinstance(following, str):
            raise BadAnswer(f"the answer of {url[:200]} is not a page of entities")
        return [self.read(raw) for raw in found], following


def bounded(limit: int | None) -> dict[str, str]:
    """$top. Raises InvalidValue for less than 0."""
    if limit is None:
        return {}
    if limit < 0:
        raise InvalidValue("must be 0 or more", target="limit")
    return {"$top": str(limit)}
