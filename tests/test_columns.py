"""Rows of Parquet and Arrow: every type of column, the same rows with the sieve as without, damage."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from formats import ADDRESS, DOMAIN, FILE, SHA256, arrow_file, index_file, parquet_file, scan, table
from indicia import Index as Public
from indicia.match.engine import Sieve
from indicia.match.index import Index
from indicia.match.kernel import BUILT
from indicia.telemetry import Selection, columns, pieces, sources

pytestmark = pytest.mark.skipif(not BUILT, reason="the C extension was not built")

COUNT = 3000


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with Index.open(index_file(tmp_path_factory.mktemp("index"))) as found:
        yield found


def but(number: int, value: Any, other: Any = "plain.example.net") -> list[Any]:
    """A column of one value, but for one row."""
    return [value if row == number else other for row in range(COUNT)]


def every_type() -> dict[str, tuple[pa.Array, set[int]]]:
    """Columns, and the rows that hold a hit in each."""
    texts, nested = but(5, DOMAIN), but(9, [ADDRESS], ["192.0.2.1", "x"])
    return {
        "string": (pa.array(texts), {5}),
        "large": (pa.array(texts, pa.large_string()), {5}),
        "view": (pa.array(texts, pa.string_view()), {5}),
        "binary": (pa.array([text.encode() for text in texts], pa.binary()), {5}),
        "dictionary": (pa.array(texts).dictionary_encode(), {5}),
        "extension": (pa.array(texts, pa.json_()), {5}),
        "digest": (pa.array(but(7, bytes.fromhex(SHA256), bytes(32)), pa.binary(32)), {7}),
        "raw": (pa.array(but(8, bytes.fromhex(SHA256), b"x"), pa.binary()), {8}),
        "list": (pa.array(nested), {9}),
        "fixed": (pa.array(but(9, [ADDRESS, ""], ["x", "y"]), pa.list_(pa.string(), 2)), {9}),
        "list view": (pa.array(nested, pa.list_view(pa.string())), {9}),
        "struct": (pa.array(but(2, {"name": FILE, "size": 1}, {"name": None, "size": 2})), {2}),
        "deep": (pa.array(but(2, [{"of": [FILE]}], [{"of": None}])), {2}),
        "map": (pa.array(but(3, [("k", DOMAIN)], []), pa.map_(pa.string(), pa.string())), {3}),
        "runs": (
            pa.RunEndEncodedArray.from_arrays(pa.array([4, 5, COUNT], pa.int32()), ["x", DOMAIN, "y"]),
            {4},
        ),
        "empty": (pa.array(but(6, DOMAIN, None)), {6}),
        "number": (pa.array(range(COUNT)), set()),
        "null": (pa.nulls(COUNT), set()),
    }


@pytest.mark.parametrize("name", every_type())
@pytest.mark.parametrize("start", [0, 1, 4])
def test_the_sieve_sees_every_type(name: str, start: int, index: Index) -> None:
    column, hits = every_type()[name]
    sliced = pa.table({name: column}).slice(start)
    passed: list[int] = []
    found = dict(columns.of_table(sliced, Selection(Sieve(index), passed.append)))
    whole = dict(columns.of_table(sliced, None))
    assert {row - start for row in hits if row >= start} <= set(found)
    assert len(found) + sum(passed) == len(whole) == COUNT - start
    assert all(whole[row] == value for row, value in found.items())
    if name not in {"list view", "raw"}:
        assert len(found) <= 1


def test_what_columns_hold_is_as_in_json() -> None:
    moment = 1_710_234_000_123_456_000
    row = {
        "ns": pa.array([moment + 789], pa.timestamp("ns")),
        "us": pa.array([moment // 1000], pa.timestamp("us", "Europe/Berlin")),
        "s": pa.array([moment // 10**9], pa.timestamp("s", "UTC")),
        "far": pa.array([2**62], pa.timestamp("s")),
        "date": pa.array([date(2024, 3, 12)]),
        "date64": pa.array([date(2024, 3, 12)], pa.date64()),
        "time": pa.array([3_600_500], pa.time32("ms")),
        "duration": pa.array([timedelta(seconds=5)], pa.duration("s")),
        "decimal": pa.array([Decimal("12.50")]),
        "flag": pa.array([True]),
        "big": pa.array([2**64 - 1], pa.uint64()),
        "text": pa.array([b"abc"], pa.binary()),
        "bytes": pa.array([b"\xff\xfe"], pa.binary()),
        "inside": pa.array([{"when": [1, None]}], pa.struct({"when": pa.list_(pa.timestamp("s", "UTC"))})),
        "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
        "nothing": pa.nulls(1),
    }
    ((number, found),) = columns.of_table(pa.table(row), None)
    assert number == 0
    assert found == {
        "ns": "2024-03-12T09:00:00.123456789",
        "us": "2024-03-12T09:00:00.123456Z",
        "s": "2024-03-12T09:00:00Z",
        "far": str(2**62),
        "date": "2024-03-12",
        "date64": "2024-03-12",
        "time": "01:00:00.5",
        "duration": 5,
        "decimal": "12.50",
        "flag": True,
        "big": 2**64 - 1,
        "text": "abc",
        "bytes": "fffe",
        "inside": {"when": ["1970-01-01T00:00:01Z", None]},
        "map": {"a": 1},
        "nothing": None,
    }


@pytest.mark.full
def test_many_rows_in_every_container(tmp_path: Path, index: Index) -> None:
    chance = random.Random(3)
    names = [DOMAIN if chance.random() < 0.05 else f"h{n}.example.net" for n in range(COUNT)]
    rows = pa.table(
        {
            "n": pa.array(range(COUNT)),
            "name": pa.array(names),
            "low": pa.array([chance.choice(["tcp", FILE, "udp"]) for _ in range(COUNT)]),
            "id.orig_h": pa.array([ADDRESS if n % 100 == 0 else "192.0.2.1" for n in range(COUNT)]),
        }
    )
    ids = None
    for name, data in (("x.parquet", parquet_file(rows)), ("x.arrow", arrow_file(rows))):
        path = tmp_path / name
        path.write_bytes(data)
        (source,) = sources([str(path)])
        cut = pieces(source, size=len(data) // 5)
        assert len(cut) > 3
        assert cut[0].start == 0
        assert all(piece.start for piece in cut[1:])
        for given, whole in (([source], True), ([source], False), (cut, False)):
            found, faults = scan(given, index, whole=whole)
            assert faults == []
            seen = [(one.id, one.line) for one in found]
            assert ids in (None, seen)
            ids = seen
    with Public.open(index.path) as public:
        assert [(one.id, one.line) for one in public.scan(rows)] == list(dict(ids or []).items())


def test_only_the_columns_that_can_hold_a_hit_are_read(tmp_path: Path, index: Index) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"n": pa.array(range(1000)), "f": pa.array([0.5] * 1000)}), path)
    assert scan(sources([str(path)]), index) == ([], [])
    passed: list[int] = []
    found = columns.of_table(pq.read_table(path), Selection(Sieve(index), passed.append))
    assert (list(found), sum(passed)) == ([], 1000)


@pytest.mark.parametrize("make", [parquet_file, arrow_file])
@pytest.mark.parametrize("seed", range(30))
def test_damage_is_told_and_never_a_crash(tmp_path: Path, make: Any, seed: int, index: Index) -> None:
    chance = random.Random(seed)
    data = bytearray(make(table()))
    for _ in range(chance.randrange(1, 40)):
        data[chance.randrange(8, len(data))] = chance.randrange(256)
    path = tmp_path / "x"
    path.write_bytes(data[: len(data) - (chance.randrange(len(data)) if seed % 3 == 0 else 0)])
    for whole in (True, False):
        found, faults = scan(sources([str(path)]), index, whole=whole)
        assert len(found) <= 60
        assert all(fault.line == 0 for fault in faults)
        assert faults or seed % 3
