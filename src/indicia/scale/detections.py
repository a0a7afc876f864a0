"""Detections as rows, in the engine and in the files that it writes; rows that cannot be read, beside them.

A row is one of two kinds. `detection` has the fields of `indicia.model.Detection` under their names, with the
indicator, its definition and the evidence as structs. `malformed` has a reason, the source, and the beginning
of the row in `event_text`. `count` says how many rows of the input it stands for, `generation` by which
index it was found.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import msgspec

from indicia import identity, triage
from indicia.errors import InputError, MalformedFile
from indicia.model import AlertDefinition, Detection, Evidence, Indicator
from indicia.telemetry.columns import arrow
from indicia.telemetry.extras import extra

DETECTION = "detection"
MALFORMED = "malformed"
OURS = "a fault of Indicia:"
"""With which a reason begins where no row is to blame; the place in the code follows, and what was raised."""
_OWN = {"kind": "str", "count": "int", "generation": "int", "reason": "str"}
"""Columns that say of a row what it is."""
_KEPT_BY_STORE = frozenset(
    {"number", "recorded_at", "silenced", "suppression_id", "storm_id", "allow_list_id", "allow_lists"}
)
"""Fields that only a store fills."""
_TYPES = {"int": "bigint", "bool": "boolean", "datetime | None": "timestamp"}
_INNER: dict[str, tuple[type, bool]] = {
    "Indicator": (Indicator, False),
    "AlertDefinition": (AlertDefinition, False),
    "tuple[Evidence, ...]": (Evidence, True),
}
_BATCH = 1000


def _fields(noun: type) -> dict[str, str]:
    """The names and types of a noun's fields, as model.py writes them."""
    return {one.name: str(one.type) for one in dataclasses.fields(noun) if one.name not in _KEPT_BY_STORE}


def _ddl(kind: str) -> str:
    if kind in _INNER:
        noun, many = _INNER[kind]
        inner = ", ".join(f"`{name}`: {_ddl(below)}" for name, below in _fields(noun).items())
        return f"array<struct<{inner}>>" if many else f"struct<{inner}>"
    if kind.startswith("tuple[str"):
        return "array<string>"
    return _TYPES.get(kind, "string")


def _columns() -> dict[str, str]:
    return _OWN | _fields(Detection)


DDL = ", ".join(f"`{name}` {_ddl(kind)}" for name, kind in _columns().items())
"""The columns as Spark's SQL writes them."""


def _arrow(kind: str) -> Any:
    pa = arrow()
    if kind in _INNER:
        noun, many = _INNER[kind]
        inner = pa.struct([(name, _arrow(below)) for name, below in _fields(noun).items()])
        return pa.list_(inner) if many else inner
    if kind.startswith("tuple[str"):
        return pa.list_(pa.string())
    numbers = {"int": pa.int64(), "bool": pa.bool_(), "datetime | None": pa.timestamp("us", tz="UTC")}
    return numbers.get(kind, pa.string())


@cache
def schema() -> Any:
    """The columns as Arrow has them. Raises MissingExtra."""
    return arrow().schema([(name, _arrow(kind)) for name, kind in _columns().items()])


def row(found: Detection, generation: int) -> dict[str, Any]:
    """A detection as a row."""
    plain: dict[str, Any] = msgspec.to_builtins(found, builtin_types=(datetime,))
    return plain | {"kind": DETECTION, "count": 1, "generation": generation, "line": 0}


def malformed_row(source: str, reason: str, text: str, count: int, generation: int) -> dict[str, Any]:
    """What could not be read, as a row."""
    return {
        "kind": MALFORMED,
        "count": count,
        "generation": generation,
        "reason": reason,
        "source": source,
        "event_text": text,
    }


def batch(rows: list[dict[str, Any]]) -> Any:
    """Rows as a RecordBatch."""
    return arrow().RecordBatch.from_pylist(rows, schema=schema())


# And back


def read_back(path: Path) -> Iterator[Detection]:
    """The detections in a folder or file that `detect` gave and Spark wrote, Parquet or NDJSON.

    Files whose names begin with `_` or `.` are Spark's own and left out, as are malformed rows, and what a
    stream has not said to be whole: one that was killed, or is at work, leaves beginnings of files. Raises
    InputError where there is nothing, MalformedFile where a row is no detection, MissingExtra.
    """
    for file in _files(path):
        rows = _parquet(file) if file.name.endswith(".parquet") else _lines(file)
        try:
            for number, found in enumerate(rows):
                if found.get("kind", DETECTION if "kind=detection" in file.parts else None) == DETECTION:
                    yield of_row(found, f"row {number}", str(file))
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", place=str(file)) from None


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError("there is no such file or folder", place=str(path))
    if path.is_file():
        return [path]
    found = sorted(
        one
        for one in path.rglob("*")
        if one.suffix in (".parquet", ".json", ".ndjson")
        and not any(part.startswith(("_", ".")) for part in one.relative_to(path).parts)
        and one.is_file()
    )
    log = path / "_spark_metadata"
    if log.is_dir():
        whole = _whole_files(log)
        return [one for one in found if one.name in whole]
    if not found and not (path / "_SUCCESS").exists():
        raise InputError("holds no Parquet and no NDJSON; name what `indicia spark` wrote", place=str(path))
    return found


def _whole_files(log: Path) -> set[str]:
    """The names of files that a stream has finished, of which no two are alike, by its sink's log.

    The log has a file for each batch, and each tenth is a compact one that stands for all before it.
    """
    batches = {int(one.stem): one for one in log.iterdir() if one.stem.isdigit()}
    first = max((number for number, one in batches.items() if one.suffix == ".compact"), default=0)
    return {
        PurePosixPath(unquote(str(entry["path"]))).name
        for number in sorted(batches)
        if number >= first
        for entry in _entries(batches[number])
    }


def _entries(batch: Path) -> Iterator[dict[str, Any]]:
    """A version, then a line for each file."""
    for line in batch.read_text("utf-8").splitlines()[1:]:
        try:
            entry = json.loads(line)
            if entry["action"] == "add" and entry["path"]:
                yield entry
        except (ValueError, LookupError, TypeError):
            raise MalformedFile("is no log of Spark's sink of files", place=str(batch)) from None


def _parquet(file: Path) -> Iterator[dict[str, Any]]:
    parquet = extra("pyarrow.parquet", "arrow", "reading Parquet")
    try:
        with parquet.ParquetFile(file, coerce_int96_timestamp_unit="us") as opened:
            for some in opened.iter_batches(_BATCH, use_threads=False):
                yield from some.to_pylist()
    except (arrow().ArrowException, ValueError) as error:
        raise MalformedFile(f"is no Parquet file that can be read: {error}", place=str(file)) from None


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                found = json.loads(line)
            except ValueError as error:
                raise MalformedFile(f"not valid JSON: {error}", place=f"{file}:{number}") from None
            if not isinstance(found, dict):
                raise MalformedFile("not a JSON object", place=f"{file}:{number}")
            yield found


def of_row(found: dict[str, Any], what: str = "a row", place: str = "") -> Detection:
    """The noun of a row; what JSON leaves out is absent. Raises MalformedFile, with `what` and `place`."""
    wanted = {name: found.get(name) for name in _fields(Detection)}
    wanted["marks"] = wanted["marks"] or ()
    wanted["indicator"] = _whole(Indicator, wanted["indicator"])
    if wanted["indicator"]:
        owner = wanted["indicator"].get("definition")
        wanted["indicator"]["definition"] = _whole(AlertDefinition, owner)
    wanted["evidence"] = [_whole(Evidence, one) for one in wanted["evidence"] or ()]
    try:
        made = msgspec.convert(_in_utc(wanted), Detection)
    except msgspec.ValidationError as error:
        raise MalformedFile(f"{what} is no detection: {error}", place=place) from None
    if (made.id, made.alert_id) != _ids(made):
        raise MalformedFile(f"{what} has not the ids of what it says", place=place)
    return made


def _ids(made: Detection) -> tuple[str, str]:
    """As `detect` gives them."""
    met, uid = made.indicator, made.definition.uid
    found = identity.detection_id(made.tenant, uid, met.type, met.function, met.canonical, made.event_id)
    return found, identity.alert_id(made.tenant, uid, made.machine, triage.group_of(met), made.window)


def _whole(noun: type, found: Any) -> Any:
    return {name: found.get(name) for name in _fields(noun)} if isinstance(found, dict) else found


def _in_utc(value: Any) -> Any:
    """Times without a zone are UTC: Spark's Parquet knows no other."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, dict):
        return {name: _in_utc(inner) for name, inner in value.items()}
    return [_in_utc(inner) for inner in value] if isinstance(value, list) else value
