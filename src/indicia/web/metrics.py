"""What the service counts, and how Prometheus reads it: the text format 0.0.4 at `GET /metrics`.

The numbers are in memory that all worker processes of a service share. Each writes its own row alone,
whoever answers adds the rows up, so that it does not matter which one is asked; of what cannot be added, as
the generation of the index, there is a line for each worker. One that died leaves its counts to the next one.

Nothing here says what was in an event, whose it was, or what somebody asked for. Still it tells how much a
service sees, so it is for the role Admin: with a token, or with client id and secret as user and password.
"""

from __future__ import annotations

import mmap
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from indicia.live.intake import Taken
from indicia.messages import Backlog
from indicia.store import Arrived

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf"))
"""Upper bounds of latencies, in seconds."""
STATUSES = (
    200, 201, 202, 204, 206, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 428, 429, 499,
    500, 501, 502, 503, 504, 507,
)  # fmt: skip
"""Those that are counted one by one; 499 is a client that left before its answer. Others are `other`."""
COUNTERS = {
    "indicia_events_total": "Events that were accepted.",
    "indicia_malformed_total": "Lines that were no events.",
    "indicia_detections_total": "Detections that were new, silent ones too.",
    "indicia_alerts_total": "Alerts that were opened.",
    "indicia_matcher_restarts_total": "Matchers that died or were killed, and were replaced.",
    "indicia_blocks_failed_total": "Blocks of events that could not be matched.",
}
GAUGES = {
    "indicia_events_waiting": "Requests with events that are matched or wait for it.",
    "indicia_index_generation": "The highest generation of a tenant's indicators that is in force.",
    "indicia_index_lag_seconds": "Since when the index may lack a write; 0 where no index is loaded.",
}
OTHER = "other"
"""The route of requests that no route is for."""
_ROW = 8192
_CELL = 8
_LAG = "indicia_index_lag_seconds"


class Board:
    """The numbers of all workers; made before they are forked."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._cells = memoryview(mmap.mmap(-1, (workers + 1) * _ROW * _CELL)).cast("d")

    def row(self, worker: int) -> memoryview[float]:
        """What one worker writes."""
        return self._cells[worker * _ROW : (worker + 1) * _ROW]

    def rows(self) -> Iterator[memoryview[float]]:
        """Those of all workers."""
        return (self.row(worker) for worker in range(self.workers))

    @property
    def restarts(self) -> int:
        """How often a worker was put in the place of one that died."""
        return int(self._cells[self.workers * _ROW])

    def note_restart(self) -> None:
        """One more; for the process that looks after the workers."""
        self._cells[self.workers * _ROW] += 1


class Metrics:
    """The numbers of one worker, under names that are the same in all of them. Safe for several threads."""

    def __init__(self, board: Board, worker: int) -> None:
        self._board = board
        self._row = board.row(worker)
        self._turn = threading.Lock()
        names: list[str | int] = [*COUNTERS, *GAUGES, *STATUSES, OTHER]
        self._places = {name: place for place, name in enumerate(names)}
        self._latencies: dict[str, int] = {}
        self.name([])
        for gauge in GAUGES:
            self._row[self._places[gauge]] = 0

    def name(self, routes: Iterable[str]) -> None:
        """The routes there are; others are OTHER."""
        # Of each route the requests by bucket, then their seconds in all.
        step, first = len(BUCKETS) + 1, len(self._places)
        found = sorted({*routes, OTHER})
        if first + step * len(found) > _ROW:
            raise ValueError("there are more routes than a row has room for")
        self._latencies = {route: first + step * at for at, route in enumerate(found)}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        latency = self._latencies.get(route, self._latencies[OTHER])
        with self._turn:
            self._row[self._places.get(status, self._places[OTHER])] += 1
            self._row[latency + bisect_left(BUCKETS, seconds)] += 1
            self._row[latency + len(BUCKETS)] += seconds

    def took(self, taken: Taken) -> None:
        """Events were matched."""
        numbers = {
            "indicia_events_total": taken.accepted,
            "indicia_malformed_total": taken.malformed,
            "indicia_detections_total": taken.recorded,
            "indicia_alerts_total": taken.alerts,
        }
        with self._turn:
            for name, number in numbers.items():
                self._row[self._places[name]] += number

    def matcher_died(self) -> None:
        """A process that matches was replaced."""
        self._one_more("indicia_matcher_restarts_total")

    def block_failed(self) -> None:
        """Events were given up."""
        self._one_more("indicia_blocks_failed_total")

    def _one_more(self, counter: str) -> None:
        with self._turn:
            self._row[self._places[counter]] += 1

    def waiting(self, requests: int) -> None:
        """So many requests with events are here now."""
        self._row[self._places["indicia_events_waiting"]] = requests

    def following(self, generation: int, current_at: float) -> None:
        """What is in force, and when (monotonic clock) it was known to be all that was written."""
        self._row[self._places["indicia_index_generation"]] = generation
        self._row[self._places[_LAG]] = current_at

    def text(
        self, backlogs: Sequence[Backlog] = (), sources: Sequence[Arrived] = (), delivering: str = ""
    ) -> str:
        """All of it, of all workers, and what the store says of outputs and sources.

        `delivering`: the `HOST:PROCESS` that has the turn to deliver, where hosts share a store.
        """
        said = (*_of_outputs(backlogs), *_of_delivering(delivering), *_of_sources(sources))
        return "\n".join((*self._lines(), *said)) + "\n"

    def _lines(self) -> Iterator[str]:
        for name, told in COUNTERS.items():
            yield from _head(name, told, "counter")
            yield f"{name} {self._sum(self._places[name])}"
        for name, told in GAUGES.items():
            yield from _head(name, told, "gauge")
            for worker, row in enumerate(self._board.rows()):
                value = row[self._places[name]]
                if name == _LAG and value:
                    value = round(time.monotonic() - value, 3)
                yield f'{name}{{worker="{worker}"}} {_spelt(value)}'
        yield from _head("indicia_responses_total", "Answers by status.", "counter")
        for status in (*STATUSES, OTHER):
            yield f'indicia_responses_total{{status="{status}"}} {self._sum(self._places[status])}'
        yield from _head("indicia_request_seconds", "From a request to the end of its answer.", "histogram")
        for route in self._latencies:
            yield from self._histogram(route)
        yield from _head("indicia_workers", "Worker processes of this service.", "gauge")
        yield f"indicia_workers {self._board.workers}"
        yield from _head("indicia_worker_restarts_total", "Workers that died and were replaced.", "counter")
        yield f"indicia_worker_restarts_total {self._board.restarts}"

    def _histogram(self, route: str) -> Iterator[str]:
        first, below = self._latencies[route], 0.0
        if not any(row[first + at] for row in self._board.rows() for at in range(len(BUCKETS))):
            return
        for at, bound in enumerate(BUCKETS):
            below += sum(row[first + at] for row in self._board.rows())
            yield f'indicia_request_seconds_bucket{{route="{route}",le="{_bound(bound)}"}} {_spelt(below)}'
        yield f'indicia_request_seconds_sum{{route="{route}"}} {self._sum(first + len(BUCKETS))}'
        yield f'indicia_request_seconds_count{{route="{route}"}} {_spelt(below)}'

    def _sum(self, place: int) -> str:
        return _spelt(sum(row[place] for row in self._board.rows()))


def _of_outputs(backlogs: Sequence[Backlog]) -> Iterator[str]:
    """By number, which says nothing of whose an output is."""
    now = datetime.now(UTC)
    lags = [max(0.0, (now - one.oldest).total_seconds()) if one.oldest else 0.0 for one in backlogs]
    for name, told, values in (
        ("indicia_output_backlog", "Messages that wait to be sent.", [one.waiting for one in backlogs]),
        ("indicia_output_lag_seconds", "How long the oldest message has waited.", lags),
        ("indicia_output_dead", "Messages that were given up and are kept.", [one.dead for one in backlogs]),
    ):
        yield from _head(name, told, "gauge")
        for one, value in zip(backlogs, values, strict=True):
            yield f'{name}{{output="{one.output_id}"}} {_spelt(round(value, 3))}'


def _of_delivering(who: str) -> Iterator[str]:
    host, _, process = who.rpartition(":")
    yield from _head("indicia_outputs_turn", "1 for the process of all hosts that delivers.", "gauge")
    if who:
        yield f'indicia_outputs_turn{{host="{host}",process="{process}"}} 1'


def _of_sources(sources: Sequence[Arrived]) -> Iterator[str]:
    """Of those that keep their messages themselves; by number, which says nothing of what they are."""
    now = datetime.now(UTC)
    known = [one for one in sources if one.behind is not None and one.behind_at is not None]
    for name, told, values in (
        ("indicia_source_behind", "Messages that wait at a source.", [one.behind for one in known]),
        (
            "indicia_source_asked_seconds",
            "Since when nobody has asked a source how many wait.",
            [max(0.0, (now - (one.behind_at or now)).total_seconds()) for one in known],
        ),
    ):
        yield from _head(name, told, "gauge")
        for one, value in zip(known, values, strict=True):
            yield f'{name}{{source="{one.number}"}} {_spelt(round(value or 0, 3))}'


def _head(name: str, told: str, kind: str) -> Sequence[str]:
    return f"# HELP {name} {told}", f"# TYPE {name} {kind}"


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else f"{bound:g}"


def _spelt(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
