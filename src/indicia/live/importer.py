"""The process of one import of `live.imports`: by the same road as `indicia indicators import`.

    python -m indicia.live.importer STORE HOME TENANT FOLDER       it lives while standard input is open

One works at a time in a home, the others wait: the store takes one writer.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from indicia import allow, feeds, road
from indicia.errors import IndiciaError
from indicia.feeds import FeedFault, make
from indicia.feeds.csv import escape
from indicia.live.imports import Asked, State, Told, asked_of, write
from indicia.live.scans import Phase
from indicia.model import Actor, DetectionFunction, Through
from indicia.store import Store, TenantStore

FIRST = 50
"""Rows that could not be used which the state names."""
REPORTED = 100_000
"""Lines of a report; further ones are counted."""
TEXT = 500
"""Characters of a reason."""
EVERY = 0.3
"""Seconds between two writings of the state."""
PAUSE = 0.2
NICENESS = 5


class Importer:
    """One import."""

    def __init__(self, folder: Path, asked: Asked, tenant: TenantStore) -> None:
        self._folder, self._asked, self._tenant = folder, asked, tenant
        self._done = road.Loaded()
        self._state = State()
        self._told = 0.0

    def run(self) -> None:
        """Import, and say in the end how it ended; never raises."""
        self._put(phase=Phase.RUNNING, began_at=datetime.now(UTC))
        try:
            with (self._folder / "report.csv").open(
                "w", encoding="utf-8", newline="", errors="replace"
            ) as file:
                self._load(file)
            self._end(Phase.DONE)
            (self._folder / "upload").unlink(missing_ok=True)
        except KeyboardInterrupt:
            self._end(Phase.CANCELLED)
        except IndiciaError as error:
            self._end(Phase.FAILED, error.message)
        except OSError as error:
            self._end(Phase.FAILED, f"the disk of the service: {error.strerror or error}")
        except Exception as error:
            self._end(Phase.FAILED, f"an unforeseen error ({type(error).__name__}); please report it")

    def stop_if_asked(self) -> None:
        """Raise KeyboardInterrupt where somebody has had enough."""
        if (self._folder / "cancel").exists() or not self._folder.exists():
            raise KeyboardInterrupt

    def cancelled(self) -> None:
        """It was cancelled before it began."""
        self._end(Phase.CANCELLED)

    def _load(self, file: TextIO) -> None:
        asked, path = self._asked, str(self._folder / "upload")
        report = csv.writer(file, lineterminator="\r\n")
        report.writerow(("line", "what", "reason"))
        choice = make.Choice(
            DetectionFunction(asked.function) if asked.function else None,
            subdomains=asked.subdomains,
            source=asked.source or None,
        )
        job = road.LoadJob(
            path,
            self._tenant.definition(asked.definition_id),
            choice,
            asked.format or None,
            key=_key(asked, feeds.digest(path)),
            by=asked.by,
            known=allow.warnings(self._tenant.allow_lists.allowance()),
        )

        def told(what: str, fault: FeedFault) -> None:
            if self._state.reported < REPORTED:
                reason = fault.reason[:TEXT]
                report.writerow((fault.line, what, escape(reason)))
                self._state = replace(self._state, reported=self._state.reported + 1)
                if what == "refused" and len(self._state.first) < FIRST:
                    self._state.first.append(Told(fault.line, reason.encode("utf-8", "replace").decode()))

        watch = road.LoadWatch(
            fault=lambda fault: told("refused", fault),
            warning=lambda fault: told("warning", fault),
            format=lambda name: self._put(format=name),
            stored=lambda _state: self._tell(),
            progress=self._moved,
        )
        road.load(job, self._tenant.acting(Actor(asked.by, Through.PORTAL)), watch, self._done)

    def _moved(self, count: int) -> None:
        self._state = replace(self._state, read=self._state.read + count)
        if time.monotonic() - self._told > EVERY:
            self._tell()

    def _tell(self) -> None:
        self.stop_if_asked()
        self._put()

    def _end(self, phase: Phase, fault: str = "") -> None:
        self._put(phase=phase, fault=fault, ended_at=datetime.now(UTC))

    def _put(self, **changes: object) -> None:
        done = self._done
        figures = {
            name: getattr(done, name)
            for name in ("rows", "skipped", "added", "known", "faults", "warnings", "broken")
        }
        self._state = replace(self._state, **figures, **changes)  # type: ignore[arg-type]
        self._told = time.monotonic()
        with suppress(FileNotFoundError):  # it was deleted
            write(self._folder / "state.json", self._state)


def _key(asked: Asked, digest: str) -> str:
    """By which the same import is known again: the file's content, and what was asked of it."""
    parts = [digest, asked.function, asked.format, asked.source, asked.subdomains]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@contextmanager
def _turn(folder: Path, one: Importer) -> Iterator[None]:
    """Wait for one's turn; KeyboardInterrupt where it is cancelled meanwhile."""
    with (folder / "turn").open("ab") as file:
        while True:
            one.stop_if_asked()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(PAUSE)
            else:
                yield
                return


def _end_with_service() -> None:
    """End this process when the service goes away."""
    sys.stdin.buffer.read()
    os._exit(1)


def main(arguments: list[str]) -> int:
    """Run an import: store, home, tenant and folder are given."""
    url, _home, tenant, folder = arguments
    threading.Thread(target=_end_with_service, daemon=True).start()
    with suppress(OSError):
        os.nice(NICENESS)
    place = Path(folder)
    asked = asked_of(place)
    with Store.open(url, create=False, quotas=asked.quotas) as store:
        one = Importer(place, asked, store.tenant(tenant))
        try:
            with _turn(place.parent.parent, one):
                one.run()
        except KeyboardInterrupt:
            one.cancelled()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
