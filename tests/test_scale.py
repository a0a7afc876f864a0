"""The road on a distributed engine: what a worker gives, the same by Sail and by Spark, and back again.

By Sail (no Java) and Spark where they are installed, which `make test-spark` does; Spark is `slow`.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from engines import QUIET, SHORT, installed, sail, sail_session, spark_session
from formats import ADDRESS, DOMAIN, ROWS, SHA256, files, index_file, indicators, table
from indicia import Index, scale
from indicia.errors import InputError, InvalidValue, MalformedFile, MissingExtra
from indicia.feeds import read
from indicia.feeds.make import OwnList
from indicia.match import compiler
from indicia.model import Detection, IndicatorType
from indicia.scale import detections
from indicia.scale.worker import LISTED, Task, run
from indicia.telemetry import Malformed
from shell import Shell, make
from stored import add, indicator

ROOT = Path(__file__).resolve().parent.parent
TELEMETRY = ROOT / "examples" / "telemetry"
NDJSON = sorted(TELEMETRY.glob("*.ndjson"))
DEEP = '{"a":' * 150 + f'"{DOMAIN}"' + "}" * 150
LINES = [json.dumps(row).encode() for row in ROWS]
BAD: list[tuple[bytes, str]] = [
    (b'{"name": "drop.example", ', "not valid JSON"),
    (b"drop.example", "not valid JSON"),
    (b"[1, 2]", "not a JSON object but list"),
    (b'"drop.example"', "not a JSON object but str"),
    (b"nothing", "not valid JSON"),
    (DEEP.encode(), "nested more than 100 levels deep"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested too deeply"),
    (b'{"n": NaN}', "not valid JSON"),
    (b"\0\0", "not valid JSON"),
]
ODD = [
    b"",
    b"  ",
    b'{"name": "\\u0064rop.example"}',
    b'{"name": "x\xff.drop.example", "other": "drop.example"}',
    b'{"name": "\\ud800 drop.example"}{"client": "198.51.100.44"}',
    b'\xef\xbb\xbf{"name": "drop.example", "n": 1e999, "long": ' + b"9" * 5000 + b"}\r",
    b'{"Records": [{"name": "drop.example"}, {"client": "198.51.100.44"}]}',
]


def placeless(found: Iterable[Detection]) -> list[Detection]:
    """In one order, without the line, which no distributed engine knows."""
    return sorted((replace(one, line=0) for one in found), key=lambda one: (one.id, one.source))


def worked(batches: Iterable[pa.RecordBatch], index: Path, **how: Any) -> list[dict[str, Any]]:
    """What a worker gives."""
    return [row for one in run(iter(batches), Task(str(index), **how)) for row in one.to_pylist()]


def of_rows(rows: Iterable[dict[str, Any]], folder: Path) -> list[Detection]:
    """The detections of rows, by the way that they go through a file."""
    folder.mkdir()
    pq.write_table(pa.Table.from_batches([detections.batch(list(rows))]), folder / "part.parquet")
    return list(scale.read_back(folder))


def values(lines: Sequence[bytes | None], kind: pa.DataType | None = None) -> pa.RecordBatch:
    """Lines as the engine gives them; as texts also where they are no UTF-8."""
    made = pa.array(lines, pa.binary())
    return pa.RecordBatch.from_arrays([made.view(kind or pa.string())], ["value"])


# What a worker gives, without an engine


def test_lines_give_what_a_file_of_them_gives(tmp_path: Path) -> None:
    index = index_file(tmp_path)
    lines = LINES + ODD
    (tmp_path / "lines.json").write_bytes(b"\n".join(lines) + b"\n")
    with Index.open(index) as local:
        wanted = list(local.scan(tmp_path / "lines.json"))
    for kind in (pa.string(), pa.binary(), None):
        batches = [values([*lines[:30], None], kind), values(lines[30:], kind)]
        rows = worked(batches, index, name=str(tmp_path / "lines.json"), lines=True)
        found = of_rows(rows, tmp_path / f"found-{kind}")
        assert placeless(found) == placeless(wanted)
        assert {row["kind"] for row in rows} == {"detection"}
    assert len(wanted) >= 8


def test_tables_give_what_a_file_of_them_gives(tmp_path: Path) -> None:
    index = index_file(tmp_path)
    data = table().append_column("digest", pa.array([b"\xc8" * 32] * 60, pa.binary(32)))
    data = data.append_column("inner", pa.array([{"at": [DOMAIN, None]}, None] * 30))
    pq.write_table(data, tmp_path / "rows.parquet")
    with Index.open(index) as local:
        wanted = list(local.scan(tmp_path / "rows.parquet"))
    rows = worked(data.to_batches(max_chunksize=7), index, name=str(tmp_path / "rows.parquet"))
    assert placeless(of_rows(rows, tmp_path / "found")) == placeless(wanted)
    assert len(wanted) == 60 + 30 + 3


def test_sources_stand_for_machines(tmp_path: Path) -> None:
    index = index_file(tmp_path)
    batch = pa.RecordBatch.from_pydict(
        {
            "value": [f'{{"n": {n}, "name": "{DOMAIN}"}}' for n in range(4)],
            "of": ["a.log.gz", None, "b/C.log", None],
        }
    )
    rows = worked([batch], index, name="lake", source="of", lines=True)
    assert sorted(row["machine"] for row in rows) == ["a.log", "c.log", "lake", "lake"]


def test_bad_rows_are_told_and_end_nothing(tmp_path: Path) -> None:
    index = index_file(tmp_path)
    bad = [line for line, _ in BAD]
    rows = worked([values([*LINES, *bad, bad[4]])], index, lines=True)
    told = [(row["event_text"], row["reason"], row["count"]) for row in rows if row["kind"] == "malformed"]
    assert [row["id"] is not None for row in rows].count(True) == 3
    for line, reason in BAD:
        shown = line.decode("utf-8", "replace")[:200]
        assert [one for one in told if one[0] == shown and reason in one[1]], (shown, told)
    assert [count for text, _, count in told if text == "nothing"] == [2]
    many = worked([values([b"no %d" % n for n in range(LISTED + 50)])], index, lines=True)
    assert len(many) == LISTED + 1
    assert many[-1]["count"] == 50


def test_a_row_that_breaks_a_table_does_not_take_others_with_it(tmp_path: Path) -> None:
    index = index_file(tmp_path)
    texts = [b"plain", b"drop.example", b"\xff\xfe drop.example", b"198.51.100.44", DEEP.encode()]
    batch = pa.RecordBatch.from_arrays([pa.array(texts, pa.binary()).view(pa.string())], ["text"])
    rows = worked([batch], index)
    assert sorted(row["indicator"]["canonical"] for row in rows if row["id"]) == [ADDRESS, DOMAIN]
    reasons = sorted(row["reason"] for row in rows if row["kind"] == "malformed")
    assert len(reasons) == 2
    assert "UTF8" in reasons[0]
    assert "nested more than 100 levels" in reasons[1]


def test_a_fault_of_ours_is_not_put_down_to_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, sound = index_file(tmp_path), Index.scan_lines

    def broken(self: Index, lines: pa.Array, **how: Any) -> Iterator[Detection]:
        if any(b"unlucky" in line for line in lines.to_pylist()):
            raise KeyError("x")
        return sound(self, lines, **how)

    monkeypatch.setattr(Index, "scan_lines", broken)
    rows = worked([values([*LINES, b'{"a": "unlucky"}', b"nothing"], pa.binary())], index, lines=True)
    assert [row["id"] is not None for row in rows].count(True) == 3
    ours, theirs = sorted((row for row in rows if row["kind"] == "malformed"), key=lambda row: row["reason"])
    assert ours["reason"].startswith(f"{detections.OURS} test_scale.py:")
    assert ours["reason"].endswith("KeyError: 'x'")
    assert ours["event_text"] == '{"a": "unlucky"}'
    assert (theirs["event_text"], detections.OURS in theirs["reason"]) == ("nothing", False)


def test_an_index_that_is_replaced_is_in_force_from_the_next_task_on(tmp_path: Path) -> None:
    index = index_file(tmp_path)
    batches = [values(LINES[:50]), values(LINES)]
    task = run(iter(batches), Task(str(index), lines=True))
    first = next(task).to_pylist()
    addresses = [one for one in indicators() if one.type is IndicatorType.IP_ADDRESS]
    compiler.write(addresses, index, generation=7)
    assert [row["indicator"]["canonical"] for row in (*first, *next(task).to_pylist())] == [
        DOMAIN,
        DOMAIN,
        ADDRESS,
    ]
    (only,) = worked(batches, index, lines=True)
    assert (only["indicator"]["canonical"], only["generation"]) == (ADDRESS, 7)
    index.write_bytes(b"no index")
    with pytest.raises(MalformedFile):
        worked(batches, index, lines=True)
    index.unlink()
    with pytest.raises(InputError, match="every worker sees it"):
        worked(batches, index, lines=True)


def test_without_spark_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, cli: Shell) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(MissingExtra, match=r"pip install 'indicia\[spark\]'"):
        scale.detect(None, "feed.idx")
    ran = cli("spark", "retro", "--index", "i", "--input", "x", "--output", "y", code=2)
    assert "pip install 'indicia[spark]'" in ran.err


def test_a_job_reads_paths_or_topics(cli: Shell) -> None:
    retro = ["spark", "retro", "--index", "i", "--output", "o"]
    assert "give --input, or --kafka and --topic" in cli(*retro, code=2).err
    both = [*retro, "--input", "x", "--kafka", "broker:9092"]
    assert "give --input, or --kafka and --topic" in cli(*both, code=2).err
    assert "reads the topics that --topic names" in cli(*retro, "--kafka", "broker:9092", code=2).err


def test_what_is_wrong_with_a_file_of_options_is_said_without_its_words(cli: Shell) -> None:
    command = ["spark", "stream", "--index", "i", "--kafka", "broker:9092", "--topic", "dns", "--ingest"]
    command += ["--checkpoint", "state", "--options", "options"]
    assert "options: cannot be read" in cli(*command, code=2).err
    (cli.folder / "options").write_text("a = b\nkafka.sasl.jaas.config: a secret\n")
    said = cli(*command, code=2).err
    assert "options:2: is no KEY=VALUE" in said
    assert "secret" not in said


# Back into a store


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return make(tmp_path, monkeypatch, capsys).begin()


@pytest.fixture
def lake(cli: Shell) -> Path:
    """A store with an index of it, and lines that meet it."""
    with cli.tenant() as own:
        owner = add(own, 3)
        own.add_indicators([indicator(owner, 9, source="list", id=0)], by="tests")
        compiler.write(own.matchable(), cli.folder / "feed.idx", tenant=own.uid, generation=own.generation())
    (cli.folder / "lake").mkdir()
    lines = [
        json.dumps({"time": f"2024-03-12T09:00:{n:02d}.123456Z", "query": f"host-{n % 12}.example"})
        for n in range(48)
    ]
    (cli.folder / "lake" / "dns 1+2.json").write_text("\n".join(lines) + "\n", "utf-8")
    return cli.folder / "lake"


def test_what_a_job_wrote_becomes_alerts_once(cli: Shell, lake: Path) -> None:
    name = str(lake / "dns 1+2.json")
    lines = [line.encode() for line in Path(name).read_text("utf-8").splitlines()]
    found = list(run(iter([values(lines)]), Task("feed.idx", name=name, lines=True)))
    Path("out/kind=detection").mkdir(parents=True)
    written = pa.Table.from_batches(found).drop_columns(["kind"])
    pq.write_table(written, "out/kind=detection/a.parquet", use_deprecated_int96_timestamps=True)
    Path("out/_SUCCESS").touch()
    check_ingest(cli, "out", "lake", 16)


def check_ingest(cli: Shell, output: str, scanned: str, count: int) -> None:
    """The first time opens alerts, the second nothing, and a scan of the same has the same ids."""
    first = cli("alerts", "ingest", output, "--json").json
    assert first == {"read": count, "recorded": count, "alerts_opened": 1, "alerts_reopened": 0}
    again = cli("alerts", "ingest", output, "--json").json
    assert (again["recorded"], again["alerts_opened"]) == (0, 0)
    cli("scan", scanned, "--save", "local.ndjson", code=1)
    (alert,) = cli("alerts", "list", "--json").json
    kept = cli("alerts", "show", str(alert["number"]), "--json").json["detections"]
    local = [json.loads(line) for line in Path("local.ndjson").read_text("utf-8").splitlines()]
    ids = ("detection_id", "alert_id", "event_id", "event_time", "machine", "evidence", "definition")
    assert sorted(str([one[name] for name in ids]) for one in kept) == sorted(
        str([one[name] for name in ids]) for one in local
    )
    assert len(kept) == count


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row | {"machine": "elsewhere"}, "has not the ids of what it says"),
        (lambda row: row | {"indicator": None}, "is no detection"),
        (lambda row: row | {"event_time": "yesterday"}, "is no detection"),
        (lambda row: [row], "not a JSON object"),
    ],
)
def test_what_is_no_detection_is_refused_whole(
    cli: Shell, lake: Path, change: Callable[[Any], Any], said: str
) -> None:
    lines = [line.encode() for line in (lake / "dns 1+2.json").read_text("utf-8").splitlines()]
    rows = worked([values(lines)], cli.folder / "feed.idx", lines=True)
    texts = [json.dumps(row, default=lambda time: time.isoformat()) for row in rows]
    Path("good.json").write_text("\n".join(texts), "utf-8")
    texts[-1] = json.dumps(change(json.loads(texts[-1])))
    Path("out.json").write_text("\n".join(texts), "utf-8")
    assert said in cli("alerts", "ingest", "out.json", code=2).err
    assert cli("alerts", "ingest", "good.json", "--json").json["recorded"] == 16


def test_what_cannot_be_brought(cli: Shell, lake: Path, tmp_path: Path) -> None:
    assert "no such file" in cli("alerts", "ingest", "missing", code=2).err
    assert "no Parquet and no NDJSON" in cli("alerts", "ingest", str(lake.parent / "home"), code=2).err
    Path("x.parquet").write_bytes(b"PAR1")
    assert "no Parquet file that can be read" in cli("alerts", "ingest", "x.parquet", code=2).err
    Path("x.json").write_bytes(b"{")
    assert "x.json:1" in cli("alerts", "ingest", "x.json", code=2).err
    rows = worked([values(LINES)], index_file(tmp_path), lines=True)
    pq.write_table(pa.Table.from_batches([detections.batch(rows)]), "list.parquet")
    assert "indicia index build" in cli("alerts", "ingest", "list.parquet", code=2).err
    assert cli("alerts", "list", "--json").json == []


# By engines


@pytest.fixture(
    params=[pytest.param("sail", marks=pytest.mark.full), pytest.param("spark", marks=pytest.mark.slow)]
)
def engine(request: pytest.FixtureRequest) -> Any:
    """A session of each engine."""
    installed(java=request.param == "spark")
    return sail_session() if request.param == "sail" else spark_session()


@pytest.fixture
def spark() -> Any:
    """A session of Spark, for what Sail has not."""
    installed()
    return spark_session()


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of the sample list."""
    path = tmp_path_factory.mktemp("examples") / "examples.idx"
    rows = read(str(ROOT / "examples" / "indicators.csv"), broken=lambda: None, taken=lambda _form: None)
    compiler.write(OwnList("examples").indicators(rows), path)
    return path


def collected(frame: Any) -> list[dict[str, Any]]:
    """The rows of a DataFrame, by Arrow, so that times keep their zone."""
    return list(frame.toArrow().to_pylist())


def test_samples_give_what_a_local_scan_gives(engine: Any, examples: Path, tmp_path: Path) -> None:
    functions = importlib.import_module("pyspark.sql.functions")
    with Index.open(examples) as local:
        wanted = [one for path in NDJSON for one in local.scan(path)]
        frames = [engine.read.text(str(path)).withColumn("file", functions.lit(str(path))) for path in NDJSON]
        frame = frames[0]
        for one in frames[1:]:
            frame = frame.unionAll(one)
        rows = collected(scale.detect(frame, examples, source="file"))
        assert placeless(of_rows(rows, tmp_path / "lines")) == placeless(wanted)
        assert len({one.schema for one in wanted}) >= 4
        events = [json.loads(line) for line in (TELEMETRY / "sysmon-nxlog.ndjson").read_bytes().splitlines()]
        flat = [{name: text for name, text in one.items() if isinstance(text, str)} for one in events]
        names = sorted({name for one in flat for name in one})
        rows_of = pa.Table.from_pydict({name: [one.get(name) for one in flat] for name in names})
        pq.write_table(rows_of, tmp_path / "flat.parquet", row_group_size=5)
        wanted = list(local.scan(tmp_path / "flat.parquet"))
    frame = engine.read.parquet(str(tmp_path / "flat.parquet")).repartition(3)
    rows = collected(scale.once(scale.detect(frame, examples, name=str(tmp_path / "flat.parquet"))))
    assert placeless(of_rows(rows, tmp_path / "columns")) == placeless(wanted)
    assert wanted


def generated(count: int) -> pa.Table:
    """Rows of many types, of which some meet something."""
    return pa.table(
        {
            "time": pa.array(
                [1_710_233_587_000_000 + n * 1_000_001 for n in range(count)], pa.timestamp("us", "UTC")
            ),
            "client": [f"192.0.2.{n % 200}" for n in range(count)],
            "name": [DOMAIN if n % 97 == 0 else f"h{n}.site.example.net" for n in range(count)],
            "answers": [[{"ip": ADDRESS if n % 89 == 0 else "203.0.113.9", "ttl": n}] for n in range(count)],
            "digest": pa.array([bytes.fromhex(SHA256) if n % 101 == 0 else bytes(32) for n in range(count)]),
            "size": pa.array([n / 3 for n in range(count)]),
            "day": pa.array([19_794 + n % 3 for n in range(count)], pa.int32()).cast(pa.date32()),
            "flag": [n % 2 == 0 for n in range(count)],
            "nothing": pa.array([None] * count, pa.string()),
        }
    )


def test_columns_of_many_types_give_what_a_local_scan_gives(engine: Any, tmp_path: Path) -> None:
    index = index_file(tmp_path)
    path = tmp_path / "generated.parquet"
    pq.write_table(generated(20_000), path, row_group_size=3000)
    with Index.open(index) as local:
        wanted = list(local.scan(path))
    rows = collected(scale.detect(engine.read.parquet(str(path)), index, name=str(path)))
    assert placeless(of_rows(rows, tmp_path / "found")) == placeless(wanted)
    assert len(wanted) > 600


def test_files_give_what_a_local_scan_gives(engine: Any, tmp_path: Path) -> None:
    index = index_file(tmp_path)
    lake = tmp_path / "lake"
    lake.mkdir()
    for name, content in files():
        (lake / name).write_bytes(content)
    pq.write_table(generated(20_000), lake / "generated.parquet", row_group_size=3000)
    (lake / "bad.json").write_bytes(b"\n".join([*LINES, *(line for line, _ in BAD)]))
    (lake / "cut.json.gz").write_bytes(gzip.compress(b"\n".join(LINES * 9))[:-20])
    heard: list[Malformed] = []
    with Index.open(index) as local:
        wanted = {(one.id, one.raises) for one in local.scan(lake, malformed=heard.append)}
    found = scale.once(scale.scan(engine, index, [str(lake)], size=20_000))
    rows = collected(found)
    assert {(row["id"], row["raises"]) for row in rows if row["id"]} == wanted
    bad = [row for row in rows if row["kind"] == "malformed"]
    assert sum(row["count"] for row in bad) == len(heard)
    assert {(row["source"], row["reason"]) for row in bad} == {
        (one.source, one.reason[:200]) for one in heard
    }
    pieces = scale.files._pieces(engine, [str(lake)], 20_000)
    assert pieces.count() > len(list(lake.iterdir()))
    with pytest.raises(Exception, match="no such file"):
        scale.scan(engine, index, [str(lake / "missing")])
    with pytest.raises(InputError, match="workers can open"):
        scale.scan(engine, index, ["s3://lake"])
    shutil.rmtree(lake)
    with pytest.raises(Exception, match=r"is not there \(any more\) on a worker"):
        found.collect()


def test_bad_rows_end_no_job(engine: Any, tmp_path: Path) -> None:
    index = index_file(tmp_path)
    texts = [*LINES, *(line for line, _ in BAD if b"\0" not in line)]
    (tmp_path / "bad.json").write_bytes(b"\n".join(texts) + b"\n")
    rows = collected(scale.once(scale.detect(engine.read.text(str(tmp_path / "bad.json")), index)))
    kinds = [row["kind"] for row in rows]
    assert (kinds.count("detection"), kinds.count("malformed")) == (3, len(texts) - len(LINES))
    held = engine.createDataFrame([(line,) for line in (*ODD, *texts)], "value binary")
    assert sum(row["kind"] == "detection" for row in collected(scale.detect(held, index))) >= 8


def test_an_index_is_swapped_between_two_batches(engine: Any, tmp_path: Path) -> None:
    index = index_file(tmp_path)
    frame = engine.createDataFrame([(line.decode(),) for line in LINES], "value string")
    first = collected(scale.detect(frame, index))
    addresses = [one for one in indicators() if one.type is IndicatorType.IP_ADDRESS]
    compiler.write(addresses, index, generation=2)
    second = collected(scale.detect(frame, index))
    assert sorted(row["indicator"]["canonical"] for row in first) == [ADDRESS, DOMAIN, DOMAIN]
    assert [(row["indicator"]["canonical"], row["generation"]) for row in second] == [(ADDRESS, 2)]
    assert {row["generation"] for row in first} == {1}
    assert second[0]["id"] in {row["id"] for row in first}


def test_a_detection_of_many_tasks_is_one(engine: Any, tmp_path: Path) -> None:
    index = index_file(tmp_path)
    frame = engine.createDataFrame([(line.decode(),) for line in LINES * 4] + [("no",)] * 8, "value string")
    rows = collected(scale.once(scale.detect(frame.repartition(4), index)))
    assert sorted(row["kind"] for row in rows) == ["detection"] * 3 + ["malformed"]
    assert [row["count"] for row in rows if row["kind"] == "malformed"] == [8]
    assert rows[0].keys() == {one.name for one in detections.schema()}


def test_what_cannot_be_asked(engine: Any, tmp_path: Path) -> None:
    index = index_file(tmp_path)
    frame = engine.createDataFrame([("x", 1)], "value string, n int")
    with pytest.raises(InputError, match="no schema 'x'"):
        scale.detect(frame, index, schema="x")
    for column in ("n", "missing"):
        with pytest.raises(InvalidValue, match=f"no column '{column}'"):
            scale.detect(frame, index, source=column)
    with pytest.raises(InvalidValue, match="no form 'orc'"):
        scale.retro(engine, index, scale.Input(["x"], "orc"), scale.Output("y"))
    with pytest.raises(Exception, match="every worker sees it"):
        scale.detect(frame, tmp_path / "missing.idx").collect()


# Ready jobs


def test_a_job_looks_through_what_lies_there(engine: Any, cli: Shell, lake: Path) -> None:
    name = str(lake / "dns 1+2.json")
    for form, given in (
        ("parquet", scale.Input([str(lake)], "files")),
        ("ndjson", scale.Input([str(lake)], "ndjson", name=name)),
    ):
        output = scale.Output(str(cli.folder / form), form)
        assert scale.retro(engine, "feed.idx", given, output) == scale.Retro(16, 0, 0)
        with pytest.raises(Exception, match=r"(?i)exist"):
            scale.retro(engine, "feed.idx", given, output)
    assert placeless(scale.read_back(Path("parquet"))) == placeless(scale.read_back(Path("ndjson")))
    check_ingest(cli, "ndjson", "lake", 16)


def test_faults_of_ours_are_counted_apart(engine: Any, tmp_path: Path) -> None:
    reasons = {"not valid JSON": 2, f"{detections.OURS} x.py:1: KeyError: 1": 3}
    rows = [detections.malformed_row("s", reason, "row", count, 1) for reason, count in reasons.items()]
    (tmp_path / "out" / "kind=malformed").mkdir(parents=True)
    written = pa.Table.from_batches([detections.batch(rows)]).drop_columns(["kind"])
    pq.write_table(written, tmp_path / "out" / "kind=malformed" / "part.parquet")
    output = scale.Output(str(tmp_path / "out"))
    assert scale.jobs._counted(engine, output) == scale.Retro(0, 0, malformed=5, faults=3)


@pytest.mark.slow
def test_an_index_is_sent_to_workers(spark: Any, tmp_path: Path) -> None:
    index = index_file(tmp_path)
    frame = spark.createDataFrame([(line.decode(),) for line in LINES], "value string")
    place = scale.ship(spark, index)
    assert scale.ship(spark, index) == place
    addresses = [one for one in indicators() if one.type is IndicatorType.IP_ADDRESS]
    compiler.write(addresses, index, generation=2)
    other = scale.ship(spark, index)
    index.unlink()
    assert [scale.detect(frame, one).count() for one in (place, other, place)] == [3, 1, 3]


@pytest.mark.slow
def test_a_stream_goes_on_and_takes_a_new_index(spark: Any, cli: Shell, lake: Path) -> None:
    given, output = scale.Input([str(lake)], "ndjson"), scale.Output(str(cli.folder / "out"))

    def taken() -> list[Detection]:
        scale.stream(spark, "feed.idx", given, output, str(cli.folder / "checkpoint")).awaitTermination()
        return list(scale.read_back(Path("out")))

    first = taken()
    with Index.open("feed.idx") as index:
        assert placeless(first) == placeless(index.scan(lake))
        compiler.write(
            [one.indicator for one in first[:1]], Path("feed.idx"), tenant=index.tenant, generation=99
        )
    assert placeless(taken()) == placeless(first)  # nothing came, nothing is told twice
    lines = (lake / "dns 1+2.json").read_text("utf-8").replace("2024-03-12", "2024-03-13")
    (lake / "later.json").write_text(lines, "utf-8")
    later = taken()[len(first) :]
    assert {one.indicator.canonical for one in taken()} == {one.indicator.canonical for one in first}
    assert len(later) == 4
    check = {
        row["generation"]
        for file in Path("out").rglob("*.parquet")
        for row in pq.read_table(file).to_pylist()
    }
    assert len(check) == 2


def command(lake: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The ready job over the lake, in a process of its own."""
    words = [sys.executable, "-m", "indicia", "spark", "retro", "--index", "feed.idx", "--input", str(lake)]
    environment = {name: text for name, text in os.environ.items() if "SPARK" not in name}
    environment |= {"PYSPARK_PYTHON": sys.executable, **SHORT}
    return subprocess.run(
        [*words, "--output", "out", "--json", *more],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_names_files_as_a_scan_does(cli: Shell, lake: Path) -> None:
    installed()
    settings = [word for name, value in QUIET.items() for word in ("--conf", f"{name}={value}")]
    done = command(lake, "--form", "ndjson", "--ship", "--master", "local[2]", *settings)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"raising": 16, "silent": 0, "malformed": 0, "faults": 0}
    check_ingest(cli, "out", "lake", 16)


@pytest.mark.full
def test_the_command_by_connect(cli: Shell, lake: Path) -> None:
    installed(java=False)
    remote = f"sc://127.0.0.1:{sail().listening_address[1]}"
    done = command(lake, "--form", "files", "--remote", remote)
    assert done.returncode == 0, done.stderr
    check_ingest(cli, "out", "lake", 16)
    done = command(lake, "--form", "files", "--remote", remote)
    assert done.returncode == 2
    assert "exists" in done.stderr.splitlines()[-1]
