"""Spark's connectors, and our own for topics: into the store through a kill, by Connect; tables of Delta.

`make test-spark` installs what these need; broker and connectors come from Maven Central.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

import broker
from engines import QUIET, installed, spark_session
from formats import DOMAIN, index_file, table
from indicia import Index, scale
from shell import Shell
from test_spark import ROOT, awaited, cli, conf, ended, feed, ids, killed, program, started

__all__ = ["cli", "started"]
KAFKA = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.1"
DELTA = "io.delta:delta-spark_2.13:4.1.0"
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>example</groupId><artifactId>connector</artifactId><version>1</version><dependencies><dependency>
<groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>
</dependency></dependencies></project>
"""
_IN_SPARK = "org.apache.hadoop,org.scala-lang,org.slf4j,org.apache.logging.log4j,org.lz4,org.xerial.snappy"

pytestmark = pytest.mark.slow


def connector(artifact: str) -> str:
    """Its files, as `spark.jars` takes them; fetched the first time."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "indicia" / artifact.replace(":", "-")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(artifact, folder)
    return ",".join(str(one) for one in sorted(folder.iterdir()))


def _fetch(artifact: str, folder: Path) -> None:
    if shutil.which("mvn") is None:
        pytest.skip("mvn is absent: Spark's connectors are not tested (Debian: maven)")
    part = Path(f"{folder}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    (part / "pom.xml").write_text(_POM.format(*artifact.split(":")))
    command = ["mvn", "-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime"]
    command += [f"-DexcludeGroupIds={_IN_SPARK}", f"-DoutputDirectory={part / 'jars'}"]
    done = subprocess.run(command, cwd=part, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode:
        reason = next((line for line in done.stdout.splitlines() if "ERROR" in line), done.stdout[:200])
        pytest.skip(f"Maven cannot fetch {artifact}: {reason[:300]}")
    (part / "jars").rename(folder)
    shutil.rmtree(part)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[broker.Broker]:
    with broker.running(tmp_path_factory.mktemp("kafka")) as made:
        yield made


@pytest.mark.parametrize(
    ("before", "after"), [("spark", "spark"), ("indicia", "indicia"), ("spark", "indicia")]
)
def test_topics_become_alerts_through_a_kill(
    cli: Shell, started: Any, kafka: broker.Broker, before: str, after: str
) -> None:
    installed()
    feed(cli)
    topic, log, state = kafka.topic(3), cli.folder / "log", cli.folder / "state"
    events = [
        b'{"time": "2024-03-12T09:%02d:00Z", "query": "host-%d.example"}' % (n, n % 12) for n in range(60)
    ]
    kafka.put(topic, *events[:30], b"no event", None)
    (cli.folder / "options").write_text("# of the connector\n\nkafka.client.id = lake\n")
    job = ["spark", "stream", "--index", cli.folder / "feed.idx", "--kafka", f"127.0.0.1:{kafka.port}"]
    job += ["--topic", topic, "--ingest", "--checkpoint", state, "--options", cli.folder / "options"]
    job += ["--option", "maxOffsetsPerTrigger=7"]

    def settings(name: str) -> list[str]:
        jars = ["--conf", f"spark.jars={connector(KAFKA)}"] if name == "spark" else []
        return ["--master", "local[2]", *jars, *conf()]

    def batches(kind: str) -> set[int]:
        folder = state / kind
        return {int(one.name) for one in folder.iterdir() if one.name.isdigit()} if folder.is_dir() else set()

    command = [sys.executable, "-m", "indicia", *job, *settings(before), "--every", "0.1"]
    first = started(command, log)
    awaited(
        lambda: max(batches("commits"), default=0) >= 1 and batches("offsets") - batches("commits"), first
    )
    killed(first)
    kafka.put(topic, *events[30:])
    submit = [program("spark-submit"), *settings(after), ROOT / "examples" / "spark_submit.py"]
    ended(started([*submit, *job], log), log)
    assert not batches("offsets") - batches("commits")
    # What the command says on stderr, spark-submit says on stdout.
    said = log.read_text("utf-8") + log.with_suffix(".json").read_text("utf-8")
    assert "1 row of a batch cannot be read" in said
    told = {"spark": "topics are read by Spark's", "indicia": "topics are read by Indicia's"}
    assert [text in said for text in told.values()] == [name in (before, after) for name in told]
    with Index.open(cli.folder / "feed.idx") as index:
        wanted = ids(index.scan_lines(pa.array(events, pa.binary()), name=f"kafka:{topic}"))
    alerts = cli("alerts", "list", "--json").json
    shown = [cli("alerts", "show", str(one["number"]), "--json").json for one in alerts]
    assert sorted(one["detection_id"] for alert in shown for one in alert["detections"]) == wanted
    assert len(wanted) == 20


_BOTH = """
import sys
from indicia import scale

servers, topic, *settings = sys.argv[1:]
spark = scale.session(master="local[2]", settings=dict(one.split("=", 1) for one in settings))
given = {"kafka.bootstrap.servers": servers, "subscribe": topic}
theirs, ours = (
    spark.read.format(name).options(**given).load() for name in ("kafka", scale.register(spark))
)
assert theirs.schema == ours.schema, (theirs.schema, ours.schema)
rows = [sorted(map(str, frame.collect())) for frame in (theirs, ours)]
assert rows[0] == rows[1], rows
print(len(rows[0]))
spark.stop()
"""


def test_both_connectors_give_the_same_columns(cli: Shell, started: Any, kafka: broker.Broker) -> None:
    installed()
    topic, log = kafka.topic(2), cli.folder / "log"
    kafka.put(topic, b"one", None, b"")
    kafka.put(topic, b"two", key=b"\xff", headers=[("a", b"b")], timestamp=1_710_000_000_123)
    settings = {"spark.jars": connector(KAFKA)} | QUIET
    words = [f"{name}={value}" for name, value in settings.items()]
    ended(started([sys.executable, "-c", _BOTH, f"127.0.0.1:{kafka.port}", topic, *words], log), log)
    assert log.with_suffix(".json").read_text() == "4\n"


def test_topics_by_connect(kafka: broker.Broker, tmp_path: Path) -> None:
    installed()
    spark, topic, name = spark_session(), kafka.topic(2), f"kafka:{kafka.topic()}"
    index, state, out = index_file(tmp_path), tmp_path / "state", scale.Output(str(tmp_path / "out"))
    events = [b'{"time": "2024-03-12T09:%02d:00Z", "query": "%s"}' % (n, DOMAIN.encode()) for n in range(30)]
    safe = {
        "kafka.security.protocol": "SASL_SSL",
        "kafka.sasl.mechanism": "SCRAM-SHA-512",
        "kafka.sasl.username": broker.USER,
        "kafka.sasl.password": broker.PASSWORD,
        "kafka.ssl.ca.location": str(kafka.authority),
    }
    given = scale.Topics(
        f"localhost:{kafka.secure_port}", [topic], name=name, options=safe | {"maxOffsetsPerTrigger": "8"}
    )
    found, wanted = list[bytes](), list[str]()
    for some in (events[:20], events[20:]):
        kafka.put(topic, *some)
        found += some
        scale.stream(spark, index, given, out, str(state)).awaitTermination()
        with Index.open(index) as local:
            wanted = ids(local.scan_lines(pa.array(found, pa.binary()), name=name))
        assert ids(scale.read_back(Path(out.path))) == wanted
    assert len(wanted) == 30
    # One in which nothing is, then 20 by at most 8 and one for each further partition, then 10.
    assert len([one for one in (state / "commits").iterdir() if one.name.isdigit()]) >= 6
    assert scale.retro(spark, index, given, scale.Output(str(tmp_path / "retro"))).raising == 30
    assert ids(scale.read_back(tmp_path / "retro")) == wanted


def test_what_is_wrong_with_topics_is_said_by_spark(kafka: broker.Broker, tmp_path: Path) -> None:
    installed()
    spark, index, out = spark_session(), index_file(tmp_path), scale.Output(str(tmp_path / "out"))
    errors = importlib.import_module("pyspark.errors")

    def begin(**options: str) -> None:
        own = {name.replace("_", "."): value for name, value in options.items()}
        given = scale.Topics(f"127.0.0.1:{kafka.port}", ["absent"], options=own, connector="indicia")
        scale.stream(spark, index, given, out, str(tmp_path / "state")).awaitTermination()

    with pytest.raises(
        errors.PySparkException, match=r"indicia\.errors\.InputError: absent: there is no such"
    ):
        begin()
    with pytest.raises(errors.PySparkException, match=r"give kafka\.sasl\.username") as raised:
        begin(kafka_sasl_jaas_config="a secret")
    assert "a secret" not in str(raised.value)
    given = scale.Topics("127.0.0.1:1", ["dns"], connector="spark")
    with pytest.raises(errors.PySparkException, match=r"[Ff]ailed to find data source: kafka"):
        scale.stream(spark, index, given, out, "state")


def test_a_stream_of_a_program_takes_what_is_there_each_time(kafka: broker.Broker, tmp_path: Path) -> None:
    installed()
    spark, topic = spark_session(), kafka.topic(2)
    given = {"kafka.bootstrap.servers": f"127.0.0.1:{kafka.port}", "subscribe": topic}
    given |= {"startingOffsets": "earliest"}
    for number in range(3):
        kafka.put(topic, *(b"%d" % one for one in range(number * 10, number * 10 + 10)))
        frame = spark.readStream.format(scale.register(spark)).options(**given).load()
        writer = frame.selectExpr("CAST(value AS STRING) AS value").writeStream.trigger(availableNow=True)
        writer = writer.format("parquet").option("checkpointLocation", str(tmp_path / "state"))
        writer.start(str(tmp_path / "out")).awaitTermination()
        rows = [int(row["value"]) for row in spark.read.parquet(str(tmp_path / "out")).collect()]
        assert sorted(rows) == list(range(number * 10 + 10))


_ASKED = """
import sys
from indicia import scale

spark = scale.session(master="local[2]", settings=dict(one.split("=", 1) for one in sys.argv[1:]))
given = scale.Input(["table"], "delta")
print(scale.retro(spark, "formats.idx", given, scale.Output("batch")))
scale.stream(spark, "formats.idx", given, scale.Output("stream"), "state").awaitTermination()
spark.stop()
"""


def test_tables_of_delta(cli: Shell, started: Any) -> None:
    installed()
    index, log = index_file(cli.folder), cli.folder / "log"
    settings = (
        {"spark.jars": connector(DELTA)}
        | QUIET
        | {
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        }
    )
    delta(cli.folder / "table", [table(), table().slice(40)])
    words = [f"{name}={value}" for name, value in settings.items()]
    ended(started([sys.executable, "-c", _ASKED, *words], log), log)
    with Index.open(index) as local:
        wanted = ids(local.scan(table(), name="table"))
    assert ids(scale.read_back(Path("batch"))) == wanted
    assert sorted(set(ids(scale.read_back(Path("stream"))))) == wanted
    assert len(wanted) == 3


def delta(folder: Path, parts: list[pa.Table]) -> None:
    """A table of Delta, as its protocol says; a file of it was removed."""
    (folder / "_delta_log").mkdir(parents=True)
    fields = [{"name": n, "type": "string", "nullable": True, "metadata": {}} for n in parts[0].column_names]
    schema = json.dumps({"type": "struct", "fields": fields})
    parquet: dict[str, Any] = {"provider": "parquet", "options": {}}
    about: dict[str, Any] = {"id": "00000000-0000-4000-8000-00000000000d", "format": parquet}
    about |= {"schemaString": schema, "partitionColumns": [], "configuration": {}, "createdTime": 0}
    actions: list[dict[str, Any]] = [
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
        {"metaData": about},
    ]
    for number, part in enumerate([*parts, pa.Table.from_pylist([{"name": DOMAIN, "time": "removed"}])]):
        path = folder / f"part-{number}.parquet"
        pq.write_table(part, path)
        added = {"path": path.name, "size": path.stat().st_size, "modificationTime": 0, "dataChange": True}
        actions.append({"add": added | {"partitionValues": {}}})
    actions.append({"remove": {"path": f"part-{len(parts)}.parquet", "dataChange": True}})
    for number, some in enumerate((actions[:-1], actions[-1:])):
        lines = "".join(json.dumps(one) + "\n" for one in some)
        (folder / "_delta_log" / f"{number:020}.json").write_text(lines, "utf-8")
