"""Mapping files that are wrong are named with what is wrong; fields, paths and times are read as told."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indicia import telemetry
from indicia.errors import InputError, InvalidValue
from indicia.model import TimeNote
from indicia.telemetry import schema, times
from indicia.telemetry.events import Recogniser, event, facts
from indicia.telemetry.paths import lookup, open_json, open_xml
from indicia.telemetry.records import Record
from indicia.telemetry.schema import read_schemas

TITLE = 'title = "A schema of a test"\n'
SOURCE = telemetry.Source("test")


def made(text: str, **others: str) -> schema.Schema:
    """The schema of a mapping file."""
    return read_schemas({"mine": TITLE + text, **others})["mine"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = [", "not valid TOML"),
        ("colour = 1", "unknown key 'colour'"),
        ("title = 1", "not valid TOML"),
        ('[identity]\nfamily = "own"', "identity.family must be one of windows,"),
        (
            '[identity]\nfamily = "mde"\n[identity.parts]\nReport = ["R"]',
            "'Report' is no part of the family mde",
        ),
        ('[time]\nzone = "Mars/Olympus"', "there is no time zone 'Mars/Olympus'"),
        ('[time]\nzone = "../etc"', "there is no time zone"),
        ('[fields]\n"a" = "adress"', "'a': 'adress' is no meaning; known: md5,"),
        ('[fields]\n"a" = "address left"', "the side must be source or destination, not 'left'"),
        ('[fields]\n"a" = "address source x"', "is no meaning"),
        ('[fields]\n"a" = ""', "is no meaning"),
        ('[fields]\n"a" = 1', "is no meaning"),
        ('default = "x"', "'default': 'x' is no meaning"),
        ('[[include]]\nmapping = "nothing"', "there is no mapping 'nothing'"),
        ('[[include]]\nmapping = "mine"', "or it includes itself"),
        ('[[include]]\nunder = [""]', "not the shape of a mapping: 'mapping'"),
        ("fields = 1", "not the shape of a mapping"),
        ("[recognise]\nany = [[1]]", "not the shape of a mapping"),
        ('[[composed]]\nmeaning = "url"', "not the shape of a mapping: 'template'"),
    ],
)
def test_a_wrong_mapping_is_told(text: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        made(text)
    assert told in caught.value.message
    assert caught.value.place == "mappings/mine.toml"


@pytest.mark.parametrize("text", ["", 'title = ""'])
def test_a_schema_has_a_title(text: str) -> None:
    with pytest.raises(InputError, match="'title' must be a text"):
        read_schemas({"mine": text})


def test_a_schema_that_nobody_knows() -> None:
    with pytest.raises(InputError, match="there is no schema 'x'; known: auditd, cef"):
        next(telemetry.events(SOURCE, schema="x", malformed=print))


def test_the_nearest_name_of_a_field_wins() -> None:
    found = made(
        '[[include]]\nmapping = "more-fields"\nunder = ["", "in."]\n'
        '[fields]\n"A.b" = "host"\n"a.*" = "url"\n"a.b*" = "path"\n"*.z" = "never"',
        **{"more-fields": '[fields]\n"a.b" = "md5"\n"c" = "md5"'},
    )
    names = {
        "a.b": "host",
        "A.B": "host",
        "a.bc": "path",
        "a.x": "url",
        "a.x.z": "url",
        "c": "md5",
        "in.a.b": "md5",
    }
    assert {path: found.meaning(path).name for path in names} == names
    assert found.meaning("q").name == "text"
    assert found.meaning("q.y.z").name == "never"


def test_keys_from_outside_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_CACHE", 10)
    found = made('[fields]\n"a*" = "host"')
    assert {found.meaning(f"a{number}").name for number in range(100)} == {"host"}
    assert len(found._known) <= 10
    recogniser = Recogniser()
    monkeypatch.setattr(sys.modules["indicia.telemetry.events"], "_SHAPES", 10)
    for number in range(100):
        assert recogniser.schema({f"key{number}": "x"}).name == "generic"
    assert len(recogniser._shapes) <= 10


def observables(text: str, value: Mapping[str, Any]) -> list[str]:
    found = event(Record(1, dict(value)), SOURCE, made(text)).observables
    return [f"{o.path}: {o.type} {o.value}{'' if o.raises else ' silent'}" for o in found]


def test_a_url_of_two_fields() -> None:
    text = '[fields]\n"*" = "never"\n[[composed]]\nmeaning = "url"\ntemplate = "http://{h.name}{uri}"'
    url = "h.name+uri: Url http://a.example/x"
    assert url in observables(text, {"h": {"name": "a.example"}, "uri": "/x"})
    for value in (
        {"h": {"name": "a.example"}},
        {"h": {"name": "a.example"}, "uri": "x:443"},
        {"uri": "/x"},
        {"h": {"name": 1}, "uri": "/x"},
    ):
        assert observables(text, value) == []


def test_strings_are_opened_twice_and_no_deeper() -> None:
    text = '[fields]\n"a.b.c" = "host"\n"a" = "json"\n"x" = "xml"\n"x.H" = "host"'
    one = {"a": '{"b":"{\\"c\\":\\"one.example\\"}"}'}
    assert observables(text, one) == ["a{json}.b{json}.c: DomainName one.example"]
    three = {"a": '["[\\"[\\\\\\"two.example\\\\\\"]\\"]"]'}
    assert all(path.startswith("a{json}[0]{json}[0]: ") for path in observables(text, three))
    assert observables(text, {"x": "<E><Data Name='H'>b.example</Data></E>"}) == [
        "x{xml}.H: DomainName b.example"
    ]
    assert "x: DomainName c.example silent" in observables(text, {"x": "no xml: c.example"})
    assert "a: DomainName d.example silent" in observables(text, {"a": "{not json d.example}"})


def test_of_what_is_nested_too_deeply_nothing_is_said() -> None:
    value: Any = "deep.example"
    for _ in range(200):
        value = [value]
    with pytest.raises(InvalidValue, match="more than 100 levels deep"):
        observables("", {"a": value, "b": "near.example"})


def test_one_value_at_one_path_counts_once() -> None:
    assert observables('[fields]\n"a" = "host"', {"a": ["x.example", "x.example"]}) == [
        "a[0]: DomainName x.example",
        "a[1]: DomainName x.example",
    ]
    assert observables('[fields]\n"a" = "hosts"', {"a": "x.example;X.example"}) == ["a: DomainName x.example"]
    assert observables("", {"a": "", "b": "-", "c": None, "d": 1, "e": True, "f": []}) == []


# Meanings: each with a value of its shape and one that is not


@pytest.mark.parametrize(
    ("meaning", "value", "expected"),
    [
        ("md5", "AB" * 16, ["Md5 " + "ab" * 16]),
        ("md5", "ab" * 20, ["Sha1 " + "ab" * 20]),
        ("sha1", ":".join(["AB"] * 20), ["Sha1 " + "ab" * 20]),
        ("sha256", "x", []),
        ("hash", "ab" * 32, ["Sha256 " + "ab" * 32]),
        ("hash", "ab" * 30, []),
        ("hashes", "MD5=" + "ab" * 16 + ",IMPHASH=" + "cd" * 16, ["Md5 " + "ab" * 16]),
        ("hashes", "sha1: " + "ab" * 20, ["Sha1 " + "ab" * 20]),
        ("hashes", "ab" * 20, ["Sha1 " + "ab" * 20]),
        ("address", "[2001:db8::1]:80", ["IpAddress 2001:db8::1"]),
        ("address", "no such, 192.0.2.1", ["IpAddress 192.0.2.1 silent", "FileName 192.0.2.1 silent"]),
        ("host", "A.example:80", ["DomainName a.example"]),
        ("domain", "a.example.", ["DomainName a.example"]),
        ("domain", "ftp://a.x/", ["Url ftp://a.x/", "DomainName a.x"]),
        ("url", "//a.example/B?c", ["Url a.example/B?c", "DomainName a.example", "FileName b"]),
        ("url", "b.bin", ["DomainName b.bin silent", "FileName b.bin silent"]),
        ("host-or-url", "a.example", ["DomainName a.example"]),
        ("host-or-url", "a.example/b", ["Url a.example/b", "DomainName a.example", "FileName b"]),
        ("host-or-url", "/b.bin", ["FileName b.bin silent", "DomainName b.bin silent"]),
        ("path", "C:\\x\\B.EXE", ["FileName b.exe"]),
        ("path", "ftp://a.x/b.bin", ["Url ftp://a.x/b.bin", "DomainName a.x", "FileName b.bin"]),
        ("path", "/", []),
        ("file-name", "B.exe", ["FileName b.exe"]),
        ("hosts", "type:  5 a.example;::ffff:192.0.2.1;", ["DomainName a.example", "IpAddress 192.0.2.1"]),
        ("hosts", "a.b;http://b.c/", ["DomainName a.b", "Url http://b.c/", "DomainName b.c"]),
        ("mailbox", "A <a@A.example>, b@[x]", ["DomainName a.example"]),
        ("mailbox", "nobody", []),
        ("subject", "CN=a.example,O=x", ["DomainName a.example", "FileName a.example silent"]),
        ("subject", "CN=Somebody", []),
        ("any", "ab" * 16, ["Md5 " + "ab" * 16]),
        ("any", "192.0.2.1", ["IpAddress 192.0.2.1"]),
        ("any", "2001:db8::1", ["IpAddress 2001:db8::1"]),
        ("any", "http://a.example/", ["Url http://a.example/", "DomainName a.example"]),
        ("any", "some words", []),
        ("any", "zz" * 16, []),
        ("command", "x 192.0.2.1", ["IpAddress 192.0.2.1", "FileName 192.0.2.1"]),
        ("text", "x 192.0.2.1", ["IpAddress 192.0.2.1 silent", "FileName 192.0.2.1 silent"]),
        ("never", "192.0.2.1", []),
    ],
)  # fmt: skip
def test_a_meaning(meaning: str, value: str, expected: list[str]) -> None:
    found = observables(f'[fields]\n"a" = "{meaning}"', {"a": value})
    assert found == [f"a: {line}" for line in expected]


# Paths


def test_paths() -> None:
    record = {
        "a": {"b": 1, "c.d": {"e": 2}},
        "a.x": 3,
        "l": [{"m": 4}],
        "empty": [],
        "j": '{"k": "[{\\"z\\": 5}]"}',
        "x": '<E><TimeCreated SystemTime="2022-05-11T18:10:20Z"/><Data Name="U">a &amp; b</Data><N>1</N>',
    }
    assert lookup(record, "a.b") == 1
    assert lookup(record, "a.c.d.e") == 2
    assert lookup(record, "a.x") == 3
    assert lookup(record, "l.m") == 4
    assert lookup(record, "empty.m") is None
    assert lookup(record, "j.k.z") == 5
    assert lookup(record, "x.U") == "a & b"
    assert lookup(record, "x.N") == "1"
    assert lookup(record, "x.TimeCreated") == "2022-05-11T18:10:20Z"
    assert lookup(record, "a.b.c") is None
    assert lookup(record, "nothing.at.all") is None


def test_what_is_no_json_and_no_xml() -> None:
    assert [open_json(text) for text in ("", "{", "{}", "[1", "{x}", '"x"', "1")] == [None] * 7
    assert [open_xml(text) for text in ("", "x", "<", "<a>", "< a>b</a>")] == [None] * 5


# Times


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-03-12T08:53:07Z", "2024-03-12T08:53:07+00:00"),
        ("2024-03-12 08:53", "2024-03-12T08:53:00+00:00"),
        ("2024-03-12T08:53:07.6", "2024-03-12T08:53:07.600000+00:00"),
        ("2024-03-12 08:53:07,123456789 UTC", "2024-03-12T08:53:07.123456+00:00"),
        ("2024-03-12t08:53:07.5+02", "2024-03-12T06:53:07.500000+00:00"),
        ("2024-03-12T08:53:07-0530", "2024-03-12T14:23:07+00:00"),
        ("2024-12-31T23:59:60Z", "2025-01-01T00:00:00+00:00"),
        ("06/Feb/2019:00:00:38 +0200", "2019-02-05T22:00:38+00:00"),
        ("[06/Feb/2019:00:00:38 +0000]", "2019-02-06T00:00:38+00:00"),
        (1710233587, "2024-03-12T08:53:07+00:00"),
        (1710233587.6, "2024-03-12T08:53:07.600000+00:00"),
        ("1710233587.600001", "2024-03-12T08:53:07.600001+00:00"),
        (1710233587600, "2024-03-12T08:53:07.600000+00:00"),
        (1710233587600001, "2024-03-12T08:53:07.600001+00:00"),
        (1710233587600001999, "2024-03-12T08:53:07.600002+00:00"),
        (-1, "1969-12-31T23:59:59+00:00"),
    ],
)
def test_times(value: object, expected: str) -> None:
    found = times.parse(value)
    assert found is not None
    assert found.isoformat() == expected


@pytest.mark.parametrize(
    "value",
    [None, True, [], {}, "", "yesterday", "2024-13-01T00:00:00Z", "2024-02-30 00:00:00", "2024-03-12",
     "06/Foo/2019:00:00:38 +0200", "2024-03-12T08:53:07+99:99", "0000-01-01T00:00:00Z",
     10**30, float("inf"), float("nan"), "1e5", "９"],
)  # fmt: skip
def test_what_is_no_time(value: object) -> None:
    assert times.parse(value) is None


@given(st.text() | st.integers() | st.floats() | st.from_regex(times._ISO) | st.from_regex(times._APACHE))
def test_whatever_a_time_is_it_is_read_or_not(value: object) -> None:
    found = times.parse(value)
    assert found is None or found.tzinfo is UTC
    assert isinstance(times.to_second(value, utc=False), str)


def test_a_zone_is_that_of_texts_that_name_none() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert times.parse("2024-07-01 12:00:00", berlin) == datetime(2024, 7, 1, 10, tzinfo=UTC)
    assert times.parse("2024-01-01 12:00:00", berlin) == datetime(2024, 1, 1, 11, tzinfo=UTC)
    assert times.parse("2024-07-01 12:00:00Z", berlin) == datetime(2024, 7, 1, 12, tzinfo=UTC)
    assert times.parse(1710233587, berlin) == times.parse(1710233587)


def test_a_zone_of_a_source_changes_the_time_and_no_id() -> None:
    text = (
        '[identity]\nfamily = "windows"\n[identity.parts]\ncomputer = ["c"]\nrecord_id = ["r"]\n'
        'time = ["t"]\n[time]\nfields = ["t"]\nzone = '
    )
    value = {"c": "pc", "r": 1, "t": "2020-08-07T14:32:07"}
    here, there = (facts(value, SOURCE, made(f'{text}"{zone}"')) for zone in ("UTC", "America/New_York"))
    assert there.time is not None
    assert here.time is not None
    assert there.time - here.time == timedelta(hours=4)
    assert there.event_id == here.event_id


def test_the_first_time_that_can_be_read_counts() -> None:
    found = made('[time]\nfields = ["UtcTime", "EventTime"]')

    def time(**value: object) -> tuple[datetime | None, TimeNote | None]:
        read = facts(value, SOURCE, found)
        return read.time, read.time_note

    noon = datetime(2020, 9, 22, 12, tzinfo=UTC)
    assert time(UtcTime="2020-09-22 12:00:00", EventTime="2020-09-22 08:00:00") == (noon, None)
    assert time(UtcTime="", EventTime="2020-09-22 12:00:00") == (noon, None)
    assert time(UtcTime="never", EventTime="2020-09-22 12:00:00") == (noon, None)
    assert time(UtcTime="1601-01-01 00:00:00", EventTime="2020-09-22 12:00:00") == (noon, None)
    assert time(UtcTime="never") == (None, TimeNote.UNREADABLE)
    assert time() == (None, TimeNote.MISSING)


def test_an_absurd_time_is_none() -> None:
    found = made('[time]\nfields = ["t"]')
    now = datetime.now(UTC)
    for moment, note in (
        (datetime(1989, 12, 31, 23, 59, 59, tzinfo=UTC), TimeNote.ABSURD),
        (datetime(1990, 1, 1, tzinfo=UTC), None),
        (now + timedelta(hours=23), None),
        (now + timedelta(hours=25), TimeNote.ABSURD),
    ):
        read = facts({"t": moment.isoformat()}, SOURCE, found)
        assert read.time_note == note
        assert read.time == (None if note else moment)


def test_a_machine_is_an_address_or_a_name() -> None:
    found = made('[machine]\nfields = ["m", "n"]')
    for value, machine in (
        *(
            ("PC-1", "pc-1"),
            ("::FFFF:192.0.2.1", "192.0.2.1"),
            (" x ", "x"),
            ({"#text": "Pc"}, "pc"),
            ("ÄÖ", "ÄÖ"),
        ),
        *(("-", "other"), ("", "other"), (5, "other")),
    ):
        assert facts({"m": value, "n": "Other"}, SOURCE, found).machine == machine


def test_endpoints_may_have_ports_and_stand_in_lists() -> None:
    found = made('[endpoints]\nsource = ["s", "t"]\ndestination = ["d"]')
    read = facts({"s": "name.example", "t": ["192.0.2.1:80"], "d": "[2001:DB8::1]:53"}, SOURCE, found)
    assert [end for _, end in read.endpoints] == ["192.0.2.1", "2001:db8::1"]
    assert facts({"s": [], "d": 5}, SOURCE, found).endpoints == ()


def test_a_mapping_of_the_package_is_read_from_its_file() -> None:
    files = {
        path.stem: path.read_text("utf-8") for path in Path(schema.__file__).parent.glob("mappings/*.toml")
    }
    assert list(read_schemas(files)) == list(telemetry.schemas())


def deep(value: Any) -> Any:
    for _ in range(600):
        value = [value]
    return value


# What a hostile or broken producer may put where a mapping expects something else.
ODD = st.sampled_from(
    [
        *(
            None,
            True,
            0,
            -1,
            10**40,
            1e308,
            float("inf"),
            [],
            {},
            [[]],
            [None],
            [{"a": []}],
            deep("192.0.2.1"),
        ),
        *("", "-", " ", "\0", "\ud800", "{", "[]", "{}", "<", '{"a":1}', '[["x"]]', "9" * 400, "x" * 5000),
        *("2024-01-01T00:00:00Z", "192.0.2.1", "http://[", {"#text": []}, {"#text": {}}),
    ]
)


@pytest.mark.parametrize("name", [name for name in telemetry.schemas() if name != "line"])
def test_whatever_stands_in_its_fields_an_event_is_made(name: str) -> None:
    known = telemetry.schemas()[name]
    named = [path for paths in known.parts.values() for path in paths]
    named += [path for paths in known.own.values() for path in paths]
    named += [
        *known.time_fields,
        *known.machine_fields,
        *known.source_fields,
        *known.destination_fields,
        *known.exact,
    ]
    paths = st.sampled_from(sorted(set(named)) or ["a"])

    @settings(max_examples=40, deadline=None)
    @given(st.dictionaries(paths, ODD, max_size=12), st.sampled_from(["", *known.own]))
    def made_of(value: dict[str, Any], path: str) -> None:
        record = value | ({"_path": path} if path else {})
        try:
            event_id = event(Record(1, record), SOURCE, known).facts.event_id
        except InvalidValue as error:
            event_id = str(error)
        assert len(event_id) == 32 or event_id == "nested more than 100 levels deep"
        assert Recogniser().schema(record).name in telemetry.schemas()

    made_of()
