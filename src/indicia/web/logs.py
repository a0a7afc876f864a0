"""The service's log on stderr: as text, what goes wrong; as JSON, a line for every request as well.

    {"time": "2024-03-12T08:53:07.123Z", "level": "info", "logger": "indicia.requests", "process": 4711,
     "id": "…", "tenant": "…", "client": "…", "method": "POST", "route": "/{version}/Events",
     "status": 200, "ms": 12.4}

`id` is the request's own (`client-request-id` or `x-request-id`) or was made here, `route` the template of
the path. Nothing that stands in a query, a body, a path or a header is logged beside them: no telemetry, no
indicators, no tokens, no secrets. The same fault again and again, as while a database is away, is told every
SPARSE_SECONDS, with how often it was.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime

from indicia.errors import InputError

FORMS = ("text", "json")
SPARSE_SECONDS = 10.0
_WORDS = 1000
REQUESTS = logging.getLogger("indicia.requests")
"""Says what came of every request, in the attribute `request` of its records."""


class Json(logging.Formatter):
    """A record as one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        shown: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
        }
        request = getattr(record, "request", None)
        shown |= request if request is not None else {"message": record.getMessage()}
        if record.exc_info and record.exc_info[0]:
            # Without the message: it may hold what somebody sent.
            shown["error"] = record.exc_info[0].__name__
            shown["trace"] = "".join(traceback.format_tb(record.exc_info[2]))
        return json.dumps(shown, ensure_ascii=True)


class Sparse(logging.Filter):
    """Of the same words of somebody one line for a while, which says how many were left out before it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._turn = threading.Lock()
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is told."""
        if record.levelno < logging.WARNING:
            return True
        words, now = (record.name, record.getMessage()), self._clock()
        with self._turn:
            last, more = self._told.get(words, (-SPARSE_SECONDS, 0))
            if now - last < SPARSE_SECONDS:
                self._told[words] = (last, more + 1)
                return False
            if len(self._told) >= _WORDS:
                self._told.clear()
            self._told[words] = (now, 0)
        if more:
            record.msg, record.args = f"{words[1]} ({more} times more since it was told)", ()
        return True


class _Stderr(logging.Handler):
    """Writes to whatever stderr is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """A line."""
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except (OSError, ValueError):
            self.handleError(record)


def begin(form: str) -> None:
    """Log in a form from now on, in this process and those that it forks. InputError where there is none."""
    if form not in FORMS:
        raise InputError(f"must be {' or '.join(FORMS)}, not {form[:40]!r}", place="log")
    root, as_json = logging.getLogger(), form == "json"
    for old in [handler for handler in root.handlers if isinstance(handler, _Stderr)]:
        root.removeHandler(old)
    handler = _Stderr()
    handler.setFormatter(Json() if as_json else logging.Formatter("%(message)s"))
    handler.addFilter(Sparse())
    root.addHandler(handler)
    REQUESTS.setLevel(logging.INFO if as_json else logging.WARNING)
