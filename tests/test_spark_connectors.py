"""Spark's connectors: topics of Kafka into the store through a kill, and tables of Delta.

`make test-spark` installs what these need; broker and connectors come from Maven Central.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

import broker
from engines import QUIET, installed
from formats import DOMAIN, index_file, table
from indicia import Index, scale
from shell import Shell
from test_spark import awaited, cli, conf, ended, feed, ids, killed, started

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


@pytest.mark.parametrize("ours", [False, True], ids=["spark", "indicia"])
def test_topics_become_alerts_through_a_kill(cli: Shell, started: Any, tmp_path: Path, ours: bool) -> None:
    installed()
    jars = [] if ours else ["--conf", f"spark.jars={connector(KAFKA)}"]
    feed(cli)
    (tmp_path / "broker").mkdir()
    with broker.running(tmp_path / "broker") as kafka:
        topic, log, state = kafka.topic(3), cli.folder / "log", cli.folder / "state"
        events = [
            b'{"time": "2024-03-12T09:%02d:00Z", "query": "host-%d.example"}' % (n, n % 12) for n in range(60)
        ]
        kafka.put(topic, *events[:30], b"no event", None)
        command = [sys.executable, "-m", "indicia", "spark", "stream", "--index", cli.folder / "feed.idx"]
        command += ["--kafka", f"127.0.0.1:{kafka.port}", "--topic", topic, "--ingest", "--checkpoint", state]
        (cli.folder / "options").write_text("# of the connector\n\nkafka.client.id = lake\n")
        command += ["--option", "maxOffsetsPerTrigger=7", "--options", cli.folder / "options"]
        command += ["--master", "local[2]", *jars, *conf()]

        def kept() -> list[str]:
            alerts = cli("alerts", "list", "--json").json
            shown = [cli("alerts", "show", str(one["number"]), "--json").json for one in alerts]
            return sorted(one["detection_id"] for alert in shown for one in alert["detections"])

        first = started([*command, "--every", "0.1"], log)
        awaited(kept, first, every=0.2)
        killed(first)
        kafka.put(topic, *events[30:])
        ended(started(command, log), log)
        said = log.read_text("utf-8")
        assert "1 row of a batch cannot be read" in said
        assert said.count("topics are read by ") >= 2
        assert ("topics are read by Indicia's data source" in said) == ours
        with Index.open(cli.folder / "feed.idx") as index:
            wanted = ids(index.scan_lines(pa.array(events, pa.binary()), name=f"kafka:{topic}"))
        assert kept() == wanted
        assert len(wanted) == 20


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
