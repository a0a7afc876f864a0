"""Ids of events, detections and alerts: by content, never by place. Permanent from the first release on.

`digest` is the one hash. What goes into it, in which order, is told at each function; the field lists of
the event families are data of the mapping files (`telemetry/mappings`), their shapes are in
`telemetry/families.py`. Golden vectors in `tests/test_identity.py` hold all of it in place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_SIGNED_MINIMUM = -(2**63)
_UNSIGNED_LIMIT = 2**64
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")

_INNER = dict, list
"""What has leaves below it."""

Part = str | bytes | None


def digest(parts: Iterable[Part]) -> str:
    """The first 32 hex digits of SHA-256 over the parts, each with its length before it.

    Each part is UTF-8 with its length in bytes as a 32-bit big-endian number; an absent part is empty.
    Bytes are taken as they are.
    """
    pieces: list[bytes] = []
    for part in parts:
        data = encoded(part) if isinstance(part, str) else part or b""
        pieces += len(data).to_bytes(4, "big"), data
    return sha256(b"".join(pieces)).hexdigest()[:32]


def encoded(text: str) -> bytes:
    """The text as UTF-8, `clean`."""
    try:
        return text.encode()
    except UnicodeEncodeError:  # unpaired surrogates, the only characters that have no UTF-8
        return clean(text).encode()


def clean(text: str) -> str:
    """The text with unpaired surrogates as U+FFFD, as WHATWG decoders give them."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def lower(text: str) -> str:
    """A to Z in lower case and nothing else: of names of machines and channels."""
    return text.translate(_LOWER)


def text(leaf: object) -> str:
    """The text of a leaf of an event; empty where identity calls it absent.

    A string as it is; `true`, `false`; an integer of up to 64 bits in its digits; any other number as the
    nearest double in the fewest digits that read back the same, without exponent or closing zeros.
    """
    if isinstance(leaf, str):
        return leaf if leaf.isascii() else clean(leaf)
    if leaf is True:
        return "true"
    if leaf is False:
        return "false"
    if isinstance(leaf, int):
        if _SIGNED_MINIMUM <= leaf < _UNSIGNED_LIMIT:
            return str(leaf)
        try:
            leaf = float(leaf)
        except OverflowError:
            leaf = float("inf") if leaf > 0 else float("-inf")
    if isinstance(leaf, float):
        return _number(leaf)
    return ""


def _number(value: float) -> str:
    if value in (float("inf"), float("-inf")) or value != value:
        return repr(value)
    digits = format(Decimal(repr(value)), "f")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return "0" if digits == "-0" else digits


def pairs(value: object, without: frozenset[str] = frozenset()) -> list[bytes]:
    """The pairs of an object: path TAB text of each leaf that is not absent, sorted by their bytes.

    Keys are joined by `.`, list elements numbered from 0. `without` names paths that are left out with
    all that is below them, whether objects or dots in the keys part them.
    """
    if not isinstance(value, _INNER):
        leaf = text(value)
        return [encoded(f"\t{leaf}")] if leaf else []
    below = tuple(f"{path}." for path in without)
    found: list[str] = []
    # A stack instead of recursion: depth comes from outside.
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        above, here = stack.pop()
        inner = here.items() if isinstance(here, dict) else enumerate(here)
        for key, inside in inner:
            path = f"{above}{key}"
            # What is below a path that is left out is not reached, unless a key with dots leads past it.
            if path in without or (isinstance(key, str) and "." in key and path.startswith(below)):
                continue
            if isinstance(inside, _INNER):
                stack.append((f"{path}.", inside))
            elif leaf := inside if isinstance(inside, str) else text(inside):
                found.append(f"{path}\t{leaf}")
    # The order of characters is that of their bytes in UTF-8.
    return [encoded(pair) for pair in sorted(map(clean, found))]


def event_id(family: str, parts: Iterable[Part]) -> str:
    """`ev1`, the family's name, then the parts of its key in their order."""
    return digest(("ev1", family, *parts))


def detection_id(
    tenant: str, definition_uid: str, type_: str, function: str, canonical: str, event: str
) -> str:
    """One event and one indicator give one detection. `tenant` is a uid, empty where there are none."""
    return digest(("de1", tenant, definition_uid, type_, function, canonical, event))


def alert_id(tenant: str, definition_uid: str, machine: str, group: str, window: str) -> str:
    """`group` is empty or the indicator's three words joined by TAB; `window` as `86400/18382` or empty."""
    return digest(("al1", tenant, definition_uid, machine, group, window))


def storm_id(tenant: str, definition_uid: str, hour: int) -> str:
    """The alert that stands for those beyond the limit of a definition; `hour` since 1970 UTC."""
    return digest(("st1", tenant, definition_uid, str(hour)))


def list_uid(rows: Iterable[tuple[str, str, str]]) -> str:
    """The uid of an ad hoc list: its rows (type, function, canonical value), sorted by bytes, none twice."""
    return digest(("li1", *sorted({clean("\t".join(row)).encode() for row in rows})))
