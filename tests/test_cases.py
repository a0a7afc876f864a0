"""The meaning of a match as data: every case of `cases/match` on every engine.

`functions.yaml` says which values an indicator meets, `events.yaml` what one event gives. Another engine is
another row of ENGINES.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from indicia import telemetry, values
from indicia.detect import detect
from indicia.match import Matcher, ReferenceMatcher, compiler
from indicia.match.engine import IndexMatcher, Sieve
from indicia.match.index import Index
from indicia.match.kernel import BUILT
from indicia.match.reference import meets
from indicia.model import (
    AlertDefinition,
    Category,
    Detection,
    DetectionFunction,
    Evidence,
    Indicator,
    IndicatorType,
    Observable,
    Role,
    Severity,
)

Engine = Callable[[Iterable[Indicator]], Matcher]


class Pairs:
    """Asks `reference.meets` of every indicator: the meaning of one pair must be that of the matcher."""

    def __init__(self, indicators: Iterable[Indicator]) -> None:
        self._indicators = list(indicators)

    def meet(self, observable: Observable) -> list[Indicator]:
        return [indicator for indicator in self._indicators if meets(indicator, observable)]


def index_of(indicators: Iterable[Indicator]) -> Index:
    """Compiled and opened; the mapping outlives the file's name."""
    with TemporaryDirectory() as folder:
        compiler.write(indicators, Path(folder, "case.idx"))
        return Index.open(Path(folder, "case.idx"))


def compiled(indicators: Iterable[Indicator]) -> IndexMatcher:
    return IndexMatcher(index_of(indicators))


ENGINES: dict[str, Engine] = {"reference": ReferenceMatcher, "pairs": Pairs}
if BUILT:  # test_kernel_build.py sees to it that it is
    ENGINES["index"] = compiled
CASES = Path(__file__).resolve().parent / "cases" / "match"
FUNCTIONS: list[dict[str, Any]] = yaml.safe_load((CASES / "functions.yaml").read_text("utf-8"))
EVENTS: list[dict[str, Any]] = yaml.safe_load((CASES / "events.yaml").read_text("utf-8"))
DEFINITION = AlertDefinition("uid-1", "Cases", "A case", Severity.HIGH, Category.MALWARE)


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[str(request.param)]


def indicator(words: str | Mapping[str, Any]) -> Indicator:
    """`DomainName Equals evil.example`, or the same under `is` with times and a window."""
    more = {} if isinstance(words, str) else dict(words)
    kind_word, function_word, value = str(more.pop("is", words)).split(" ", 2)
    kind, function = IndicatorType(kind_word), DetectionFunction(function_word)
    definition = DEFINITION
    if "window_seconds" in more:
        definition = replace(DEFINITION, uid="uid-2", window_seconds=more.pop("window_seconds"))
    canonical = values.indicator_value(kind, function, value)
    return Indicator(kind, value, canonical, function, definition, **more)


@pytest.mark.parametrize("case", FUNCTIONS, ids=lambda case: str(case["indicator"]))
def test_function(case: Mapping[str, Any], engine: Engine) -> None:
    wanted = indicator(case["indicator"])
    others = [indicator(other["indicator"]) for other in FUNCTIONS if other["indicator"] != case["indicator"]]
    alone, among = engine([wanted]), engine([*others, wanted])
    for value in case["meets"] + case["misses"]:
        canonical = values.canonical(wanted.type, value)
        assert canonical is not None, value
        observable = Observable(wanted.type, canonical, value, "field", Role.OBSERVED)
        expected = [wanted] if value in case["meets"] else []
        assert alone.meet(observable) == expected, value
        assert [found for found in among.meet(observable) if found == wanted] == expected, value


def shown(evidence: Evidence) -> str:
    """A piece of evidence as the cases write it."""
    words: list[str] = [evidence.role, *([evidence.side] if evidence.side else [])]
    return f"{evidence.path}: {', '.join(words)}{'' if evidence.raises else ', silent'}"


def told(detection: Detection) -> dict[str, Any]:
    """A detection as the cases write it."""
    met = detection.indicator
    return {
        "indicator": f"{met.type} {met.function} {met.canonical}",
        "raises": detection.raises,
        "machine": detection.machine,
        "window": detection.window,
        "evidence": {shown(piece): piece.matched for piece in detection.evidence},
    }


def written(case: Mapping[str, Any], folder: Path) -> telemetry.Source:
    """The case's event as a file."""
    path = folder / case.get("source", "events.json")
    path.write_text(case["line"] if "line" in case else json.dumps(case["event"]), "utf-8")
    return telemetry.Source(path.name, path)


def by_indicator(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda item: str(item["indicator"]))


@pytest.mark.parametrize("case", EVENTS, ids=lambda case: str(case["name"]))
def test_event(case: Mapping[str, Any], engine: Engine, tmp_path: Path) -> None:
    faults: list[telemetry.Malformed] = []
    events = list(telemetry.events(written(case, tmp_path), malformed=faults.append))
    assert (len(events), faults) == (1, [])
    matcher = engine([indicator(words) for words in case["indicators"]])
    found = by_indicator(told(item) for item in detect(events[0], matcher))
    assert found == by_indicator(case["detections"])


@pytest.mark.skipif(not BUILT, reason="the C extension was not built")
@pytest.mark.parametrize("case", EVENTS, ids=lambda case: str(case["name"]))
def test_the_sieve_names_an_event_that_is_met(case: Mapping[str, Any], tmp_path: Path) -> None:
    index = index_of([indicator(words) for words in case["indicators"]])
    selection = telemetry.Selection(Sieve(index), lambda _count: None)
    source, matcher = written(case, tmp_path), IndexMatcher(index)
    faults: list[telemetry.Malformed] = []
    events = telemetry.events(source, malformed=faults.append, selection=selection)
    found = by_indicator(told(item) for event in events for item in detect(event, matcher))
    assert not faults
    assert found == by_indicator(case["detections"])
