"""The truth's lines and the shape in which they are compared with ours.

A *place* is (file, line, path, type, canonical value, relation). The relation says how the value stands
to the indicator: it *is* it (truth: whole, token, basename, composed, whole-schemeless), it is a name
*below* it (parent-*), or an address *in* it (in-*). A DomainName is asked for twice, as Equals (is) and
as SubdomainOf (is, below); what is asked is the *function* of the place.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import evtx
import zstandard

from indicia import values
from indicia.errors import InvalidValue
from indicia.model import DetectionFunction, IndicatorType

RELATIONS = {
    "whole": "is",
    "token": "is",
    "basename": "is",
    "composed": "is",
    "whole-schemeless": "is",
    "parent-whole": "below",
    "parent-token": "below",
    "in-whole": "in",
    "in-token": "in",
}
"""The truth's kinds; another one is a KeyError, so that none is passed over."""


class Place(NamedTuple):
    """Where a value stands, as both programs can say it."""

    file: str
    line: int
    path: str
    type: str
    value: str
    """Canonical value of the indicator."""
    function: str
    relation: str


@dataclass(frozen=True)
class Truth:
    """One line of the truth."""

    file: str
    line: int
    path: str
    type: str
    value: str
    kind: str
    observed: str = ""
    key: str = ""

    def places(self) -> Iterator[Place]:
        """What we must find if we agree: one place for each function that asks for it."""
        relation = RELATIONS[self.kind]
        kind = IndicatorType.IP_ADDRESS if self.type == "Cidr" else IndicatorType(self.type)
        functions = [DetectionFunction.EQUALS] if relation != "below" else []
        if kind is IndicatorType.DOMAIN_NAME:
            functions.append(DetectionFunction.SUBDOMAIN_OF)
        for function in functions:
            value = canonical(kind, function, self.value) or self.value
            yield Place(self.file, self.line, self.path, kind, value, function, relation)


def canonical(kind: IndicatorType, function: DetectionFunction, value: str) -> str | None:
    """The canonical form of an indicator; None where we refuse the value."""
    try:
        return values.indicator_value(kind, function, value, force=True)
    except InvalidValue:
        return None


def truth_path(path: str) -> str:
    """Our path as the truth writes it: `[]` for any element, and XML inside a string is not opened."""
    return re.sub(r"\[\d+\]", "[]", path.split("{xml}")[0])


def read_truth(data: Path, name: str) -> list[Truth]:
    """The lines of `truth/<name>.ndjson.zst`."""
    return [Truth(**json.loads(line)) for line in text_lines(data / "truth" / f"{name}.ndjson.zst")]


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a zstd-compressed UTF-8 file."""
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file)
        yield from io.TextIOWrapper(stream, "utf-8", newline="")


def event_texts(data: Path, file: str, numbers: set[int]) -> dict[int, str]:
    """The events of a telemetry file at these lines, elements of a JSON array, or EVTX records, as text."""
    if file.endswith(".evtx"):
        found = evtx_texts(data / "telemetry" / f"{file}.zst")
        return {number: found[number] for number in numbers}
    lines = text_lines(data / "telemetry" / f"{file}.zst")
    first = next(lines)
    if first.lstrip().startswith("["):
        elements = json.loads(first + "".join(lines))
        return {number: json.dumps(elements[number], ensure_ascii=False) for number in numbers}
    return {number: line for number, line in enumerate(chain([first], lines), 1) if number in numbers}


def evtx_texts(path: Path) -> dict[int, str]:
    """The records of an EVTX file by their numbers, as the library alone gives them."""
    with path.open("rb") as file:
        data = zstandard.ZstdDecompressor().stream_reader(file).read()
    records: Iterator[Any] = evtx.PyEvtxParser(io.BytesIO(data), indent=False).records_json()
    found: dict[int, str] = {}
    while True:
        try:
            record = next(records)
        except StopIteration:
            return found
        except RuntimeError:  # a damaged chunk
            continue
        found[record["event_record_id"]] = record["data"]


class Row(NamedTuple):
    """One row of an indicator file of the data set; `Cidr` is a type of its own there."""

    type: str
    value: str
    source: str


def read_rows(data: Path, name: str) -> Iterator[Row]:
    """The indicators of `drawn.csv`, of `all.csv.zst`, or of `all` less the `excluded` ones: `truth`."""
    if name == "drawn":
        with (data / "indicators" / "drawn.csv").open(encoding="utf-8", newline="") as file:
            yield from (Row(*row) for row in list(csv.reader(file))[1:])
        return
    excluded = read_excluded(data) if name == "truth" else frozenset()
    rows = csv.reader(text_lines(data / "indicators" / "all.csv.zst"))
    next(rows)
    yield from (Row(*row) for row in rows if (row[0], row[1]) not in excluded)


def read_excluded(data: Path) -> frozenset[tuple[str, str]]:
    """Types and values that were left out when the truth of all.csv was made."""
    with (data / "truth" / "excluded_indicators.csv").open(encoding="utf-8", newline="") as file:
        return frozenset((row[0], row[1]) for row in list(csv.reader(file))[1:])


def telemetry_files(data: Path, keep: Callable[[str], bool]) -> list[str]:
    """Telemetry by its name in the truth (relative, without `.zst`)."""
    folder = data / "telemetry"
    names = (path.relative_to(folder).as_posix().removesuffix(".zst") for path in folder.rglob("*.zst"))
    return sorted(name for name in names if keep(name))
