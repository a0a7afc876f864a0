"""The service as the fault run has it: killed, limited, under a clock of its own; and who calls it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from service import Access, free_port, wait_until

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
"""Debian's libfaketime, by which a process has a clock that can be set."""
NOT_LIMITED = resource.RLIM_INFINITY
LOST = 0
"""In the place of a status where no answer came."""
EXPECTED = frozenset({200, 201, 204, 401, 429, 503, 504})
WAITS = frozenset({429, 503})
"""Answers that say after what time to come back."""


@dataclass
class Served:
    """`indicia serve` with two workers in a home."""

    home: Path
    clock: Path
    """The file that says how far its clock is off."""
    port: int = field(default_factory=free_port)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=5000))
    tracebacks: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    restarts: int = 0
    """How often it ended by itself."""
    _ending: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, wait until it answers, and start it again whenever it ends, as whoever runs services."""
        self._spawn()
        wait_until(60, self.answers)
        threading.Thread(target=self._attend, daemon=True).start()

    def _attend(self) -> None:
        while not self._ending.wait(0.2):
            if self.process is not None and self.process.poll() is not None:
                self.restarts += 1
                self._spawn()

    def _spawn(self) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
        if FAKETIME is not None:
            self.clock.write_text(self.clock.read_text() if self.clock.exists() else "+0")
            clean |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DISABLE_SHM": "1",
                "NO_FAKE_STAT": "1",
            }
        command = [sys.executable, "-m", "indicia", "--home", str(self.home), "serve", "--no-tls"]
        command += ["--workers", "2", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean,
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Keep the end of its log, which goes through a pipe: no limit of files concerns it."""
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.log.append(line.rstrip())
                if "Traceback" in line or "unforeseen" in line or 'File "' in line:
                    self.tracebacks.append(line.rstrip())

    def answers(self) -> bool:
        """Whether it does."""
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/health", timeout=5).ok
        return False

    def end(self) -> None:
        """It is not started any more."""
        self._ending.set()
        self.kill()

    def kill(self) -> None:
        """SIGKILL to all of it."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def kill_one(self, matchers: bool, number: int) -> None:
        """SIGKILL to one of its workers, or of the processes that match for them."""
        assert self.process is not None
        workers = _children(self.process.pid)
        chosen = [one for worker in workers for one in _children(worker)] if matchers else workers
        if chosen:
            with suppress(ProcessLookupError):
                os.kill(chosen[number % len(chosen)], signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self._ending.set()
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(90)

    def limit(self, size: int) -> None:
        """Let none of its processes write a file beyond a size, in bytes; those that match write none."""
        assert self.process is not None
        for pid in (self.process.pid, *_children(self.process.pid)):
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, NOT_LIMITED))


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return []


@dataclass
class Caller:
    """Somebody with a token of his own; each answer is told to `note` under his name."""

    served: Served
    access: Access
    name: str
    note: Callable[[str, int, str], None]
    _session: requests.Session = field(default_factory=requests.Session)
    _token: str = ""

    def __post_init__(self) -> None:
        self._session.trust_env = False

    def call(self, method: str, path: str, **more: object) -> requests.Response | None:
        """One request; None where no answer came, or no token was to be had."""
        if not self._token and not self._renew():
            return None
        headers = {"Authorization": f"Bearer {self._token}", **more.pop("headers", {})}  # type: ignore[dict-item]
        reply = self._send(method, path, headers=headers, **more)
        if reply is not None and reply.status_code == 401:
            self._token = ""
        return reply

    def close(self) -> None:
        """End its connections."""
        self._session.close()

    def _renew(self) -> bool:
        reply = self._send("POST", f"{self.access.tenant_id}/oauth2/token", data=self.access.form)
        if reply is None or reply.status_code != 200:
            return False
        self._token = str(reply.json()["access_token"])
        return True

    def _send(self, method: str, path: str, **more: object) -> requests.Response | None:
        try:
            reply = self._session.request(method, f"{self.served.url}/{path}", timeout=90, **more)  # type: ignore[arg-type]
        except requests.RequestException:
            self.note(self.name, LOST, "")
            return None
        wrong = ""
        if reply.status_code not in EXPECTED:
            wrong = f"{method} /{path.partition('?')[0]}: {reply.status_code} {reply.text[:200]}"
        elif reply.status_code in WAITS and "Retry-After" not in reply.headers:
            wrong = f"{method} /{path.partition('?')[0]}: {reply.status_code} without Retry-After"
        self.note(self.name, reply.status_code, wrong)
        return reply


@dataclass
class Tally:
    """Answers while something was wrong, or nothing."""

    statuses: dict[str, Counter[int]] = field(default_factory=dict)

    def note(self, name: str, status: int) -> None:
        """One more."""
        self.statuses.setdefault(name, Counter())[status] += 1

    def of(self, *names: str) -> Counter[int]:
        """Of these callers together."""
        return sum((self.statuses.get(name, Counter()) for name in names), Counter[int]())


def every(seconds: float, stopped: threading.Event) -> Iterator[int]:
    """Numbers, one after each pause, until it is stopped."""
    number = 0
    due = time.monotonic()
    while not stopped.is_set():
        yield number
        number += 1
        due = max(due + seconds, time.monotonic())
        stopped.wait(max(0.0, due - time.monotonic()))
