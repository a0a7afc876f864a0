"""Under which keys an indicator stands in the index: pieces of it that every spelling of a hit must hold.

A hash, an IPv4 address and a domain name are their own keys. Of a URL or a file name the rarest token is
one; of a pattern the rarest gram of its longest piece. What is written in too many ways to have a piece (a
pattern of separators alone) is *loose*: with it in the index every line is parsed.

The tokens are those of `_kernel.c`: runs of letters, digits, `.`, `-` and `_`, without letter case. A piece
next to something that may be written otherwise (`%2F`, a letter that changes with its case) is cut there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from indicia.model import DetectionFunction, IndicatorType
from indicia.values import PATTERNS

TEXT, BELOW, V6, NET4, NET6, GRAM = 1, 2, 3, 4, 5, 6
"""What a key stands for; `_kernel.c` has the same numbers."""
PIECE_MINIMUM = 3
"""Characters that the piece of a pattern has at least."""
CUT_URL = 4000
"""From this length on a text may hold a URL cut short, so that its last token is none of the URL's."""

_TOKEN = re.compile(r"[a-z0-9._-]+")
_BREAKS = re.compile("%[0-9a-f]{2}|i\u0307")
"""What is left out before tokens are taken: escapes of URLs, and what a capital I with a dot becomes."""


class Key(NamedTuple):
    """One key: its tag, its bytes, and for networks the length of the prefix."""

    tag: int
    data: bytes
    prefix: int = 0


class Hard(NamedTuple):
    """An indicator whose key is to be chosen."""

    number: int
    type: IndicatorType
    function: DetectionFunction
    canonical: str


def tokens(text: str) -> list[str]:
    """The tokens of a canonical text, in lower case."""
    return _TOKEN.findall(_BREAKS.sub("\0", text.lower()))


def piece(indicator: Hard) -> str | None:
    """The longest piece of a pattern; None where none is long enough."""
    longest = max(tokens(indicator.canonical), key=len, default="")
    return longest if len(longest) >= PIECE_MINIMUM else None


def choose(hard: Iterable[Hard]) -> dict[int, Key | None]:
    """The key of each indicator that is no pattern; None: it is loose."""
    found: dict[int, Key | None] = {}
    offers: dict[int, list[str]] = {}
    for indicator in hard:
        if indicator.function in PATTERNS:
            continue
        match indicator.type:
            case IndicatorType.URL:
                host = _host(indicator.canonical)
                if host is None or ":" not in host:
                    offers[indicator.number] = _of_url(indicator.canonical, host)
                else:
                    found[indicator.number] = Key(V6, ip_address(host).packed)
            case IndicatorType.FILE_NAME:
                offers[indicator.number] = tokens(indicator.canonical)
            case IndicatorType.IP_ADDRESS:
                found[indicator.number] = _address(indicator.canonical)
            case _:
                tag = BELOW if indicator.function is DetectionFunction.SUBDOMAIN_OF else TEXT
                found[indicator.number] = Key(tag, indicator.canonical.encode())
    counts = Counter(token for offered in offers.values() for token in set(offered))
    for number, offered in offers.items():
        best = min(offered, key=lambda token: ("." not in token, counts[token], -len(token)), default=None)
        found[number] = Key(TEXT, best.encode()) if best else None
    return found


def _address(canonical: str) -> Key:
    if "/" not in canonical:
        found = ip_address(canonical)
        return Key(V6, found.packed) if found.version == 6 else Key(TEXT, canonical.encode())
    network = ip_network(canonical)
    return Key(NET4 if network.version == 4 else NET6, network.network_address.packed, network.prefixlen)


def _host(url: str) -> str | None:
    """The host of a canonical URL; of an IPv6 address without its brackets."""
    authority = url.partition("://")[2].partition("/")[0] if "://" in url else url.partition("/")[0]
    authority = authority.rpartition("@")[2]
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0] or None


def _of_url(url: str, host: str | None) -> list[str]:
    """The tokens of a URL's path and query, and its host."""
    rest = url.partition("://")[2] if "://" in url else url
    offered = tokens(rest.partition("/")[2]) if len(url) < CUT_URL else []
    return [*offered, host] if host else offered


def single_label(indicator: Hard) -> bool:
    """Whether a name of one label is looked for: such a name in other letters has no dot to be known by."""
    if indicator.type is IndicatorType.DOMAIN_NAME:
        return indicator.function in PATTERNS or "." not in indicator.canonical
    if indicator.type is IndicatorType.URL:
        host = _host(indicator.canonical)
        return indicator.function in PATTERNS or host is None or ("." not in host and ":" not in host)
    return False
