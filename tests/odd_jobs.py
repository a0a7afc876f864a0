"""Jobs that do what their file says, in processes as scans and imports have them."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from indicia.live.jobs import Asked, Job, Jobs, State
from indicia.live.work import Desk, Work, attend

RESULT = "lines.txt"


class OddJob(Job[Asked, State]):
    """One of them."""


class Odds(Jobs[OddJob]):
    """Those of a tenant."""

    word, kind, process = "odd job", "odds", "odd_jobs"
    running, kept, most, unfinished = 2, timedelta(days=1), 20, 5
    made, asked, state = OddJob, Asked, State

    def begin(self, what: str) -> OddJob:
        """One that does this."""
        now = datetime.now(UTC)
        return self.keep(BytesIO(what.encode()), 1000, lambda size: Asked("odd", size, "x", now))


class Odd(Work[Asked, State]):
    """Work that does as it is told."""

    seconds, too_long = 60, "it took too long"

    def __init__(self, desk: Desk[Asked, State], _home: Path, _url: str) -> None:
        super().__init__(desk, State())

    def work(self) -> None:
        """What the file says."""
        what = self._desk.upload().read_text()
        with (self._desk.folder / RESULT).open("w") as file:
            for number in range(3):
                file.write(f"{what} {number}\n")
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "loop":
            os.kill(os.getpid(), signal.SIGXCPU)
        if what == "late":
            signal.setitimer(signal.ITIMER_REAL, 0.1)
        while what == "sleep":  # and nothing is told meanwhile
            time.sleep(0.1)
            self.stop_if_asked()
        while what in ("wait", "late"):
            self.tell()
            time.sleep(0.01)
        if what != "done":
            raise {"fault": RuntimeError, "memory": MemoryError, "disk": OSError}[what](
                "from the log of a victim"
            )

    def figures(self) -> dict[str, Any]:
        """The bytes."""
        return {"read": self._asked.size}


if __name__ == "__main__":
    sys.exit(attend(sys.argv[1:], Odds, Odd))
