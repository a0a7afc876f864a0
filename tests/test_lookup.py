"""`indicia.Index`: a matcher for programs, without a store; docs/matching-api.md is run."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from formats import ADDRESS, DOMAIN, ROWS, files, index_file, table
from indicia import Index
from indicia.errors import InputError, MalformedFile
from indicia.match.kernel import BUILT
from indicia.telemetry import Malformed

ROOT = Path(__file__).resolve().parent.parent
MANUAL = ROOT / "docs" / "matching-api.md"
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with Index.open(index_file(tmp_path_factory.mktemp("index"))) as found:
        yield found


def test_bytes_paths_and_tables_give_the_same(tmp_path: Path, index: Index) -> None:
    path = tmp_path / "logs"
    path.mkdir()
    for name, data in files():
        (path / name).write_bytes(data)
    wanted = [one.id for one in index.scan(LINES)]
    assert [one.indicator.canonical for one in index.scan(LINES)] == [DOMAIN, DOMAIN, ADDRESS]
    for what in (bytearray(LINES), memoryview(gzip.compress(LINES)), table(), table().to_reader(), path):
        assert [one.id for one in index.scan(what)] == wanted
    assert [one.id for one in index.scan(str(path / "*.json"), workers=2)] == wanted
    if BUILT:
        assert len(index) == 4
    assert [owner.title for owner in index.definitions] == ["Formats"]
    assert index.generation == 1


def test_names_stand_for_machines(index: Index) -> None:
    line = DOMAIN.encode()
    assert next(index.scan(line)).machine == "bytes"
    assert next(index.scan(line, name="Proxy.log")).machine == "proxy.log"
    (row,) = index.scan(table().slice(7, 1), name="Lake")
    assert (row.source, row.machine, row.line) == ("Lake", "lake", 0)


def test_what_cannot_be_read(tmp_path: Path, index: Index) -> None:
    with pytest.raises(InputError, match="no such file"):
        index.scan(tmp_path / "missing")
    with pytest.raises(InputError, match="no schema 'x'"):
        list(index.scan(LINES, schema="x"))
    broken = gzip.compress(LINES * 100)[:-20]
    found = index.scan(broken)
    assert next(found).indicator.canonical == DOMAIN
    with pytest.raises(MalformedFile, match="it ends in the middle"):
        list(found)
    heard: list[Malformed] = []
    assert len(list(index.scan(broken, malformed=heard.append))) == 3
    assert [fault.line for fault in heard] == [0]
    with pytest.raises(MalformedFile, match="no usable index"):
        Index.open(Path(__file__))


def test_the_manual_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index_file(tmp_path).rename(tmp_path / "feed.idx")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "dns.json").write_bytes(LINES)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", MANUAL.read_text("utf-8"), re.DOTALL)
    assert blocks
    scope: dict[str, object] = {}
    for block in blocks:
        exec(block, scope)
    assert DOMAIN in capsys.readouterr().out
