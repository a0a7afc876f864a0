"""The filters of indicators, as URLs and forms have them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from indicia.errors import InvalidValue
from indicia.model import VALUE_LIMIT, DetectionFunction, IndicatorType
from indicia.store import Chosen, Expiry, Place
from indicia.web.portal.intel import fields

NAMES = ("value", "exact", "type", "function", "definition", "enabled", "expiry", "by", "since", "until")
_BY_LIMIT = 200


class Asked(NamedTuple):
    """What was asked for, as it was written, and what that means."""

    text: Mapping[str, str]
    """Those that are not empty."""
    chosen: Chosen

    def url(self, path: str, **more: str) -> str:
        """A path with these filters."""
        pairs = urlencode({**self.text, **more})
        return f"{path}?{pairs}" if pairs else path


def read(one: Callable[[str], str]) -> Asked:
    """By a function that gives the text of a name. InvalidValue with the name as target."""
    text = {name: found for name in NAMES if (found := one(name).strip())}
    value = text.get("value", "")
    if len(value) > VALUE_LIMIT:
        raise InvalidValue(f"has at most {VALUE_LIMIT:,} characters", target="value")
    if len(text.get("by", "")) > _BY_LIMIT:
        raise InvalidValue(f"has at most {_BY_LIMIT} characters", target="by")
    chosen = Chosen(
        type=_member(IndicatorType, text, "type"),
        function=_member(DetectionFunction, text, "function"),
        definition_id=_number(text, "definition"),
        enabled=_yes(text, "enabled"),
        expiry=_member(Expiry, text, "expiry"),
        value=value,
        exact="exact" in text,
        created_by=text.get("by", "").replace("\0", ""),
        since=fields.time_of(text.get("since", ""), "since"),
        until=fields.time_of(text.get("until", ""), "until"),
    )
    return Asked(text, chosen)


def place(text: str, *sizes: int) -> Place | None:
    """The place that a page goes on from, of one of so many keys; InvalidValue for what is none."""
    if not text:
        return None
    try:
        found = json.loads(text) if len(text) <= 4000 else None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list) and len(found) in (sizes or (1, 2)) and all(_is_key(one) for one in found):
        return tuple(found)
    raise InvalidValue("is no place in the list; begin again without it", target="after")


def _is_key(one: object) -> bool:
    if isinstance(one, str):
        return one.encode("utf-8", "replace").decode() == one and "\0" not in one
    return type(one) is int and -(1 << 63) <= one < 1 << 63


def _member(kind: Any, text: Mapping[str, str], name: str) -> Any:
    if name not in text:
        return None
    try:
        return kind(text[name])
    except ValueError:
        raise InvalidValue(f"must be one of {', '.join(kind)}", target=name) from None


def _number(text: Mapping[str, str], name: str) -> int | None:
    digits = text.get(name)
    if digits is None:
        return None
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        raise InvalidValue("must be the number of an alert definition", target=name)
    return int(digits)


def _yes(text: Mapping[str, str], name: str) -> bool | None:
    if name not in text:
        return None
    if text[name] not in ("yes", "no"):
        raise InvalidValue("must be yes or no", target=name)
    return text[name] == "yes"
