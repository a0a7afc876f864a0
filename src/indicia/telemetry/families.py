"""The shapes of event identity: one function a family, over parts whose places the mapping files name.

The rules are permanent: another list of fields is another family name. Where a part that a family cannot
do without is absent, the event is `content`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal

from indicia import identity
from indicia.telemetry.paths import lookup
from indicia.telemetry.times import EPOCH, parse, to_second

Parts = Mapping[str, tuple[str, ...]]
_PRIORITY = re.compile(rb"(?:\d{1,7} (?=<))?<\d{1,3}>")
_Record = Mapping[str, object]
_NUMBER = re.compile(r"-?\d{1,20}(?:\.\d{1,12})?")


def line_id(line: bytes) -> str:
    """A line without schema: its bytes less the line end, octet count and priority of syslog."""
    bare = line.rstrip(b"\r\n")
    matched = _PRIORITY.match(bare)
    return identity.event_id("line", (bare[matched.end() :] if matched else bare,))


def event_id(
    family: str, record: _Record, parts: Parts, own: Parts, without: frozenset[str], stem: str
) -> str:
    """The id of an event of that family. `stem` is the source's name up to its first dot (Zeek alone)."""
    keyed = FAMILIES[family](record, parts, own, stem) if family != "content" else None
    if keyed is None:
        return identity.event_id("content", identity.pairs(record, without))
    return identity.event_id(family, keyed)


def _first(record: _Record, paths: tuple[str, ...]) -> object:
    for path in paths:
        found = lookup(record, path)
        if isinstance(found, dict):  # EVTX: an element with attributes
            found = found.get("#text")
        if found is not None and found != "" and found != []:
            return found
    return None


def _text(record: _Record, parts: Parts, name: str) -> str:
    return identity.text(_first(record, parts.get(name, ())))


def _windows(record: _Record, parts: Parts, _own: Parts, _stem: str) -> list[str] | None:
    computer, number = _text(record, parts, "computer"), _text(record, parts, "record_id")
    if not computer or not number:
        return None
    utc = _first(record, parts.get("utc_time", ()))
    time = to_second(utc, utc=True) if utc else to_second(_first(record, parts.get("time", ())), utc=False)
    channel = identity.lower(_text(record, parts, "channel"))
    return [identity.lower(computer), channel, number, _text(record, parts, "event_id"), time]


def _zeek(record: _Record, parts: Parts, own: Parts, stem: str) -> list[str] | None:
    path = _text(record, parts, "path") or stem
    if path not in own:
        return None
    key = [path, _zeek_time(_first(record, parts["ts"]))]
    key += [_zeek_text(_first(record, parts[name])) for name in _CONNECTION]
    return key + [_zeek_text(lookup(record, field)) for field in own[path]]


_CONNECTION = ("uid", "fuid", "id", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p")


def _zeek_time(value: object) -> str:
    """Microseconds since 1970, to the nearest (ties to even); a number from 10^11 on is milliseconds."""
    text = repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        return ""
    if _NUMBER.fullmatch(text) or not isinstance(value, str):
        number = Decimal(text)
        if not number.is_finite():
            return text
        scale = 3 if abs(number) >= 10**11 else 6
        return str(int(number.scaleb(scale).to_integral_value(ROUND_HALF_EVEN)))
    moment = parse(text)
    if moment is None:
        return text
    since = moment - EPOCH
    return str((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def _zeek_text(value: object) -> str:
    if isinstance(value, list):
        return ",".join("" if isinstance(element, list) else _zeek_text(element) for element in value)
    if isinstance(value, dict):
        return ""
    if isinstance(value, bool):
        return "T" if value else "F"
    return identity.text(value)


def _suricata(record: _Record, parts: Parts, _own: Parts, _stem: str) -> list[str | bytes] | None:
    needed = [_text(record, parts, name) for name in ("flow_id", "timestamp", "event_type")]
    if not all(needed):
        return None
    return [*needed, _text(record, parts, "tx_id"), *identity.pairs(record.get(needed[2]))]


def _mde(record: _Record, parts: Parts, _own: Parts, _stem: str) -> list[str] | None:
    time = to_second(_first(record, parts["Timestamp"]), utc=False)
    number = _text(record, parts, "ReportId")
    if not time or not number:
        return None
    return [time, number, _text(record, parts, "DeviceId"), _text(record, parts, "ActionType")]


def _cloudtrail(record: _Record, parts: Parts, _own: Parts, _stem: str) -> list[str] | None:
    number = _text(record, parts, "eventID")
    return [number] if number else None


_Family = Callable[[_Record, Parts, Parts, str], "list[str] | list[str | bytes] | None"]
FAMILIES: dict[str, _Family] = {
    "windows": _windows,
    "zeek": _zeek,
    "suricata": _suricata,
    "mde": _mde,
    "cloudtrail": _cloudtrail,
}
PARTS: dict[str, tuple[str, ...]] = {
    "windows": ("computer", "channel", "record_id", "event_id", "utc_time", "time"),
    "zeek": ("path", "ts", *_CONNECTION),
    "suricata": ("flow_id", "timestamp", "event_type", "tx_id"),
    "mde": ("Timestamp", "ReportId", "DeviceId", "ActionType"),
    "cloudtrail": ("eventID",),
    "content": (),
}
"""The parts that a mapping of each family names."""
