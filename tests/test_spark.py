"""Spark itself where it differs from one process: much data, kills, clusters, streams, schemas that change.

`make test-spark` installs what these need; without it they are skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet as pq

from engines import QUIET, SHORT, installed, spark_session
from formats import ADDRESS, DOMAIN, index_file, indicators
from indicia import Index, scale
from indicia.match import compiler
from indicia.model import IndicatorType
from shell import Shell, make
from stored import add, indicator

ROOT = Path(__file__).resolve().parent.parent
ROWS = 10_000_000
FILES = 8
PLANTED = 10_007, 20_011
"""One row in so many has the domain, and the address."""
WAIT = 200.0
"""Seconds, on a machine that has other work."""

pytestmark = pytest.mark.slow


@pytest.fixture
def spark() -> Any:
    """A session of Spark's own Connect server."""
    installed()
    return spark_session()


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return make(tmp_path, monkeypatch, capsys).begin()


def awaited(
    what: Callable[[], Any], process: subprocess.Popen[bytes] | None = None, every: float = 0.01
) -> Any:
    """What it gives, once it is true."""
    end = time.monotonic() + WAIT
    while not (found := what()):
        assert time.monotonic() < end, "waited in vain"
        assert process is None or process.poll() is None, "it ended"
        time.sleep(every)
    return found


def ids(rows: Iterable[Any]) -> list[str]:
    """Of detections."""
    return sorted(row["id"] if isinstance(row, dict) else row.id for row in rows)


def collected(frame: Any) -> list[dict[str, Any]]:
    """Its detections; nothing may be malformed."""
    rows: list[dict[str, Any]] = frame.toArrow().to_pylist()
    assert [row for row in rows if row["kind"] != "detection"] == []
    return rows


# Much data


@dataclass(frozen=True)
class Lake:
    """Files, an index, and what a local scan finds."""

    folder: Path
    index: Path
    found: list[str]


def rows(first: int, count: int) -> pa.Table:
    """Of which some meet something."""
    n = pa.array(range(first, first + count), pa.int64())
    mixed = pc.bit_wise_and(pc.multiply(n, 2_654_435_761), 0xFFFFF)

    def texts(before: str, numbers: Any, after: str) -> Any:
        return pc.binary_join_element_wise(before, numbers.cast(pa.string()), after, "")

    def each(number: int) -> Any:
        return pc.equal(pc.multiply(pc.divide(n, number), number), n)

    domain, address = (each(number) for number in PLANTED)
    return pa.table(
        {
            "time": pc.add(pc.multiply(n, 1000), 1_710_000_000_000_000).cast(pa.timestamp("us", "UTC")),
            "client": texts("192.0.2.", pc.bit_wise_and(mixed, 127), ""),
            "query": pc.if_else(domain, DOMAIN, texts("h", mixed, ".site.example.net")),
            "answer": pc.if_else(address, ADDRESS, texts("203.0.113.", pc.bit_wise_and(n, 127), "")),
            "size": mixed,
        }
    )


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """10,000,000 rows of Parquet in some files."""
    installed()
    folder = tmp_path_factory.mktemp("lake")
    index, data = index_file(folder), folder / "data"
    data.mkdir()
    each = ROWS // FILES
    for number in range(FILES):
        pq.write_table(rows(number * each, each), data / f"part-{number}.parquet", row_group_size=each // 5)
    with Index.open(index) as local:
        found = ids(local.scan(data))
    assert len(found) == sum(1 + (ROWS - 1) // number for number in PLANTED)
    yield Lake(data, index, found)
    shutil.rmtree(data)


def test_ten_million_rows_give_what_a_local_scan_gives(spark: Any, lake: Lake) -> None:
    assert ids(collected(scale.scan(spark, lake.index, [str(lake.folder)]))) == lake.found
    frame = spark.read.parquet(str(lake.folder)).select("*", "_metadata.file_path")
    assert frame.count() == ROWS
    assert ids(collected(scale.detect(frame, lake.index, source="file_path"))) == lake.found


# Schemas that change


def changing(folder: Path) -> list[Path]:
    """Files of one table over the years: a column comes, changes its type, becomes a struct."""
    folder.mkdir(exist_ok=True)
    tables = [
        pa.table({"n": pa.array([1, 2], pa.int32()), "name": ["a.example.net", DOMAIN]}),
        pa.table({"n": pa.array([3, 4], pa.int32()), "name": ["b.example.net", None], "to": [ADDRESS, None]}),
        pa.table({"n": ["five", ADDRESS], "name": [f"x.{DOMAIN}", None], "to": [None, "192.0.2.1"]}),
        pa.table({"n": pa.array([7], pa.int64()), "name": [{"of": [DOMAIN]}]}),
    ]
    paths = [folder / f"{number}.parquet" for number in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        # As a writer should: what is not whole has another name.
        pq.write_table(table, folder.parent / path.name)
        (folder.parent / path.name).rename(path)
    return paths


def test_a_schema_that_changes_in_a_batch(spark: Any, tmp_path: Path) -> None:
    index = index_file(tmp_path)
    paths = changing(tmp_path / "lake")
    with Index.open(index) as local:
        wanted, first = (
            ids(local.scan(tmp_path / "lake")),
            ids(one for p in paths[:2] for one in local.scan(p)),
        )
    assert (len(wanted), len(first)) == (5, 2)
    output = scale.Output(str(tmp_path / "found"))
    found = scale.retro(spark, index, scale.Input([str(tmp_path / "lake")], "files"), output)
    assert found == scale.Retro(5, 0, 0)
    assert ids(scale.read_back(tmp_path / "found")) == wanted
    # Spark reads files as one table: further columns are fine, another type is refused before it begins.
    given = scale.Input([str(path) for path in paths[:2]])
    assert scale.retro(spark, index, given, scale.Output(str(tmp_path / "two"))) == scale.Retro(2, 0, 0)
    assert ids(scale.read_back(tmp_path / "two")) == first
    with pytest.raises(Exception, match="CANNOT_MERGE_SCHEMAS"):
        scale.retro(spark, index, scale.Input([str(tmp_path / "lake")]), scale.Output(str(tmp_path / "no")))
    assert not (tmp_path / "no").exists()


@pytest.fixture
def streams(spark: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Begins streams, which end with the test."""
    begun = []

    def begin(index: Path, form: str, **how: Any) -> Any:
        given = scale.Input([str(tmp_path / "lake")], form, **how)
        output, state = str(tmp_path / "found"), str(tmp_path / "state")
        begun.append(scale.stream(spark, index, given, scale.Output(output), state, seconds=0.05))
        return begun[-1]

    yield begin
    for query in begun:
        query.stop()


def read_so_far(folder: Path) -> list[Any]:
    """The detections of a stream that is at work."""
    return list(scale.read_back(folder)) if (folder / "_spark_metadata").is_dir() else []


def test_a_schema_that_changes_in_a_stream(streams: Any, tmp_path: Path) -> None:
    index = index_file(tmp_path)
    (tmp_path / "lake").mkdir()
    streams(index, "files")
    changing(tmp_path / "lake")
    with Index.open(index) as local:
        wanted = ids(local.scan(tmp_path / "lake"))
        found = awaited(lambda: [one for one in [read_so_far(tmp_path / "found")] if len(one) >= 5])[0]
        assert ids(found) == wanted
        # Of another form altogether.
        (tmp_path / "new.csv").write_text(f"name,n\n{DOMAIN},9\n", "utf-8")
        (tmp_path / "new.csv").rename(tmp_path / "lake" / "new.csv")
        awaited(lambda: len(read_so_far(tmp_path / "found")) >= 6)
        assert ids(read_so_far(tmp_path / "found")) == ids(local.scan(tmp_path / "lake"))


def test_a_stream_of_columns_keeps_the_schema_that_it_began_with(streams: Any, tmp_path: Path) -> None:
    index = index_file(tmp_path)
    paths = changing(tmp_path / "all")
    (tmp_path / "lake").mkdir()
    for path in paths[:1]:
        shutil.copyfile(path, tmp_path / "lake" / path.name)
    query = streams(index, "parquet")
    awaited(lambda: len(read_so_far(tmp_path / "found")) == 1)
    paths[2].rename(tmp_path / "lake" / paths[2].name)  # a column of another type
    awaited(lambda: not query.isActive)
    assert "2.parquet" in str(query.exception())
    assert len(read_so_far(tmp_path / "found")) == 1


def test_an_index_is_swapped_in_mid_stream(streams: Any, tmp_path: Path) -> None:
    index = index_file(tmp_path)
    (tmp_path / "lake").mkdir()
    query = streams(index, "ndjson")

    def comes(name: str) -> None:
        lines = [{"name": DOMAIN, "file": name}, {"to": ADDRESS, "file": name}]
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        (tmp_path / name).rename(tmp_path / "lake" / name)

    comes("before.json")
    awaited(lambda: len(read_so_far(tmp_path / "found")) == 2)
    addresses = [one for one in indicators() if one.type is IndicatorType.IP_ADDRESS]
    compiler.write(addresses, index, generation=7)
    comes("after.json")
    awaited(lambda: len(read_so_far(tmp_path / "found")) == 3)
    assert query.isActive
    met = {
        (one.source.rpartition("/")[2], one.indicator.canonical) for one in read_so_far(tmp_path / "found")
    }
    assert met == {("before.json", DOMAIN), ("before.json", ADDRESS), ("after.json", ADDRESS)}


# Processes of their own


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes, each with a group of its own, which end with the test."""
    team: list[subprocess.Popen[bytes]] = []

    def start(command: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out, log.with_suffix(".json").open("wb") as answer:
            team.append(
                subprocess.Popen(
                    [str(word) for word in command],
                    stdin=subprocess.DEVNULL,
                    stdout=answer,
                    stderr=out,
                    env=environment(),
                    start_new_session=True,
                )
            )
        return team[-1]

    yield start
    for one in team:
        killed(one)


def environment() -> dict[str, str]:
    """Without what the session of this process has set."""
    kept = {name: text for name, text in os.environ.items() if "SPARK" not in name}
    return kept | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", **SHORT}


def killed(process: subprocess.Popen[bytes]) -> None:
    """With all that it started: Python, its JVM, the JVM's workers."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def conf(**more: str) -> list[str]:
    """Settings as words of a command."""
    settings = QUIET | {name.replace("_", "."): text for name, text in more.items()}
    return [word for name, text in settings.items() for word in ("--conf", f"{name}={text}")]


def program(name: str) -> Path:
    """One of those that PySpark brings."""
    found = importlib.util.find_spec("pyspark")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "bin" / name


def ended(process: subprocess.Popen[bytes], log: Path) -> None:
    """Well."""
    assert process.wait(WAIT) == 0, log.read_text("utf-8")[-3000:]


def feed(cli: Shell) -> None:
    """A store of some indicators, and `feed.idx` of it."""
    with cli.tenant() as own:
        owner = add(own, 3)
        own.add_indicators([indicator(owner, 9, source="list", id=0)], by="tests")
        compiler.write(own.matchable(), cli.folder / "feed.idx", tenant=own.uid, generation=own.generation())


def test_a_stream_that_is_killed_goes_on(cli: Shell, started: Any) -> None:
    installed()
    feed(cli)
    incoming, log, state = cli.folder / "incoming", cli.folder / "log", cli.folder / "state"
    incoming.mkdir()

    def comes(number: int) -> None:
        lines = [
            json.dumps({"time": f"2024-03-12T09:{number:02d}:{n:02d}Z", "query": f"host-{n % 12}.example"})
            for n in range(48)
        ]
        (incoming / f"{number:02d}.json").write_text("\n".join(lines) + "\n", "utf-8")

    def batches(kind: str) -> set[int]:
        folder = state / kind
        return {int(one.name) for one in folder.iterdir() if one.name.isdigit()} if folder.is_dir() else set()

    for number in range(40):
        comes(number)
    command = [sys.executable, "-m", "indicia", "spark", "stream", "--index", cli.folder / "feed.idx"]
    command += ["--input", incoming, "--form", "files", "--output", cli.folder / "out", "--checkpoint", state]
    command += ["--at-once", "1", "--master", "local[2]", *conf()]
    first = started([*command, "--every", "0.01"], log)
    awaited(
        lambda: max(batches("offsets"), default=0) >= 5 and batches("offsets") - batches("commits"), first
    )
    killed(first)
    assert 5 <= len(batches("offsets")) < 40, "it was to be killed in the midst"
    half = cli("alerts", "ingest", "out", "--json").json["recorded"]
    for number in range(40, 45):
        comes(number)
    ended(started([*command, "--at-once", "10"], log), log)
    assert not batches("offsets") - batches("commits")
    after = cli("alerts", "ingest", "out", "--json").json
    assert after["recorded"] + half == after["read"] == 45 * 16 > half
    assert cli("alerts", "ingest", "out", "--json").json["recorded"] == 0
    # A batch run of the same has nothing to add.
    cli("scan", "incoming", "--save", "local.ndjson", code=1)
    local = [json.loads(line) for line in Path("local.ndjson").read_text("utf-8").splitlines()]
    assert sorted(one["detection_id"] for one in local) == ids(scale.read_back(Path("out")))


@dataclass(frozen=True)
class Cluster:
    """A master and two workers of one core each, on loopback."""

    url: str
    workers: list[subprocess.Popen[bytes]]
    folder: Path

    def tasks(self, number: int) -> int:
        """Of the job that a worker has begun, by the logs of its executors."""
        logs = (self.folder / f"worker-{number}").glob("app-*/*/stderr")
        return sum(log.read_text("utf-8", "replace").count("Running task") for log in logs)


@pytest.fixture
def cluster(started: Any, tmp_path: Path) -> Cluster:
    installed()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run, local = [program("spark-class")], ["--host", "127.0.0.1", "--webui-port", "0"]
    url = f"spark://127.0.0.1:{port}"
    folder = tmp_path / "cluster"
    folder.mkdir()
    started([*run, "org.apache.spark.deploy.master.Master", *local, "--port", port], folder / "master.log")
    worker = ["org.apache.spark.deploy.worker.Worker", *local, "--cores", "1", "--memory", "1g", "--work-dir"]
    workers = [
        started([*run, *worker, folder / f"worker-{number}", url], folder / f"worker-{number}.log")
        for number in range(2)
    ]
    return Cluster(url, workers, folder)


def test_a_cluster_outlives_a_worker(cluster: Cluster, started: Any, lake: Lake, tmp_path: Path) -> None:
    log, out = tmp_path / "submit", tmp_path / "found"
    settings = conf(spark_sql_files_maxPartitionBytes="4m", spark_sql_caseSensitive="true")
    settings[settings.index("spark.log.level=OFF")] = "spark.log.level=INFO"
    part = lake.folder / "part-[0-3].parquet"
    with Index.open(lake.index) as local:
        wanted = ids(local.scan(part))
    retro = ["spark", "retro", "--index", lake.index, "--input", part, "--json", "--output", out]
    submit = [program("spark-submit"), "--master", cluster.url, *settings]
    job = started([*submit, ROOT / "examples" / "spark_submit.py", *retro], log)
    awaited(lambda: min(cluster.tasks(0), cluster.tasks(1)) >= 3, job, every=0.2)
    killed(cluster.workers[0])
    before = cluster.tasks(1)
    ended(job, log)
    assert cluster.tasks(1) > before + 10, "the job was to be killed in its midst"
    assert "Lost executor" in log.read_text("utf-8")
    answer = json.loads(log.with_suffix(".json").read_text("utf-8"))
    assert answer == {"raising": len(wanted), "silent": 0, "malformed": 0, "faults": 0}
    assert ids(scale.read_back(out)) == wanted
