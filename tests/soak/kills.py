"""Kills by the hundred while a stream runs: what is in the store afterwards is what an undisturbed run makes.

    make soak-kills [EVENTS=1000000] [KILLS=100] [SEED=1]

The events follow from a seed. Some are written to a file that grows and is rotated, by renaming and by
copying and truncating, and is watched by `indicia watch`; some are posted to `indicia serve --workers 2`,
some both, and some more than once. Meanwhile the watch, a worker, or the service with all its processes is
killed (SIGKILL) at random moments and started again. A copy of the store that was made before takes in all
events undisturbed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from indicia.store import Store
from service import Access, add_access, free_port, wait_until
from soak.stream import POSTED, Stream, furnish, outcome, undisturbed


@dataclass
class Soak:
    """One run in a folder."""

    home: Path
    stream: Stream
    kills: int
    pause: tuple[float, float]
    """Seconds between two kills, from and to."""
    say: bool = False
    port: int = field(default_factory=free_port)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _posting: list[bytes] = field(default_factory=list)
    _rotations: int = 0

    def run(self) -> tuple[dict[str, object], dict[str, object]]:
        """What the disturbed run made, and what the other one did."""
        self.home.mkdir(exist_ok=True)
        with self._store() as store:
            access = add_access(store, "contoso")
            tenant = store.tenant(access.tenant_id)
            furnish(tenant)
        quiet = self.home.with_name("undisturbed")
        quiet.mkdir()
        shutil.copyfile(self.home / "indicia.db", quiet / "indicia.db")
        self._disturbed(access)
        with self._store() as store:
            found = outcome(store.tenant(access.tenant_id))
        with Store.open(f"sqlite:///{quiet / 'indicia.db'}") as store:
            return found, undisturbed(store.tenant(access.tenant_id), self.stream, quiet)

    def _store(self) -> Store:
        return Store.open(f"sqlite:///{self.home / 'indicia.db'}")

    def _disturbed(self, access: Access) -> None:
        dice = random.Random(self.stream.seed)
        try:
            self._start("watch")
            self._start("serve")
            # What is rotated before the first look is nobody's.
            wait_until(30, lambda: list(self.home.glob("watch/*.json")))
            poster = threading.Thread(target=self._post, args=(access,))
            poster.start()
            for number, part in enumerate(self._parts(dice)):
                self._send(part, dice, dice.uniform(*self.pause))
                if number < self.kills:
                    self._kill(dice.choice(("watch", "serve", "worker")) if number > 2 else _FIRST[number])
            self._posting.append(b"")
            poster.join(600)
            assert not self._posting[0], (self.home / "out").read_text()[-2000:]
            self._end()
        finally:
            for process in self._running.values():
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _parts(self, dice: random.Random) -> Iterator[range]:
        """All events, in as many parts as there are kills, and one more."""
        cuts = sorted(dice.sample(range(1, self.stream.events), self.kills))
        yield from map(range, [0, *cuts], [*cuts, self.stream.events])

    def _send(self, part: range, dice: random.Random, seconds: float) -> None:
        """Write and post some events within a time; somewhere the log is rotated."""
        step = max(1, min(POSTED, len(part) // 8))
        pieces = [part[at : at + step] for at in range(0, len(part), step)]
        for piece in pieces:
            lines, way = self.stream.lines(piece), dice.random()
            if way < 0.6:
                self._append(lines)
            if way > 0.5:
                self._posting += [lines, lines] if dice.random() < 0.1 else [lines]
            if dice.random() < 0.3:
                self._rotate()
            time.sleep(seconds / len(pieces))

    def _append(self, lines: bytes) -> None:
        with (self.home / "app.log").open("ab") as file:
            file.write(lines)

    def _rotate(self) -> None:
        log = self.home / "app.log"
        if not log.exists():
            return
        self._rotations += 1
        beside = log.with_name(f"app.log.{self._rotations}")
        if self._rotations % 2:
            log.rename(beside)
        else:
            shutil.copyfile(log, beside)
            os.truncate(log, 0)

    def _start(self, what: str) -> None:
        command = [sys.executable, "-m", "indicia", "--home", str(self.home), *what.split()]
        if what == "serve":
            command += ["--no-tls", "--workers", "2", "--port", str(self.port)]
        if what.startswith("watch"):
            command.append(str(self.home / "app.log"))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
        with (self.home / "out").open("ab") as out:
            self._running[what.split()[0]] = subprocess.Popen(
                command, stdout=out, stderr=out, env=clean, start_new_session=True
            )

    def _kill(self, what: str) -> None:
        if self.say:
            print(f"kill -9: {what}", flush=True)
        if what == "worker":
            # While the service starts, it would give up.
            wait_until(60, self._answers)
            served = self._running["serve"].pid
            children = Path(f"/proc/{served}/task/{served}/children").read_text().split()
            for pid in children[:1]:
                os.kill(int(pid), signal.SIGKILL)
            return
        os.killpg(self._running[what].pid, signal.SIGKILL)
        self._running[what].wait()
        self._start(what)

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/health", timeout=30).ok
        except requests.RequestException:
            return False

    def _post(self, access: Access) -> None:
        """Send what is to be posted until it is acknowledged, in order; an empty one is the end."""
        url, token, failing = f"http://127.0.0.1:{self.port}", "", 0.0
        with closing(requests.Session()) as session:
            session.trust_env = False
            while True:
                wait_until(600, lambda: self._posting)
                if not self._posting[0]:
                    return
                try:
                    if not token:
                        reply = session.post(
                            f"{url}/{access.tenant_id}/oauth2/token", data=access.form, timeout=60
                        )
                        token = reply.json()["access_token"]
                    headers = {"Authorization": f"Bearer {token}"}
                    reply = session.post(
                        f"{url}/v1.0/Events", data=self._posting[0], headers=headers, timeout=60
                    )
                except requests.RequestException:
                    failing = failing or time.monotonic()
                    assert time.monotonic() - failing < 60, "the service does not come back"
                    time.sleep(0.05)
                    continue
                failing = 0.0
                if reply.status_code == 200:
                    del self._posting[0]

    def _end(self) -> None:
        """Let the watch come to the end of the log, and the service stop as it should."""
        os.killpg(self._running["watch"].pid, signal.SIGTERM)
        assert self._running["watch"].wait(60) == 0, (self.home / "out").read_text()[-2000:]
        self._start("watch --idle 2")
        self._running["serve"].terminate()
        assert self._running["serve"].wait(60) == 0, (self.home / "out").read_text()[-2000:]
        assert self._running["watch"].wait(600) == 0, (self.home / "out").read_text()[-2000:]
        assert "Traceback" not in (self.home / "out").read_text()


_FIRST = ("watch", "serve", "worker")
