"""Load on several services behind a balancer, while they are killed, and while their database goes away.

Events, indicators, tokens and reads go on all the time, each until it is acknowledged. What came of it is
looked at in the database afterwards: nothing that was acknowledged is missing, nothing is there twice.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import requests

from hosts import Host, Hosts
from indicia.auth.sealing import Seal
from indicia.live import targets
from indicia.messages import Output, Sent
from indicia.outputs.given import Given
from indicia.store import Store
from service import Access, wait_until
from soak.hook import Hook
from soak.served import LOST, Caller
from soak.stream import Stream, furnish

BATCH = 20
POSTERS = 2
NAMES = ("events", "writes", "tokens", "reads")
BACK_SECONDS = 60.0
"""After so long everything is answered again, or it is wrong."""
PASSWORD = "correct-horse-battery"
"""Of the database; no log has it."""


@dataclass
class Load:
    """What goes on, and what came of it."""

    hosts: Hosts
    access: Access
    seed: int = 1
    hook: Hook = field(default_factory=Hook)
    wrong: list[str] = field(default_factory=list)
    good: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By whose and which: that is what clients saw."""
    delays: list[float] = field(default_factory=list)
    """Seconds from the answer to a write until a process matched by it."""
    made: set[str] = field(default_factory=set)
    """Values of indicators whose making was acknowledged."""
    hits: int = 0
    """Detections that were acknowledged."""
    interruptions: int = 0
    _taken: int = 0
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _calm: threading.Event = field(default_factory=threading.Event)
    """Set while all hosts and the database are there."""

    def furnish(self) -> int:
        """Names that events hold, a webhook, and the definition that the writer adds to."""
        self.hook.open()
        self._calm.set()
        home = self.hosts.each[0].home
        with Store.open(self.hosts.database) as store:
            tenant = store.tenant(self.access.tenant_id)
            furnish(tenant)
            given = Given(self.hook.url, {"allow": "127.0.0.1"}, targets.secret_for(self.hook.url))
            new = Output("hook", "", "", sends=(Sent.OPENED,))
            tenant.outbox.add(targets.sealed(Seal(home), tenant.uid, new, given), "soak")
            owner = tenant.definitions()[0].id
        for host in self.hosts.each[1:]:
            (host.home / "outputs.key").write_bytes((home / "outputs.key").read_bytes())
            (host.home / "outputs.key").chmod(0o600)
        return owner

    def begin(self, owner: int) -> None:
        """Start everybody."""
        work: list[tuple[str, Callable[[Caller], None]]] = [("events", self._post)] * POSTERS
        work += [("writes", lambda caller: self._write(caller, owner))]
        work += [("tokens", self._ask), ("reads", self._read)]
        for name, one in work:
            thread = threading.Thread(target=self._call, args=(name, one), daemon=True)
            thread.start()
            self._threads.append(thread)
        wait_until(BACK_SECONDS, lambda: all(self.good[name] for name in NAMES))

    def end(self) -> None:
        """Have everybody finish."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(BACK_SECONDS)
            self.must(not thread.is_alive(), "somebody never came to an end")
        with Store.open(self.hosts.database) as store:
            box = store.tenant(self.access.tenant_id).outbox
            box.change("hook", {}, "soak")
            wait_until(BACK_SECONDS, lambda: not box.backlogs()[0].waiting)
            self.must(not box.backlogs()[0].dead, "messages were given up")
        self.hook.close()

    @property
    def lost(self) -> int:
        """Requests to which no answer came."""
        return sum(times for (_, status), times in self.answers.items() if status == LOST)

    def must(self, held: bool, words: str) -> None:
        """Note what is wrong."""
        if not held and len(self.wrong) < 50:
            self.wrong.append(words)

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Meanwhile something is away; nobody measures how soon a write is in force."""
        self.interruptions += 1
        self._calm.clear()
        try:
            yield
        finally:
            self._calm.set()

    def back(self) -> float:
        """Seconds until each kind of request was answered well again."""
        begun = time.monotonic()
        with self._turn:
            before = Counter(self.good)
        while not all(self.good[name] > before[name] for name in NAMES):
            missing = [name for name in NAMES if self.good[name] <= before[name]]
            if time.monotonic() - begun > BACK_SECONDS:
                raise AssertionError(f"no answer to {missing} after {BACK_SECONDS:.0f} s")
            time.sleep(0.02)
        return time.monotonic() - begun

    # Who calls

    def _call(self, name: str, work: Callable[[Caller], None]) -> None:
        caller = Caller(self.hosts, self.access, name, self._note)  # type: ignore[arg-type]
        caller._session.verify = self.hosts.authority
        try:
            work(caller)
        except Exception as error:  # the thread would end unseen
            self.must(False, f"{name}: {type(error).__name__}: {error}")
        finally:
            caller.close()

    def _note(self, name: str, status: int, wrong: str) -> None:
        with self._turn:
            self.answers[name, status] += 1
            if 200 <= status < 300:
                self.good[name] += 1
        told = status == 502 and "HostUnavailable" in wrong
        self.must(not wrong or told, f"{name}: {wrong}")

    def _post(self, caller: Caller) -> None:
        stream = Stream(self.seed, 0, 40)
        while not self._stopped.is_set():
            with self._turn:
                number, self._taken = self._taken, self._taken + 1
            numbers = range(number * BATCH, (number + 1) * BATCH)
            headers = {"Idempotency-Key": f"batch-{number}"} if number % 2 else {}
            body = stream.lines(numbers)
            reply = _until(caller, "POST", "v1.0/Events", data=body, headers=headers)
            self.must(reply.json()["accepted"] == BATCH, f"batch {number}: {reply.text[:200]}")
            with self._turn:
                self.hits += sum(map(stream.hits, numbers))
            time.sleep(0.1)

    def _write(self, caller: Caller, owner: int) -> None:
        number = 0
        while not self._stopped.is_set():
            value = f"w{number}.example"
            self._make(caller, owner, value)
            answered = time.monotonic()
            self.made.add(value)
            if self._calm.is_set():
                self._see(caller, value, answered)
            number += 1
            time.sleep(0.2)

    def _make(self, caller: Caller, owner: int, value: str) -> None:
        body = {
            "Type": "DomainName",
            "Value": value,
            "DetectionFunction": "Equals",
            "AlertDefinition@odata.bind": f"AlertDefinitions({owner})",
        }
        asked = f"v1.0/IndicatorsOfCompromise?$filter=Value eq '{value}'"
        while True:
            reply = caller.call("POST", "v1.0/IndicatorsOfCompromise", json=body)
            if reply is not None and reply.status_code == 201:
                return
            # It may have been done: who makes something looks before doing it again.
            lost = reply is None or reply.status_code in (502, 504)
            if lost and _until(caller, "GET", asked).json()["value"]:
                return
            time.sleep(0.1)

    def _see(self, caller: Caller, value: str, answered: float) -> None:
        """How soon each process has it in force."""
        with ThreadPoolExecutor(len(self.hosts.each)) as threads:
            for host in self.hosts.each:
                threads.submit(self._see_on, host, caller._token, value, answered)

    def _see_on(self, host: Host, token: str, value: str, answered: float) -> None:
        count = 0
        while self._calm.is_set():
            count += 1
            asked = time.monotonic()
            found = self._probe(host, token, value, f"{value}-{host.port}-{count}")
            with self._turn:
                self.hits += found or 0
            if found:
                self.delays.append(max(0.0, asked - answered))
            if found or found is None:
                return
            if asked > answered + 10:
                self.must(False, f"{value} was never in force on {host.url}")
                return

    def _probe(self, host: Host, token: str, value: str, number: str) -> int | None:
        """How often an event that is new meets the value on a host; None where that did not answer."""
        line = {
            "@timestamp": "2024-03-12T08:53:07Z",
            "event": {"id": number},
            "host": {"name": "probe"},
            "dns": {"question": {"name": value}},
        }
        with suppress(requests.RequestException), requests.Session() as session:
            session.trust_env, session.verify = False, str(host.home / "tls" / "ca.pem")
            headers = {"Authorization": f"Bearer {token}"}
            reply = session.post(
                f"{host.url}/v1.0/Events", data=json.dumps(line), headers=headers, timeout=30
            )
            if reply.status_code == 200:
                return int(reply.json()["detections"])
        return None

    def _ask(self, caller: Caller) -> None:
        while not self._stopped.is_set():
            caller._renew()
            time.sleep(0.2)

    def _read(self, caller: Caller) -> None:
        while not self._stopped.is_set():
            caller.call("GET", "v1.0/Alerts?$top=5&$orderby=Id desc")
            time.sleep(0.1)

    # What came of it

    def judge(self) -> dict[str, Any]:
        """The database against what was acknowledged; figures for who reads them."""
        server = self.hosts.standby if self.hosts.primary.stopped else self.hosts.primary
        with server.connect("indicia") as raw:
            (row,) = raw.execute("SELECT count(*), count(DISTINCT detection_id) FROM detections").fetchall()
            (folded,) = raw.execute("SELECT sum(detection_count), count(*) FROM alerts").fetchall()
            values = Counter(
                str(one[0]) for one in raw.execute("SELECT value FROM indicators WHERE value LIKE 'w%'")
            )
            opened = {str(one[0]) for one in raw.execute("SELECT alert_id FROM alerts")}
        count, distinct, total, alerts = (int(str(one)) for one in (*row, *folded))
        # A probe whose answer was lost was recorded all the same.
        self.must(count >= self.hits, f"{self.hits} detections were acknowledged, {count} are there")
        self.must(count <= self.hits + 3 * self.interruptions, f"{count} detections, {self.hits} wanted")
        self.must(count == distinct == total, f"{count} detections, {distinct} ids, {total} in alerts")
        self.must(self.made <= values.keys(), f"writes were lost: {sorted(self.made - values.keys())[:5]}")
        twice = [value for value, times in values.items() if times > 1]
        self.must(not twice, f"written twice: {twice[:5]}")
        told = Counter(self.hook.alerts.values())
        self.must(told.keys() == opened, f"{len(opened)} alerts, {len(told)} were told")
        self.must(set(told.values()) <= {1}, "an alert was told as opened by two messages")
        again = sum(times - 1 for times in self.hook.acknowledged.values())
        self.must(again <= self.interruptions, f"{again} messages came twice")
        delays = sorted(self.delays)
        return {
            "acknowledged": sum(self.good.values()),
            "502": sum(times for (_, status), times in self.answers.items() if status == 502),
            "503": sum(times for (_, status), times in self.answers.items() if status == 503),
            "no answer": self.lost,
            "detections": count,
            "alerts": alerts,
            "writes": len(self.made),
            "messages twice": again,
            "in force p50": delays[len(delays) // 2] if delays else None,
            "in force p99": delays[len(delays) * 99 // 100] if delays else None,
            "samples": len(delays),
        }


def _until(caller: Caller, method: str, path: str, **more: object) -> requests.Response:
    """Try until it was done."""
    end = time.monotonic() + BACK_SECONDS
    while True:
        reply = caller.call(method, path, **more)
        if reply is not None and reply.status_code == 200:
            return reply
        if time.monotonic() > end:
            raise AssertionError(f"in vain: {reply and (reply.status_code, reply.text[:200])}")
        time.sleep(0.1)


def kill_in_turn(load: Load, rounds: int = 1, pause: float = 0.5) -> list[float]:
    """Kill each host and start it again, one after the other; seconds until each was ready again."""
    took = []
    for _ in range(rounds):
        for host in load.hosts.each:
            with load.interrupted():
                host.kill()
                time.sleep(pause)
                begun = time.monotonic()
                host.start()
                wait_until(BACK_SECONDS, host.answers)
                took.append(time.monotonic() - begun)
            load.back()
    return took


def restart(load: Load, away: float = 1.5) -> tuple[list[tuple[int, str]], float]:
    """Crash the database and start it; what `/ready` said meanwhile, and after how long all was well."""
    with load.interrupted():
        load.hosts.primary.stop("immediate")
        time.sleep(away)
        said = [host.get("/ready") for host in load.hosts.each]
        load.must(all(host.answers("/health") for host in load.hosts.each), "/health says no")
        load.hosts.primary.start()
        back = load.back()
    return said, back


def fail_over(load: Load, promote: Callable[[Any], None]) -> float:
    """The primary is gone for good, its standby becomes the primary; after how long all was well."""
    with load.interrupted():
        load.hosts.primary.stop("immediate")
        promote(load.hosts.standby)
        return load.back()
