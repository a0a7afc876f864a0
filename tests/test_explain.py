"""`indicia explain`: it agrees with the matcher on every pair, and each reason has its case."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import shell as shells
from indicia import values
from indicia.allow import AllowAction, Allowance, AllowList
from indicia.cli.failure import USAGE
from indicia.detect import detect
from indicia.explain import HITS, Explanation, Reason, event_of_value, explain, places_of
from indicia.match import ReferenceMatcher, compiler
from indicia.match.engine import IndexMatcher
from indicia.match.index import Index
from indicia.match.kernel import BUILT
from indicia.model import (
    AlertDefinition,
    Category,
    DetectionFunction,
    Event,
    Indicator,
    IndicatorType,
    Severity,
)
from indicia.telemetry import Source
from indicia.telemetry.events import Recogniser, event
from indicia.telemetry.records import Record
from shell import Shell
from test_engine import SETS

T, F = IndicatorType, DetectionFunction
NOW = datetime(2024, 3, 12, 8, tzinfo=UTC)
DAY = timedelta(days=1)
OWNER = AlertDefinition("uid", "Names", "Names", Severity.LOW, Category.GENERAL)
RECOGNISER = Recogniser()


def indicator(
    value: str, kind: IndicatorType = T.DOMAIN_NAME, function: DetectionFunction = F.EQUALS, **more: Any
) -> Indicator:
    return replace(
        Indicator(kind, value, values.indicator_value(kind, function, value), function, OWNER, 7), **more
    )


def explained(record: dict[str, Any] | bytes, found: Indicator, *, compiled: bool = True) -> Explanation:
    """The explanation of a record as a scan would read it."""
    schema = RECOGNISER.schema(record)
    made = event(Record(1, record), Source("a.log"), schema)
    return explain(made, found, places=places_of(record, schema), compiled=compiled)


def ecs(**fields: Any) -> dict[str, Any]:
    return {
        "@timestamp": "2024-03-12T08:00:00Z",
        "ecs": {"version": "8.0"},
        "event": {"kind": "event"},
    } | fields


DNS = ecs(dns={"question": {"name": "www.evil.example"}}, source={"ip": "192.0.2.7"})
NOTE = ecs(labels={"note": "somebody mentioned evil.example here"})
EVIL = indicator("evil.example", function=F.SUBDOMAIN_OF)

CASES: tuple[tuple[Reason, dict[str, Any] | bytes, Indicator], ...] = (
    (Reason.HIT, DNS, EVIL),
    (Reason.HIT, b"GET http://www.evil.example/ 200", EVIL),
    (Reason.HIT_SILENT, NOTE, EVIL),
    (Reason.INDICATOR_DISABLED, DNS, replace(EVIL, enabled=False)),
    (Reason.DEFINITION_DISABLED, DNS, replace(EVIL, definition=replace(OWNER, enabled=False))),
    (Reason.TYPE_ABSENT, DNS, indicator("0" * 32, T.MD5)),
    (Reason.TEXT_ONLY, ecs(labels={"note": f"x{'0' * 32}y"}), indicator("0" * 32, T.MD5)),
    (Reason.NOT_EQUAL, DNS, indicator("evil.example")),
    (Reason.NOT_EQUAL, DNS, indicator("192.0.2.8", T.IP_ADDRESS)),
    (Reason.NOT_BELOW, DNS, indicator("other.example", function=F.SUBDOMAIN_OF)),
    (Reason.NOT_IN_NETWORK, DNS, indicator("198.51.100.0/24", T.IP_ADDRESS)),
    (Reason.NOT_AT_START, DNS, indicator("evil", function=F.START_WITH)),
    (Reason.NOT_AT_END, DNS, indicator(".invalid", function=F.END_WITH)),
    (Reason.NOT_INSIDE, DNS, indicator("lantern", function=F.CONTAINS)),
    (Reason.NOT_YET_VALID, DNS, replace(EVIL, valid_from=NOW + DAY)),
    (Reason.EXPIRED, DNS, replace(EVIL, expires_at=NOW)),
)


@pytest.mark.parametrize(("reason", "record", "found"), CASES, ids=[str(case[0]) for case in CASES])
def test_each_reason(reason: Reason, record: dict[str, Any] | bytes, found: Indicator) -> None:
    told = explained(record, found)
    assert told.reason is reason
    failed = [step.reason for step in told.steps if step.reason is not None]
    assert failed[:1] == ([] if reason in HITS else [reason])
    assert [step.name for step in told.steps[:5]] == ["enabled", "index", "role", "function", "time"]


def test_a_field_that_never_means_it() -> None:
    record = {
        "EventTime": "2024-03-12 08:00:00", "Hostname": "host-7", "EventID": 1, "RecordNumber": 4,
        "Channel": "Microsoft-Windows-Sysmon/Operational", "SourceName": "Microsoft-Windows-Sysmon",
        "Hashes": f"MD5={'1' * 32}", "SourceModuleName": "eventlog", "ProviderGuid": "0" * 32,
    }  # fmt: skip
    told = explained(record, indicator("0" * 32, T.MD5))
    assert told.reason is Reason.FIELD_NEVER, told.steps
    assert "ProviderGuid" in told.steps[2].says
    assert explained(record, indicator("1" * 32, T.MD5)).reason is Reason.HIT


def test_what_the_index_does_not_hold() -> None:
    assert explained(DNS, EVIL, compiled=False).reason is Reason.NOT_IN_INDEX


@pytest.mark.parametrize(
    ("action", "reason", "says"),
    [
        (AllowAction.ANNOTATE, Reason.HIT, "known to ours: Hostname evil.example, which only annotates"),
        (AllowAction.SUPPRESS, Reason.HIT_ALLOWED, "which suppresses: it opens no alert"),
    ],
)
def test_what_an_allow_list_does_to_a_hit(action: AllowAction, reason: Reason, says: str) -> None:
    allowance = Allowance()
    lists = (AllowList("ours", action=action, id=1), AllowList("wide", id=2))
    allowance.add(lists[0], [("Hostname", "evil.example", None)])
    allowance.add(lists[1], [("Hostname", "example", None)])
    schema = RECOGNISER.schema(DNS)
    made = event(Record(1, DNS), Source("a.log"), schema)
    told = explain(made, EVIL, places=places_of(DNS, schema), allowance=allowance)
    assert (told.reason, told.steps[-1].name, told.hit) == (reason, "allow", True)
    assert says in told.steps[-1].says
    assert "known also to wide: Hostname example" in told.steps[-1].says
    assert [str(one) for one in told.known] == ["ours: Hostname evil.example", "wide: Hostname example"]
    assert (reason is Reason.HIT_ALLOWED) == (not allowance.over(told.detection or fail()).raises)
    other = explain(made, indicator("192.0.2.7", T.IP_ADDRESS), allowance=allowance)
    assert (other.reason, other.known, other.steps[-1].name) == (Reason.HIT, (), "raises")


def fail() -> NoReturn:
    raise AssertionError("a hit has a detection")


def test_it_says_what_would_help_and_what_else_is_in_the_way() -> None:
    told = explained(DNS, indicator("evil.example", enabled=False, expires_at=NOW))
    assert [step.reason for step in told.steps] == [
        Reason.INDICATOR_DISABLED, None, None, Reason.NOT_EQUAL, Reason.EXPIRED,
    ]  # fmt: skip
    assert "SubdomainOf would meet 'www.evil.example'" in told.steps[3].says


def test_every_reason_is_documented_and_has_a_case() -> None:
    text = (Path(__file__).resolve().parent.parent / "docs" / "explain.md").read_text("utf-8")
    rows = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    assert rows == set(Reason)
    others = {Reason.FIELD_NEVER, Reason.NOT_IN_INDEX, Reason.NO_INDICATOR, Reason.HIT_ALLOWED}
    assert {case[0] for case in CASES} | others == set(Reason)


# It agrees with the matcher

EVERYTHING = SETS["everything"]
TEXTS = st.sampled_from(
    [one.value for one in EVERYTHING]
    + [
        "www.evil.example",
        "notevil.example",
        "203.0.113.9",
        "C:\\x\\MIMIKATZ.exe",
        "http://EVIL.example/a/gate.php?id=7",
    ]
)
FIELDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "url.full": lambda text: {"url": {"full": text}},
    "dns": lambda text: {"dns": {"question": {"name": text}}},
    "hash": lambda text: {"file": {"hash": {"sha256": text, "md5": text}}},
    "ip": lambda text: {"destination": {"ip": text}},
    "command": lambda text: {"process": {"command_line": f"run {text} now", "executable": text}},
    "note": lambda text: {"labels": {"note": f"about {text}."}},
}
TIMES = st.sampled_from([None, NOW - DAY, NOW, NOW + DAY])


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any] | bytes:
    text = draw(TEXTS)
    if draw(st.booleans()):
        return f"GET {text} {draw(TEXTS)}".encode()
    found = ecs(**FIELDS[draw(st.sampled_from(sorted(FIELDS)))](text))
    if draw(st.booleans()):
        del found["@timestamp"]
    return found


@st.composite
def indicators(draw: st.DrawFn) -> Indicator:
    found = draw(st.sampled_from(EVERYTHING))
    owner = replace(found.definition, enabled=draw(st.sampled_from([True, True, True, False])))
    return replace(
        found,
        definition=owner,
        enabled=draw(st.sampled_from([True, True, True, False])),
        valid_from=draw(TIMES),
        expires_at=draw(TIMES),
    )


def agree(made: Event, found: Indicator, told: Explanation, folder: Path) -> None:
    live = [found] if found.enabled and found.definition.enabled else []
    matchers: list[Any] = [ReferenceMatcher(live)]
    if BUILT:
        compiler.write(live, folder / "one.idx")
        with Index.open(folder / "one.idx") as index:
            fast = detect(made, IndexMatcher(index))
        assert bool(fast) == told.hit
    detected = detect(made, matchers[0])
    assert bool(detected) == told.hit
    assert told.hit == (told.detection is not None)
    failed = [step.reason for step in told.steps if step.reason is not None]
    if told.hit:
        assert failed == []
        assert detected == [told.detection]
        assert (told.reason is Reason.HIT) == detected[0].raises
    else:
        assert told.reason is failed[0]
        assert told.reason not in HITS


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records(), indicators())
def test_explanation_and_matcher_agree(
    tmp_path: Path, record: dict[str, Any] | bytes, found: Indicator
) -> None:
    schema = RECOGNISER.schema(record)
    made = event(Record(1, record), Source("a.log"), schema)
    agree(made, found, explain(made, found, places=places_of(record, schema)), tmp_path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, indicators(), TIMES)
def test_of_a_value_they_agree_too(
    tmp_path: Path, text: str, found: Indicator, time: datetime | None
) -> None:
    made = event_of_value(text, time)
    agree(made, found, explain(made, found), tmp_path)


# The command

LIST = (
    "type,value,function,title,severity\nDomainName,evil.example,SubdomainOf,A bad name,High\nMd5,"
    + "0" * 32
    + ",,,\n"
)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = shells.make(tmp_path, monkeypatch, capsys)
    made.write("list.csv", LIST)
    return made


def told(shell: Shell, *arguments: str, stdin: bytes | None = None) -> Any:
    return shell("explain", *arguments, "--json", stdin=stdin).json


def test_a_value_against_a_list(shell: Shell) -> None:
    found = told(shell, "www.evil.example", "--indicators", "list.csv")
    assert found["reason"] == "hit"
    assert [one["step"] for one in found["indicators"][0]["steps"]][-1] == "raises"
    assert told(shell, "host.example", "--indicators", "list.csv") | {"event": 0} == {
        "reason": "no-indicator", "against": "the 2 indicators of list.csv", "generation": None, "event": 0,
        "indicators": [],
    }  # fmt: skip
    miss = told(shell, "host.example", "--indicators", "list.csv", "--indicator", "0" * 32)
    assert (miss["reason"], miss["indicators"][0]["hit"]) == ("type-absent", False)
    ran = shell("explain", "x.example", "--indicators", "list.csv", "--indicator", "other", code=USAGE)
    assert "holds no indicator 'other'" in ran.err


def test_an_event_from_argument_file_and_standard_input(shell: Shell) -> None:
    line = json.dumps(DNS)
    shell.write("dns.log", f"{json.dumps(ecs(host={'name': 'a'}))}\n{line}\n")
    with_list = ("--indicators", "list.csv")
    found = told(shell, line, *with_list)
    assert (found["reason"], found["event"]["schema"]) == ("hit", "ecs")
    assert found["indicators"][0]["detection_id"]
    assert told(shell, "dns.log", *with_list)["reason"] == "no-indicator"
    assert told(shell, "dns.log", "--line", "2", *with_list) == found
    assert told(shell, "-", *with_list, stdin=line.encode()) == found
    assert told(shell, "GET http://evil.example/ 200", *with_list)["event"]["schema"] == "line"
    assert told(shell, "dns.log", "--as", "value", *with_list)["event"]["schema"] == "value"
    text = shell("explain", line, *with_list).out
    assert "hit: indicator 'evil.example' of 'list.csv'" in text
    assert "dns.question.name: DomainName 'www.evil.example', observed" in text


def test_bad_input_is_told(shell: Shell) -> None:
    for arguments, message in (
        (("{x", "--indicators", "list.csv"), "there is no event in it: line 1: not valid JSON"),
        (("list.csv", "--line", "9", "--indicators", "list.csv"), "there is no event on line 9"),
        (("a b", "--schema", "zork", "--indicators", "list.csv"), "there is no schema 'zork'"),
        (("a b", "--at", "7d", "--indicators", "list.csv"), "--at goes with a value"),
        (("a", "--line", "7", "--indicators", "list.csv"), "go with an event"),
        (("a", "--index", "a", "--indicators", "list.csv"), "give one"),
    ):
        assert message in shell("explain", *arguments, code=USAGE).err


@pytest.mark.skipif(not BUILT, reason="the C extension was not built")
def test_store_and_index_with_their_generations(shell: Shell) -> None:
    shell.begin()
    number = str(shell.definition("mine"))
    add = ("indicators", "add", "--definition", number, "--value")
    shell(*add, "evil.example", "--function", "SubdomainOf", "--expires-at", "2024-03-12")
    shell("index", "build", "--output", "own.idx")
    shell(*add, "198.51.100.7", "--disabled")
    found = told(shell, "evil.example", "--at", "2024-03-12T00:00:00Z", "--indicator", "1")
    assert (found["reason"], found["generation"]) == ("expired", 4)
    assert told(shell, "evil.example", "--at", "2024-03-11")["reason"] == "hit"
    near = told(shell, "a.evil.example")
    assert (near["reason"], near["indicators"][0]["reason"]) == ("no-indicator", "expired")
    near = told(shell, "198.51.100.7")
    assert (near["reason"], near["indicators"][0]["reason"]) == ("no-indicator", "indicator-disabled")
    by_index = ("--index", "own.idx")
    assert told(shell, "a.evil.example", "--at", "2024-03-11", *by_index)["reason"] == "hit"
    absent = told(shell, "198.51.100.7", *by_index, "--indicator", "2")
    assert (absent["generation"], [one["reason"] for one in absent["indicators"][0]["steps"]][:2]) == (
        3, ["indicator-disabled", "not-in-index"],
    )  # fmt: skip
    assert "holds no indicator '9'" in shell("explain", "a", *by_index, "--indicator", "9", code=USAGE).err
