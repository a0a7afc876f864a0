"""What must hold of every value: canonical forms, and the reference against oracles written another way."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from hypothesis import assume, example, given
from hypothesis import strategies as st

from indicia import values
from indicia.errors import InvalidValue
from indicia.match import ReferenceMatcher
from indicia.model import (
    AlertDefinition,
    Category,
    DetectionFunction,
    Indicator,
    IndicatorType,
    Observable,
    Role,
    Severity,
)

IP, NAME = IndicatorType.IP_ADDRESS, IndicatorType.DOMAIN_NAME
URL, FILE = IndicatorType.URL, IndicatorType.FILE_NAME
EQUALS, BELOW = DetectionFunction.EQUALS, DetectionFunction.SUBDOMAIN_OF
DEFINITION = AlertDefinition("uid-1", "Properties", "Properties", Severity.LOW, Category.GENERAL)

KINDS = st.sampled_from(list(IndicatorType))
ANY_TEXT = st.text(st.characters(codec=None), max_size=60)
"""Unpaired surrogates and control characters included."""
IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6)
LABEL = st.from_regex(r"[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,8}[a-zA-Z0-9_])?", fullmatch=True)
NAMES = st.lists(LABEL, min_size=1, max_size=5).map(".".join).filter(lambda n: values.domain(n) is not None)
UNICODE_NAMES = st.lists(st.text("aBüÉßσΣ例え-1", min_size=1, max_size=6), min_size=1, max_size=3).map(
    ".".join
)
PATHS = st.text("aB./\\%7e2fF?&= üЖ:", max_size=12)
URLS = st.builds(
    lambda scheme, user, host, port, path: f"{scheme}{user}{host}{port}{path}",
    st.sampled_from(["http://", "HTTPS://", "ftp://", "x-y://", "//", "", "http:\\\\"]),
    st.sampled_from(["", "", "user@", "U:p@"]),
    NAMES | IPV4.map(str) | IPV6.map("[{}]".format) | UNICODE_NAMES,
    st.sampled_from(["", ":80", ":443", ":8443", ":", "."]),
    st.just("") | PATHS.map("/{}".format),
)
LIKELY = (
    NAMES | UNICODE_NAMES | URLS | IPV4.map(str) | IPV6.map(str) | PATHS | st.from_regex("[0-9a-fA-F]{32}")
)


def indicator(kind: IndicatorType, function: DetectionFunction, value: str, number: int = 0) -> Indicator:
    canonical = values.indicator_value(kind, function, value, force=True)
    return Indicator(kind, value, canonical, function, DEFINITION, number)


def meets(found: Indicator, value: str) -> bool:
    observable = Observable(found.type, value, value, "field", Role.OBSERVED)
    return bool(ReferenceMatcher([found]).meet(observable))


# Canonical forms


@given(KINDS, ANY_TEXT | LIKELY)
def test_canonical_never_raises_and_is_its_own_canonical_form(kind: IndicatorType, text: str) -> None:
    once = values.canonical(kind, text)
    if once is not None:
        assert values.canonical(kind, once) == once


@given(ANY_TEXT | LIKELY)
def test_nothing_else_raises_either(text: str) -> None:
    values.canonical_host(text)
    values.network(text)
    values.guess_type(values.refang(text))
    parts = values.url_parts(text)
    if parts is not None:
        assert values.canonical(parts.host[0], parts.host[1]) == parts.host[1]
        assert len(set(values.url_keys(parts.url))) == len(values.url_keys(parts.url))


@given(KINDS, st.sampled_from(list(DetectionFunction)), ANY_TEXT | LIKELY, st.booleans())
def test_an_indicator_is_taken_or_refused_by_a_rule(
    kind: IndicatorType, function: DetectionFunction, text: str, force: bool
) -> None:
    try:
        canonical = values.indicator_value(kind, function, text, force=force)
    except InvalidValue:
        return
    assert canonical
    values.warnings(kind, function, canonical)
    assert values.indicator_value(kind, function, canonical, force=True) == canonical


@given(KINDS, ANY_TEXT | LIKELY)
def test_both_sides_meet_whatever_the_spelling(kind: IndicatorType, text: str) -> None:
    """What telemetry spells as the author of the indicator did, it meets."""
    value = values.canonical(kind, text)
    assume(value is not None and text.strip() and not values._CONTROL.search(text.strip()))
    assert value is not None
    try:
        found = indicator(kind, EQUALS, text)
    except InvalidValue:
        assert value.startswith("hxxp")
        return
    assert meets(found, value)


# Against oracles written another way


@given(st.one_of(IPV4, IPV6), st.sampled_from(["{}", " {} ", "[{}]"]))
@example(ipaddress.ip_address("::ffff:192.0.2.1"), "{}")
def test_addresses(address: ipaddress.IPv4Address | ipaddress.IPv6Address, spelling: str) -> None:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    wanted = str(mapped or address)
    assert values.address(spelling.format(address)) == wanted
    assert values.address(spelling.format(address.exploded)) == wanted


@given(st.one_of(IPV4, IPV6), st.one_of(IPV4, IPV6), st.integers(0, 128), st.booleans())
def test_networks_hold_what_ipaddress_says(
    base: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
    length: int,
    near: bool,
) -> None:
    length %= base.max_prefixlen + 1
    if near and base.version == other.version:  # else a hit is too rare
        keep = base.max_prefixlen - length
        other = type(base)((int(base) >> keep << keep) | (int(other) & ((1 << keep) - 1)))
    value = values.address(str(other))
    found = indicator(IP, EQUALS, f"{base}/{length}")
    assert value is not None
    network = ipaddress.ip_network(found.canonical)
    assert meets(found, value) == (ipaddress.ip_address(value) in network)


@given(IPV4)
def test_no_ipv6_network_holds_an_ipv4_address(address: ipaddress.IPv4Address) -> None:
    value = values.address(f"::ffff:{address}")
    assert value == str(address)
    assert not meets(indicator(IP, EQUALS, "::/0"), value)
    assert meets(indicator(IP, EQUALS, "0.0.0.0/0"), value)


SHORT_NAMES = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map(".".join)


@given(SHORT_NAMES, SHORT_NAMES)
def test_subdomains_go_by_whole_labels(parent: str, name: str) -> None:
    above, labels = parent.split("."), name.split(".")
    assert meets(indicator(NAME, BELOW, parent), name) == (labels[-len(above) :] == above)


ORACLES = {
    DetectionFunction.START_WITH: "{}.*",
    DetectionFunction.END_WITH: ".*{}",
    DetectionFunction.CONTAINS: ".*{}.*",
}
FUNCTIONS = st.sampled_from(sorted(ORACLES))
SMALL = st.text("abAB.-", min_size=1, max_size=4)


@given(FUNCTIONS, SMALL, st.text("abAB.-", min_size=1, max_size=8))
def test_patterns_of_names_and_files(function: DetectionFunction, pattern: str, text: str) -> None:
    for kind in (NAME, FILE):
        value = values.canonical(kind, text)
        if value is None or (kind is NAME and pattern.endswith(".")):
            continue
        wanted = re.fullmatch(ORACLES[function].format(re.escape(pattern)), value, re.IGNORECASE)
        assert meets(indicator(kind, function, pattern), value) == (wanted is not None)


@given(FUNCTIONS, st.text("abcdef0123456789", min_size=4, max_size=6), st.data())
def test_patterns_of_hashes(function: DetectionFunction, pattern: str, data: st.DataObject) -> None:
    digits = data.draw(st.text("abcdef0123456789", min_size=32, max_size=32))
    if data.draw(st.booleans()):
        digits = (pattern + digits)[:32] if data.draw(st.booleans()) else (digits + pattern)[-32:]
    wanted = re.fullmatch(ORACLES[function].format(pattern), digits)
    assert meets(indicator(IndicatorType.MD5, function, pattern), digits) == (wanted is not None)


@given(st.text("aΣσςİǅßÉ.", min_size=1, max_size=6), st.integers(0, 5), st.integers(1, 6))
def test_every_part_of_a_file_name_is_found_in_it(text: str, start: int, length: int) -> None:
    part = text[start : start + length]
    value = values.canonical(FILE, text)
    assume(value is not None and part)
    assert value is not None
    assert meets(indicator(FILE, DetectionFunction.CONTAINS, part), value)


def plain_url(text: str) -> tuple[str, str | None, int | None, str, str]:
    """Scheme, host, port, path and query by the standard library, for what is spelled plainly."""
    split = urlsplit(text)
    port = None if (split.scheme, split.port) in {("http", 80), ("https", 443), ("ftp", 21)} else split.port
    return split.scheme, split.hostname, port, split.path or "/", split.query


PLAIN_URLS = st.builds(
    lambda scheme, host, port, path, query, fragment: f"{scheme}://{host}{port}{path}{query}{fragment}",
    st.sampled_from(["http", "HTTP", "https", "ftp", "gopher"]),
    NAMES,
    st.sampled_from(["", ":80", ":443", ":21", ":8080"]),
    st.text("aB1-._~!$&'()*+,;=:@/", max_size=10).map(lambda path: f"/{path}" if path else ""),
    st.text("aB1/?", max_size=5).map(lambda query: f"?{query}" if query else ""),
    st.sampled_from(["", "#", "#x?/"]),
)


@given(PLAIN_URLS)
def test_urls_as_the_standard_library_reads_them(text: str) -> None:
    value = values.canonical(URL, text)
    assert value is not None
    assert plain_url(value) == plain_url(text)
    assert "#" not in value


@given(PLAIN_URLS, st.sampled_from(["http", "https", "ftp"]))
def test_an_indicator_without_scheme_meets_any_scheme(text: str, scheme: str) -> None:
    host_and_path = text.partition("://")[2]
    found = indicator(URL, EQUALS, host_and_path)
    value = values.canonical(URL, f"{scheme}://{host_and_path}")
    assert value is not None
    assert meets(found, value)


@given(st.lists(st.tuples(SHORT_NAMES, st.sampled_from([EQUALS, BELOW, *ORACLES])), max_size=8), SHORT_NAMES)
def test_many_indicators_meet_what_each_meets_alone(
    rows: list[tuple[str, DetectionFunction]], name: str
) -> None:
    indicators = [indicator(NAME, function, value, number) for number, (value, function) in enumerate(rows)]
    met = ReferenceMatcher(indicators).meet(Observable(NAME, name, name, "field", Role.OBSERVED))
    assert sorted(found.id for found in met) == [found.id for found in indicators if meets(found, name)]
