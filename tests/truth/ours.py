"""What Indicia says: the evidence of every detection, as places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from indicia import telemetry, values
from indicia.detect import detect
from indicia.match.reference import ReferenceMatcher
from indicia.model import (
    AlertDefinition,
    Category,
    DetectionFunction,
    Evidence,
    GroupBy,
    Indicator,
    IndicatorType,
    Severity,
)
from truth.lines import Place, Row, canonical, truth_path


@dataclass(frozen=True)
class Found:
    """One piece of evidence."""

    place: Place
    evidence: Evidence
    schema: str


@dataclass
class Scan:
    """What a scan of some files gave."""

    found: list[Found]
    events: int = 0
    malformed: int = 0
    alerts: int = 0


def indicators(rows: Iterable[Row]) -> Iterator[Indicator]:
    """Every row as Equals (a network means containment), and each domain as SubdomainOf, too."""
    definitions = {function: _definition(function) for function in DetectionFunction}
    for number, row in enumerate(rows, 1):
        kind = IndicatorType.IP_ADDRESS if row.type == "Cidr" else IndicatorType(row.type)
        functions = [DetectionFunction.EQUALS]
        if kind is IndicatorType.DOMAIN_NAME:
            functions.append(DetectionFunction.SUBDOMAIN_OF)
        for function in functions:
            value = canonical(kind, function, row.value)
            if value is not None:
                yield Indicator(kind, row.value, value, function, definitions[function], number)


def _definition(function: DetectionFunction) -> AlertDefinition:
    return AlertDefinition(
        uid=f"truth-{function}",
        name=f"Truth {function}",
        title=f"Truth {function}",
        severity=Severity.LOW,
        category=Category.GENERAL,
        group_by=GroupBy.INDICATOR,
    )


def scan(data: Path, files: Iterable[str], matcher: ReferenceMatcher) -> Scan:
    """Every event of the files against the matcher."""
    result = Scan([])

    def count(_: telemetry.Malformed) -> None:
        result.malformed += 1

    for file in files:
        (source,) = telemetry.sources([str(data / "telemetry" / f"{file}.zst")])
        for event in telemetry.events(source, malformed=count):
            result.events += 1
            for detection in detect(event, matcher):
                for evidence in detection.evidence:
                    place = _place(file, event.line, detection.indicator, evidence)
                    result.found.append(Found(place, evidence, event.schema))
    return result


def _place(file: str, line: int, indicator: Indicator, evidence: Evidence) -> Place:
    return Place(
        file,
        line,
        truth_path(evidence.path),
        indicator.type,
        indicator.canonical,
        indicator.function,
        _relation(indicator, evidence),
    )


def _relation(indicator: Indicator, evidence: Evidence) -> str:
    if indicator.function is DetectionFunction.SUBDOMAIN_OF:
        parts = values.url_parts(evidence.matched)
        host = values.canonical_host(evidence.matched) or (parts.host if parts else None)
        return "is" if host and host[1] == indicator.canonical else "below"
    return "in" if "/" in indicator.canonical and indicator.type is IndicatorType.IP_ADDRESS else "is"
