"""Bytes become records: every form, every way in which a file can be broken, and bounded memory."""

from __future__ import annotations

import gzip
import io
import json
import math
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from indicia import telemetry
from indicia.telemetry import lines as by_line
from indicia.telemetry import records
from indicia.telemetry.records import Record, read

Faults = list[tuple[int, str]]
HEADER = b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n"
FIELDS = b"#fields\tts\tuid\tquery\tanswers\n#types\ttime\tstring\tstring\tvector[string]\n"


def load(data: bytes) -> tuple[list[Record], Faults]:
    """Records of these bytes and what was malformed."""
    faults: Faults = []
    return list(read(io.BytesIO(data), lambda line, reason: faults.append((line, reason)))), faults


def values(data: bytes) -> list[Any]:
    """What whole records hold; nothing may be malformed."""
    found, faults = load(data)
    assert faults == []
    return [record.value for record in found]


def test_ndjson() -> None:
    found, faults = load(b'{"a":1}\n\n{"a":2}\r\n  \n{"a":{"b":[3]}}')
    assert found == [Record(1, {"a": 1}), Record(3, {"a": 2}), Record(5, {"a": {"b": [3]}})]
    assert faults == []


@pytest.mark.parametrize(
    "data",
    [
        b'[{"a":1},{"a":2}]',
        b'[\n  {\n    "a": 1\n  },\n  {\n    "a": 2\n  }\n]\n',
        b'  [ {"a":1} ]\n[{"a":2}]',
        b'[[{"a":1}],[{"a":2}]]',
        b'{"a":1}{"a":2}',
        b'{"a":1} {"a":2}\n',
        b'{\n"a":1}\n{\n"a":2}',
        b'{"a":\n1}{"a":2}',
        b'{"a":1\n}\n{"a":2\n}\n',
        b'{"Records":[{"a":1},{"a":2}]}',
        b'{"records":\n[{"a":1},\n{"a":2}]}',
        b'{"value":[{"a":1},{"a":2}],"@odata.context":"x"}',
        b'{"Records":[{"a":1}]}\n{"Records":[{"a":2}]}\n',
    ],
)
def test_json_in_many_shapes(data: bytes) -> None:
    assert values(data) == [{"a": 1}, {"a": 2}]


def test_an_array_counts_elements_a_file_of_documents_lines() -> None:
    assert [record.line for record in load(b'[\n{"a":1},\n\n{"a":2}]')[0]] == [0, 1]
    assert [record.line for record in load(b'{\n"a":1}\n\n{\n"a":2\n}\n{"a":3}')[0]] == [1, 4, 7]


def test_an_envelope_of_more_than_events_is_an_event() -> None:
    event = {"records": [{"a": 1}], "b": 1, "c": 2, "d": 3}
    assert values(json.dumps(event).encode()) == [event]
    assert values(b'{"records":[1,2]}') == [{"records": [1, 2]}]


def test_malformed_lines_are_told_and_reading_goes_on() -> None:
    found, faults = load(b'{"a":1}\n{"a":}\nplain\n[1]\n{"a":2}\n7\n{"a"')
    assert found == [Record(1, {"a": 1}), Record(5, {"a": 2})]
    assert [line for line, _ in faults] == [2, 3, 4, 6, 7]
    assert "not valid JSON" in faults[0][1]
    assert faults[2] == (4, "not a JSON object but list")
    assert faults[3] == (6, "not a JSON object but int")


@pytest.mark.parametrize("first", [b'{"a": {"b": "cut o', b'{"a": [1, 2', b"{bad}", b'{"a": tru'])
def test_a_first_line_that_is_malformed_costs_itself_alone(first: bytes) -> None:
    found, faults = load(first + b'\n{"a":1}\n{"a":2}\n')
    assert [record.value for record in found] == [{"a": 1}, {"a": 2}]
    assert [line for line, _ in faults] == [1]


def test_what_stands_between_objects_is_told() -> None:
    found, faults = load(b'[{"a":1}, 5, {"a":2}, "x", nonsense {"a":3}]')
    assert [record.value for record in found] == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert len(faults) == 2
    found, faults = load(b'{"a":\n1}\nnonsense\n{"a":2}}\n')
    assert [record.value for record in found] == [{"a": 1}, {"a": 2}]
    assert [line for line, _ in faults] == [3, 4]
    found, faults = load(b'{"a":1} nonsense {"a":2} {"a":')
    assert [record.value for record in found] == [{"a": 1}, {"a": 2}]
    assert [line for line, _ in faults] == [1, 1]


def test_a_document_without_end() -> None:
    assert load(b'[{"a":1},{"a":') == (
        [Record(0, {"a": 1})],
        [(1, "not valid JSON: the document has no end")],
    )
    assert load(b'{\n"a":1}\n{\n"a":"') == (
        [Record(1, {"a": 1})],
        [(3, "not valid JSON: the document has no end")],
    )


def test_a_malformed_document_in_an_array() -> None:
    found, faults = load(b'[{"a":1},{"a":01},{"a":2}]')
    assert [record.line for record in found] == [0, 2]
    assert [line for line, _ in faults] == [1]


def test_strings_hold_brackets_quotes_and_backslashes() -> None:
    event = {"a": 'x"}]{[\\', "b": "\\\\", "c": "}\n"}
    assert values(json.dumps([event, event], indent=1).encode()) == [event, event]
    assert values(b"".join(json.dumps(event).encode() for _ in range(3))) == [event] * 3


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_an_array_is_the_same_in_whatever_pieces_it_comes(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    event = {"a": '\\"{}[]', "b": [{"c": "\\"}, "\u00e9"], "d": {}}
    monkeypatch.setattr(by_line, "_CHUNK", size)
    monkeypatch.setattr(by_line, "HEAD", 16)
    data = json.dumps([event] * 5, indent=1, ensure_ascii=False).encode()
    assert values(b"[" + b" " * 3 + data.lstrip(b"[")) == [event] * 5
    whole = b"\n".join(json.dumps(value, indent=1).encode() for value in [event] * 5)
    assert values(b'{"first":\n"line"}' + whole)[1:] == [event] * 5


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":{"b":1,"b":2}}', {"a": {"b": 2}}),
        (b'{"a":18446744073709551615}', {"a": 18446744073709551615}),
        (b'{"a":123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
        (b'{"a":1e999}', {"a": float("inf")}),
        (b'{"a":-0.0}', {"a": 0.0}),
        (b'{"a":"x\\ud800y"}', {"a": "x\ufffdy"}),
        (b'{"\\udfff":["\\ud83d\\ude00","\\udc00"]}', {"\ufffd": ["\U0001f600", "\ufffd"]}),
        (b'{"a":"caf\xe9"}', {"a": "caf\ufffd"}),
        (b'{"a":"\xff\xfe"}', {"a": "\ufffd\ufffd"}),
        (b'{"a":"\\u0000"}', {"a": "\0"}),
        (b'{"":1}', {"": 1}),
    ],
)
def test_what_json_holds(data: bytes, value: object) -> None:
    assert values(data) == [value]
    assert values(b"[" + data + b"]") == [value]


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":\0}',
        b'{"a":"x\0y"}',
        b"{'a':1}",
        b'{"a":1,}',
    ],
)
def test_what_json_does_not_allow(data: bytes) -> None:
    found, faults = load(data + b'\n{"b":1}\n')
    assert found == [Record(2, {"b": 1})]
    assert [line for line, _ in faults] == [1]
    assert "not valid JSON" in faults[0][1] or "digits" in faults[0][1]


@pytest.mark.parametrize("depth", [1500, 100_000])
@pytest.mark.parametrize("bracket", [b"[]", b'{"a":}'])
def test_what_is_nested_too_deeply_is_malformed(depth: int, bracket: bytes) -> None:
    opening, closing = bracket[:-1], bracket[-1:]
    inner = opening * depth + b"1" + closing * depth
    found, faults = load(b'{"a":' + inner + b'}\n{"b":1}')
    assert found[-1] == Record(2, {"b": 1})
    assert [line for line, _ in faults] in ([1], [])
    assert len(found) + len(faults) == 2


def test_a_number_too_long_for_a_number_hides_no_event() -> None:
    found, faults = load(b'{"a":1' + b"0" * 100_000 + b',"c":"d"}\n{"b":1}')
    assert [record.value for record in found] == [{"a": math.inf, "c": "d"}, {"b": 1}]
    assert faults == []


# Zeek


def test_zeek() -> None:
    rows = b"1.5\tC1\ta.example\t192.0.2.1,b.example\n2.5\tC2\t-\t(empty)\n3.5\tC3\t\\x2d\ta\\x2cb,c\\\\x\n"
    found, faults = load(HEADER + FIELDS + rows + b"#close\t2024-01-01-00-00-00\n")
    assert faults == []
    assert [record.line for record in found] == [8, 9, 10]
    assert [record.value for record in found] == [
        {
            "_path": "dns",
            "ts": "1.5",
            "uid": "C1",
            "query": "a.example",
            "answers": ["192.0.2.1", "b.example"],
        },
        {"_path": "dns", "ts": "2.5", "uid": "C2"},
        {"_path": "dns", "ts": "3.5", "uid": "C3", "query": "-", "answers": ["a,b", "c\\x"]},
    ]


def test_zeek_writes_what_is_no_text_as_its_json_does() -> None:
    row = b"1\tC1\tcaf\\xc3\\xa9 \\xff \xfe \\x01 \\x7f \\x0a\t-\n"
    (value,) = values(HEADER + FIELDS + row)
    assert value["query"] == "caf\u00e9 \\xff \\xfe \\x01 \\x7f \n"


def test_a_zeek_header_in_mid_file_counts_from_there() -> None:
    other = b"#path\tweird\n#fields\tts\tname\n#types\ttime\tstring\n"
    found, faults = load(HEADER + FIELDS + b"1\tC1\ta.example\t-\n" + other + b"2\tbad_checksum\n")
    assert faults == []
    assert [record.value for record in found] == [
        {"_path": "dns", "ts": "1", "uid": "C1", "query": "a.example"},
        {"_path": "weird", "ts": "2", "name": "bad_checksum"},
    ]


def test_zeek_with_another_separator_and_without_types() -> None:
    head = b"#separator \\x7c\n#set_separator|;\n#empty_field|EMPTY\n#unset_field|NIL\n#fields|a|b|c\n"
    data = head + b"1|NIL|EMPTY\nx|\\x7c|y;z\n"
    assert values(data) == [{"a": "1"}, {"a": "x", "b": "|", "c": "y;z"}]


def test_zeek_rows_that_do_not_fit_their_header() -> None:
    found, faults = load(
        HEADER + b"1\tC0\n" + FIELDS + b"1\tC1\ttoo few\n\n2\tC2\ta.example\t-\textra\n3\tC3\tb.example\t-"
    )
    assert [record.line for record in found] == [12]
    assert faults == [
        (6, "a Zeek row without #fields before it"),
        (9, "3 cells under 4 #fields"),
        (11, "5 cells under 4 #fields"),
    ]


def test_zeek_without_its_first_header_lines() -> None:
    assert values(b"#fields\tts\tuid\n1\tC1\n") == [{"ts": "1", "uid": "C1"}]
    # Without any header nobody knows the fields: lines.
    assert values(b"1\tC1\ta.example\n") == [b"1\tC1\ta.example"]


# CSV and text


def test_csv() -> None:
    data = b'name, address ,note\r\na,192.0.2.1,"x, ""y"""\r\nb,192.0.2.2,"two\r\nlines"\n\nc,192.0.2.3,\n'
    found, faults = load(data)
    assert faults == []
    assert found == [
        Record(2, {"name": "a", "address": "192.0.2.1", "note": 'x, "y"'}),
        Record(3, {"name": "b", "address": "192.0.2.2", "note": "two\r\nlines"}),
        Record(6, {"name": "c", "address": "192.0.2.3", "note": ""}),
    ]


def test_csv_rows_that_do_not_fit() -> None:
    found, faults = load(b"a,b,c\n1,2,3\n1,2,3,4\n1,2\n1,x\ry,3\nz,\0,\xff\n")
    assert [record.value for record in found] == [
        {"a": "1", "b": "2", "c": "3"},
        {"a": "1", "b": "2"},
        {"a": "z", "b": "\0", "c": "\ufffd"},
    ]
    assert [line for line, _ in faults] == [3, 5]
    assert faults[0] == (3, "4 cells under a header of 3")
    assert faults[1][1].startswith("not valid CSV: ")


@pytest.mark.parametrize(
    "data",
    [
        b"one, two, three\n",  # no second line
        b"a,b\n1,2\n",  # two words are not enough
        b"a,a,b\n1,2,3\n",  # twice the same name
        b"Hello, this is, text\nand no table\n",
        b"1,2,3\n4,5,6\n",
        b'a,b,c\n"1,2,3\n',
        b"May 11 18:10:20 fw1 kernel: DROP\n\n \nMay 11 18:10:21 fw1 kernel: DROP",
        b"[Thu Mar 14 08:00:00 2024] [error] child died\n[Thu Mar 14 08:00:01 2024] [error] x\n",
        b"[2024-03-14 08:00:00] started\n",
        b"\xff\xfd\x00 bytes\x01\n\x02\n",
    ],
)
def test_what_is_neither_is_lines(data: bytes) -> None:
    expected = [line for line in data.split(b"\n") if line.strip()]
    assert values(data) == expected


def test_a_json_object_among_lines_of_text_is_one() -> None:
    assert values(b'starting up\n{"a":1}\n{not json}\n{"b":\n') == [
        b"starting up",
        {"a": 1},
        b"{not json}",
        b'{"b":',
    ]


def test_line_ends() -> None:
    assert values(b"one\r\ntwo\rstill two\r\n\r\nlast") == [b"one", b"two\rstill two", b"last"]
    assert values(b"") == []
    assert values(b" \n\n") == []


@pytest.mark.parametrize(
    "text",
    ['{"a":"é"}\n{"a":"x"}\n', '[{"a":"é"},{"a":"x"}]', "é line\nx", "a,b,c\né,x,y\n", "#fields\ta\né\nx\n"],
)
def test_byte_order_marks_and_utf_16(text: str) -> None:
    plain = values(text.encode())
    assert plain
    for encoding in ("utf-8-sig", "utf-16"):
        assert values(text.encode(encoding)) == plain
    assert values(b"\xfe\xff" + text.encode("utf-16-be")) == plain


def test_broken_utf_16() -> None:
    data = '{"a":"x'.encode("utf-16") + b"\x00\xd8" + '"}\n{"b":1}\n'.encode("utf-16-le") + b"\x41"
    found, faults = load(data)
    assert [record.value for record in found] == [{"a": "x\ufffd"}, {"b": 1}]
    assert [line for line, _ in faults] == [3]


def test_a_byte_order_mark_where_files_were_joined() -> None:
    assert values(b'{"a":1}\n\xef\xbb\xbf{"a":2}\n') == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"PARE"])
def test_forms_that_are_not_read_are_named(magic: bytes) -> None:
    found, faults = load(magic + bytes(range(256)) * 100)
    assert found == []
    assert len(faults) == 1
    assert faults[0][0] == by_line.WHOLE


# Limits


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LIMIT", 1000)
    monkeypatch.setattr(by_line, "LIMIT", 1000)
    monkeypatch.setattr(by_line, "_CHUNK", 100)
    monkeypatch.setattr(by_line, "HEAD", 100)


@pytest.mark.usefixtures("small")
def test_a_line_that_is_too_long_is_skipped() -> None:
    long = b'{"a":"' + b"x" * 5000 + b'"}'
    found, faults = load(b'{"a":1}\n' + long + b'\n{"a":2}\n' + long)
    assert found == [Record(1, {"a": 1}), Record(3, {"a": 2})]
    assert faults == [(2, "longer than 1000 bytes"), (4, "longer than 1000 bytes")]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("long", [{"x": "\\" * 3000}, {"x": [{"y": "{"}] * 500}, {"x": {"y": "z" * 1500}}])
def test_a_document_that_is_too_long_is_skipped_whole(long: object) -> None:
    found, faults = load(json.dumps([{"a": 1}, long, {"a": 2}, long, {"a": 3}], indent=1).encode())
    assert [record.value for record in found] == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert faults == [(1, "longer than 1000 bytes"), (3, "longer than 1000 bytes")]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'1,"2,3', "field larger than field limit (1000)"),
        (b"1," + b'"x",' * 100 + b'"2,3', "a row longer than 1000 bytes"),
    ],
)
def test_a_quote_that_never_closes_costs_no_more_than_the_limit(row: bytes, reason: str) -> None:
    found, faults = load(b"a,b,c\n1,2,3\n" + row + b"\n4,5,6" * 300)
    assert found[0] == Record(2, {"a": "1", "b": "2", "c": "3"})
    assert found[-1] == Record(303, {"a": "4", "b": "5", "c": "6"})
    assert faults == [(3, f"not valid CSV: {reason}")]


@pytest.mark.usefixtures("small")
def test_rows_and_lines_over_many_pieces() -> None:
    assert len(values(b"a,b,c\n" + b"1,2,3\n" * 500)) == 500
    assert values(b"x" * 250 + b"\n" + b"y" * 990) == [b"x" * 250, b"y" * 990]


class Repeated(io.RawIOBase):
    """A piece of bytes many times over, without ever being in memory."""

    def __init__(self, head: bytes, piece: bytes, times: int, tail: bytes = b"") -> None:
        self._pieces: Iterator[bytes] = (
            p for part in ([head], (piece for _ in range(times)), [tail]) for p in part
        )
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left and (piece := next(self._pieces, None)) is not None:
            self._left = piece
        given = min(len(buffer), len(self._left))
        buffer[:given] = self._left[:given]
        self._left = self._left[given:]
        return given


def peak(work: Callable[[], object]) -> int:
    """Bytes that Python held at most while it ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.full
@pytest.mark.parametrize("megabytes", [50, 1024])
def test_an_array_is_read_element_by_element(megabytes: int) -> None:
    piece = b'{"a":"' + b"x" * 1_048_550 + b'"},\n'
    stream = io.BufferedReader(Repeated(b"[", piece, megabytes, b'{"a":1}]'), 1 << 20)
    counted = 0

    def work() -> None:
        nonlocal counted
        counted = sum(1 for _ in read(stream, lambda *_: pytest.fail("nothing is malformed")))

    assert peak(work) < 16 << 20
    assert counted == megabytes + 1


@pytest.mark.full
@pytest.mark.parametrize(
    "compress", [gzip.compress, lambda data: zstandard.compress(data, 3)], ids=["gz", "zst"]
)
def test_a_bomb_is_one_malformed_line(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    piece = compress(b"0" * (64 << 20))
    path = tmp_path / "bomb"
    path.write_bytes(compress(b'{"a":1}\n') + piece * 16 + compress(b'\n{"a":2}\n'))
    found: list[telemetry.Malformed] = []
    (source,) = telemetry.sources([str(path)])
    counted = 0

    def work() -> None:
        nonlocal counted
        counted = sum(1 for _ in telemetry.events(source, malformed=found.append))

    assert peak(work) < 3 * by_line.LIMIT
    assert counted == 2
    assert [(what.line, what.reason) for what in found] == [(2, f"longer than {by_line.LIMIT} bytes")]


# Whatever comes


def reads(data: bytes) -> None:
    """Reading ends, and gives records and faults alone."""
    found, faults = load(data)
    for record in found:
        assert record.line >= 0
        assert isinstance(record.value, bytes | dict)
    assert all(line >= by_line.WHOLE and reason for line, reason in faults)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_read(data: bytes) -> None:
    reads(data)


PIECES = st.sampled_from(
    [
        *(bytes([byte]) for byte in b'{}[]"\\:,\n\ra1 \t-\0'),
        *(b"\xef\xbb\xbf", b"\xff\xfe", b'{"a":1}', b'"a":', b"null", b'"\\ud800"', b"a,b,c\n"),
        *(b"#separator \\x09\n", b"#fields\ta\tb\n", b"#path\tx\n"),
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=40).map(b"".join))
def test_whatever_looks_like_a_form_is_read(data: bytes) -> None:
    reads(data)
    for head in (b"{", b"[{", HEADER + FIELDS, b"a,b,c\n1,2,3\n"):
        reads(head + data)


KEYS = st.text(max_size=5).filter(lambda key: key not in {"Records", "records", "value", "Events"})
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=20)
OBJECTS = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=5), st.integers(1, 50))
def test_every_way_of_writing_them_gives_the_same_objects(objects: list[dict[str, Any]], chunk: int) -> None:
    lines = [json.dumps(value).encode() for value in objects]
    expected = values(b"\n".join(lines))
    assert len(expected) == len(objects)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_line, "_CHUNK", chunk)
        patch.setattr(by_line, "HEAD", 16)
        assert values(json.dumps(objects, ensure_ascii=False).encode("utf-8", "replace")) == expected
        assert values(json.dumps(objects, indent=2).encode()) == expected
        assert values(b'{"x":\n1}' + b"".join(lines))[1:] == expected
    assert values(b"".join(lines)) == expected
