"""The fault run: events, writes, reads and pulls go on while things go wrong around the service.

What must hold, whatever happened: each batch that was answered by 200 is in the store, and the alerts are
those of an undisturbed run over the same events; each write that was answered by 201 is there, and none that
was refused; who pulls detections by their time has all of them, each once; the webhook acknowledged one
message for each alert, each once, but for those that were under way when something was killed; answers
meanwhile are 503 or 429 with Retry-After, never 500; the store is sound.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from indicia.auth import roles
from indicia.auth.sealing import Seal
from indicia.live import targets
from indicia.messages import Output, Sent
from indicia.outputs.given import Given
from indicia.store import Store
from service import DEFINITION, Access, add_access, wait_until
from soak.faults import FAULTS, KILL, Disk, Fault, Surroundings
from soak.hook import Hook
from soak.served import LOST, Caller, Served, Tally, every
from soak.stream import Stream, furnish, outcome, undisturbed

BATCH = 100
POSTERS = 2
OTHERS = 25_000
"""Indicators beyond those that are met: so many that the index is a file."""
PULLED = 100
"""Detections of one pull."""
WRITERS = ("events", "writes")
READERS = ("reads", "pulls")
BACK_SECONDS = 120.0
"""After so long the service is answering again, or it is wrong."""


@dataclass
class Row:
    """What came of one fault, each time that it was begun."""

    times: int = 0
    longest: float = 0.0
    back: float = 0.0
    """The longest time from its end until events, writes and reads were answered again, in seconds."""
    tally: Tally = field(default_factory=Tally)


@dataclass
class Report:
    """What was done and what was wrong."""

    rows: dict[str, Row]
    left_out: dict[str, str]
    wrong: list[str]
    facts: dict[str, object]


@dataclass
class FaultRun:
    """One run. `folder` is outside of the small file system that the home is on."""

    folder: Path
    seconds: float
    seed: int = 1
    pause: float = 1.0
    """Seconds between two faults, at the least."""
    each: float = 0.4
    """Seconds between two batches of a poster."""
    short: bool = False
    """Each fault once."""
    say: bool = False
    wrong: list[str] = field(default_factory=list)
    rows: dict[str, Row] = field(default_factory=dict)
    _now: tuple[str, ...] = ()
    """Faults that are in force."""
    _good: Counter[str] = field(default_factory=Counter)
    """Answers that were right, by who got them."""
    _taken: int = 0
    _hits: int = 0
    _made: set[str] = field(default_factory=set)
    _refused: set[str] = field(default_factory=set)
    _pulled: set[str] = field(default_factory=set)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Report:
        """All of it."""
        disk = Disk(self.folder / "home")
        disk.mount(64 if self.short else 512)
        hook = Hook()
        hook.open()
        served = Served(self.folder / "home", self.folder / "clock")
        around = Surroundings(served, disk, hook, random.Random(self.seed))
        try:
            return self._run(around)
        finally:
            self._stopped.set()
            around.unlock()
            served.end()
            hook.close()
            disk.unmount()

    def _run(self, around: Surroundings) -> Report:
        home, quiet = around.served.home, self.folder / "undisturbed"
        with Store.open(f"sqlite:///{home / 'indicia.db'}") as store:
            access = add_access(store, "contoso", (*roles.DEFAULT, roles.ADMIN))
            tenant = store.tenant(access.tenant_id)
            furnish(tenant, 0 if self.short else OTHERS)
        quiet.mkdir()
        shutil.copyfile(home / "indicia.db", quiet / "indicia.db")
        with Store.open(f"sqlite:///{home / 'indicia.db'}") as store:
            box, url = store.tenant(access.tenant_id).outbox, around.hook.url
            given = Given(url, {"allow": "127.0.0.1"}, targets.secret_for(url))
            new = Output("hook", "", "", sends=(Sent.OPENED,))
            box.add(targets.sealed(Seal(home), access.tenant_id, new, given), "soak")
        around.served.start()
        left_out = {one.name: why for one in FAULTS if (why := one.cannot(around))}
        threads = self._begin(around.served, access)
        begun = time.monotonic()
        wait_until(60, lambda: self._good["events"] and self._good["pulls"])
        self._faults(around, [one for one in FAULTS if one.name not in left_out], begun)
        self._stopped.set()
        for thread in threads:
            thread.join(BACK_SECONDS)
            self._must(not thread.is_alive(), f"{thread.name} never came to its end")
        facts = self._judge(around, access, quiet)
        return Report(self.rows, left_out, self.wrong, facts)

    def _must(self, held: bool, words: str) -> None:
        if not held and len(self.wrong) < 100:
            self.wrong.append(words)
            if self.say:
                print(f"WRONG: {words}", flush=True)

    # What goes on meanwhile

    def _begin(self, served: Served, access: Access) -> list[threading.Thread]:
        expected = self.seconds * POSTERS / self.each * BATCH
        stream = Stream(self.seed, 0, max(100, int(expected * 3 / 900)))
        self._stream = stream

        def calling(name: str, work: Callable[[Caller], None]) -> Callable[[], None]:
            def call() -> None:
                with closing(Caller(served, access, name, self._note)) as caller:
                    work(caller)

            return call

        work = [calling("events", lambda caller: self._post(caller, stream))] * POSTERS
        work += [calling("writes", self._write), calling("reads", self._read), calling("pulls", self._pull)]
        threads = [
            threading.Thread(target=one, name=f"caller {number}", daemon=True)
            for number, one in enumerate(work)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _note(self, name: str, status: int, wrong: str) -> None:
        with self._turn:
            for fault in self._now:
                self.rows[fault].tally.note(name, status)
            if 200 <= status < 300:
                self._good[name] += 1
        self._must(not wrong, f"{' and '.join(self._now) or 'nothing wrong'}: {wrong}")

    def _post(self, caller: Caller, stream: Stream) -> None:
        """Post batches of new events, each until it is acknowledged."""
        for _ in every(self.each, self._stopped):
            with self._turn:
                number, self._taken = self._taken, self._taken + 1
            numbers = range(number * BATCH, (number + 1) * BATCH)
            body = stream.lines(numbers)
            headers = {"Idempotency-Key": f"batch-{number}"} if number % 2 else {}
            while True:
                reply = caller.call("POST", "v1.0/Events", data=body, headers=headers)
                if reply is not None and reply.status_code == 200:
                    break
                time.sleep(0.2)
            self._must(reply.json()["accepted"] == BATCH, f"batch {number}: {reply.text[:200]}")
            with self._turn:
                self._hits += sum(map(stream.hits, numbers))

    def _write(self, caller: Caller) -> None:
        """Make alert definitions, each once."""
        for number in every(0.5, self._stopped):
            name = f"soak-{number}"
            reply = caller.call("POST", "v1.0/AlertDefinitions", json=DEFINITION | {"Name": name})
            if reply is not None:
                (self._made if reply.status_code == 201 else self._refused).add(name)

    def _read(self, caller: Caller) -> None:
        for _ in every(0.5, self._stopped):
            caller.call("GET", "v1.0/Alerts?$top=5&$orderby=Id desc")

    def _pull(self, caller: Caller) -> None:
        """Pull detections as SIEM tools do: from the last time on, without those that are there already."""
        since, last = "2000-01-01T00:00:00Z", False
        pause = 0.5
        while True:
            reply = caller.call("GET", "api/alerts", params={"sinceTimeUtc": since, "limit": str(PULLED)})
            done = reply is not None and reply.status_code == 200
            found = reply.json() if done and reply is not None else []
            for one in found:
                again = one["FullId"] in self._pulled and one["LastProcessedTimeUtc"] != since
                self._must(not again, f"{one['FullId']} was pulled twice")
                self._pulled.add(one["FullId"])
            since = found[-1]["LastProcessedTimeUtc"] if found else since
            if last and done and len(found) < PULLED:
                return
            # Posters end later than it is stopped: one more pull when they have.
            last = self._stopped.is_set() and not self._posting()
            time.sleep(0 if len(found) == PULLED else pause)

    def _posting(self) -> bool:
        names = {f"caller {number}" for number in range(POSTERS)}
        return any(one.name in names for one in threading.enumerate())

    # Faults

    def _faults(self, around: Surroundings, possible: Sequence[Fault], begun: float) -> None:
        if self.short:
            for one in possible:
                self._round(around, [one])
            return
        order: list[Fault] = []
        while time.monotonic() - begun < self.seconds:
            if not order:
                order = around.dice.sample(possible, len(possible))
            chosen = [order.pop()]
            # Half of the time two things go wrong at once.
            if order and around.dice.random() < 0.5 and order[-1].group != chosen[0].group:
                chosen.append(order.pop())
            self._round(around, sorted(chosen, key=lambda one: one.group == KILL))
            time.sleep(self.pause + around.dice.random() * 3)

    def _round(self, around: Surroundings, chosen: Sequence[Fault]) -> None:
        """Begin the faults, let them last, end them, and see that all is well again."""
        seconds = max(one.short if self.short else around.dice.uniform(*one.seconds) for one in chosen)
        with self._turn:
            for one in chosen:
                self.rows.setdefault(one.name, Row()).times += 1
            self._now = tuple(one.name for one in chosen)
        if self.say:
            print(f"{time.strftime('%H:%M:%S')} {seconds:4.0f} s  {', '.join(self._now)}", flush=True)
        for one in chosen:
            if one.group == KILL:
                time.sleep(seconds / 2)
            one.begin(around)
        time.sleep(seconds / 2 if chosen[-1].group == KILL else seconds)
        for one in reversed(chosen):
            one.end(around)
        back = self._back()
        with self._turn:
            self._now = ()
            for one in chosen:
                row = self.rows[one.name]
                row.longest, row.back = max(row.longest, seconds), max(row.back, back)
        self._sound(around.served.home, "quick_check")

    def _back(self) -> float:
        """Seconds until each kind of request was answered well again."""
        ended = time.monotonic()
        with self._turn:
            before = Counter(self._good)
        names = (*WRITERS, *READERS)
        while not all(self._good[name] > before[name] for name in names):
            if time.monotonic() - ended > BACK_SECONDS:
                self._must(False, f"{' and '.join(self._now)}: not back after {BACK_SECONDS:.0f} s")
                break
            time.sleep(0.05)
        return time.monotonic() - ended

    def _sound(self, home: Path, pragma: str) -> None:
        """The store is whole, and holds what was acknowledged."""
        with self._turn:
            hits = self._hits
        with closing(sqlite3.connect(home / "indicia.db", timeout=30)) as raw:
            found = raw.execute(f"PRAGMA {pragma}").fetchall()
            (count,) = raw.execute("SELECT count(*) FROM detections").fetchone()
        self._must(found == [("ok",)], f"after {' and '.join(self._now)}: {found[:3]}")
        self._must(count >= hits, f"{hits} detections were acknowledged, {count} are there")

    # What came of it

    def _judge(self, around: Surroundings, access: Access, quiet: Path) -> dict[str, object]:
        served, hook = around.served, around.hook
        database = f"sqlite:///{served.home / 'indicia.db'}"
        with Store.open(database) as store:
            box = store.tenant(access.tenant_id).outbox
            box.change("hook", {}, "soak")  # whatever it waits for, try now
            end = time.monotonic() + BACK_SECONDS
            while box.backlogs()[0].waiting and time.monotonic() < end:
                time.sleep(0.1)
            backlog = box.backlogs()[0]
        self._must(not backlog.waiting and not backlog.dead, f"messages are left: {backlog}")
        self._must(served.stop() == 0, "the service did not end well")
        self._must(not served.tracebacks, f"tracebacks: {served.tracebacks[:5]}")
        self._sound(served.home, "integrity_check")
        stream = Stream(self.seed, self._taken * BATCH, self._stream.each)
        with Store.open(database) as store:
            found = outcome(store.tenant(access.tenant_id))
        with Store.open(f"sqlite:///{quiet / 'indicia.db'}") as store:
            wanted = undisturbed(store.tenant(access.tenant_id), stream, quiet)
        self._must(found == wanted, f"{found['alerts']} alerts, undisturbed {wanted['alerts']}, or others")
        with closing(sqlite3.connect(served.home / "indicia.db")) as raw:
            names = {row[0] for row in raw.execute("SELECT name FROM definitions")}
            raised = {row[0] for row in raw.execute("SELECT detection_id FROM detections WHERE raises")}
        self._must(self._made <= names, f"writes were lost: {sorted(self._made - names)[:5]}")
        half = sorted(self._refused & names)
        self._must(not half, f"writes were refused and done: {half[:5]}")
        missed = len(raised - self._pulled)
        self._must(not missed, f"{missed} detections were never pulled")
        opened = Counter(hook.alerts.values())
        self._must(opened.keys() == found.keys() - {"detections", "alerts"}, "an alert was not told, or none")
        self._must(set(opened.values()) <= {1}, "an alert was told as opened by two messages")
        twice = sum(count - 1 for count in hook.acknowledged.values())
        self._must(twice <= around.kills, f"{twice} messages came twice, with {around.kills} kills")
        return {
            "events": self._taken * BATCH,
            "detections": found["detections"],
            "alerts": found["alerts"],
            "writes": len(self._made),
            "writes refused": len(self._refused),
            "pulled": len(self._pulled),
            "messages": len(hook.acknowledged),
            "messages twice": twice,
            "kills": around.kills,
            "ended by itself": served.restarts - around.service_kills,
        }


def told(report: Report) -> list[str]:
    """The report as lines of Markdown."""
    lines = ["| fault | times | longest | answers to events and writes | to reads | all well again after |"]
    lines.append("|---|---:|---:|---|---|---:|")
    for name in (one.name for one in FAULTS if one.name in report.rows):
        row = report.rows[name]
        writes, reads = row.tally.of(*WRITERS), row.tally.of(*READERS)
        cells = (name, f"{row.times}", f"{row.longest:.0f} s", _answers(writes), _answers(reads))
        lines.append(f"| {' | '.join(cells)} | {row.back:.1f} s |")
    lines += [f"left out: {name}: {why}" for name, why in report.left_out.items()]
    lines.append(", ".join(f"{name} {value:,}" for name, value in report.facts.items()))
    return lines


def _answers(counted: Counter[int]) -> str:
    words = {LOST: "none", 200: "done", 201: "done"}
    named: Counter[str] = Counter()
    for status, count in counted.items():
        named[words.get(status, str(status))] += count
    return ", ".join(f"{count:,} {name}" for name, count in sorted(named.items(), key=lambda one: -one[1]))
