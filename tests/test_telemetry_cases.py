"""Every mapping against events of its schema: `cases/telemetry/<schema>.yaml`, told in docs/mappings.md.

`PYTHONPATH=tests python -m test_telemetry_cases SCHEMA` prints what the events of a file give now, to be
read critically before it is kept as what they must give.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from indicia import telemetry
from indicia.model import Event

ROOT = Path(__file__).resolve().parent.parent
CASES = ROOT / "tests" / "cases" / "telemetry"
MAPPINGS = ROOT / "src" / "indicia" / "telemetry" / "mappings"
SCHEMAS = sorted(path.stem for path in MAPPINGS.glob("*.toml") if not path.stem.endswith("-fields"))


@dataclass(frozen=True)
class Text(telemetry.Source):
    """A source whose bytes stand in a case."""

    data: bytes = b""

    def open(self, progress: Callable[[int], None] | None = None) -> io.BufferedReader:
        raw: Any = io.BytesIO(self.data)
        return io.BufferedReader(raw)


def cases(path: Path) -> Iterator[Any]:
    """The cases of a file, named for what they are about."""
    for number, case in enumerate(yaml.safe_load(path.read_text("utf-8"))):
        yield pytest.param(path, case, id=f"{path.stem}: {case.get('about', number)}")


ALL = [case for path in sorted(CASES.glob("*.yaml")) for case in cases(path)]


def read_case(case: Mapping[str, Any]) -> list[Event]:
    """The events of a case."""
    source = Text(case.get("file", "case"), data=case["text"].encode("utf-8"))
    faults: list[telemetry.Malformed] = []
    found = list(telemetry.events(source, malformed=faults.append))
    assert [fault.line for fault in faults] == case.get("malformed", [])
    return found


def seen(event: Event) -> dict[str, Any]:
    """An event as cases write it."""
    facts = event.facts
    found: dict[str, Any] = {"schema": event.schema, "line": event.line, "id": facts.event_id}
    found["time"] = f"{facts.time:%Y-%m-%dT%H:%M:%S.%fZ}" if facts.time else f"{facts.time_note}"
    found["machine"] = facts.machine
    if facts.endpoints:
        found["endpoints"] = " ".join(f"{side}={end}" for side, end in facts.endpoints)
    found["observables"] = [
        f"{o.path}: {o.type} {o.value} "
        + ("silent" if not o.raises else "observed" if o.role == "observed" else "mentioned")
        + (f" {o.side}" if o.side else "")
        for o in event.observables
    ]
    return found


@pytest.mark.parametrize(("path", "case"), ALL)
def test_a_case(path: Path, case: Mapping[str, Any]) -> None:
    assert [seen(event) for event in read_case(case)] == case["events"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_mapping_has_a_case(name: str) -> None:
    path = CASES / f"{name}.yaml"
    assert path.exists(), f"{name}.toml needs cases: {path.relative_to(ROOT)}"
    found = yaml.safe_load(path.read_text("utf-8"))
    assert any(event["schema"] == name for case in found for event in case["events"])


def test_every_file_of_cases_is_of_a_mapping() -> None:
    assert {path.stem for path in CASES.glob("*.yaml")} == set(SCHEMAS)


def test_cases_use_addresses_of_documentation() -> None:
    meant = re.compile(r"(192\.0\.2|198\.51\.100|203\.0\.113|10\.0\.\d)\.\d+")
    versions = {"1.0.0.0", "1.0.0.1", "2.5.2.0", "10.0.0.1", "121.0.0.0", "5.1.17763.1971", "15.20.4200.000"}
    for path in CASES.glob("*.yaml"):
        found = set(re.findall(r"(?<![\w.])\d{1,3}(?:\.\d{1,5}){3}(?![\w.])", path.read_text("utf-8")))
        assert [address for address in found - versions if not meant.fullmatch(address)] == [], path.name


@pytest.mark.parametrize(("path", "case"), ALL)
def test_a_schema_that_is_named_gives_what_a_recognised_one_does(path: Path, case: Mapping[str, Any]) -> None:
    found = read_case(case)
    names = {event.schema for event in found}
    if len(names) == 1 and names != {"line"}:
        source = Text(case.get("file", "case"), data=case["text"].encode("utf-8"))
        named = telemetry.events(source, schema=names.pop(), malformed=lambda what: pytest.fail(str(what)))
        assert [seen(event) for event in named] == [seen(event) for event in found]


@pytest.mark.full
def test_a_newcomer_adds_a_schema_with_one_mapping_and_one_file_of_cases(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "mappings.md").read_text("utf-8")
    (mapping, *_), (written,) = (
        re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("toml", "yaml")
    )
    package = shutil.copytree(ROOT / "src" / "indicia", tmp_path / "src" / "indicia")
    tests = tmp_path / "tests"
    shutil.copytree(CASES, tests / "cases" / "telemetry")
    shutil.copy(Path(__file__), tests)

    (package / "telemetry" / "mappings" / "acme.toml").write_text(mapping, "utf-8")
    (tests / "cases" / "telemetry" / "acme.yaml").write_text(written, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "acme", str(tests)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


if __name__ == "__main__":
    for written in yaml.safe_load((CASES / f"{sys.argv[1]}.yaml").read_text("utf-8")):
        now = [seen(event) for event in read_case(written)]
        print(yaml.safe_dump([{**written, "events": now}], sort_keys=False, width=1000, allow_unicode=True))
