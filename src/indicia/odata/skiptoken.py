"""The token of a next link: the sort keys of the last entity of a page, opaque to clients.

It is not signed, because it grants nothing: it says where to go on in a list that the caller may read
anyway, and a made-up one is at worst another place of it. It is checked as any input.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from indicia.errors import InvalidValue
from indicia.odata.functions import Type
from indicia.odata.literals import INT64_MAX
from indicia.odata.tree import SORTED_TEXT, Order, Value

LIMIT = 16_384
"""Characters of a token: eight texts of 256 characters at their longest."""
VERSION = 2


def write(last: Sequence[Value]) -> str:
    """The token of sort keys."""
    text = json.dumps([VERSION, *last], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def read(text: str, order: Sequence[Order]) -> tuple[Value, ...]:
    """The sort keys of a token, for that order (empty: by id). Raises InvalidValue for any other text."""
    checks = [_CHECKS.get(item.key.kind, _integer) for item in order] or [_integer]
    values = _decoded(text)
    if values is None or len(values) != len(checks) + 1 or values[0] != VERSION:
        _refuse()
    keys = values[1:]
    if not all(value is None or check(value) for check, value in zip(checks, keys, strict=True)):
        _refuse()
    if keys[-1] is None:
        _refuse()
    return tuple(keys)


def _decoded(text: str) -> list[Any] | None:
    if len(text) > LIMIT:
        return None
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        values = json.loads(raw.decode(), parse_constant=_no_constant)
    except (ValueError, binascii.Error, RecursionError):
        return None
    return values if isinstance(values, list) else None


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _refuse() -> NoReturn:
    raise InvalidValue("is not a token that this service made: follow @odata.nextLink", target="$skiptoken")


def _integer(value: object) -> bool:
    return type(value) is int and -INT64_MAX - 1 <= value <= INT64_MAX


def _number(value: object) -> bool:
    return type(value) is float or _integer(value)


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= SORTED_TEXT and "\0" not in value and _encodable(value)


def _encodable(text: str) -> bool:
    """Whether a text has no half of a surrogate pair, which JSON can spell and UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


_CHECKS: Mapping[Type, Callable[[object], bool]] = {
    Type.BOOLEAN: lambda value: isinstance(value, bool),
    Type.DOUBLE: _number,
    Type.STRING: _text,
}
