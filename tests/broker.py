"""Apache Kafka itself, one broker without ZooKeeper, for the tests that speak to one.

It is fetched from Maven Central once (43 MB) into a folder of the user's cache, by `mvn`; where Java or Maven
is absent, or nothing can be fetched, the tests are skipped with a line that says so.
"""

from __future__ import annotations

import base64
import fcntl
import importlib
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from indicia.auth import certificates
from service import free_port, wait_until

admin: Any = importlib.import_module("confluent_kafka.admin")
"""Without its types, which are not whole."""
VERSION = "4.1.0"
USER, PASSWORD = "indicia", "correct horse"
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>example</groupId><artifactId>broker</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""
_MODULES = "org.apache.kafka.common.security"


def jars() -> Path:
    """The folder of Kafka's; fetched the first time."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "indicia" / f"kafka-{VERSION}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    _must_have("java", "default-jre-headless")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(folder)
    return folder


def _must_have(command: str, package: str) -> None:
    if shutil.which(command) is None:
        pytest.skip(f"{command} is absent: tests with a real Kafka are skipped (Debian: {package})")


def _fetch(folder: Path) -> None:
    _must_have("mvn", "maven")
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    (part / "pom.xml").write_text(_POM)
    command = ["mvn", "-B", "-q", "dependency:copy-dependencies", f"-DoutputDirectory={part / 'jars'}"]
    done = subprocess.run(command, cwd=part, capture_output=True, text=True, timeout=280, check=False)
    if done.returncode:
        reason = next((line for line in done.stdout.splitlines() if "ERROR" in line), done.stdout[:200])
        pytest.skip(f"Maven cannot fetch Kafka {VERSION}, tests with it are skipped: {reason[:300]}")
    (part / "jars").rename(folder)
    shutil.rmtree(part)


@dataclass
class Broker:
    """One that runs, with a listener for everybody, and one by TLS for who knows the password."""

    folder: Path
    port: int = field(default_factory=free_port)
    secure_port: int = field(default_factory=free_port)
    _controller: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None
    _topics: int = 0

    @property
    def url(self) -> str:
        """Where everybody may."""
        return f"kafka://127.0.0.1:{self.port}"

    @property
    def secure_url(self) -> str:
        """Where USER may."""
        return f"kafka+tls://localhost:{self.secure_port}"

    @cached_property
    def authority(self) -> Path:
        """Who vouches for it."""
        return certificates.ensure(self.folder, "127.0.0.1").authority

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Of clients of the tests' own."""
        return {
            "bootstrap.servers": f"127.0.0.1:{self.port}",
            "log_level": 0,
            "reconnect.backoff.max.ms": 500,
        }

    @cached_property
    def admin(self) -> Any:
        """One that makes topics."""
        return admin.AdminClient(self.settings)

    def make(self) -> None:
        """Its folder, its certificate, its first user."""
        made = certificates.ensure(self.folder, "127.0.0.1")
        both = self.folder / "both.pem"
        both.write_text(made.key.read_text() + made.certificate.read_text())
        lines = map("=".join, self._properties(both).items())
        (self.folder / "server.properties").write_text("\n".join(lines))
        name = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        scram = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        self._java(
            "kafka.tools.StorageTool", "format", "-t", name, "-S", scram, "-c", "server.properties"
        ).wait()
        self.start()

    def start(self) -> None:
        """Start it, with what it had, unless it runs."""
        if self._process is None or self._process.poll() is not None:
            self._process = self._java("kafka.Kafka", "server.properties")
        wait_until(60, self._answers)

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "out").read_text()[-3000:]
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        flags = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars()}/*"]
        with (self.folder / "out").open("ab") as out:
            return subprocess.Popen(["java", *flags, *arguments], cwd=self.folder, stdout=out, stderr=out)

    def _properties(self, both: Path) -> Mapping[str, str]:
        plain, scram = f"{_MODULES}.plain.PlainLoginModule", f"{_MODULES}.scram.ScramLoginModule"
        local = f"PLAIN://127.0.0.1:{self.port},SECURE://localhost:{self.secure_port}"
        secure = "listener.name.secure"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "listeners": f"{local},CONTROL://127.0.0.1:{self._controller}",
            "advertised.listeners": local,
            "controller.listener.names": "CONTROL",
            "inter.broker.listener.name": "PLAIN",
            "listener.security.protocol.map": "PLAIN:PLAINTEXT,CONTROL:PLAINTEXT,SECURE:SASL_SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            f"{secure}.scram-sha-512.sasl.jaas.config": f"{scram} required;",
            f"{secure}.plain.sasl.jaas.config": f'{plain} required user_{USER}="{PASSWORD}";',
            f"{secure}.ssl.keystore.type": "PEM",
            f"{secure}.ssl.keystore.location": str(both),
            "log.dirs": str(self.folder / "log"),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            # After a kill it comes back at once.
            "broker.session.timeout.ms": "1000",
            "broker.heartbeat.interval.ms": "200",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "500",
        }

    def topic(self, partitions: int = 1, **config: str) -> str:
        """The name of a new one."""
        self._topics += 1
        name = f"topic-{os.getpid()}-{self._topics}"
        own = {key.replace("_", "."): value for key, value in config.items()}
        for made in self.admin.create_topics([admin.NewTopic(name, partitions, 1, config=own)]).values():
            made.result(30)
        return name

    def put(self, topic: str, *values: bytes | None, **more: Any) -> None:
        """Messages into a topic, spread over its partitions."""
        producer = confluent_kafka.Producer(self.settings | {"partitioner": "random", "linger.ms": 5})
        for value in values:
            producer.produce(topic, value, **more)
        assert producer.flush(30) == 0

    def held(self, topic: str) -> list[Any]:
        """All messages of a topic."""
        own = {"group.id": "tests", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        reader = confluent_kafka.Consumer(self.settings | own)
        places = [
            confluent_kafka.TopicPartition(topic, number, 0)
            for number in self.admin.list_topics(topic, timeout=10).topics[topic].partitions
        ]
        wanted = sum(reader.get_watermark_offsets(place, timeout=10)[1] for place in places)
        reader.assign(places)
        found: list[Any] = []
        end = time.monotonic() + 20
        while len(found) < wanted and time.monotonic() < end:
            found += reader.consume(wanted - len(found), 0.5)
        reader.close()
        return found

    def committed(self, topic: str, group: str = "indicia") -> dict[int, int]:
        """How far a group has said to be."""
        asking = confluent_kafka.Consumer(self.settings | {"group.id": group})
        numbers = asking.list_topics(topic, timeout=10).topics[topic].partitions
        places = [confluent_kafka.TopicPartition(topic, number) for number in numbers]
        found = {one.partition: one.offset for one in asking.committed(places, timeout=30) if one.offset >= 0}
        asking.close()
        return found

    def ends(self, topic: str) -> dict[int, int]:
        """The offset of each partition that the next message has."""
        numbers = self.admin.list_topics(topic, timeout=10).topics[topic].partitions
        places = [confluent_kafka.TopicPartition(topic, number) for number in numbers]
        asked = self.admin.list_offsets(dict.fromkeys(places, admin.OffsetSpec.latest()))
        return {place.partition: one.result(10).offset for place, one in asked.items()}


@contextmanager
def running(folder: Path) -> Iterator[Broker]:
    """One in a folder."""
    made = Broker(folder)
    try:
        made.make()
        yield made
    finally:
        made.kill()
