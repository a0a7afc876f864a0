"""The overview: how much happens, what is open, what is in force, who sends, and what to do first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import Response

from indicia.messages import Backlog, Output
from indicia.model import MACHINE_LIMIT, AlertStatus, Severity
from indicia.store import Held, Tally, Top
from indicia.web.portal import charts
from indicia.web.portal.charts import Bar, Column, Series
from indicia.web.portal.kept import Figures
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.rendering import number, shown
from indicia.web.portal.visit import HOME, Visit

TOP = 7
"""Things of each list."""
SOURCES = 8
"""Sources that are shown; the others are a number."""
LATE = timedelta(hours=1)
"""A source whose last event was older than this when it came is late."""
SECONDS = 30
"""Between two refreshes."""
SOON = 2
"""Seconds until it is asked again for what is not counted yet."""
NAME = 80
"""Characters of a name in a list."""
SEVERITIES = tuple(reversed(Severity))
_MINUTE = "%Y-%m-%dT%H:%M"
OPEN = (AlertStatus.NEW, AlertStatus.IN_PROGRESS)


class Period(NamedTuple):
    """How far back the overview looks."""

    name: str
    label: str
    spans: int
    hours: int
    """Of a span."""
    word: str
    """For a span."""


PERIODS = (
    Period("24h", "24 hours", 24, 1, "hour"),
    Period("7d", "7 days", 7, 24, "day"),
    Period("30d", "30 days", 30, 24, "day"),
)


@dataclass(frozen=True, slots=True)
class Spans:
    """The spans of a period up to now, each with what was recorded in it."""

    begins: Sequence[datetime]
    tallies: Mapping[datetime, Mapping[Severity, Tally]]

    def counts(self, name: str, begin: datetime) -> list[int]:
        """Of a span `alerts`, `detections` or `silent` by severity, the gravest last."""
        found = self.tallies.get(begin, {})
        return [getattr(found[one], name) if one in found else 0 for one in Severity]

    def total(self, name: str, severity: Severity | None = None) -> int:
        """Of all spans."""
        return sum(
            getattr(tally, name)
            for by_severity in self.tallies.values()
            for one, tally in by_severity.items()
            if severity in (None, one)
        )


def dashboard(visit: Visit) -> Response:
    """GET /portal/"""
    period = next((one for one in PERIODS if one.name == visit.query("period")), PERIODS[1])
    context = _context(visit, period, datetime.now(UTC))
    if visit.partial:
        return visit.part("dashboard.html", "figures", **context)
    return visit.page("dashboard.html", 200, **context)


def _context(visit: Visit, period: Period, now: datetime) -> dict[str, object]:
    overview, counts = visit.tenant.overview, visit.tenant.counts()
    spans = _spans(visit, period, now)
    state = overview.state()
    kept = visit.portal.kept
    uid = visit.tenant.uid
    top = kept.ask((uid, "top", period.name), state, lambda: overview.top(spans.begins[0], TOP))
    held = kept.ask((uid, "held"), state.generation, lambda: overview.held(now))
    sources = overview.sources()
    settled = top is not None and held is not None
    return {
        "period": period,
        "periods": [(one.label, _url(one)) for one in PERIODS],
        "here": _url(period),
        "every": SECONDS if settled else SOON,
        "now": now,
        "counts": counts,
        "steps": _steps(visit, seen=bool(sources) or counts.detections > 0),
        "empty": not (counts.indicators or counts.alerts or counts.detections or sources),
        "open": _open(overview.open()),
        "severities": SEVERITIES,
        "recorded": spans,
        "alerts_chart": _chart("alerts", f"Alerts opened by {period.word}", period, spans, linked=True),
        "detections_chart": _chart("detections", f"Detections by {period.word}", period, spans),
        "hourly": spans.total("detections") / (period.spans * period.hours),
        "spark": charts.sparkline(
            f"Alerts opened by {period.word}, {period.label}",
            [sum(spans.counts("alerts", begin)) for begin in spans.begins],
        ),
        "top": _top(top, spans.begins[0]),
        "held": held,
        "totals": _totals(held),
        "generation": _generation(visit),
        "sources": sources[:SOURCES],
        "more_sources": max(0, len(sources) - SOURCES),
        "late": LATE,
        "outputs": _outputs(visit),
        "storms": overview.storms(now, 3),
        "suppressions": overview.suppressions(now),
    }


def _url(period: Period) -> str:
    return f"{HOME}?period={period.name}"


def _spans(visit: Visit, period: Period, now: datetime) -> Spans:
    step = timedelta(hours=period.hours)
    last = now.replace(minute=0, second=0, microsecond=0)
    last = last if period.hours == 1 else last.replace(hour=0)
    begins = [last - step * back for back in reversed(range(period.spans))]
    found: dict[datetime, dict[Severity, Tally]] = {}
    for tally in visit.tenant.overview.recorded(begins[0], period.hours):
        found.setdefault(tally.begin, {})[tally.severity] = tally
    return Spans(begins, found)


# First steps


class Step(NamedTuple):
    """One of the things to do first."""

    title: str
    text: str
    done: bool
    links: tuple[tuple[str, str], ...]
    """Text and path of what does it, as far as there is such a page for this person."""


def _steps(visit: Visit, *, seen: bool) -> list[Step]:
    """What is to be done first; nothing once all of it is done."""
    there = {entry.path for _, entries in visit.navigation for entry in entries}

    def links(*wanted: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        return tuple((text, path) for text, path in wanted if path in there)

    steps = [
        Step(
            "Set up threat intel",
            "An application with a secret lets your scripts and SIEM write indicators and fetch alerts.",
            any(one.revoked_at is None and one.secrets for one in visit.tenant.applications()),
            links(("Threat intel", "/portal/settings/threat-intel")),
        ),
        Step(
            "Add indicators",
            "Paste a report, upload a list, or write alert definitions by hand.",
            visit.tenant.counts().indicators > 0,
            links(
                ("Paste", "/portal/paste"),
                ("Upload", "/portal/upload"),
                ("Definitions", "/portal/definitions"),
            ),
        ),
        Step(
            "Send events, or scan a log",
            "Let a log shipper send to this service, run “indicia watch”, or scan a file here.",
            seen,
            links(("Scan", "/portal/scan")),
        ),
    ]
    return [] if all(step.done for step in steps[1:]) else steps


# Charts and lists


def _chart(kind: str, title: str, period: Period, spans: Spans, *, linked: bool = False) -> Markup:
    step = timedelta(hours=period.hours)
    short, whole = ("%H:%M", "%Y-%m-%d %H:%M") if period.hours == 1 else ("%d %b", "%Y-%m-%d")
    found = [
        Column(
            begin.strftime(short),
            begin.strftime(whole),
            spans.counts(kind, begin),
            _alerts_of(begin, begin + step) if linked else "",
        )
        for begin in spans.begins
    ]
    series = [Series(str(one), f"severity-{one.lower()}") for one in Severity]
    return charts.columns(f"chart-{kind}", title, series, found)


def _alerts_of(begin: datetime, end: datetime) -> str:
    """The alerts that were opened in a span."""
    times = {"opened-from": begin, "opened-to": end}
    query = {name: time.strftime(_MINUTE) for name, time in times.items()}
    return f"/portal/alerts?{urlencode({'status': 'all', **query})}"


def _open(found: Mapping[tuple[AlertStatus, Severity], int]) -> dict[str, object]:
    """Open alerts as rows of a table, with links, and their sum."""
    rows = [(one, [(status, found.get((status, one), 0)) for status in OPEN]) for one in SEVERITIES]
    grave = sum(count for (_, severity), count in found.items() if severity is Severity.HIGH)
    return {"rows": rows, "statuses": OPEN, "total": sum(found.values()), "high": grave}


def _top(top: Figures[Top] | None, begin: datetime) -> dict[str, object] | None:
    """The lists of what alerts are about, as HTML."""
    if top is None:
        return None
    made = top.made
    definitions = [
        Bar(
            _plain(one.name),
            count,
            _alerts_with("definition", str(one.id), begin),
            str(one.severity),
            f"severity-{one.severity.lower()}",
        )
        for one, count in made.definitions
    ]
    lists = {
        "definitions": charts.bars(definitions, "alerts"),
        "machines": charts.bars(_bars("machine", made.machines, begin), "alerts"),
        "values": charts.bars(_bars("value", made.values, begin), "alerts"),
    }
    return {"lists": lists, "any": bool(made.definitions), "at": top.at, "current": top.current}


def _bars(name: str, found: Sequence[tuple[str, int]], begin: datetime) -> list[Bar]:
    return [Bar(_plain(text), count, _alerts_with(name, text, begin), mono=True) for text, count in found]


def _alerts_with(name: str, text: str, begin: datetime) -> str:
    """The alerts since a time that a filter keeps; none for a text that is longer than a filter may be."""
    if len(text) > MACHINE_LIMIT:
        return ""
    query = {"status": "all", name: text, "opened-from": begin.strftime(_MINUTE)}
    return f"/portal/alerts?{urlencode(query)}"


def _plain(text: str) -> Markup:
    """A name from outside, cut, with what cannot be seen made visible."""
    return shown(text, NAME)


# What is in force


def _totals(held: Figures[list[Held]] | None) -> dict[str, str]:
    if held is None:
        return {}
    names = ("enabled", "disabled", "expired", "expiring")
    return {name: number(sum(getattr(one, name) for one in held.made)) for name in names}


def _generation(visit: Visit) -> dict[str, object]:
    """The generation in force in the process that answers, and the store's."""
    live = visit.portal.live.loaded_of(visit.tenant)
    stored = visit.tenant.generation()
    here = live.view.generation if live is not None else None
    return {"stored": stored, "here": here, "current": here is not None and here >= stored}


def _outputs(visit: Visit) -> list[tuple[Output, Backlog | None]]:
    outbox = visit.tenant.outbox
    backlogs = {one.output_id: one for one in outbox.backlogs()}
    return [(one, backlogs.get(one.id)) for one in outbox.outputs()]


PAGES: tuple[Page, ...] = (Page("GET", HOME, dashboard, Role.READER),)
