"""The stories of `semantics.md`, exactly with their figures: by the reference, and by index and sieve."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indicia import feeds, telemetry, values
from indicia.detect import detect_all
from indicia.errors import InvalidValue
from indicia.feeds import FeedFault, FeedRow, make
from indicia.match import engine
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
from truth.lines import read_truth, text_lines

DEFINITION = AlertDefinition(
    uid="5e1f9f0e-0000-4000-8000-000000000001",
    name="Stories",
    title="A story",
    severity=Severity.MEDIUM,
    category=Category.COMMAND_AND_CONTROL,
)
Made = Callable[[str, Iterable[str]], telemetry.Source]
Against = Callable[[Iterable[Indicator]], engine.Engine]
ENGINES: dict[str, Against] = {"reference": engine.of_reference, "index": engine.of_indicators}
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


@pytest.fixture(scope="module", params=sorted(ENGINES))
def against(request: pytest.FixtureRequest) -> Against:
    """Makes an engine of indicators."""
    return ENGINES[str(request.param)]


def scan(sources: Iterable[telemetry.Source], made: engine.Engine) -> tuple[list[Detection], list[Alert]]:
    """Detections, each id once, and the alerts that those which raise become, largest first."""
    faults: list[telemetry.Malformed] = []
    matcher, sieve = made()
    selection = telemetry.Selection(sieve, lambda _count: None) if sieve is not None else None
    events = (
        event
        for source in sources
        for event in telemetry.events(source, malformed=faults.append, selection=selection)
    )
    detections = list(detect_all(events, matcher))
    alerts: dict[str, Alert] = {}
    for detection in detections:
        if detection.raises:
            alerts[detection.alert_id] = merge(alerts.get(detection.alert_id), detection)
    assert not faults
    return detections, sorted(alerts.values(), key=lambda alert: (-alert.detection_count, alert.machine))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Makes a source of lines, named by its file alone: where no machine is known, the name stands in."""

    def make(name: str, lines: Iterable[str]) -> telemetry.Source:
        path = tmp_path / str(len(list(tmp_path.iterdir()))) / Path(name).name
        path.parent.mkdir()
        path.write_text("\n".join(line.rstrip("\n") for line in lines), "utf-8", newline="\n")
        return telemetry.Source(path.name, path)

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


def apt29(sources: Iterable[telemetry.Source], against: Against) -> tuple[frozenset[str], frozenset[str]]:
    """The ids of the detections and of the alerts, once the story's figures are asserted."""
    detections, alerts = scan(sources, against([indicator(IndicatorType.IP_ADDRESS, ATTACKER)]))
    assert len(detections) == 1271
    assert [(alert.machine, alert.detection_count) for alert in alerts] == [
        ("10.0.1.6", 1129),
        ("10.0.1.4", 142),
    ]
    return frozenset(item.id for item in detections), frozenset(item.id for item in alerts)


@pytest.mark.full
@pytest.mark.no_cover
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_apt29_day_one_however_it_is_given(day_one: Path, against: Against, arrangement: str) -> None:
    paths = [str(day_one / name) for name in ARRANGEMENTS[arrangement]]
    ids = apt29(telemetry.sources(paths), against)
    assert ids == apt29(telemetry.sources([str(day_one / "combined_zeek.log.zst")]), against)


@pytest.mark.full
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(3))
def test_apt29_day_one_shuffled_and_repeated(made: Made, day_one: Path, against: Against, seed: int) -> None:
    """Lines of all arrangements in any order, cut into any number of files, some given again."""
    chance = random.Random(seed)
    lines = [line for name in sorted(day_one.rglob("*.zst")) for line in text_lines(name)]
    lines += chance.sample(lines, len(lines) // 4)
    chance.shuffle(lines)
    cuts = sorted(chance.sample(range(len(lines)), 3))
    parts = [lines[start:end] for start, end in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
    given = [made(f"part{number}.log", part) for number, part in enumerate(parts)]
    assert apt29(given, against) == apt29(
        telemetry.sources([str(day_one / "combined_zeek.log.zst")]), against
    )


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
    source: telemetry.Source, against: Against, domain: str, expires_at: datetime | None
) -> tuple[list[Detection], list[Alert]]:
    matcher = against(
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
def test_rogue_msi_made_by_hand(
    made: Made, against: Against, expires_at: datetime | None, count: int
) -> None:
    other = windows_record(3733, 1033, "updates.example")
    source = made("application.json", [other, windows_record(3734, 1040), windows_record(3735, 1042)])
    detections, alerts = rogue(source, against, ROGUE, expires_at)
    assert len({item.event_id for item in detections}) == len(detections) == count
    assert [(alert.machine, alert.detection_count) for alert in alerts] == [("user-pc", count)] * (count > 0)
    assert {item.indicator.id for item in detections} <= {1}


@pytest.mark.parametrize(("expires_at", "count"), EXPIRIES)
def test_rogue_msi(shared: Path, against: Against, expires_at: datetime | None, count: int) -> None:
    """The published log itself."""
    folder = shared / "data" / "telemetry" / "evtx-attack-samples" / "Execution"
    (source,) = telemetry.sources([str(folder / "rogue_msi_url_1040_1042.evtx.zst")])
    detections, alerts = rogue(source, against, "officemysuppbox.com", expires_at)
    assert [(alert.machine, alert.detection_count) for alert in alerts] == [("user-pc", count)] * (count > 0)
    # EventRecordID 3734 and 3735, by their golden ids.
    golden = {"f31fbbcbd2311fad1701fa115b14e73b", "98b65d4b051e4eb3bf8626166402a608"}
    assert {item.event_id for item in detections} == (golden if count else set())
    assert len(detections) == count


# Story 3: Feed morning

VERSION = "1.0.0.0"
SUFFIX = "duckdns.org"
BELOW = "marzo1.duckdns.org"


def as_feed(rows: Iterable[FeedRow | FeedFault], warned: list[str]) -> Iterator[Indicator]:
    """As a feed is imported; its warnings go to `warned`."""
    for row in rows:
        if isinstance(row, FeedRow):
            with suppress(InvalidValue):
                taken, warnings = make.indicator(row, FEED, make.Choice(subdomains=True))
                warned += warnings
                yield taken


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


def in_script_bodies(detections: Iterable[Detection]) -> int:
    """How many events hold it in the body of a script."""
    places = ((item.event_id, piece.path) for item in detections for piece in item.evidence)
    return len({event for event, path in places if path == "ScriptBlockText"})


@pytest.mark.full
def test_a_version_number_opens_no_alert(
    made: Made, against: Against, version_lines: dict[str, list[str]]
) -> None:
    assert sum(map(len, version_lines.values())) == 728
    matcher = against([indicator(IndicatorType.IP_ADDRESS, VERSION, definition=FEED)])
    detections, alerts = scan([made(file, lines) for file, lines in version_lines.items()], matcher)
    assert alerts == []
    assert in_script_bodies(detections) == 5


def test_a_public_suffix_is_warned_about_and_what_lies_below_still_alerts(
    made: Made, against: Against
) -> None:
    warned: list[str] = []
    rows = [
        FeedRow(number, IndicatorType.DOMAIN_NAME, name) for number, name in enumerate((SUFFIX, BELOW), 1)
    ]
    matcher = against(as_feed(rows, warned))
    assert [warning.split(":")[0] for warning in warned] == [f"{SUFFIX} is a public suffix"]
    for query in (BELOW, f"{BELOW.upper()}.", f"login.{BELOW}"):
        _, alerts = scan([made("dns.log", [dns_event(query)])], matcher)
        assert [alert.indicators for alert in alerts] == [(BELOW,)]
    assert scan([made("dns.log", [dns_event(f"someone-else.{SUFFIX}")])], matcher) == ([], [])


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
def test_feed_morning(made: Made, against: Against, shared: Path) -> None:
    """All of all.csv as a feed, nothing excluded, over the whole Windows set."""
    data, warned = shared / "data", list[str]()
    rows = feeds.read(str(data / "indicators" / "all.csv.zst"))
    indicators = list(as_feed(rows, warned))
    assert len(indicators) > 3_300_000
    matcher = against(indicators)
    assert f"{SUFFIX} is a public suffix" in {warning.split(":")[0] for warning in warned}

    windows = data / "telemetry" / "security-datasets" / "atomic" / "windows"
    detections, alerts = scan(telemetry.sources([str(windows)]), matcher)
    versions = [item for item in detections if item.indicator.canonical == VERSION]
    assert in_script_bodies(versions) == 5
    assert not any(item.raises for item in versions)
    assert alerts
    assert not any(VERSION in alert.indicators for alert in alerts)

    _, alerts = scan([made("dns.log", [dns_event(BELOW)])], matcher)
    assert [alert.indicators for alert in alerts] == [(BELOW,)]


# The order, number and form of files change nothing


@pytest.fixture(scope="module")
def drawn(shared: Path, against: Against) -> engine.Engine:
    return against(as_feed(feeds.read(str(shared / "data" / "indicators" / "drawn.csv")), []))


def ids(sources: Iterable[telemetry.Source], matcher: engine.Engine) -> tuple[frozenset[str], frozenset[str]]:
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
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(2))
def test_shuffled_and_repeated_lines_give_the_same_ids(
    made: Made, shared: Path, drawn: engine.Engine, seed: int
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
    made: Made, shared: Path, drawn: engine.Engine
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


STREAMS = ("analyzer", "dns", "known_hosts", "notice", "ntp", "rdp", "ssl", "syslog", "weird", "x509")
LARGE = ("dns", "ssl")
"""What the reference takes half a minute for."""


@pytest.mark.full
@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("against", "stream"),
    [
        pytest.param(
            *(name, stream), marks=pytest.mark.slow if (name, stream in LARGE) == ("reference", True) else ()
        )
        for name in ENGINES
        for stream in STREAMS
    ],
    indirect=["against"],
    scope="module",
)
def test_zeek_json_and_tsv_give_the_same_ids(shared: Path, drawn: engine.Engine, stream: str) -> None:
    """Under one name of their source, which is the machine where a line has no endpoint (x509)."""
    folder = shared / "data" / "telemetry" / "zed-sample-data"
    forms = folder / "zeek-json" / f"{stream}.json.zst", folder / "zeek-default" / f"{stream}.log.zst"
    json_ids, tsv_ids = (ids([telemetry.Source(stream, path)], drawn) for path in forms)
    assert json_ids[0]
    assert json_ids == tsv_ids
