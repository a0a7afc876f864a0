"""What a field can mean, and the observables that its text then gives. MEANINGS is the literal table.

A text of the wrong shape for its meaning is a mention, as if the field meant nothing: a URL in the query of
a DNS log still meets URL indicators.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from indicia.mentions import Mention, mentions
from indicia.model import IndicatorType, Observable, Role, Side
from indicia.values import HASH_BY_LENGTH, canonical, canonical_host, file_name, url_parts

Meaning = Callable[[str, str, Side | None], "Iterator[Observable] | list[Observable]"]

_HASHES = {"MD5": IndicatorType.MD5, "SHA1": IndicatorType.SHA1, "SHA256": IndicatorType.SHA256}
_HASH_PAIR = re.compile(r"([A-Za-z0-9]{3,10})\s*[=:]\s*([0-9A-Fa-f]{32,64})")
_COLON_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}:){15,31}[0-9A-Fa-f]{2}")
_MAILBOX = re.compile(r"[^\s<>@,;\"]{1,200}@([^\s<>@,;\"]{1,255})")
_COMMON_NAME = re.compile(r"(?:^|[,/\s])CN\s*=\s*([^,/]{1,255})", re.IGNORECASE)
_SHORTEST_HASH = 32
_SHORT = 200
"""Characters of a text that is worth remembering."""
_LIST_ITEM = re.compile(r"(?:type:\s*\d+\s+)?([^;,\s]+)")


def _seen(kind: IndicatorType, value: str, text: str, path: str, side: Side | None = None) -> Observable:
    return Observable(kind, value, text, path, Role.OBSERVED, side)


@lru_cache(maxsize=16_384)
def _short_mentions(value: str) -> tuple[Mention, ...]:
    """Logs say the same short things over and over: names of accounts, levels, providers."""
    return tuple(mentions(value))


def _mentions(value: str) -> Iterable[Mention]:
    if len(value) < _SHORTEST_HASH and value.isalnum():  # too short for a hash, no address, no name
        return ()
    return _short_mentions(value) if len(value) <= _SHORT else mentions(value)


def text(value: str, path: str, side: Side | None) -> list[Observable]:
    """Whatever stands inside, as mentions; only strong ones raise."""
    return [
        Observable(found.type, found.value, found.text, path, Role.MENTIONED, side, found.strong)
        for found in _mentions(value)
    ]


def command(value: str, path: str, side: Side | None) -> list[Observable]:
    """A command line, or a line without schema: every mention raises."""
    return [
        Observable(found.type, found.value, found.text, path, Role.MENTIONED, side, raises=True)
        for found in _mentions(value)
    ]


def never(_value: str, _path: str, _side: Side | None) -> list[Observable]:
    """The field only looks like an indicator."""
    return []


def _one(kind: IndicatorType) -> Meaning:
    def meaning(value: str, path: str, side: Side | None) -> Iterator[Observable]:
        found = canonical(kind, value)
        if found is None:
            yield from text(value, path, side)
        else:
            yield _seen(kind, found, value, path, side)

    return meaning


def _digest(kind: IndicatorType | None) -> Meaning:
    """A hash of one type, or of any type by its length; `5a:93:…` counts without colons."""

    def meaning(value: str, path: str, side: Side | None) -> Iterator[Observable]:
        bare = value.strip()
        if _COLON_HEX.fullmatch(bare):
            bare = bare.replace(":", "")
        wanted = kind or HASH_BY_LENGTH.get(len(bare))
        found = canonical(wanted, bare) if wanted else None
        if wanted is None or found is None:
            yield from text(value, path, side)
        else:
            yield _seen(wanted, found, value, path)

    return meaning


def hashes(value: str, path: str, side: Side | None) -> Iterator[Observable]:
    """Sysmon's `SHA1=…,MD5=…,SHA256=…,IMPHASH=…`: each by its key, others never."""
    pairs = _HASH_PAIR.findall(value)
    if not pairs:
        yield from text(value, path, side)
    for key, digits in pairs:
        kind = _HASHES.get(key.upper())
        found = canonical(kind, digits) if kind else None
        if kind and found:
            yield _seen(kind, found, digits, path)


def address(value: str, path: str, side: Side | None) -> Iterator[Observable]:
    """An address, with or without port; a name where an address was due is observed as well."""
    yield from host(value, path, side)


def host(value: str, path: str, side: Side | None) -> Iterator[Observable]:
    """An address or a name, with or without port."""
    found = canonical_host(value)
    if found is None:
        yield from text(value, path, side)
    else:
        yield _seen(found[0], found[1], value, path, side if found[0] is IndicatorType.IP_ADDRESS else None)


def url(value: str, path: str, side: Side | None) -> Iterator[Observable]:
    """A URL gives itself, its host and its file name."""
    found = url_parts(value) if "://" in value or "/" in value else None
    if found is None:
        yield from text(value, path, side)
        return
    yield _seen(IndicatorType.URL, found.url, value, path)
    yield _seen(found.host[0], found.host[1], value, path)
    if found.file_name:
        yield _seen(IndicatorType.FILE_NAME, found.file_name, value, path)


def host_or_url(value: str, path: str, side: Side | None) -> Iterator[Observable]:
    """Defender's RemoteUrl: sometimes the one, sometimes the other."""
    if value.startswith("/"):
        yield from text(value, path, side)
    elif "/" in value:
        yield from url(value, path, side)
    else:
        yield from host(value, path, side)


def file_path(value: str, path: str, side: Side | None) -> Iterator[Observable]:
    """A path gives its file name; a URL in its place gives itself."""
    if "://" in value:
        yield from url(value, path, side)
        return
    found = file_name(value)
    if found:
        yield _seen(IndicatorType.FILE_NAME, found, value, path)


def hosts(value: str, path: str, side: Side | None) -> Iterator[Observable]:
    """Several in one text, as Sysmon's QueryResults: `type:  5 a.example;::ffff:192.0.2.1;`."""
    for item in _LIST_ITEM.findall(value):
        found = canonical_host(item)
        if found is None:
            yield from text(item, path, side)
        else:
            yield _seen(found[0], found[1], item, path)


def mailbox(value: str, path: str, side: Side | None) -> Iterator[Observable]:
    """Mail addresses: the domain after each `@`."""
    found = False
    for name in _MAILBOX.findall(value):
        if of_it := canonical_host(name.rstrip(".")):
            found = True
            yield _seen(of_it[0], of_it[1], name, path)
    if not found:
        yield from text(value, path, side)


def subject(value: str, path: str, side: Side | None) -> Iterator[Observable]:
    """A distinguished name: its common names as hosts, the rest as text."""
    for name in _COMMON_NAME.findall(value):
        found = canonical_host(name)
        if found and ("." in found[1] or ":" in found[1]):
            yield _seen(found[0], found[1], name, path)
    yield from text(value, path, side)


def anything(value: str, path: str, side: Side | None) -> Iterator[Observable]:
    """A value that is meant, of whatever type: a hash by its length, an address, a URL, a name."""
    bare = value.strip()
    kind = HASH_BY_LENGTH.get(len(bare))
    if kind and (digest := canonical(kind, bare)):
        yield _seen(kind, digest, value, path)
    elif "/" in bare or " " in bare or "." not in bare + "." * (":" in bare):
        yield from url(value, path, side)
    else:
        yield from host(value, path, side)


MEANINGS: dict[str, Meaning] = {
    "md5": _digest(IndicatorType.MD5),
    "sha1": _digest(IndicatorType.SHA1),
    "sha256": _digest(IndicatorType.SHA256),
    "hash": _digest(None),
    "hashes": hashes,
    "address": address,
    "host": host,
    "domain": _one(IndicatorType.DOMAIN_NAME),
    "url": url,
    "host-or-url": host_or_url,
    "path": file_path,
    "file-name": file_path,
    "hosts": hosts,
    "mailbox": mailbox,
    "subject": subject,
    "any": anything,
    "command": command,
    "text": text,
    "json": text,
    "xml": text,
    "never": never,
}
"""Names that mapping files use. `json` and `xml`: a string that is to be opened; what cannot be is text."""
