"""Every form of telemetry: compressed, in archives, in columns, of Windows; and all of them at once."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from evtxfile import CHUNK, HEADER, event, evtx_file
from formats import ADDRESS, COMPRESSIONS, DOMAIN, FILE, ROWS, files, index_file, scan, zipped
from indicia import telemetry
from indicia.errors import InputError, MissingExtra
from indicia.match.index import Index
from indicia.match.kernel import BUILT
from indicia.telemetry import Malformed, Source, inflate, pieces, sources

pytestmark = pytest.mark.skipif(not BUILT, reason="the C extension was not built")

LINES = b"".join(b'{"a":%d}\n' % number for number in range(20_000))
_RANDOM = random.Random(7)
NOISE = b"".join(_RANDOM.randbytes(100).hex().encode() + b"\n" for _ in range(6_000))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with Index.open(index_file(tmp_path_factory.mktemp("index"))) as found:
        yield found


def read(path: Path) -> tuple[int, list[Malformed]]:
    """How many events the sources of a path give, and what was malformed."""
    faults: list[Malformed] = []
    count = sum(
        1 for source in sources([str(path)]) for _ in telemetry.events(source, malformed=faults.append)
    )
    return count, faults


# All of them at once


def test_every_form_gives_the_same_detections(tmp_path: Path, index: Index) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    wanted: dict[bool, list[str]] = {True: [], False: []}
    for name, data in files():
        (folder / name).write_bytes(data)
    seen: dict[str, set[str]] = {}
    for source in sources([str(folder)]):
        found, faults = scan([source], index, whole=True)
        wanted[True] += [one.id for one in found]
        assert faults == []
        found, faults = scan([source], index)
        wanted[False] += [one.id for one in found]
        assert faults == []
        seen[Path(source.name).name] = {one.id for one in found}
        assert [one.indicator.canonical for one in found] == [DOMAIN, DOMAIN, ADDRESS], source.name
    assert wanted[True] == wanted[False]
    assert len(seen) == 17
    assert len({frozenset(ids) for ids in seen.values()}) == 1, "the form of a file is no part of an id"


# Compressed


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress])
def test_members_behind_one_another(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(compress(LINES[:9]) + compress(b"") + compress(LINES[9:]))
    assert read(path) == (20_000, [])
    path.write_bytes(compress(b""))
    assert read(path) == (0, [])


def test_xz_may_have_padding(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(lzma.compress(LINES) + b"\0" * 8 + lzma.compress(LINES))
    assert read(path) == (40_000, [])


@pytest.mark.parametrize("form", COMPRESSIONS)
@pytest.mark.parametrize("size", [1_000, pytest.param(24_000, marks=pytest.mark.full)])
def test_what_ends_in_the_middle_is_told(tmp_path: Path, form: str, size: int) -> None:
    """Small ones are read by this thread, large ones by another."""
    path = tmp_path / "x"
    data = COMPRESSIONS[form](b"".join(_RANDOM.randbytes(100).hex().encode() + b"\n" for _ in range(size)))
    path.write_bytes(data[: len(data) * 9 // 10])
    count, faults = read(path)
    assert count < size
    assert size < 6_000 or count > size // 2
    (fault,) = faults
    assert fault.line == 0
    assert fault.reason.endswith("it ends in the middle")


@pytest.mark.full
@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress, gzip.compress])
def test_damage_is_told(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    data = bytearray(compress(NOISE * 3))
    for place in range(len(data) // 2, len(data) // 2 + 2000):
        data[place] ^= 0xFF
    path = tmp_path / "x"
    path.write_bytes(compress(NOISE) + data)
    count, faults = read(path)
    assert count >= 6_000
    (fault,) = faults
    assert "damaged" in fault.reason


@pytest.mark.full
@pytest.mark.parametrize("form", COMPRESSIONS)
def test_a_bomb_is_told(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "FREE", 1 << 22)
    monkeypatch.setattr(inflate, "RATIO", 50)
    path = tmp_path / "x"
    path.write_bytes(COMPRESSIONS[form](b"again and again\n" * (1 << 20)))
    count, faults = read(path)
    assert 1 << 17 < count < 1 << 20
    assert "expands to more than 50 times its size" in faults[0].reason


def test_frames_of_every_shape_are_followed(tmp_path: Path) -> None:
    """Raw and repeated blocks, content sizes of every width, dictionaries' places, skippable frames."""
    parts = []
    for size in (0, 1, 255, 256, 65_791, 70_000, 1 << 20):
        for checksum in (0, 1):
            parameters = zstandard.ZstdCompressionParameters(write_checksum=checksum)
            frame = zstandard.ZstdCompressor(compression_params=parameters)
            parts += [frame.compress(NOISE[:size]), frame.compress(b"\n" * size)]
            parts.append(b"\x5a\x2a\x4d\x18" + size.to_bytes(4, "little") + bytes(size))
    whole = b"".join(parts)
    for cut, ends in ((len(whole), True), (len(whole) - 1, False), (len(whole) - (1 << 20) - 7, False)):
        stream = io.BufferedReader(io.BytesIO(whole[:cut]))
        found = inflate.blocks(stream, "zstd")
        if ends:
            assert sum(map(len, found)) == 4 * (1 + 255 + 256 + 65_791 + 70_000 + (1 << 20))
        else:
            with pytest.raises(OSError, match="ends in the middle"):
                list(found)


def test_no_thread_stays_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.zst"
    path.write_bytes(zstandard.compress(NOISE * 50))
    before = threading.active_count()
    (source,) = sources([str(path)])
    found = telemetry.events(source, malformed=print)
    next(found)
    assert threading.active_count() == before + 1
    found.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


# Archives


def test_the_members_of_an_archive_are_sources(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    made = {"logs/conn.log": b"one\n", "empty": b"", "b.json.gz": gzip.compress(LINES), "folder/": b""}
    path.write_bytes(zipped(made))
    found = sources([str(path), str(tmp_path)])
    assert [source.name for source in found] == [f"{path}!{name}" for name in made if name != "folder/"]
    assert [source.stem for source in found] == ["conn", "empty", "b"]
    assert read(path) == (20_001, [])
    assert [pieces(source, size=10) for source in found] == [[source] for source in found]
    path.write_bytes(zipped({}))
    assert sources([str(path)]) == []


@pytest.mark.full
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_the_methods_of_an_archive(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(zipped({"x": LINES, "y": NOISE * 20}, method))
    assert read(path) == (140_000, [])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    _, faults = read(path)
    assert [(fault.source, fault.line) for fault in faults] == [(f"{path}!y", 0)]
    assert "damaged zip data" in faults[0].reason


@pytest.mark.full
def test_progress_of_an_archive_is_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"x": NOISE * 5, "y": LINES}))
    heard: list[int] = []
    for source in sources([str(path)]):
        list(telemetry.events(source, malformed=print, progress=heard.append))
    assert sum(heard) == sum(source.size or 0 for source in sources([str(path)]))


def test_what_of_an_archive_is_not_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    data = bytearray(zipped({"secret": b"x"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag of encryption
    path.write_bytes(data)
    (source,) = sources([str(path)])
    with pytest.raises(InputError, match="is encrypted"):
        source.open()
    path.write_bytes(zipped({"x": b"x"}, zipfile.ZIP_LZMA))
    (source,) = sources([str(path)])
    with pytest.raises(InputError, match="method 14 of zip, which is not read"):
        source.open()
    path.write_bytes(zipped({"inner.zip": zipped({"x": b"evil"})}))
    assert read(path)[0] == 0
    assert "a zip archive inside" in read(path)[1][0].reason


@pytest.mark.parametrize("cut", [4, 30, 60, -30, -5])
def test_an_archive_that_is_cut(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"x": NOISE})[:cut])
    (source,) = sources([str(path)])
    with pytest.raises(InputError, match="a zip archive that cannot be read") as caught:
        next(telemetry.events(source, malformed=print))
    assert caught.value.place == str(path)


def test_an_archive_in_a_stream_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(zipped({"x": b"y"})))
    assert "a zip archive inside a stream" in read(path)[1][0].reason


# EVTX


def windows(tmp_path: Path) -> Path:
    """Three chunks: a process, a query, a download."""
    path = tmp_path / "Sysmon.evtx"
    chunks = [
        [event(10, {"Image": r"C:\tools\curl.exe"}), event(11, {"QueryName": f"x.{DOMAIN}"})],
        [event(12, {"Image": rf"C:\tools\{FILE}"}, "ws6")],
        [event(13, {"CommandLine": f"curl http://{DOMAIN}/x"}), event(14, {"Image": "x"})],
    ]
    path.write_bytes(evtx_file(chunks))
    return path


def test_evtx(tmp_path: Path, index: Index) -> None:
    path = windows(tmp_path)
    for whole in (True, False):
        found, faults = scan(sources([str(path)]), index, whole=whole)
        assert faults == []
        assert [(one.line, one.machine, one.schema) for one in found] == [
            (2, "ws5.corp.example", "windows-xml"),
            (3, "ws6", "windows-xml"),
            (4, "ws5.corp.example", "windows-xml"),
        ]
    events = [event for source in sources([str(path)]) for event in telemetry.events(source, malformed=print)]
    assert [event.line for event in events] == [1, 2, 3, 4, 5]
    names = {observable.value for event in events for observable in event.observables}
    assert "schemas.microsoft.com" not in names, "the name space of every event is no indicator"


def test_an_evtx_record_is_the_same_event_in_every_export(tmp_path: Path, index: Index) -> None:
    found, _ = scan(sources([str(windows(tmp_path))]), index)
    flat = {
        "Hostname": "WS5.corp.example",
        "Channel": "Microsoft-Windows-Sysmon/Operational",
        "RecordNumber": 11,
        "EventID": 1,
        "EventTime": "2024-03-12T09:00:00Z",
        "SourceName": "Microsoft-Windows-Sysmon",
        "QueryName": DOMAIN,
    }
    path = tmp_path / "nxlog.json"
    path.write_text(json.dumps(flat))
    (exported,), _ = scan(sources([str(path)]), index)
    assert exported.event_id == found[0].event_id


def test_a_damaged_chunk_costs_itself_alone(tmp_path: Path, index: Index) -> None:
    path = windows(tmp_path)
    data = path.read_bytes()
    second = HEADER + CHUNK
    cases = {
        "does not begin as one": data[:second] + b"X" * 9 + data[second + 9 :],
        "chunks 0 to 2": data[: second + 540] + b"\xff" * 40 + data[second + 580 :],
    }
    for told, damaged in cases.items():
        path.write_bytes(damaged)
        found, faults = scan(sources([str(path)]), index)
        assert [one.line for one in found] == [2, 4]
        assert faults
        assert all(fault.line == 0 and told in fault.reason for fault in faults)
    path.write_bytes(data[: second + 100])
    found, faults = scan(sources([str(path)]), index)
    assert [one.line for one in found] == [2]
    assert "chunk 1 of the EVTX file is cut short" in faults[0].reason
    path.write_bytes(data[:second] + bytes(CHUNK) + data[second:])
    found, faults = scan(sources([str(path)]), index)
    assert ([one.line for one in found], faults) == ([2, 3, 4], []), "a chunk that was never used"
    path.write_bytes(data[:100])
    assert scan(sources([str(path)]), index) == ([], [])


def test_evtx_in_pieces_and_compressed(tmp_path: Path, index: Index) -> None:
    path = windows(tmp_path)
    plain, _ = scan(sources([str(path)]), index)
    (source,) = sources([str(path)])
    cut = pieces(source, size=CHUNK)
    assert [piece.start for piece in cut] == [0, HEADER + CHUNK, HEADER + 2 * CHUNK]
    assert sum(piece.size or 0 for piece in cut) == source.size
    found, faults = scan(cut, index)
    assert faults == []
    assert [(one.id, one.line) for one in found] == [(one.id, one.line) for one in plain]
    for ending, compress in COMPRESSIONS.items():
        other = tmp_path / f"x.{ending}"
        other.write_bytes(compress(path.read_bytes()))
        assert [one.id for one in scan(sources([str(other)]), index)[0]] == [one.id for one in plain]


@pytest.mark.full
def test_golden_events_of_evtx_files(shared: Path) -> None:
    vectors = [
        json.loads(line)
        for line in (shared / "conformance" / "identity.ndjson").read_text("utf-8").splitlines()
    ]
    count = 0
    for vector in vectors:
        if vector.get("schema") == "evtx" and "input" not in vector:
            path = shared / "data" / "telemetry" / f"{vector['source']}.zst"
            found = telemetry.events(Source(path.name, path), malformed=print)
            ids = [one.facts.event_id for one in found if one.line == vector["line"]]
            assert vector["event_id"] in ids, vector
            count += 1
    assert count == 9


@pytest.mark.full
def test_windows_events_of_all_samples(shared: Path) -> None:
    folder = shared / "data" / "telemetry" / "evtx-attack-samples"
    found = sources([f"{folder}/**/*.evtx.zst"])
    schemas = [one.schema for source in found for one in telemetry.events(source, malformed=print)]
    assert len(schemas) == 8255
    assert set(schemas) == {"windows-xml"}


# Packages that are not there


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("x.evtx", "evtx", "evtx"), ("x.parquet", "pyarrow.parquet", "arrow"), ("x.arrow", "pyarrow", "arrow")],
)
def test_a_package_that_is_absent_is_named(
    tmp_path: Path, name: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = dict(files()) | {"rows.evtx": windows(tmp_path).read_bytes()}
    path = tmp_path / name
    path.write_bytes(made[f"rows.{name.partition('.')[2]}"])
    monkeypatch.setitem(sys.modules, module, None)
    (source,) = sources([str(path)])
    with pytest.raises(MissingExtra, match=rf"pip install 'indicia\[{extra}\]'") as caught:
        next(telemetry.events(source, malformed=print))
    assert caught.value.place == str(path)
    assert pieces(source, size=1)[0].path == path


def test_rows_of_a_table_with_tabs(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes(b'name\taddress\tnote\na\t192.0.2.1\t"two\nlines"\nb\t192.0.2.2\t\n1\t2\t3\t4\n')
    count, faults = read(path)
    assert count == 2
    assert [(fault.line, fault.reason) for fault in faults] == [(5, "4 cells under a header of 3")]
    path.write_bytes(b"1\t2\t3\n4\t5\t6\n")
    (first, _) = (e for s in sources([str(path)]) for e in telemetry.events(s, malformed=print))
    assert first.schema == "line", "no names, no table"
    assert len(ROWS) == 60
