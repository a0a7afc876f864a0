"""Consumers of a Kafka group are killed in rebalances, under load: alerts are those of an undisturbed run.

    make soak-kafka [EVENTS=1000000] [KILLS=100] [SEED=1]

The events follow from a seed and go into a topic of several partitions, some of them twice, while three
`indicia watch` of one group read it. Meanwhile one of them is killed (SIGKILL) and started again at once, or
two, or one more joins and is killed before it has anything, or one sleeps (SIGSTOP) until the others have
its partitions, and wakes up. A copy of the store that was made before takes in all events undisturbed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import confluent_kafka

from broker import Broker
from indicia.store import Store
from service import add_access, wait_until
from soak.stream import Stream, furnish, outcome, undisturbed

CONSUMERS = 3
PARTITIONS = 6
SESSION = 2
"""Seconds after which one that is dead counts as dead."""
AT_ONCE = 200
GROUP = "soak"


@dataclass
class GroupSoak:
    """One run in a folder."""

    home: Path
    broker: Broker
    stream: Stream
    kills: int
    pause: tuple[float, float]
    """Seconds between two kills, from and to."""
    say: bool = False
    again: int = 0
    """Messages that were read a second time."""
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _topic: str = ""

    def run(self) -> tuple[dict[str, object], dict[str, object]]:
        """What the disturbed run made, and what the other one did."""
        self.home.mkdir(exist_ok=True)
        url = f"sqlite:///{self.home / 'indicia.db'}"
        with Store.open(url) as store:
            access = add_access(store, "contoso")
            furnish(store.tenant(access.tenant_id))
        quiet = self.home.with_name("undisturbed")
        quiet.mkdir()
        shutil.copyfile(self.home / "indicia.db", quiet / "indicia.db")
        self._topic = self.broker.topic(PARTITIONS)
        try:
            self._disturbed()
        finally:
            for one in self._running:
                with suppress(ProcessLookupError):
                    os.killpg(one.pid, signal.SIGKILL)
                one.wait()
        with Store.open(url) as store:
            tenant = store.tenant(access.tenant_id)
            found = outcome(tenant)
        with Store.open(f"sqlite:///{quiet / 'indicia.db'}") as store:
            return found, undisturbed(store.tenant(access.tenant_id), self.stream, quiet)

    def _disturbed(self) -> None:
        dice = random.Random(self.stream.seed)
        producer = confluent_kafka.Producer(self.broker.settings | {"linger.ms": 5})
        for _ in range(CONSUMERS):
            self._start()
        wait_until(120, lambda: self._members() == CONSUMERS)
        cuts = sorted(dice.sample(range(1, self.stream.events), self.kills))
        parts = list(map(range, [0, *cuts], [*cuts, self.stream.events]))
        for number, part in enumerate(parts):
            self._send(producer, part, dice, dice.uniform(*self.pause))
            if number < self.kills:
                # Each kind of disturbance at the beginning, then any.
                kind = _KINDS[number] if number < len(_KINDS) else dice.choice(_KINDS)
                kind(self, dice)
        assert producer.flush(60) == 0
        wait_until(300 + self.stream.events / 1000, self._is_read)
        for one in self._running:
            one.terminate()
        assert [one.wait(60) for one in self._running] == [0] * CONSUMERS, self._told()
        self._running.clear()
        assert "Traceback" not in self._told()

    def _send(self, producer: Any, part: range, dice: random.Random, seconds: float) -> None:
        """Some events within a time, each to any partition; some twice."""
        pieces = [part[at : at + AT_ONCE] for at in range(0, len(part), AT_ONCE)]
        for piece in pieces:
            for number in piece:
                line = self.stream.line(number).rstrip()
                for _ in range(2 if dice.random() < 0.05 else 1):
                    producer.produce(self._topic, line, partition=dice.randrange(PARTITIONS))
            producer.poll(0)
            time.sleep(seconds / len(pieces))

    def _start(self) -> None:
        command = [sys.executable, "-m", "indicia", "--home", str(self.home), "watch"]
        command.append(f"{self.broker.url}/{self._topic}?group={GROUP}&session={SESSION}")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
        with (self.home / "out").open("ab") as out:
            self._running.append(
                subprocess.Popen(command, stdout=out, stderr=out, env=clean, start_new_session=True)
            )

    def _told(self) -> str:
        return (self.home / "out").read_text()[-3000:]

    def _members(self) -> int:
        try:
            found = self.broker.admin.describe_consumer_groups([GROUP])[GROUP].result(10)
        except (confluent_kafka.KafkaException, TimeoutError):
            return 0  # who coordinates is only being found out
        return sum(bool(one.assignment.topic_partitions) for one in found.members)

    def _is_read(self) -> bool:
        assert all(one.poll() is None for one in self._running), self._told()
        return self.broker.committed(self._topic, GROUP) == self.broker.ends(self._topic)

    # What disturbs

    def _kill(self, at: int) -> None:
        one = self._running.pop(at)
        os.killpg(one.pid, signal.SIGKILL)
        one.wait()

    def _noted(self, what: str) -> None:
        if self.say:
            print(what, flush=True)

    def kill_one(self, dice: random.Random) -> None:
        """And start another one, whose joining is a rebalance with a dead member."""
        self._noted("kill -9 of one")
        self._kill(dice.randrange(CONSUMERS))
        self._start()

    def kill_two(self, dice: random.Random) -> None:
        """The second one in the rebalance that the first one's heir begins."""
        self._noted("kill -9 of two, one after the other")
        self._kill(dice.randrange(CONSUMERS))
        self._start()
        time.sleep(dice.uniform(0.3, 1.5))
        self._kill(0)
        self._start()

    def join(self, dice: random.Random) -> None:
        """One more comes, so that partitions are given up, and dies at once."""
        self._noted("one more joins, and is killed")
        self._start()
        time.sleep(dice.uniform(0.7, 2.0))
        self._kill(CONSUMERS)

    def sleep(self, dice: random.Random) -> None:
        """One is stopped until others have what it had, then goes on in the middle."""
        self._noted("SIGSTOP of one until it counts as dead")
        one = self._running[dice.randrange(CONSUMERS)]
        os.killpg(one.pid, signal.SIGSTOP)
        time.sleep(SESSION + dice.uniform(0.2, 1.0))
        os.killpg(one.pid, signal.SIGCONT)


_KINDS: tuple[Callable[[GroupSoak, random.Random], None], ...] = (
    GroupSoak.kill_one,
    GroupSoak.join,
    GroupSoak.sleep,
    GroupSoak.kill_two,
)
