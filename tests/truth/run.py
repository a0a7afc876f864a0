"""The three runs: drawn (all of it), small (all.csv over the quick sets), all (all.csv over everything)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from indicia import telemetry, values
from indicia.match.reference import ReferenceMatcher
from indicia.model import DetectionFunction, IndicatorType
from truth.compare import Difference, compare
from truth.lines import Row, canonical, event_texts, read_rows
from truth.ours import indicators, scan
from truth.sets import ALL, DRAWN, SMALL, DataSet, files_of, truth_of
from truth.tables import Result


@cache
def drawn(data: Path) -> tuple[Result, ...]:
    """drawn.csv over its 48 files."""
    return results(data, (DRAWN,), ReferenceMatcher(indicators(read_rows(data, "drawn"))))


@cache
def small(data: Path) -> tuple[Result, ...]:
    """all.csv over the quick sets; rows that no observable of theirs can meet are not loaded."""
    wanted = observable_values(data, (file for item in SMALL for file in files_of(data, item)))
    rows = (row for row in read_rows(data, "truth") if can_meet(row, wanted))
    return results(data, SMALL, ReferenceMatcher(indicators(rows)))


@cache
def everything(data: Path) -> tuple[Result, ...]:
    """all.csv, loaded whole, over all telemetry."""
    return results(data, ALL, ReferenceMatcher(indicators(read_rows(data, "truth"))))


RUNS = {"drawn": drawn, "small": small, "all": everything}


def results(data: Path, items: Iterable[DataSet], matcher: ReferenceMatcher) -> tuple[Result, ...]:
    """Scan, compare and judge."""
    return tuple(_result(data, item, matcher) for item in items)


def _result(data: Path, item: DataSet, matcher: ReferenceMatcher) -> Result:
    files = files_of(data, item)
    lines = truth_of(data, item)
    seen = scan(data, files, matcher)
    compared = compare(lines, seen.found)
    compared.differences = [*_with_events(data, compared.differences)]
    return Result(item.name, len(files), seen.events, seen.malformed, len(lines), compared).judge()


def _with_events(data: Path, differences: list[Difference]) -> Iterator[Difference]:
    """The differences with the texts of their events, which some rules look at."""
    wanted: dict[str, set[int]] = {}
    for item in differences:
        wanted.setdefault(item.place.file, set()).add(item.place.line)
    texts = {file: event_texts(data, file, numbers) for file, numbers in wanted.items()}
    for item in differences:
        yield replace(item, event=texts[item.place.file][item.place.line])


def observable_values(data: Path, files: Iterable[str]) -> set[str]:
    """Canonical values of all observables, of URLs every key, of names all their parents."""
    wanted: set[str] = set()
    for file in files:
        (source,) = telemetry.sources([str(data / "telemetry" / f"{file}.zst")])
        for event in telemetry.events(source, malformed=lambda _: None):
            for observable in event.observables:
                wanted.add(observable.value)
                if observable.type is IndicatorType.DOMAIN_NAME:
                    labels = observable.value.split(".")
                    wanted.update(".".join(labels[n:]) for n in range(1, len(labels)))
                elif observable.type is IndicatorType.URL:
                    wanted.update(values.url_keys(observable.value))
    return wanted


def can_meet(row: Row, wanted: set[str]) -> bool:
    """Whether an observable has the row's value, as spelt or in its canonical form; networks always."""
    if row.type == "Cidr" or row.value in wanted:
        return True
    if row.type in {"Md5", "Sha1", "Sha256"} or (
        row.value.isascii() and row.value.islower() and row.type != "Url"
    ):
        return False
    value = canonical(IndicatorType(row.type), DetectionFunction.EQUALS, row.value)
    return value in wanted
