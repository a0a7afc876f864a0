"""Ids are permanent: golden vectors, shared and our own, and what must never change an id."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from indicia import identity, telemetry
from indicia.model import Event
from indicia.telemetry.events import event as make_event
from indicia.telemetry.records import Record

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT.parent / "shared" / "conformance" / "identity.ndjson"
OURS: list[dict[str, Any]] = yaml.safe_load(
    (ROOT / "tests" / "cases" / "identity" / "vectors.yaml").read_text("utf-8")
)
Vector = Mapping[str, Any]


def plain_digest(parts: list[bytes]) -> str:
    """`H` of identity.md once more, so that a vector's parts prove its id without our code."""
    framed = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return sha256(framed).hexdigest()[:32]


def parts_of(vector: Vector) -> list[bytes]:
    if "parts_base64" in vector:
        return [base64.b64decode(part) for part in vector["parts_base64"]]
    return [part.encode() for part in vector["parts"]]


def event_at(source: telemetry.Source, line: int | None) -> Event:
    """The event that begins at a line (of a JSON array: the element of that number); None: the first."""
    faults: list[telemetry.Malformed] = []
    found = telemetry.events(source, malformed=faults.append)
    return next(event for event in found if line is None or event.line == line)


def written(vector: Vector, folder: Path) -> telemetry.Source:
    """The vector's input as a file of its own."""
    path = folder / vector.get("file", "input")
    path.write_bytes(vector["input"].encode())
    return telemetry.Source(path.name, path)


def golden() -> list[Vector]:
    if not GOLDEN.exists():
        pytest.skip("../shared is absent: its golden vectors are skipped")
    return [json.loads(line) for line in GOLDEN.read_text("utf-8").splitlines()]


def of_kind(vectors: list[Vector], kind: str) -> Iterator[Vector]:
    found = [vector for vector in vectors if vector.get("kind", "event") == kind]
    assert found, f"no vector of {kind}"
    return iter(found)


# The shared vectors


def test_golden_parts_give_golden_ids() -> None:
    for vector in golden():
        parts, wanted = parts_of(vector), vector.get("event_id") or vector["id"]
        assert plain_digest(parts) == wanted
        assert identity.digest(parts) == wanted, vector


def test_golden_inputs_give_golden_events(tmp_path: Path) -> None:
    """What was made up for the vectors goes through our readers and mappings."""
    count = 0
    for vector in of_kind(golden(), "event"):
        if "input" in vector:
            event = event_at(written(vector, tmp_path), None)
        elif "input_base64" in vector:
            record = Record(1, base64.b64decode(vector["input_base64"]))
            event = make_event(record, telemetry.Source("input"), telemetry.schemas()["line"])
        else:
            continue
        assert event.facts.event_id == vector["event_id"], (vector["source"], event.schema)
        count += 1
    assert count == 19


@pytest.mark.full
@pytest.mark.no_cover
def test_golden_events_of_real_files(shared: Path) -> None:
    """Events of real telemetry, at file and line, have the ids that an independent program gave them."""
    count = 0
    for vector in of_kind(golden(), "event"):
        path = shared / "data" / "telemetry" / f"{vector['source']}.zst"
        if vector["schema"] == "evtx" or "input" in vector or "input_base64" in vector:
            continue
        event = event_at(telemetry.Source(path.name.removesuffix(".zst"), path), vector["line"])
        assert event.facts.event_id == vector["event_id"], vector
        count += 1
    assert count == 52


@pytest.mark.parametrize("kind", ["detection", "alert", "list"])
def test_golden_detections_alerts_and_lists(kind: str) -> None:
    for vector in of_kind(golden(), kind):
        assert made_of(vector) == vector["id"], vector["note"]


def made_of(vector: Vector) -> str:
    """The id that the functions of `identity` make of a vector's parts."""
    _, *parts = vector["parts"]
    match vector["kind"]:
        case "detection":
            return identity.detection_id(*parts)
        case "alert":
            return identity.alert_id(*parts)
        case _:
            rows = [tuple(part.split("\t")) for part in parts]
            return identity.list_uid([(row[0], row[1], row[2]) for row in (*reversed(rows), *rows)])


# Our own, which a plain clone has


@pytest.mark.parametrize("vector", OURS, ids=lambda vector: str(vector["name"]))
def test_our_vectors(vector: Vector, tmp_path: Path) -> None:
    wanted = vector.get("event_id") or vector["id"]
    assert plain_digest(parts_of(vector)) == wanted
    if "kind" in vector:
        assert made_of(vector) == wanted
        return
    event = event_at(written(vector, tmp_path), vector.get("line"))
    assert event.schema == vector["schema"]
    assert event.facts.event_id == wanted


def test_our_vectors_name_every_family() -> None:
    named = {vector["parts"][1] for vector in OURS if "kind" not in vector}
    assert named == {"windows", "zeek", "suricata", "mde", "cloudtrail", "content", "line"}


# What an id is made of


def test_parts_do_not_run_together() -> None:
    assert identity.digest(["ab", "c"]) != identity.digest(["a", "bc"])
    assert identity.digest(["a", None]) == identity.digest(["a", ""]) != identity.digest(["a"])


def test_an_unpaired_surrogate_is_the_replacement_character_everywhere() -> None:
    assert identity.digest(["a\udc80"]) == identity.digest(["a\ufffd"])
    assert identity.list_uid([("FileName", "Equals", "\ud800")]) == identity.list_uid(
        [("FileName", "Equals", "\ufffd")]
    )
    assert identity.text("a\udc80") == "a\ufffd"


@pytest.mark.parametrize(
    ("leaf", "wanted"),
    [
        ("", ""),
        (" x ", " x "),
        (True, "true"),
        (False, "false"),
        (None, ""),
        (0, "0"),
        (-0.0, "0"),
        (-1.5, "-1.5"),
        (2**64 - 1, "18446744073709551615"),
        (2**64, "18446744073709552000"),
        (-(2**63), "-9223372036854775808"),
        (-(2**63) - 1, "-9223372036854776000"),
        (1e21, "1000000000000000000000"),
        (1e-7, "0.0000001"),
        (0.1 + 0.2, "0.30000000000000004"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (10**400, "inf"),
        (-(10**400), "-inf"),
        (b"bytes are no leaf", ""),
    ],
)
def test_text_of_a_leaf(leaf: object, wanted: str) -> None:
    assert identity.text(leaf) == wanted


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_number_reads_back_the_same(number: float) -> None:
    written = identity.text(number)
    assert float(written) == number
    assert "e" not in written
    assert not (("." in written) and written.endswith(("0", ".")))


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def plain_pairs(value: object, path: tuple[str, ...] = ()) -> Iterator[bytes]:
    """The pairs once more, by recursion."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from plain_pairs(inner, (*path, str(key)))
    elif identity.text(value):
        yield f"{'.'.join(path)}\t{identity.text(value)}".encode()


@given(TREES)
def test_pairs_are_those_of_a_plain_walk(tree: object) -> None:
    assert identity.pairs(tree) == sorted(plain_pairs(tree))


@given(st.dictionaries(st.sampled_from(["a", "b", "ab", "a.b"]), TREES))
def test_what_is_left_out_is_left_out_with_all_below_it(tree: dict[str, object]) -> None:
    kept = [pair for pair in plain_pairs(tree) if pair.split(b"\t")[0].split(b".")[0] != b"a"]
    assert identity.pairs(tree, frozenset({"a"})) == sorted(kept)


def test_a_thousand_objects_deep() -> None:
    tree: dict[str, object] = {"x": "leaf"}
    for _ in range(5000):
        tree = {"a": tree}
    assert identity.pairs(tree) == [b"a." * 5000 + b"x\tleaf"]


def test_lower_knows_a_to_z_alone() -> None:
    assert identity.lower("Pedro01 ÄÖ İ Σ") == "pedro01 ÄÖ İ Σ"
