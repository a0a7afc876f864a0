"""The marks of evidence in the text of an event, found by what events themselves say of it."""

from __future__ import annotations

import json
import tracemalloc
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicia.marking import Found, Marking, mark
from indicia.model import EVENT_LIMIT, Evidence, Role
from indicia.telemetry import Source, events, sources

ROOT = Path(__file__).resolve().parent.parent


def evidence(path: str, matched: str) -> Evidence:
    return Evidence(path, Role.OBSERVED, None, matched, raises=True)


def marked(found: Marking) -> list[str]:
    return [segment.text for segment in found.segments if segment.marked]


def whole(found: Marking) -> str:
    return "".join(segment.text for segment in found.segments)


CASES: list[tuple[str, str, str, list[str], Found]] = [
    ('{"query":"evil.example"}', "query", "evil.example", ["evil.example"], Found.FIELD),
    (r'{"query":"\u0065vil.example"}', "query", "evil.example", [r"\u0065vil.example"], Found.FIELD),
    (r'{"p":"C:\\Temp\\a.exe"}', "p", "C:\\Temp\\a.exe", [r"C:\\Temp\\a.exe"], Found.FIELD),
    (r'{"t":"\ud83d\ude00evil.example"}', "t", "evil.example", ["evil.example"], Found.FIELD),
    (r'{"t":"\ud83d\ude00"}', "t", "\U0001f600", [r"\ud83d\ude00"], Found.FIELD),
    ('{"a":"evil.example","b":"evil.example"}', "b", "evil.example", ["evil.example"], Found.FIELD),
    ('{"a":{"b":["x","evil.example"]}}', "a.b[1]", "evil.example", ["evil.example"], Found.FIELD),
    ('{"a":[[1,null],["y"]]}', "a[1][0]", "y", ["y"], Found.FIELD),
    ('{"a.b":{"c":"y"}}', "a.b.c", "y", ["y"], Found.FIELD),
    ('{"a":"x","a":"x"}', "a", "x", ["x"], Found.FIELD),
    ('{"m":"{\\"q\\":\\"\\\\u0065vil\\"}"}', "m{json}.q", "evil", [r"\\u0065vil"], Found.FIELD),
    ('{"m":"{\\"q\\":\\"evil\\"}"}', "m{json}q", "evil", ["evil"], Found.FIELD),
    ('{"m":"<Data Name=\\"q\\">a&amp;b</Data>"}', "m{xml}.q", "a&b", ["a&amp;b"], Found.FIELD),
    (
        '{"host":"evil.example","uri":"/a"}',
        "host+uri",
        "http://evil.example/a",
        ["evil.example", "/a"],
        Found.FIELD,
    ),
    ('{"a":"EVIL.example"}', "a", "evil.EXAMPLE", ["EVIL.example"], Found.FIELD),
    ('{"a":"x"}', "b", "x", [], Found.NOWHERE),
    ('{"a":"x"}', "a", "y", [], Found.NOWHERE),
    ('{"a":"x', "a", "x", ["x"], Found.FIELD),
    ("GET evil.example and evil.example", "", "evil.example", ["evil.example"] * 2, Found.FIELD),
    ("host=evil.example", "host", "evil.example", ["evil.example"], Found.LINE),
    ("host=other.example", "host", "evil.example", [], Found.NOWHERE),
    ('{"a":"x"}', "a", "", [], Found.NOWHERE),
]


@pytest.mark.parametrize(("text", "path", "matched", "shown", "where"), CASES)
def test_the_matched_text_is_marked(
    text: str, path: str, matched: str, shown: list[str], where: Found
) -> None:
    found = mark(text, [evidence(path, matched)])
    assert (marked(found), found.found, whole(found)) == (shown, (where,), text)


def test_only_the_field_is_marked() -> None:
    found = mark('{"a":"evil.example","b":"evil.example"}', [evidence("b", "evil.example")])
    assert found.segments[0].text == '{"a":"evil.example","b":"'


def test_marks_that_overlap_are_one_after_the_other() -> None:
    found = mark("abcdef", [evidence("", "abcd"), evidence("", "cdef"), evidence("", "bc")])
    assert marked(found) == ["abcd", "ef"]
    assert whole(found) == "abcdef"


def test_what_lies_beyond_what_is_kept_is_said_to() -> None:
    text = json.dumps({"a": "x" * EVENT_LIMIT, "b": "evil.example"})[: EVENT_LIMIT + 1]
    found = mark(text, [evidence("b", "evil.example"), evidence("a", "xx")])
    assert found.cut
    assert found.found == (Found.CUT, Found.FIELD)
    assert whole(found) == text[:EVENT_LIMIT]


VALUES = st.recursive(
    st.text() | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(value=st.dictionaries(st.text(max_size=4), VALUES, max_size=4), ascii=st.booleans())
def test_every_string_of_an_object_is_found(value: dict[str, Any], ascii: bool) -> None:
    """By paths made here anew; where two places have one path, the last one counts."""
    text = json.dumps(value, ensure_ascii=ascii)
    if len(text) > EVENT_LIMIT:
        return
    places: dict[str, str] = {}

    def walk(here: Any, path: str) -> None:
        if isinstance(here, str):
            places[path] = here
        elif isinstance(here, dict):
            for key, below in here.items():
                walk(below, f"{path}.{key}" if path else key)
        elif isinstance(here, list):
            for number, below in enumerate(here):
                walk(below, f"{path}[{number}]")

    walk(value, "")
    for path, said in places.items():
        if said and "{" not in path and not any("\ud800" <= one < "\ue000" for one in said):
            found = mark(text, [evidence(path, said)])
            assert found.found == (Found.FIELD,), (path, said)
            assert json.loads(f'"{marked(found)[0]}"') == said


@given(text=st.text(), path=st.text(max_size=5), matched=st.text(max_size=5))
def test_no_text_is_lost(text: str, path: str, matched: str) -> None:
    assert whole(mark(text, [evidence(path, matched)])) == text


def test_memory_is_bounded_however_deep_a_text_is() -> None:
    text = "{" + "[" * (EVENT_LIMIT - 13) + "evil.example"
    tracemalloc.start()
    try:
        found = mark(text, [evidence("a", "evil.example")])
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert found.found == (Found.NOWHERE,)
    assert whole(found) == text


def test_fields_are_found_as_deep_as_events_have_them() -> None:
    text = '{"a":' * 101 + '"evil.example"' + "}" * 101
    (event,) = events(Source("x", held=text.encode()), malformed=lambda _what: None)
    paths = {one.path for one in event.observables}
    assert paths == {".".join("a" * 101)}
    assert mark(text, [evidence(paths.pop(), "evil.example")]).found == (Found.FIELD,)


EXAMPLES = sorted(path for path in (ROOT / "examples/telemetry").rglob("*") if path.is_file())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_what_events_see_is_found_in_their_text(path: Path) -> None:
    seen = 0
    for event in islice(events(sources([str(path)])[0], malformed=lambda _: None), 100):
        for one in event.observables:
            found = mark(event.facts.text, [evidence(one.path, one.text)])
            assert found.found[0] in {Found.FIELD, Found.LINE}, (one, event.facts.text)
            seen += 1
    assert seen
