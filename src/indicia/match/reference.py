"""The meaning of a match, in the plainest code that is still of use.

Both sides are canonical (`values`), so a match is:

- Equals: the same text; a network holds the address; a URL indicator without scheme meets any scheme.
- SubdomainOf: the name itself or any name below it, by whole labels.
- StartWith, EndWith, Contains: of the canonical text, without letter case; a URL pattern is tried on the
  URL without its scheme too.

Whether an indicator is in force is judged at the event's time (`in_force`), never at today's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Protocol

from indicia.model import DetectionFunction, Indicator, IndicatorType, Observable
from indicia.values import url_keys


class Matcher(Protocol):
    """What `detect` asks of an engine."""

    def meet(self, observable: Observable) -> list[Indicator]:
        """The indicators that the observable meets, whatever their time, in no order."""
        ...


_COMPARE: dict[DetectionFunction, Callable[[str, str], bool]] = {
    DetectionFunction.START_WITH: str.startswith,
    DetectionFunction.END_WITH: str.endswith,
    DetectionFunction.CONTAINS: str.__contains__,
}


class ReferenceMatcher:
    """Holds indicators in plain dicts; of patterns, a list that every observable of the type walks."""

    def __init__(self, indicators: Iterable[Indicator]) -> None:
        self._equals: dict[tuple[IndicatorType, str], Indicator | list[Indicator]] = {}
        self._parents: dict[str, list[Indicator]] = {}
        self._networks: dict[tuple[int, int], dict[int, list[Indicator]]] = {}
        """By version and prefix length: by the number of the network's first address."""
        self._patterns: dict[IndicatorType, list[Indicator]] = {}
        self._count = 0
        for indicator in indicators:
            self._add(indicator)

    def __len__(self) -> int:
        return self._count

    def _add(self, indicator: Indicator) -> None:
        self._count += 1
        match indicator.function:
            case DetectionFunction.EQUALS if (
                indicator.type is IndicatorType.IP_ADDRESS and "/" in indicator.canonical
            ):
                network = ip_network(indicator.canonical)
                group = self._networks.setdefault((network.version, network.prefixlen), {})
                group.setdefault(int(network.network_address), []).append(indicator)
            case DetectionFunction.EQUALS:
                self._add_equals(indicator)
            case DetectionFunction.SUBDOMAIN_OF:
                self._parents.setdefault(indicator.canonical, []).append(indicator)
            case _:
                self._patterns.setdefault(indicator.type, []).append(indicator)

    def _add_equals(self, indicator: Indicator) -> None:
        # Millions of values stand once: a list for each would double the memory.
        key = indicator.type, indicator.canonical
        there = self._equals.setdefault(key, indicator)
        if isinstance(there, list):
            there.append(indicator)
        elif there is not indicator:
            self._equals[key] = [there, indicator]

    def meet(self, observable: Observable) -> list[Indicator]:
        """The indicators that the observable meets, whatever their time, in no order."""
        kind, value = observable.type, observable.value
        found = list(self._equal(kind, value))
        if kind is IndicatorType.DOMAIN_NAME and self._parents:
            found.extend(self._above(value))
        elif kind is IndicatorType.IP_ADDRESS and self._networks:
            found.extend(self._around(value))
        elif kind is IndicatorType.URL:
            for key in url_keys(value)[1:]:
                found.extend(self._equal(kind, key))
        if patterns := self._patterns.get(kind):
            found.extend(indicator for indicator in patterns if _holds(indicator, value))
        return found

    def _equal(self, kind: IndicatorType, value: str) -> Iterator[Indicator]:
        there = self._equals.get((kind, value))
        if isinstance(there, list):
            yield from there
        elif there is not None:
            yield there

    def _above(self, name: str) -> Iterator[Indicator]:
        while name:
            yield from self._parents.get(name, ())
            name = name.partition(".")[2]

    def _around(self, value: str) -> Iterator[Indicator]:
        # An IPv4 address is never in an IPv6 network, not even in ::/0.
        address = ip_address(value)
        number = int(address)
        for (version, length), networks in self._networks.items():
            if version == address.version:
                shift = address.max_prefixlen - length
                yield from networks.get(number >> shift << shift, ())


def meets(indicator: Indicator, observable: Observable) -> bool:
    """The meaning once more, of one pair: what an engine asks that has found a candidate in another way."""
    if indicator.type is not observable.type:
        return False
    value, wanted = observable.value, indicator.canonical
    match indicator.function:
        case DetectionFunction.EQUALS if indicator.type is IndicatorType.IP_ADDRESS and "/" in wanted:
            return ip_address(value) in ip_network(wanted)
        case DetectionFunction.EQUALS if indicator.type is IndicatorType.URL:
            return wanted in url_keys(value)
        case DetectionFunction.EQUALS:
            return value == wanted
        case DetectionFunction.SUBDOMAIN_OF:
            return value == wanted or value.endswith(f".{wanted}")
        case _:
            return _holds(indicator, value)


def _holds(indicator: Indicator, value: str) -> bool:
    compare = _COMPARE[indicator.function]
    texts = url_keys(value) if indicator.type is IndicatorType.URL else (value,)
    return any(compare(text.lower(), indicator.canonical) for text in texts)


def in_force(indicator: Indicator, time: datetime | None) -> bool:
    """Whether the indicator holds at an event's time: ValidFrom <= time < ExpiresAt, null is unbounded.

    An event without a usable time never hides a match.
    """
    if time is None:
        return True
    if indicator.valid_from is not None and time < indicator.valid_from:
        return False
    return indicator.expires_at is None or time < indicator.expires_at
