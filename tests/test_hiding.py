"""Nothing hides: each spelling of `cases/match/hiding.yaml`, and what is too long to be written there.

A case is read whole by the reference, and through the sieve of a compiled index: both must give what it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from indicia import telemetry
from indicia.detect import detect
from indicia.match import ReferenceMatcher
from indicia.match.engine import IndexMatcher, Sieve
from indicia.match.kernel import BUILT
from indicia.model import Indicator
from indicia.telemetry import lines
from test_cases import CASES, index_of, indicator

HIDING: list[dict[str, Any]] = yaml.safe_load((CASES / "hiding.yaml").read_text("utf-8"))
EVIL = ["DomainName Equals evil.example"]
NAME = b"evil.example"


def met_whole(source: telemetry.Source, indicators: Iterable[Indicator]) -> list[str]:
    """What the reference meets, as "line: indicator"."""
    matcher = ReferenceMatcher(indicators)
    events = telemetry.events(source, malformed=lambda _: None)
    return sorted(
        f"{one.line}: {one.indicator.canonical}" for event in events for one in detect(event, matcher)
    )


def met_sieved(source: telemetry.Source, indicators: Iterable[Indicator]) -> list[str]:
    """The same of the index and its sieve."""
    index = index_of(indicators)
    matcher, selection = IndexMatcher(index), telemetry.Selection(Sieve(index), lambda _count: None)
    events = telemetry.events(source, malformed=lambda _: None, selection=selection)
    return sorted(
        f"{one.line}: {one.indicator.canonical}" for event in events for one in detect(event, matcher)
    )


def met(data: bytes, words: Iterable[str], folder: Path, name: str = "events.json") -> list[str]:
    """What is met, once both agree."""
    path = folder / name
    path.write_bytes(data)
    source, indicators = telemetry.Source(path.name, path), [indicator(one) for one in words]
    found = met_whole(source, indicators)
    if BUILT:
        assert met_sieved(source, indicators) == found
    return found


@pytest.mark.parametrize("case", HIDING, ids=lambda case: str(case["name"]))
def test_what_hides_is_found(case: Mapping[str, Any], tmp_path: Path) -> None:
    data = str(case["file"]).encode(case.get("encoding", "utf-8"))
    found = met(data, case["indicators"], tmp_path, case.get("source", "events.json"))
    assert found == sorted(case["meets"])


@pytest.mark.parametrize("before", [b"x ", b"\xc3\xa9 ", b"a" * 70, b"{", b'\\"'])
@pytest.mark.parametrize("size", [65_536, 70_000, pytest.param(3_500_000, marks=pytest.mark.full)])
def test_in_a_value_longer_than_64_kib(tmp_path: Path, size: int, before: bytes) -> None:
    text = (before * (size // len(before))).decode() + " evil.example"
    assert met(json.dumps({"message": text}).encode(), EVIL, tmp_path) == ["1: evil.example"]


def test_behind_an_escape_in_a_line_longer_than_the_room(tmp_path: Path) -> None:
    data = b'{"a":1}\n{"message":"' + b"x " * 1_000_000 + b'\\u0065vil.example"}\n'
    assert met(data, EVIL, tmp_path) == ["2: evil.example"]


@pytest.mark.parametrize(
    "junk", [b"\xff", b"\xfe\xff", b"\xc3", b"\xed\xa0\x80", b"\x80\x80\x80", b"\xf0\x9f"]
)
@pytest.mark.parametrize("form", [b'{"message":"%s"}', b"%s"])
def test_beside_what_is_no_utf8(tmp_path: Path, junk: bytes, form: bytes) -> None:
    texts = [junk + b" " + NAME, NAME + b" " + junk, junk + b"/" + NAME + b"/" + junk]
    data = b"nothing\n" * (form == b"%s") + b"\n".join(form % text for text in texts) + b"\n"
    first = 1 + (form == b"%s")
    assert met(data, EVIL, tmp_path) == [f"{first + n}: evil.example" for n in range(3)]


@pytest.mark.parametrize("shift", range(26))
def test_across_the_borders_of_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: int) -> None:
    """The name stands on the border of what is read and looked at together, wherever that cuts it."""
    for constant, size in (("HEAD", 64), ("_CHUNK", 64), ("_BLOCK", 128)):
        monkeypatch.setattr(lines, constant, size)
    filler = b'{"a":"%s"}\n' % (b"y" * (110 - 9 - shift))
    data = (
        filler
        + b'{"query":"evil.example"}\n{"query":"good.example"}\n'
        + filler
        + b'{"query":"evil.example"}'
    )
    assert met(data, EVIL, tmp_path) == ["2: evil.example", "5: evil.example"]


def test_windows_of_the_kernel_in_every_place(tmp_path: Path) -> None:
    """An escape, an IPv6 address and a name, each at every place of the 64 bytes of a window."""
    spellings = [b'"\\u0065vil.example"', b'"EVIL.example."', b'"::FFFF:c633:6407"']
    rows = [
        b'{"x":"%s","query":%s,"id.resp_h":%s}' % (b"-" * shift, spelling, spelling)
        for shift in range(70)
        for spelling in spellings
    ]
    wanted = [EVIL[0], "IpAddress Equals 198.51.100.7"]
    found = met(b"\n".join(rows), wanted, tmp_path)
    assert {int(one.split(":")[0]) for one in found} == set(range(1, len(rows) + 1))
