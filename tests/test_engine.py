"""The kernel's engine gives the reference's answers: the same indicators, and no line is hidden."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indicia import telemetry, values
from indicia.detect import detect
from indicia.errors import InvalidValue
from indicia.match import compiler
from indicia.match.engine import IndexMatcher, Sieve
from indicia.match.index import Index
from indicia.match.kernel import BUILT
from indicia.match.reference import Matcher, ReferenceMatcher
from indicia.model import (
    AlertDefinition,
    Category,
    Detection,
    DetectionFunction,
    Indicator,
    IndicatorType,
    Observable,
    Role,
    Severity,
)
from indicia.telemetry.events import Recogniser, event
from indicia.telemetry.records import Record, decode

pytestmark = pytest.mark.skipif(not BUILT, reason="the C extension was not built")

OWNER = AlertDefinition(
    uid="5e1f9f0e-0000-4000-8000-00000000000e",
    name="Engine",
    title="An engine",
    severity=Severity.LOW,
    category=Category.GENERAL,
)
EXAMPLES = int(os.environ.get("INDICIA_EXAMPLES", "400"))
"""`make fuzz` sets more."""
T, F = IndicatorType, DetectionFunction

VALUES: tuple[tuple[IndicatorType, str], ...] = (
    (T.DOMAIN_NAME, "evil.example"),
    (T.DOMAIN_NAME, "a.b"),
    (T.DOMAIN_NAME, "wpad"),
    (T.DOMAIN_NAME, "bücher.example"),
    (T.DOMAIN_NAME, "_dmarc.evil-host.example"),
    (T.DOMAIN_NAME, "deep.er.na.me.of.kind.example"),
    (T.IP_ADDRESS, "192.0.2.77"),
    (T.IP_ADDRESS, "2001:db8::7:1"),
    (T.IP_ADDRESS, "::ffff:198.51.100.9"),
    (T.IP_ADDRESS, "203.0.113.0/24"),
    (T.IP_ADDRESS, "10.0.0.0/7"),
    (T.IP_ADDRESS, "2001:db8:5::/48"),
    (T.IP_ADDRESS, "::/0"),
    (T.MD5, "d41d8cd98f00b204e9800998ecf8427e"),
    (T.SHA1, "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    (T.SHA256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (T.URL, "http://evil.example/a/gate.php?id=7"),
    (T.URL, "evil.example/drop/%7Euser/ünï.exe"),
    (T.URL, "https://[2001:db8::8]:8443/"),
    (T.URL, "http://wpad/x"),
    (T.URL, "http://192.0.2.77:8080/next.bin"),
    (T.FILE_NAME, "mimikatz.exe"),
    (T.FILE_NAME, "my tool (1).exe"),
    (T.FILE_NAME, "nslookup"),
    (T.FILE_NAME, "überfall.dll"),
    (T.FILE_NAME, "İstanbul.bat"),
    (T.FILE_NAME, "x"),
)
PATTERNS: tuple[tuple[IndicatorType, DetectionFunction, str], ...] = (
    (T.DOMAIN_NAME, F.CONTAINS, "vil.exa"),
    (T.DOMAIN_NAME, F.END_WITH, ".example"),
    (T.DOMAIN_NAME, F.START_WITH, "evil"),
    (T.URL, F.CONTAINS, "/a/gate"),
    (T.URL, F.START_WITH, "http://evil"),
    (T.URL, F.END_WITH, "?id=7"),
    (T.FILE_NAME, F.CONTAINS, "imikat"),
    (T.FILE_NAME, F.END_WITH, "fall.dll"),
    (T.IP_ADDRESS, F.START_WITH, "192.0.2."),
    (T.IP_ADDRESS, F.CONTAINS, "db8::7"),
    (T.SHA256, F.START_WITH, "e3b0c44298"),
    (T.MD5, F.END_WITH, "ecf8427e"),
)


def indicator(kind: IndicatorType, function: DetectionFunction, value: str, number: int) -> Indicator | None:
    try:
        canonical = values.indicator_value(kind, function, value, force=True)
    except InvalidValue:
        return None
    return Indicator(kind, value, canonical, function, OWNER, number)


def some(rows: Iterable[tuple[IndicatorType, DetectionFunction, str]]) -> list[Indicator]:
    made = (indicator(*row, number) for number, row in enumerate(rows, 1))
    return [one for one in made if one is not None]


EQUAL = [(kind, F.EQUALS, value) for kind, value in VALUES]
BELOW = [(kind, F.SUBDOMAIN_OF, value) for kind, value in VALUES if kind is T.DOMAIN_NAME]
PLAIN = [row for row in EQUAL + BELOW if row[2] not in {"wpad", "x", "nslookup", "a.b", "http://wpad/x"}]
SETS: dict[str, list[Indicator]] = {
    "everything": some([*EQUAL, *BELOW, *PATTERNS]),
    "equals": some(EQUAL),
    "plain": some(PLAIN),
    "below": some(BELOW),
    "patterns": some(PATTERNS),
}


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Index]:
    folder = tmp_path_factory.mktemp("indexes")
    for name, indicators in SETS.items():
        compiler.write(indicators, folder / f"{name}.idx")
    return {name: Index.open(folder / f"{name}.idx") for name in SETS}


# Texts in which something may hide: values in many spellings, between much that glues and cuts.

GLUE = r""" . - _ : / \ \n \u n u x % %20 %2F & &amp; &#46; ? # @ = , ; ( ) [ ] { } ' " < > | * é 。 中 😀
    :// http:// https:// // C:\ \\srv\ MD5= SHA1: SHA256= :80 :443 443 abc 0 :: 1.2 00 www. .com -1 .. %%
    </Data> {"a":" "} é. \ufffd"""
BETWEEN = st.sampled_from(
    [*GLUE.split(), "", " ", "\t", "\n", "\0", "\x0b", "\u212a", "\u200b", "\xad", "<Data Name='x'>"]
)


def _case(text: str, seed: int) -> str:
    chooser = random.Random(seed)
    return "".join(c.upper() if chooser.random() < 0.4 else c for c in text)


def _percent(text: str, seed: int) -> str:
    chooser = random.Random(seed)
    return "".join(quote(c, safe="") if chooser.random() < 0.3 else c for c in text).replace("%25", "%")


def _percent_plain(text: str, seed: int) -> str:
    chooser = random.Random(seed)
    return "".join(f"%{ord(c):02x}" if chooser.random() < 0.3 and ord(c) < 128 else c for c in text)


def _wide(text: str, seed: int) -> str:
    chooser = random.Random(seed)
    return "".join(chr(ord(c) + 0xFEE0) if chooser.random() < 0.2 and "!" <= c <= "~" else c for c in text)


def _entities(text: str, seed: int) -> str:
    chooser = random.Random(seed)
    return "".join(f"&#{ord(c)};" if chooser.random() < 0.2 else c for c in text)


def _colons(text: str, _seed: int) -> str:
    return ":".join(text[n : n + 2] for n in range(0, len(text), 2)) if len(text) in {32, 40, 64} else text


def _exploded(text: str, _seed: int) -> str:
    try:
        return ip_network(text).network_address.exploded if ":" in text else text
    except ValueError:
        return text


def _kelvin(text: str, _seed: int) -> str:
    return text.replace("k", "\u212a", 1)


def _plain(text: str, _seed: int) -> str:
    return text


SPELLINGS = [_plain, _plain, _case, _percent, _percent_plain, _wide, _entities, _colons, _exploded, _kelvin]
VALUE_TEXTS = (
    [value for _, value in VALUES] + [value for _, _, value in PATTERNS] + ["203.0.113.9", "11.1.2.3"]
)
VALUE_TEXTS += [
    "2001:db8:5:1::9",
    "::ffff:203.0.113.4",
    "0:0:0:0:0:ffff:c000:24d",
    "sub.evil.example",
    "EVIL.example.",
]
PIECE = st.builds(
    lambda value, spelling, seed: spelling(value, seed),
    st.sampled_from(VALUE_TEXTS),
    st.sampled_from(SPELLINGS),
    st.integers(0, 1000),
)
TEXT = st.lists(st.one_of(PIECE, BETWEEN, BETWEEN), max_size=7).map("".join)
KEYS = [
    "query",
    "QueryName",
    "CommandLine",
    "message",
    "Hashes",
    "DestinationIp",
    "url",
    "host",
    "uri",
    "TargetFilename",
]
KEYS += [
    "Image",
    "EventData",
    "SyslogMessage",
    "id.orig_h",
    "sha256",
    "md5",
    "RemoteUrl",
    "file_name",
    "x",
    "answers",
]


INSIDE = st.sampled_from(["EventData", "AdditionalFields", "z"])


def escaped(text: str, seed: int) -> str:
    """JSON of a text, some characters as \\uXXXX and some slashes as \\/ ."""
    chooser = random.Random(seed)
    dumped = json.dumps(text, ensure_ascii=chooser.random() < 0.5)[1:-1]
    plain = "".join("\\/" if c == "/" and chooser.random() < 0.3 else c for c in dumped)
    if chooser.random() < 0.4:
        plain = "".join(
            f"\\u{ord(c):04x}" if chooser.random() < 0.2 and c.isalnum() and c.isascii() and safe else c
            for c, safe in _outside_escapes(plain)
        )
    return f'"{plain}"'


def _outside_escapes(text: str) -> Iterable[tuple[str, bool]]:
    left = 0
    for place, c in enumerate(text):
        if left:
            left -= 1
            yield c, False
        elif c == "\\":
            left = 5 if text[place + 1 : place + 2] == "u" else 1
            yield c, False
        else:
            yield c, True


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line: JSON with strings in strings, or plain text."""
    if draw(st.booleans()):
        return draw(TEXT).replace("\n", " ").encode("utf-8", "replace")
    seed = draw(st.integers(0, 10_000))
    items = draw(st.lists(st.tuples(st.sampled_from(KEYS), TEXT), min_size=1, max_size=4))
    inside = draw(st.integers(0, 2))
    body = (
        "{"
        + ",".join(f"{json.dumps(key)}:{escaped(text, seed + n)}" for n, (key, text) in enumerate(items))
        + "}"
    )
    for level in range(inside):
        body = "{" + f'"{draw(INSIDE)}":{escaped(body, seed + level)}' + "}"
    if draw(st.booleans()) and draw(st.booleans()):
        body = '{"_path":"http",' + body[1:]
    return body.encode("utf-8", "replace")


RECOGNISER = Recogniser()
SOURCE = telemetry.Source("lines")


def found_in(line: bytes, matcher: Matcher, sieve: Sieve | None = None) -> list[Detection]:
    value: object = line
    if line.startswith(b"{"):
        try:
            value = decode(line)
        except ValueError:
            return []
    if not isinstance(value, dict | bytes) or not value:
        return []
    return detect(event(Record(1, value), SOURCE, RECOGNISER.schema(value), sieve), matcher)


@pytest.mark.full
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(lines(), min_size=1, max_size=6))
def test_no_line_with_a_hit_is_passed_over(opened: dict[str, Index], block: Sequence[bytes]) -> None:
    data = b"\n".join(block)
    starts = [0]
    for line in block:
        starts.append(starts[-1] + len(line) + 1)
    for name, index in opened.items():
        matcher, fast, sieve = ReferenceMatcher(SETS[name]), IndexMatcher(index), Sieve(index)
        named = {start for start, _ in sieve.spans(data)}
        for start, line in zip(starts, block, strict=False):
            expected = found_in(line, matcher)
            if expected:
                assert start in named, (name, line)
            found = found_in(line, fast, sieve)
            assert sorted(found, key=repr) == sorted(expected, key=repr), (name, line)


OBSERVABLES = st.builds(
    lambda kind, text: (kind, values.canonical(kind, text)),
    st.sampled_from(list(T)),
    st.one_of(PIECE, TEXT),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(OBSERVABLES)
def test_an_observable_meets_the_same_indicators(
    opened: dict[str, Index], observable: tuple[IndicatorType, str | None]
) -> None:
    kind, value = observable
    if value is None:
        return
    asked = Observable(kind, value, value, "", Role.OBSERVED)
    for name, index in opened.items():
        expected = sorted(ReferenceMatcher(SETS[name]).meet(asked), key=lambda found: found.id)
        assert sorted(IndexMatcher(index).meet(asked), key=lambda found: found.id) == expected, name


@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_every_value_meets_itself(opened: dict[str, Index], kind: IndicatorType, value: str) -> None:
    canonical = values.canonical(kind, value)
    if canonical is None:  # a network
        return
    asked = Observable(kind, canonical, value, "", Role.OBSERVED)
    found = IndexMatcher(opened["everything"]).meet(asked)
    assert canonical in {one.canonical for one in found}
    assert found == [one for one in found if one in ReferenceMatcher(SETS["everything"]).meet(asked)]


def test_an_index_gives_back_what_went_in(opened: dict[str, Index]) -> None:
    for name, index in opened.items():
        index.verify()
        assert list(index.indicators()) == SETS[name]


def test_block_borders(opened: dict[str, Index]) -> None:
    """A hit is found wherever it stands in the 64 bytes that are looked at together."""
    sieve = Sieve(opened["plain"])
    for shift in range(140):
        for tail in ("", "\n", " x", "x" * 70):
            data = f"{'a' * 3}\n{' ' * shift}evil.example{tail}".encode()
            expected = [(4, data.find(b"\n", 5) if b"\n" in data[5:] else len(data))]
            wanted = [] if tail.startswith("x") else expected
            assert sieve.spans(data) == wanted, (shift, tail)


def test_more_candidates_than_room(opened: dict[str, Index]) -> None:
    line = b" ".join([b"evil.example"] * 100_000)
    data = b"x\n" + line + b"\nnothing here\nevil.example\n"
    spans = Sieve(opened["plain"]).spans(data)
    assert [data[start:end][:12] for start, end in spans] == [b"evil.example", b"evil.example"]


def test_a_line_with_escapes_longer_than_the_room(opened: dict[str, Index]) -> None:
    data = b'{"a":"' + b"x " * 1_000_000 + b'\\u0065vil.example"}\n{"b":1}\n'
    assert len(Sieve(opened["plain"]).spans(data)) == 1


def test_clean_lines_are_not_parsed(opened: dict[str, Index]) -> None:
    """What the engine is for: ordinary lines, with escapes and paths, are no candidates."""
    lines_ = [
        rb'{"Image":"C:\\Users\\udad\\new.exe","t":"2026-01-01T10:00:00.123Z","v":"1.2.3.4"}',
        rb'{"CommandLine":"cmd \u003e out.txt \u0026 x","url":"http://good.example/a%20b"}',
        rb'{"q":"notevil.example","r":"evil.example.org","ip":"192.0.2.7"}',
    ]
    assert Sieve(opened["plain"]).spans(b"\n".join(lines_)) == []


def test_small_hits(opened: dict[str, Index], tmp_path: Path) -> None:
    """An index of one short key still finds it."""
    path = tmp_path / "one.idx"
    compiler.write(some([(T.DOMAIN_NAME, F.EQUALS, "a.b")]), path)
    with Index.open(path) as index:
        assert Sieve(index).spans(b"x a.b y\nz a.bc\n") == [(0, 7)]
