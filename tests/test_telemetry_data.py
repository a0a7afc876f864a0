"""The real telemetry, whole: every file read, every schema known, ids the same in every form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from indicia import telemetry
from indicia.telemetry import schemas
from indicia.telemetry.events import facts
from indicia.telemetry.records import Record, read

# What a file holds is told by where it lies. The first that fits counts.
EXPECTED = (
    ("zed-sample-data/zeek-", "zeek"),
    ("suricata-sample-data/samples/", "suricata"),
    ("security-datasets/atomic/aws/collection/", "cloudtrail"),
    ("security-datasets/atomic/aws/discovery/", "s3-csv"),
    ("security-datasets/atomic/windows/", "nxlog winlogbeat6"),
    ("security-datasets/compound/GoldenSAMLADFSMailAccess/AADAuditEvents", "entra"),
    ("security-datasets/compound/GoldenSAMLADFSMailAccess/Microsoft365Defender", "mde"),
    ("security-datasets/compound/GoldenSAMLADFSMailAccess/OfficeActivity", "office"),
    ("security-datasets/compound/GoldenSAMLADFSMailAccess/WindowsEvents", "windows-azure"),
    ("security-datasets/compound/Log4Shell/securityauditing", "windows-azure"),
    ("security-datasets/compound/Log4Shell/sysmon", "windows-azure"),
    ("security-datasets/compound/Log4Shell/syslog", "syslog"),
    ("security-datasets/compound/Log4Shell/vminsights", "vmconnection"),
    ("security-datasets/compound/", "zeek"),
)
EVENTS = {
    "nxlog": 342_708,
    "zeek": 350_533,
    "winlogbeat6": 8_502,
    "windows-azure": 564,
    "suricata": 548,
    "s3-csv": 301,
    "syslog": 143,
    "cloudtrail": 103,
    "mde": 9,
    "vmconnection": 5,
    "entra": 4,
    "office": 1,
}
TIMELESS = {"zeek": 9_664}
"""Lines of loaded_scripts: nothing else lacks a time that can be read."""


def name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def telemetry_files(folder: Path) -> list[Path]:
    """Telemetry but EVTX; licences and notes beside it are none."""
    paths = [Path(source.name) for source in telemetry.sources([str(folder)])]
    return [path for path in paths if path.suffix == ".zst" and ".evtx" not in path.name]


def records(path: Path, malformed: list[tuple[int, str]]) -> Iterator[Record]:
    (source,) = telemetry.sources([str(path)])
    with source.open() as stream:
        yield from read(stream, lambda line, reason: malformed.append((line, reason)))


def read_whole(path: Path) -> tuple[Counter[str], Counter[str]]:
    """Events and those without a time, by schema. Every observable and every fact is worked out."""
    found: Counter[str] = Counter()
    timeless: Counter[str] = Counter()
    faults: list[telemetry.Malformed] = []
    (source,) = telemetry.sources([str(path)])
    for event in telemetry.events(source, malformed=faults.append):
        found[event.schema] += 1
        timeless[event.schema] += event.facts.time is None
    # No published sample of these holds a malformed line; an independent count found the same events.
    assert faults == [], path
    return found, +timeless


@pytest.mark.full
@pytest.mark.no_cover
def test_files_of_every_schema_are_read(shared: Path) -> None:
    folder = shared / "data" / "telemetry"
    found: Counter[str] = Counter()
    for path in telemetry_files(folder):
        if path.stat().st_size < 30_000:
            expected = expectation(name(path, folder))
            here, _ = read_whole(path)
            assert set(here) <= set(expected.split()), path
            found += here
    assert set(EVENTS) - {"nxlog", "winlogbeat6"} <= set(found) <= set(EVENTS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_file_is_read(shared: Path) -> None:
    folder = shared / "data" / "telemetry"
    found: Counter[str] = Counter()
    timeless: Counter[str] = Counter()
    for path in telemetry_files(folder):
        here, without = read_whole(path)
        assert set(here) <= set(expectation(name(path, folder)).split()), path
        found += here
        timeless += without
    assert found == EVENTS
    assert timeless == TIMELESS


def expectation(path: str) -> str:
    return next(schema for start, schema in EXPECTED if path.startswith(start))


def zeek_ids(path: Path, limit: int | None = None) -> Counter[str]:
    """Ids of the events of a file, with how often each comes."""
    malformed: list[tuple[int, str]] = []
    source, schema = telemetry.Source(path.name), schemas()["zeek"]
    found: Counter[str] = Counter()
    for number, record in enumerate(records(path, malformed)):
        if number == limit:
            break
        assert isinstance(record.value, dict)
        found[facts(record.value, source, schema).event_id] += 1
    assert malformed == []
    return found


def same_ids(shared: Path, limit: int | None) -> tuple[int, int]:
    """Compare every pair of zed-sample-data; the lines and the different ids of one form."""
    folder = shared / "data" / "telemetry" / "zed-sample-data"
    pairs = sorted((folder / "zeek-default").glob("*.log.zst"))
    lines, different = 0, 0
    for tsv in pairs:
        as_json = folder / "zeek-json" / tsv.name.replace(".log.", ".json.")
        one, other = zeek_ids(as_json, limit), zeek_ids(tsv, limit)
        assert one == other, tsv.name
        lines += one.total()
        different += len(one)
    assert len(pairs) == 32
    return lines, different


@pytest.mark.full
def test_zeek_as_json_and_tsv_has_the_same_ids_at_the_beginning_of_every_file(shared: Path) -> None:
    assert same_ids(shared, 500)[0] > 7_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_zeek_as_json_and_tsv_has_the_same_ids(shared: Path) -> None:
    lines, different = same_ids(shared, None)
    assert lines == 158_439
    # Three pairs of dns lines differ in rtt alone: a mirrored packet, one event each.
    assert different == lines - 3
