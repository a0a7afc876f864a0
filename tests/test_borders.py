"""A whole scan by the fast engine gives what the reference gives over everything parsed.

Files of every form of text are generated, read in tiny blocks and chunks, cut into pieces at every border,
and scanned by one, two and four processes: the same detections, evidence, ids and numbers of lines, in the
same order.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indicia import scanning, telemetry
from indicia.detect import detect
from indicia.match import ReferenceMatcher, engine
from indicia.match.index import Index
from indicia.match.kernel import BUILT
from indicia.model import Detection
from indicia.telemetry import lines as reading
from indicia.telemetry import slices
from test_engine import EXAMPLES, KEYS, SETS, TEXT, lines, opened

__all__ = ["opened"]
pytestmark = pytest.mark.skipif(not BUILT, reason="the C extension was not built")
HEAD = 512
"""The first lines of each file are shorter, so that its form is known by them."""
QUIET = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


# Files of every form

Join = Callable[[list[bytes]], bytes]


@st.composite
def ndjson(draw: st.DrawFn) -> bytes:
    return b'{"first":"line"}\n' + draw(ends())(draw(st.lists(lines(), max_size=12)))


@st.composite
def plain(draw: st.DrawFn) -> bytes:
    text = st.one_of(lines(), TEXT.map(lambda text: text.replace("\n", " ").encode()), st.binary(max_size=40))
    return b"a log of some kind\nand more of it\n" + draw(ends())(draw(st.lists(text, max_size=12)))


def ends() -> st.SearchStrategy[Join]:
    """How lines are joined, and whether the last one ends."""

    def join(end: bytes, last: bool) -> Join:
        return lambda parts: end.join(parts) + (end if last else b"")

    return st.builds(join, st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n"]), st.booleans())


@st.composite
def zeek(draw: st.DrawFn) -> bytes:
    separator = draw(st.sampled_from([b"\t", b"\t", b"|"]))
    between = draw(st.sampled_from([b",", b",", b";", b"."]))
    header = [b"#separator \\x%02x" % separator[0], separator.join([b"#set_separator", between])]
    header += [separator.join(row) for row in ([b"#empty_field", b"(empty)"], [b"#unset_field", b"-"])]
    fields = [b"ts", b"uid", b"id.orig_h", b"query", b"uri", b"answers"]
    kinds = [b"time", b"string", b"addr", b"string", b"string", b"vector[string]"]
    header += [separator.join([name, *row]) for name, row in ((b"#fields", fields), (b"#types", kinds))]
    cell = st.one_of(
        TEXT.map(lambda text: text.encode()), st.binary(max_size=6), st.just(b"\\x65vil.example")
    )
    rows = []
    for number in range(draw(st.integers(0, 12))):
        if draw(st.integers(0, 9)) == 0:
            rows += [b"#close", *header]
        cells = [b"17000%02d.5" % number, b"C%d" % number, *(draw(cell) for _ in range(4))]
        cells = [one.replace(separator, b" ").replace(b"\n", b" ") for one in cells]
        rows.append(separator.join(cells))
    return b"\n".join([*header, b""]) + draw(ends())(rows)


@st.composite
def table(draw: st.DrawFn) -> bytes:
    out = io.StringIO()
    writer = csv.writer(
        out, quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])), lineterminator="\n"
    )
    writer.writerows([["query", "Image", "message"], ["a", "b", "c"]])
    breaks = draw(st.booleans())
    for cells in draw(st.lists(st.lists(TEXT, min_size=1, max_size=4), max_size=12)):
        writer.writerow([cell if breaks else cell.replace("\n", " ") for cell in cells])
    return out.getvalue().encode("utf-8", "replace")


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """An array, or documents over many lines."""
    objects = draw(st.lists(st.dictionaries(st.sampled_from(KEYS), TEXT, max_size=3), max_size=8))
    indent, plain_text = draw(st.sampled_from([None, 1])), draw(st.booleans())
    texts = [json.dumps({"n": 1} | one, indent=indent, ensure_ascii=plain_text) for one in objects]
    if draw(st.booleans()):
        return ("[" + ",\n".join(texts) + "]\n").encode("utf-8", "replace")
    return "\n".join(['{\n"first":\n"document"}', *texts]).encode("utf-8", "replace")


FORMS = {"ndjson": ndjson(), "plain": plain(), "zeek": zeek(), "csv": table(), "documents": documents()}
ENCODINGS = st.sampled_from(["", "", "", "", "utf-8-sig", "utf-16"])


def encoded(data: bytes, encoding: str) -> bytes:
    return data.decode("utf-8", "replace").encode(encoding) if encoding else data


# Both ways


def by_reference(source: telemetry.Source, matcher: ReferenceMatcher) -> list[Detection]:
    events = telemetry.events(source, malformed=lambda _: None)
    return [detection for event in events for detection in detect(event, matcher)]


def by_engine(source: telemetry.Source, index: Index, size: int, workers: int) -> tuple[list[Detection], int]:
    pieces = slices.pieces(source, size)
    batches = list(scanning.scan(pieces, scanning.Plan(engine.of_index(index)), workers))
    assert not any(batch.fault for batch in batches)
    return [detection for batch in batches for detection in batch.detections], len(pieces)


def in_order(found: Iterable[Detection]) -> list[Detection]:
    """In the order of lines; of one event by id, for a matcher gives indicators in no order."""
    order: dict[tuple[int, str], int] = {}
    numbers: Iterator[int] = count()
    made = [(order.setdefault((one.line, one.event_id), next(numbers)), one) for one in found]
    return [one for _, one in sorted(made, key=lambda pair: (pair[0], pair[1].id))]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read at once is so little that every file has many borders."""
    for module in (reading, slices):
        monkeypatch.setattr(module, "HEAD", HEAD)
    monkeypatch.setattr(slices, "_STEP", 64)
    monkeypatch.setattr(scanning, "SMALL", 0)
    monkeypatch.setattr(scanning, "EVENTS", 3)
    monkeypatch.setattr(scanning, "DETECTIONS", 2)


def sources(folder: Path, data: bytes) -> telemetry.Source:
    path = folder / "events.log"
    path.write_bytes(data)
    return telemetry.sources([str(path)])[0]


@pytest.mark.full
@pytest.mark.parametrize("form", FORMS)
@given(data=st.data(), encoding=ENCODINGS, size=st.integers(1, 900), block=st.integers(1, 700))
@settings(QUIET, max_examples=max(EXAMPLES // 10, 20))
def test_one_process(
    tiny: None,
    opened: dict[str, Index],
    tmp_path_factory: pytest.TempPathFactory,
    form: str,
    data: st.DataObject,
    encoding: str,
    size: int,
    block: int,
) -> None:
    source = sources(tmp_path_factory.getbasetemp(), encoded(data.draw(FORMS[form]), encoding))
    for name in ("plain", "everything"):
        wanted = in_order(by_reference(source, ReferenceMatcher(SETS[name])))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(reading, "_CHUNK", block)
            patched.setattr(reading, "_BLOCK", block)
            found, _ = by_engine(source, opened[name], size, 1)
        assert in_order(found) == wanted, name


@pytest.mark.full
@pytest.mark.parametrize("form", FORMS)
@given(data=st.data(), size=st.integers(20, 200))
@settings(QUIET, max_examples=max(EXAMPLES // 80, 4))
def test_several_processes(
    tiny: None,
    opened: dict[str, Index],
    tmp_path_factory: pytest.TempPathFactory,
    form: str,
    data: st.DataObject,
    size: int,
) -> None:
    drawn: Sequence[bytes] = data.draw(st.lists(FORMS[form], min_size=2, max_size=4))
    # Whole files behind one another: where a form cannot go on so, both ways say the same.
    source = sources(tmp_path_factory.getbasetemp(), b"\n".join(drawn))
    wanted = in_order(by_reference(source, ReferenceMatcher(SETS["plain"])))
    alone, _ = by_engine(source, opened["plain"], size, 1)
    assert in_order(alone) == wanted
    for workers in (2, 4):
        assert by_engine(source, opened["plain"], size, workers)[0] == alone


def test_every_border_of_a_file(tiny: None, opened: dict[str, Index], tmp_path: Path) -> None:
    """Pieces of every size, so that a piece begins at every line."""
    rows = [
        b'{"query":"evil.example","n":"%s"}' % (b"x" * n) if n % 3 else b'{"n":"%d"}' % n for n in range(40)
    ]
    source = sources(tmp_path, b"\n".join(rows))
    wanted = in_order(by_reference(source, ReferenceMatcher(SETS["plain"])))
    assert len({one.line for one in wanted}) == 26
    most = 0
    for size in range(1, 120):
        found, pieces = by_engine(source, opened["plain"], size, 1)
        most = max(most, pieces)
        assert in_order(found) == wanted, size
    assert most == len(rows)
