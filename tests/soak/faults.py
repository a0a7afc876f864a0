"""What goes wrong around the service: each fault is begun, lasts, and is ended; one row of a table."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from soak.hook import Hook
from soak.served import FAKETIME, NOT_LIMITED, Served

KILL = "kill"
LOCKER = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1], timeout=120, isolation_level=None)
raw.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
raw.execute("ROLLBACK")
"""


@dataclass
class Disk:
    """The file system of the home: small and its own where this user may mount, else whatever is there."""

    home: Path
    mounted: bool = False
    _full: threading.Event | None = None
    _filling: threading.Thread | None = None

    def mount(self, mebibytes: int) -> None:
        """A small file system in memory, if allowed."""
        self.home.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "tmpfs", str(self.home)]
        with suppress(OSError):
            self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def unmount(self) -> None:
        """Give it back."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.home)], check=False)
            self.mounted = False

    def fill(self) -> None:
        """Leave no byte free, and take at once what becomes free."""
        self._full = threading.Event()
        self._take()
        self._filling = threading.Thread(target=self._keep, args=(self._full,), daemon=True)
        self._filling.start()

    def _keep(self, ended: threading.Event) -> None:
        while not ended.wait(0.05):
            self._take()

    def _take(self) -> None:
        with (self.home / "ballast").open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Make room again."""
        if self._full is not None and self._filling is not None:
            self._full.set()
            self._filling.join()
        (self.home / "ballast").unlink(missing_ok=True)


@dataclass
class Surroundings:
    """All that can go wrong with."""

    served: Served
    disk: Disk
    hook: Hook
    dice: random.Random
    kills: int = 0
    service_kills: int = 0
    locker: subprocess.Popen[str] | None = None
    """Who holds the store's lock."""

    def kill_worker(self) -> None:
        """One of them; the parent replaces it."""
        self.kills += 1
        self.served.kill_one(False, self.dice.randrange(2))

    def kill_matcher(self) -> None:
        """A process that matches; what it was at is tried once more by another one."""
        self.served.kill_one(True, self.dice.randrange(8))

    def kill_service(self) -> None:
        """All of it, and started again by whoever looks after services."""
        self.kills += 1
        self.service_kills += 1
        self.served.kill()

    def lock(self) -> None:
        """Another process takes the store's lock."""
        database = str(self.served.home / "indicia.db")
        self.locker = subprocess.Popen(
            [sys.executable, "-c", LOCKER, database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.locker.stdout is not None
        assert self.locker.stdout.readline() == "locked\n"

    def unlock(self) -> None:
        """And gives it back."""
        if self.locker is not None:
            self.locker.communicate("\n")
            self.locker = None

    def step(self, offset: str) -> None:
        """Set the service's clock off by so much, as `+3600` (seconds); the machine's stays."""
        part = self.served.clock.with_suffix(".part")
        part.write_text(offset)
        part.replace(self.served.clock)


@dataclass(frozen=True)
class Fault:
    """One that can be begun and ended; `cannot` says why it cannot be here."""

    name: str
    begin: Callable[[Surroundings], None]
    end: Callable[[Surroundings], None]
    seconds: tuple[float, float] = (3.0, 15.0)
    short: float = 1.5
    """How long it lasts in the short run."""
    cannot: Callable[[Surroundings], str] = field(default=lambda _: "")
    group: str = "receiver"
    """Two of one group are not in force at the same time; kills come last of those that are."""


def _no_disk(around: Surroundings) -> str:
    return "" if around.disk.mounted else "no file system can be mounted here (that needs root)"


def _no_clock(_around: Surroundings) -> str:
    return "" if FAKETIME is not None else "libfaketime is not installed (Debian: faketime)"


def _nothing(_around: Surroundings) -> None:
    """It is over by itself."""


def _receiver(mode: str, name: str, seconds: tuple[float, float] = (5.0, 20.0)) -> Fault:
    return Fault(
        name,
        lambda around: around.hook.set(mode),
        lambda around: around.hook.set("ok"),
        seconds,
    )


def _clock(offset: int, name: str) -> Fault:
    return Fault(
        name,
        lambda around: around.step(f"{offset:+d}"),
        lambda around: around.step("+0"),
        (4.0, 20.0),
        short=2.0,
        cannot=_no_clock,
        group="clock",
    )


FAULTS: tuple[Fault, ...] = (
    Fault("kill -9 of a worker", Surroundings.kill_worker, _nothing, (0.0, 0.0), 0.0, group=KILL),
    Fault("kill -9 of a matcher", Surroundings.kill_matcher, _nothing, (0.0, 0.0), 0.0, group=KILL),
    Fault("kill -9 of the service", Surroundings.kill_service, _nothing, (0.0, 0.0), 0.0, group=KILL),
    Fault(
        "disk full",
        lambda around: around.disk.fill(),
        lambda around: around.disk.free(),
        (3.0, 20.0),
        2.0,
        _no_disk,
        "disk",
    ),
    Fault(
        "no file may grow (RLIMIT_FSIZE)",
        lambda around: around.served.limit(0),
        lambda around: around.served.limit(NOT_LIMITED),
        (3.0, 15.0),
        group="disk",
    ),
    Fault(
        "store locked by another process",
        Surroundings.lock,
        Surroundings.unlock,
        (3.0, 60.0),
        2.0,
        group="lock",
    ),
    _clock(3600, "clock an hour ahead, then right again"),
    _clock(86_400, "clock a day ahead, then right again"),
    _clock(-86_400, "clock a day behind, then right again"),
    _receiver("refuse", "webhook refuses connections"),
    _receiver("hang", "webhook never answers"),
    _receiver("fail", "webhook answers 500"),
    _receiver("reset", "webhook resets in the middle of its answer"),
    _receiver("slow", "webhook answers after 3 s", (5.0, 30.0)),
)
