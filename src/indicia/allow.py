"""Which allow-lists know a value, and what comes of that for a detection. Pure; `store.allow` keeps them.

An entry knows a value exactly (String), as part of it (Substring), as a name or one below it (Hostname), as
an address or network inside it (Cidr), or by an expression (Regex). A URL is known by its host, too. Of all
entries that know a value the most specific one decides: String before Cidr and Hostname (the longest
prefix, the most labels), these before Substring (the longest), Regex last. Where two lists hold the same
entry, one that suppresses decides, because its owner said so.

Looking up costs some dictionary lookups, whatever the number of entries; expressions are tried one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_network
from typing import NamedTuple

from indicia import values
from indicia.errors import InvalidValue
from indicia.model import (
    VALUE_LIMIT,
    Detection,
    DetectionFunction,
    Indicator,
    IndicatorType,
    Silenced,
)
from indicia.patterns import Pattern


class AllowAction(StrEnum):
    """What a list does to a detection whose value it knows."""

    ANNOTATE = "Annotate"
    """The detection and its alert name the list; nothing else changes."""
    SUPPRESS = "Suppress"
    """It is recorded in silence."""


class AllowKind(StrEnum):
    """How an entry knows a value; the five of MISP."""

    STRING = "String"
    SUBSTRING = "Substring"
    HOSTNAME = "Hostname"
    CIDR = "Cidr"
    REGEX = "Regex"


@dataclass(frozen=True, slots=True)
class AllowList:
    """Values that are known to be harmless, or at least common; whose it is, and what comes of it."""

    name: str
    owner: str = ""
    comment: str = ""
    enabled: bool = False
    action: AllowAction = AllowAction.ANNOTATE
    types: tuple[IndicatorType, ...] = ()
    """Types of indicators that it is about; empty: all of them."""
    entry_count: int = 0
    id: int = 0
    created_at: datetime | None = None
    created_by: str = ""
    last_modified_at: datetime | None = None
    last_modified_by: str | None = None
    suppressed_count: int = 0
    last_suppressed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AllowEntry:
    """One entry of a list."""

    kind: AllowKind
    value: str
    """Canonical; of a regular expression as it was written."""
    type: IndicatorType | None = None
    """Of a String, whose canonical form that is; None for the other kinds."""
    id: int = 0
    list_id: int = 0


PREVIEW_DAYS = 3650
"""The most that a preview looks back."""
PREVIEWED = 100
"""Entries that a preview names."""
NAMED = 10
"""Lists that a detection or an alert names."""
SUBSTRING_MINIMUM = 4
"""Characters of a Substring: a shorter one would know nearly everything."""
_GRAM = 6
"""Letters by which substrings are looked up."""
_REMEMBERED = 10_000
"""Values whose answer is remembered; then it begins anew."""
_BITS = {4: 32, 6: 128}
_RANKS = {
    AllowKind.STRING: 4,
    AllowKind.CIDR: 3,
    AllowKind.HOSTNAME: 3,
    AllowKind.SUBSTRING: 2,
    AllowKind.REGEX: 1,
}
_ATTRIBUTES = {
    "md5": IndicatorType.MD5,
    "sha1": IndicatorType.SHA1,
    "sha256": IndicatorType.SHA256,
    "filename": IndicatorType.FILE_NAME,
    "ip": IndicatorType.IP_ADDRESS,
    "ip-src": IndicatorType.IP_ADDRESS,
    "ip-dst": IndicatorType.IP_ADDRESS,
    "domain": IndicatorType.DOMAIN_NAME,
    "hostname": IndicatorType.DOMAIN_NAME,
    "url": IndicatorType.URL,
    "uri": IndicatorType.URL,
    "link": IndicatorType.URL,
}
"""Attribute types of MISP that have an equal here; a composite as `domain|ip` counts as both of its parts."""


class Known(NamedTuple):
    """An entry that knows a value, and its list."""

    list: AllowList
    kind: AllowKind
    entry: str

    @property
    def suppresses(self) -> bool:
        """Whether the owner of the list wants silence."""
        return self.list.action is AllowAction.SUPPRESS

    def __str__(self) -> str:
        return f"{self.list.name}: {self.kind} {self.entry}"


def types_of(attributes: Iterable[str]) -> tuple[IndicatorType, ...]:
    """The types of indicators that MISP's `matching_attributes` name; there may be none."""
    parts = {part for attribute in attributes for part in attribute.split("|")}
    return tuple(sorted({_ATTRIBUTES[part] for part in parts if part in _ATTRIBUTES}))


def entries(kind: AllowKind, value: str, types: Sequence[IndicatorType]) -> list[AllowEntry]:
    """A value as it is kept: one entry, or of a String one for each type whose shape it has.

    `types` are those of the list; none: all. InvalidValue says why it can be no entry.
    """
    text = value.strip()
    if not text or len(text) > VALUE_LIMIT or "\0" in text:
        raise InvalidValue(f"an entry has 1 to {VALUE_LIMIT} characters, not U+0000", target="Value")
    match kind:
        case AllowKind.STRING:
            return _strings(text, types)
        case AllowKind.HOSTNAME:
            return [_hostname(text)]
        case AllowKind.CIDR:
            found = values.address(text) or values.network(text)
            if found is None:
                raise InvalidValue(f"{text!r} is neither an address nor a network", target="Value")
            return [AllowEntry(kind, found)]
        case AllowKind.SUBSTRING:
            if len(text) < SUBSTRING_MINIMUM:
                raise InvalidValue(
                    f"{text!r} would know nearly everything; a Substring has {SUBSTRING_MINIMUM} characters "
                    "or more",
                    target="Value",
                )
            return [AllowEntry(kind, values.without_case(text))]
        case AllowKind.REGEX:
            Pattern(text)
            return [AllowEntry(kind, text)]


def _strings(text: str, types: Sequence[IndicatorType]) -> list[AllowEntry]:
    likely = values.guess_type(text)
    asked = [likely] if likely and (likely in types or not types) else types or tuple(IndicatorType)
    found = []
    for kind in asked:
        canonical = values.canonical(kind, text)
        if canonical is None and kind is IndicatorType.IP_ADDRESS and "/" in text:
            canonical = values.network(text)
        if canonical is not None:
            found.append(AllowEntry(AllowKind.STRING, canonical, kind))
    if not found:
        wanted = ", ".join(types) or "any type of indicator"
        raise InvalidValue(f"{text!r} is no value of {wanted}", target="Value")
    return found


def _hostname(text: str) -> AllowEntry:
    name = text.removeprefix("*").removeprefix(".")
    host = values.canonical_host(name)
    if host is None:
        parts = values.url_parts(name)
        host = parts.host if parts else None
    if host is None:
        raise InvalidValue(f"{text!r} is no name of a host", target="Value")
    if host[0] is IndicatorType.IP_ADDRESS:
        return AllowEntry(AllowKind.CIDR, host[1])
    return AllowEntry(AllowKind.HOSTNAME, host[1])


@dataclass(slots=True)
class _Found:
    """An entry by the numbers of the lists that hold it."""

    kind: AllowKind
    entry: str
    lists: tuple[int, ...]
    size: int


class Allowance:
    """Lists compiled for lookups; safe for any number of threads."""

    def __init__(self) -> None:
        self._lists: dict[int, AllowList] = {}
        self._strings: dict[IndicatorType, dict[str, tuple[int, ...]]] = {}
        self._names: dict[str, tuple[int, ...]] = {}
        self._networks: dict[int, dict[int, dict[int, tuple[int, ...]]]] = {4: {}, 6: {}}
        """By version, length of the prefix, and the bits of the prefix."""
        self._substrings: dict[int, dict[str, dict[str, tuple[int, ...]]]] = {}
        """By length of the beginning, the beginning, and the whole."""
        self._patterns: dict[str, tuple[Pattern, tuple[int, ...]]] = {}
        self._answers: dict[tuple[IndicatorType, str], tuple[Known, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._lists)

    def add(self, owner: AllowList, entries: Iterable[tuple[str, str, str | None]]) -> None:
        """A list and its entries: kind, value, and of a String its type. Before the first lookup."""
        self._lists[owner.id] = owner
        mine = (owner.id,)
        strings: dict[str, dict[str, tuple[int, ...]]] = {}
        for kind, value, type_ in entries:
            if kind == AllowKind.STRING and type_ is not None:
                into = strings.get(type_)
                if into is None:
                    into = strings[type_] = self._strings.setdefault(IndicatorType(type_), {})
                into[value] = into.get(value, ()) + mine
            elif kind == AllowKind.HOSTNAME:
                self._names[value] = self._names.get(value, ()) + mine
            else:
                self._add_other(kind, value, mine)

    def _add_other(self, kind: str, value: str, mine: tuple[int, ...]) -> None:
        if kind == AllowKind.CIDR:
            network = ip_network(value)
            prefix = network.prefixlen
            bits = int(network.network_address) >> (_BITS[network.version] - prefix)
            held = self._networks[network.version].setdefault(prefix, {})
            held[bits] = held.get(bits, ()) + mine
        elif kind == AllowKind.SUBSTRING:
            size = min(len(value), _GRAM)
            wholes = self._substrings.setdefault(size, {}).setdefault(value[:size], {})
            wholes[value] = wholes.get(value, ()) + mine
        else:
            pattern, lists = self._patterns.get(value) or (Pattern(value), ())
            self._patterns[value] = (pattern, lists + mine)

    def known(self, kind: IndicatorType, canonical: str) -> tuple[Known, ...]:
        """The entries that know a whole value, one of each list, the deciding one first."""
        if not self._lists:
            return ()
        key = (kind, canonical)
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            answer = self._answers[key] = self._look_up(kind, canonical)
        return answer

    def _look_up(self, kind: IndicatorType, canonical: str) -> tuple[Known, ...]:
        ranked = sorted(
            (
                (-_RANKS[found.kind], -found.size, not self._suppresses(number), number, found)
                for found in self._every(kind, canonical)
                for number in found.lists
                if not self._lists[number].types or kind in self._lists[number].types
            ),
            key=lambda one: (*one[:4], one[4].entry),
        )
        best: dict[int, Known] = {}
        for *_, number, found in ranked:
            best.setdefault(number, Known(self._lists[number], found.kind, found.entry))
        return tuple(best.values())

    def _suppresses(self, number: int) -> bool:
        return self._lists[number].action is AllowAction.SUPPRESS

    def _every(self, kind: IndicatorType, canonical: str) -> Iterator[_Found]:
        strings = self._strings.get(kind, {})
        for text in values.url_keys(canonical) if kind is IndicatorType.URL else (canonical,):
            if lists := strings.get(text):
                yield _Found(AllowKind.STRING, text, lists, len(text))
        host = _host(kind, canonical)
        if host is not None and host[0] is IndicatorType.IP_ADDRESS:
            yield from self._around(host[1])
        elif host is not None and self._names:
            yield from self._above(host[1])
        text = values.without_case(canonical)
        if self._substrings:
            yield from self._parts(text)
        for entry, (pattern, lists) in self._patterns.items():
            if pattern.found_in(canonical):
                yield _Found(AllowKind.REGEX, entry, lists, 0)

    def _above(self, name: str) -> Iterator[_Found]:
        labels = name.split(".")
        for place in range(len(labels)):
            above = ".".join(labels[place:])
            if lists := self._names.get(above):
                yield _Found(AllowKind.HOSTNAME, above, lists, len(labels) - place)

    def _around(self, text: str) -> Iterator[_Found]:
        network = ip_network(text)
        width = _BITS[network.version]
        number, inner = int(network.network_address), network.prefixlen
        for prefix, held in self._networks[network.version].items():
            if prefix <= inner and (lists := held.get(number >> (width - prefix))):
                around = ip_network((number, inner), strict=False).supernet(new_prefix=prefix)
                shown = str(around.network_address) if prefix == width else str(around)
                yield _Found(AllowKind.CIDR, shown, lists, prefix)

    def _parts(self, text: str) -> Iterator[_Found]:
        for size, begun in self._substrings.items():
            for place in range(len(text) - size + 1):
                for whole, lists in begun.get(text[place : place + size], {}).items():
                    if text.startswith(whole, place):
                        yield _Found(AllowKind.SUBSTRING, whole, lists, len(whole))

    def known_of(self, kind: IndicatorType, function: DetectionFunction, canonical: str) -> tuple[Known, ...]:
        """The entries that know an indicator's value; what is part of a value, as `beacon-`, nobody knows."""
        return () if function in values.PATTERNS else self.known(kind, canonical)

    def known_in(self, detection: Detection) -> tuple[Known, ...]:
        """The entries that know what a detection is about: the indicator's value, or else what it met.

        What it met counts where the indicator is wider than one value (patterns, SubdomainOf, networks), and
        only where each piece of evidence that raises is known; of several the mildest answer is given.
        """
        found = detection.indicator
        known = self.known_of(found.type, found.function, found.canonical)
        wide = found.function is not DetectionFunction.EQUALS or "/" in found.canonical
        if known or not wide or (found.type is IndicatorType.URL and found.function not in values.PATTERNS):
            return known
        met = dict.fromkeys(piece.matched for piece in detection.evidence if piece.raises)
        answers = [self._met(found.type, text) for text in met]
        if not answers or not all(answers):
            return ()
        return min(answers, key=lambda answer: (answer[0].suppresses, [str(one) for one in answer]))

    def _met(self, kind: IndicatorType, text: str) -> tuple[Known, ...]:
        canonical = values.canonical(kind, text)
        return () if canonical is None else self.known(kind, canonical)

    def over(self, detection: Detection) -> Detection:
        """A detection as it is to be kept: naming the lists that know it, silent where the first suppresses.

        One that does not raise, or is silenced already, is as it was.
        """
        if not detection.raises or not self._lists:
            return detection
        known = self.known_in(detection)
        if not known:
            return detection
        silent = known[0].suppresses
        return replace(
            detection,
            raises=not silent,
            silenced=Silenced.ALLOW_LIST if silent else None,
            allow_list_id=known[0].list.id,
            allow_lists=tuple(str(one) for one in known[:NAMED]),
        )


def _host(kind: IndicatorType, canonical: str) -> tuple[IndicatorType, str] | None:
    """The name or address that a value is, or a URL's."""
    if kind is IndicatorType.URL:
        parts = values.url_parts(canonical)
        return parts.host if parts else None
    if kind in (IndicatorType.DOMAIN_NAME, IndicatorType.IP_ADDRESS):
        return kind, canonical
    return None


def warnings(allowance: Allowance) -> Callable[[Indicator], tuple[str, ...]]:
    """What an author should know of a new indicator: the entry that knows its value."""

    def of(made: Indicator) -> tuple[str, ...]:
        known = allowance.known_of(made.type, made.function, made.canonical)
        if not known:
            return ()
        effect = "it raises no alert" if known[0].suppresses else "its alerts say so"
        return (f"{made.canonical} is on an allow-list ({known[0]}): {effect}",)

    return of


@dataclass(slots=True)
class Effect:
    """What a list would do to indicators or detections, were it in force, and by which entries."""

    seen: int = 0
    """How many were looked at."""
    annotated: int = 0
    suppressed: int = 0
    entries: dict[str, int] = field(default_factory=dict)
    """Entry to how many it knows."""

    def note(self, known: Sequence[Known], mine: int) -> bool:
        """Count one; whether the list keeps it silent. `mine` is the id of the list."""
        self.seen += 1
        own = next((one for one in known if one.list.id == mine), None)
        if own is None:
            return False
        silent = known[0] is own and own.suppresses
        self.suppressed += silent
        self.annotated += not silent
        entry = f"{own.kind} {own.entry}"
        self.entries[entry] = self.entries.get(entry, 0) + 1
        return silent


class PreviewEntry(NamedTuple):
    """An entry, and how many indicators and detections it knows."""

    entry: str
    indicators: int
    detections: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a list would do with what a tenant has."""

    list: AllowList
    indicators: Effect
    """Of those in force; what a wide one meets shows among the detections alone."""
    detections: Effect
    """Of those that raise and were recorded within `days`."""
    alerts: int
    """Alerts all of whose detections in that time would be silent."""
    days: int

    @property
    def entries(self) -> tuple[PreviewEntry, ...]:
        """Its entries that know something, those that know most first, PREVIEWED at the most."""
        met, seen = self.indicators.entries, self.detections.entries
        found = [PreviewEntry(one, met.get(one, 0), seen.get(one, 0)) for one in dict.fromkeys([*met, *seen])]
        found.sort(key=lambda one: (-one.indicators - one.detections, one.entry))
        return tuple(found[:PREVIEWED])

    def short(self, most: int) -> Preview:
        """The same with so many of `entries`: a long list may know a million indicators."""
        named = [row.entry for row in self.entries[:most]]
        effects = [
            replace(one, entries={entry: one.entries[entry] for entry in named if entry in one.entries})
            for one in (self.indicators, self.detections)
        ]
        return replace(self, indicators=effects[0], detections=effects[1])
