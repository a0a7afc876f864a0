"""The stories of `semantics.md`, exactly with their figures, on the reference engine."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indicia import telemetry, values
from indicia.detect import detect_all
from indicia.errors import InvalidValue
from indicia.match.reference import ReferenceMatcher
from indicia.model import (
    Alert,
    AlertDefinition,
    Category,
    Detection,
    DetectionFunction,
    GroupBy,
    Indicator,
    IndicatorType,
    Severity,
)
from indicia.triage import merge
from truth.lines import Row, read_rows, read_truth, text_lines

DEFINITION = AlertDefinition(
    uid="5e1f9f0e-0000-4000-8000-000000000001",
    name="Stories",
    title="A story",
    severity=Severity.MEDIUM,
    category=Category.COMMAND_AND_CONTROL,
)
Made = Callable[[str, Iterable[str]], telemetry.Source]
FEED = replace(DEFINITION, uid="5e1f9f0e-0000-4000-8000-000000000002", group_by=GroupBy.INDICATOR)


def indicator(
    kind: IndicatorType,
    value: str,
    function: DetectionFunction = DetectionFunction.EQUALS,
    *,
    number: int = 1,
    expires_at: datetime | None = None,
    definition: AlertDefinition = DEFINITION,
) -> Indicator:
    canonical = values.indicator_value(kind, function, value)
    return Indicator(kind, value, canonical, function, definition, number, expires_at=expires_at)


def scan(
    sources: Iterable[telemetry.Source], matcher: ReferenceMatcher
) -> tuple[list[Detection], list[Alert]]:
    """Detections, each id once, and the alerts that those which raise become, largest first."""
    faults: list[telemetry.Malformed] = []
    events = (event for source in sources for event in telemetry.events(source, malformed=faults.append))
    detections = list(detect_all(events, matcher))
    alerts: dict[str, Alert] = {}
    for detection in detections:
        if detection.raises:
            alerts[detection.alert_id] = merge(alerts.get(detection.alert_id), detection)
    assert not faults
    return detections, sorted(alerts.values(), key=lambda alert: (-alert.detection_count, alert.machine))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Makes a source of lines, under a name of its own."""

    def make(name: str, lines: Iterable[str]) -> telemetry.Source:
        path = tmp_path / str(len(list(tmp_path.iterdir()))) / Path(name).name
        path.parent.mkdir()
        path.write_text("\n".join(line.rstrip("\n") for line in lines), "utf-8", newline="\n")
        return telemetry.sources([str(path)])[0]

    return make


# Story 1: APT29, day 1

ARRANGEMENTS: dict[str, tuple[str, ...]] = {
    "the two hosts' folders": ("NASHUA-zeek_logs", "SCRANTON-zeek_logs"),
    "the two hosts' folders, the other way round": ("SCRANTON-zeek_logs", "NASHUA-zeek_logs"),
    "the individual logs": ("individual_zeek_logs",),
    "the combined log": ("combined_zeek.log.zst",),
    "the combined log twice": ("combined_zeek.log.zst", "combined_zeek.log.zst"),
    "all at once": (
        "NASHUA-zeek_logs",
        "SCRANTON-zeek_logs",
        "individual_zeek_logs",
        "combined_zeek.log.zst",
    ),
}
ATTACKER = "192.168.0.4"


@pytest.fixture(scope="module")
def day_one(shared: Path) -> Path:
    return shared / "data" / "telemetry" / "security-datasets" / "compound" / "apt29" / "day1" / "zeek"


def apt29(sources: Iterable[telemetry.Source]) -> tuple[frozenset[str], frozenset[str]]:
    """The ids of the detections and of the alerts, once the story's figures are asserted."""
    detections, alerts = scan(sources, ReferenceMatcher([indicator(IndicatorType.IP_ADDRESS, ATTACKER)]))
    assert len(detections) == 1271
    assert [(alert.machine, alert.detection_count) for alert in alerts] == [
        ("10.0.1.6", 1129),
        ("10.0.1.4", 142),
    ]
    return frozenset(item.id for item in detections), frozenset(item.id for item in alerts)


@pytest.mark.full
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_apt29_day_one_however_it_is_given(day_one: Path, arrangement: str) -> None:
    paths = [str(day_one / name) for name in ARRANGEMENTS[arrangement]]
    ids = apt29(telemetry.sources(paths))
    assert ids == apt29(telemetry.sources([str(day_one / "combined_zeek.log.zst")]))


@pytest.mark.full
@pytest.mark.parametrize("seed", range(3))
def test_apt29_day_one_shuffled_and_repeated(made: Made, day_one: Path, seed: int) -> None:
    """Lines of all arrangements in any order, cut into any number of files, some given again."""
    chance = random.Random(seed)
    lines = [line for name in sorted(day_one.rglob("*.zst")) for line in text_lines(name)]
    lines += chance.sample(lines, len(lines) // 4)
    chance.shuffle(lines)
    cuts = sorted(chance.sample(range(len(lines)), 3))
    parts = [lines[start:end] for start, end in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
    given = [made(f"part{number}.log", part) for number, part in enumerate(parts)]
    assert apt29(given) == apt29(telemetry.sources([str(day_one / "combined_zeek.log.zst")]))


# Story 2: Rogue MSI

ROGUE = "rogue-updates.example"


def windows_record(record: int, event: int, domain: str = ROGUE) -> str:
    """An event as EVTX readers write it in JSON; made by hand after the two of the story."""
    system = {
        "Provider": {"#attributes": {"Name": "MsiInstaller"}},
        "EventID": {"#attributes": {"Qualifiers": 0}, "#text": event},
        "TimeCreated": {"#attributes": {"SystemTime": "2019-10-31T14:48:42.000000Z"}},
        "EventRecordID": record,
        "Channel": "Application",
        "Computer": "User-PC",
    }
    data = {"Data": {"#text": [f"http://{domain}/staterepository", "2600", "(NULL)", ""]}, "Binary": None}
    attributes = {"xmlns": "http://schemas.microsoft.com/win/2004/08/events/event"}
    return json.dumps({"Event": {"#attributes": attributes, "System": system, "EventData": data}})


def rogue(
    source: telemetry.Source, domain: str, expires_at: datetime | None
) -> tuple[list[Detection], list[Alert]]:
    matcher = ReferenceMatcher(
        indicator(IndicatorType.DOMAIN_NAME, domain, number=number, expires_at=expires_at)
        for number in range(1, 31)
    )
    return scan([source], matcher)


EXPIRIES = [
    (None, 2),
    (datetime(2019, 10, 31, tzinfo=UTC), 0),
    (datetime(2019, 10, 31, 14, 48, 42, tzinfo=UTC), 0),
    (datetime(2019, 11, 30, tzinfo=UTC), 2),
]


@pytest.mark.parametrize(("expires_at", "count"), EXPIRIES)
def test_rogue_msi_made_by_hand(made: Made, expires_at: datetime | None, count: int) -> None:
    other = windows_record(3733, 1033, "updates.example")
    source = made("application.json", [other, windows_record(3734, 1040), windows_record(3735, 1042)])
    detections, alerts = rogue(source, ROGUE, expires_at)
    assert len({item.event_id for item in detections}) == len(detections) == count
    assert [(alert.machine, alert.detection_count) for alert in alerts] == [("user-pc", count)] * (count > 0)
    assert {item.indicator.id for item in detections} <= {1}


@pytest.mark.parametrize(("expires_at", "count"), EXPIRIES)
def test_rogue_msi_as_it_was(made: Made, shared: Path, expires_at: datetime | None, count: int) -> None:
    """Over the EVTX file itself, read by the `evtx` package; reading EVTX is not yet ours."""
    evtx = pytest.importorskip("evtx")
    zstandard = pytest.importorskip("zstandard")
    folder = shared / "data" / "telemetry" / "evtx-attack-samples" / "Execution"
    packed = (folder / "rogue_msi_url_1040_1042.evtx.zst").read_bytes()
    parser = evtx.PyEvtxParser(io.BytesIO(zstandard.ZstdDecompressor().stream_reader(packed).read()))
    lines = [record["data"].replace("\n", " ") for record in parser.records_json()]
    detections, alerts = rogue(made("rogue.json", lines), "officemysuppbox.com", expires_at)
    assert len(detections) == count
    records = {json.loads(lines[item.line - 1])["Event"]["System"]["EventRecordID"] for item in detections}
    assert records == ({3734, 3735} if count else set())
    assert [(alert.machine, alert.detection_count) for alert in alerts] == [("user-pc", count)] * (count > 0)


# Story 3: Feed morning

VERSION = "1.0.0.0"


def as_feed(rows: Iterable[Row]) -> Iterable[Indicator]:
    """As a feed import takes them: domains as SubdomainOf save public suffixes, alerts by indicator."""
    for number, row in enumerate(rows, 1):
        kind = IndicatorType.IP_ADDRESS if row.type == "Cidr" else IndicatorType(row.type)
        function = DetectionFunction.EQUALS
        if kind is IndicatorType.DOMAIN_NAME and not values.is_public_suffix(row.value):
            function = DetectionFunction.SUBDOMAIN_OF
        try:
            yield indicator(kind, row.value, function, number=number, definition=FEED)
        except InvalidValue:
            continue


@pytest.fixture(scope="module")
def version_lines(shared: Path) -> dict[str, list[str]]:
    """The lines of the Windows set on which the truth saw 1.0.0.0, by file."""
    data = shared / "data"
    wanted: dict[str, set[int]] = {}
    for truth in read_truth(data, "sd-windows-atomic"):
        if truth.value == VERSION:
            wanted.setdefault(truth.file, set()).add(truth.line)
    return {
        file: [
            line.rstrip("\n")
            for number, line in enumerate(text_lines(data / "telemetry" / f"{file}.zst"), 1)
            if number in numbers
        ]
        for file, numbers in wanted.items()
    }


@pytest.mark.full
def test_a_version_number_opens_no_alert(made: Made, version_lines: dict[str, list[str]]) -> None:
    assert sum(map(len, version_lines.values())) == 728
    matcher = ReferenceMatcher([indicator(IndicatorType.IP_ADDRESS, VERSION, definition=FEED)])
    detections, alerts = scan([made(file, lines) for file, lines in version_lines.items()], matcher)
    assert alerts == []
    assert len(detections) > 0
    bodies = {
        item.event_id for item in detections for piece in item.evidence if piece.path == "ScriptBlockText"
    }
    assert len(bodies) == 5


def warned(kind: IndicatorType, function: DetectionFunction, value: str) -> bool:
    canonical = values.indicator_value(kind, function, value)
    return any("public suffix" in warning for warning in values.warnings(kind, function, canonical))


def test_a_public_suffix_is_warned_about() -> None:
    assert warned(IndicatorType.DOMAIN_NAME, DetectionFunction.SUBDOMAIN_OF, "duckdns.org")
    assert not warned(IndicatorType.DOMAIN_NAME, DetectionFunction.SUBDOMAIN_OF, "marzo1.duckdns.org")


@pytest.mark.parametrize("query", ["marzo1.duckdns.org", "MARZO1.duckdns.org.", "login.marzo1.duckdns.org"])
def test_a_name_below_a_public_suffix_still_alerts(made: Made, query: str) -> None:
    rows = [Row("DomainName", "duckdns.org", "feed"), Row("DomainName", "marzo1.duckdns.org", "feed")]
    matcher = ReferenceMatcher(as_feed(rows))
    _, alerts = scan([made("dns.log", [dns_event(query)])], matcher)
    assert [alert.indicators for alert in alerts] == [("marzo1.duckdns.org",)]
    assert scan([made("dns.log", [dns_event("someone-else.duckdns.org")])], matcher) == ([], [])


def dns_event(query: str) -> str:
    return json.dumps(
        {
            "_path": "dns",
            "ts": 1700000000.25,
            "uid": "CmadeByHand1",
            "id.orig_h": "192.0.2.7",
            "id.orig_p": 50000,
            "id.resp_h": "192.0.2.53",
            "id.resp_p": 53,
            "query": query,
        }
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_feed_morning(made: Made, shared: Path, version_lines: dict[str, list[str]]) -> None:
    """All of all.csv as a feed, nothing excluded, over the events of the story."""
    data = shared / "data"
    matcher = ReferenceMatcher(as_feed(read_rows(data, "all")))
    assert len(matcher) > 3_300_000
    _, alerts = scan([made(file, lines) for file, lines in version_lines.items()], matcher)
    assert [alert for alert in alerts if VERSION in alert.indicators] == []
    _, alerts = scan([made("dns.log", [dns_event("marzo1.duckdns.org")])], matcher)
    assert [alert.indicators for alert in alerts] == [("marzo1.duckdns.org",)]


# The order, number and form of files change nothing


@pytest.fixture(scope="module")
def drawn(shared: Path) -> ReferenceMatcher:
    rows = enumerate(read_rows(shared / "data", "drawn"), 1)
    kinds = (
        (IndicatorType.IP_ADDRESS if row.type == "Cidr" else IndicatorType(row.type), row, n)
        for n, row in rows
    )
    return ReferenceMatcher(indicator(kind, row.value, number=number) for kind, row, number in kinds)


def ids(
    sources: Iterable[telemetry.Source], matcher: ReferenceMatcher
) -> tuple[frozenset[str], frozenset[str]]:
    detections, alerts = scan(sources, matcher)
    assert len({item.id for item in detections}) == len(detections)
    assert sum(alert.detection_count for alert in alerts) == sum(item.raises for item in detections)
    return frozenset(item.id for item in detections), frozenset(item.id for item in alerts)


MIXED = (
    "security-datasets/compound/GoldenSAMLADFSMailAccess/WindowsEvents.json",
    "security-datasets/compound/GoldenSAMLADFSMailAccess/Microsoft365DefenderEvents.json",
    "security-datasets/compound/Log4Shell/sysmon_log4shell_cve2021_44228_java_serialized_object_2022-05-13045800.json",
    "security-datasets/compound/Log4Shell/syslog_sysmon_log4shell_cve2021_44228_jndi_reference_2022-05-11181020.json",
    "security-datasets/atomic/aws/collection/ec2_proxy_s3_exfiltration_2020-09-14011940.json",
    "zed-sample-data/zeek-json/ntp.json",
    "zed-sample-data/zeek-json/x509.json",
)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(2))
def test_shuffled_and_repeated_lines_give_the_same_ids(
    made: Made, shared: Path, drawn: ReferenceMatcher, seed: int
) -> None:
    """Each file shuffled for itself, a quarter of its lines twice, the files in any order."""
    chance = random.Random(seed)
    folder = shared / "data" / "telemetry"
    files = {name: [line.rstrip("\n") for line in text_lines(folder / f"{name}.zst")] for name in MIXED}
    plain = ids([made(name, lines) for name, lines in files.items()], drawn)
    assert len(plain[0]) > 100
    given = []
    for name, lines in files.items():
        more = [*lines, *chance.sample(lines, len(lines) // 4)]
        chance.shuffle(more)
        given.append(made(name, more))
    chance.shuffle(given)
    assert ids(given, drawn) == plain


@pytest.mark.full
def test_suricata_elements_in_any_order_and_form_give_the_same_ids(
    made: Made, shared: Path, drawn: ReferenceMatcher
) -> None:
    """As the published JSON arrays, and as shuffled NDJSON."""
    folder = shared / "data" / "telemetry" / "suricata-sample-data" / "samples"
    plain = ids(telemetry.sources([str(folder)]), drawn)
    elements = [
        json.dumps(item) for name in folder.rglob("*.zst") for item in json.loads("".join(text_lines(name)))
    ]
    random.Random(7).shuffle(elements)
    assert len(plain[0]) > 50
    assert ids([made("eve.json", elements)], drawn) == plain


@pytest.mark.full
@pytest.mark.parametrize("stream", ["dns", "ssl", "x509", "known_hosts", "weird", "notice", "smtp", "syslog"])
def test_zeek_json_and_tsv_give_the_same_ids(shared: Path, drawn: ReferenceMatcher, stream: str) -> None:
    folder = shared / "data" / "telemetry" / "zed-sample-data"
    json_form, tsv_form = (
        folder / "zeek-json" / f"{stream}.json.zst",
        folder / "zeek-default" / f"{stream}.log.zst",
    )
    assert ids(telemetry.sources([str(json_form)]), drawn) == ids(telemetry.sources([str(tsv_form)]), drawn)
