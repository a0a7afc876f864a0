"""The service's log on stderr: as text, what goes wrong; as JSON, a line for every request as well.

    {"time": "2024-03-12T08:53:07.123Z", "level": "info", "logger": "indicia.requests", "process": 4711,
     "id": "…", "tenant": "…", "client": "…", "method": "POST", "route": "/{version}/Events",
     "status": 200, "ms": 12.4}

`id` is the request's own (`client-request-id` or `x-request-id`) or was made here, `route` the template of
the path. Nothing that stands in a query, a body, a path or a header is logged beside them: no telemetry, no
indicators, no tokens, no secrets.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

from indicia.errors import InputError

FORMS = ("text", "json")
REQUESTS = logging.getLogger("indicia.requests")
"""Says what came of every request, in the attribute `request` of its records."""


class Json(logging.Formatter):
    """A record as one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        shown: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
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
    root.addHandler(handler)
    REQUESTS.setLevel(logging.INFO if as_json else logging.WARNING)
