"""Why an indicator meets an event, or does not: a stored one, one that is typed, or all that are in force."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from starlette.responses import Response

from indicia.detect import detect
from indicia.errors import IndiciaError, InputError, InvalidValue, NotFound
from indicia.explain import Explanation, Place, event_of_value, explain, read_event
from indicia.feeds import make
from indicia.feeds.rows import FeedRow, function_of, type_of
from indicia.match import Matcher, ReferenceMatcher
from indicia.model import VALUE_LIMIT, DetectionFunction, Event, Indicator, IndicatorType
from indicia.telemetry import Source, again
from indicia.values import guess_type, refang
from indicia.web.portal.intel.indicators import INDICATORS
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.visit import Visit

TRY = "/portal/try"
LIMIT = 1024 * 1024
"""Bytes of an event."""
MOST = 20
"""Indicators in force that are explained."""
KEPT = 500
"""Kept events that are looked at for what an indicator would have met."""
SECONDS = 2.0
"""For how long."""
MACHINES = 20
SHOWN = 100
"""Values of an event that are listed."""
_NAMES = ("event", "indicator", "value", "type", "function")


class Answer(NamedTuple):
    """What comes of a try."""

    event: Event
    explained: Sequence[Explanation]
    more: int
    """Indicators in force that are met beside those."""
    whole: bool
    """Whether all that are in force were asked."""


def box(visit: Visit) -> Response:
    """GET /portal/try, with `?indicator=17` to be tried"""
    return _page(visit, {"indicator": visit.query("indicator")})


def run(visit: Visit) -> Response:
    """POST /portal/try"""
    given = {name: visit.form.one(name) for name in _NAMES}
    try:
        return _page(visit, given, answer=_answer(visit, given))
    except (InputError, NotFound) as error:
        return _page(visit, given, error)


def _answer(visit: Visit, given: dict[str, str]) -> Answer:
    event, places = _event(given["event"])
    wanted = _indicator(visit, given)
    uid = visit.tenant.uid
    if wanted is not None:
        return Answer(event, [explain(event, wanted, tenant=uid, places=places)], 0, whole=False)
    met = detect(event, _matcher(visit), uid)
    some = [explain(event, one.indicator, tenant=uid, places=places) for one in met[:MOST]]
    return Answer(event, some, max(0, len(met) - MOST), whole=True)


def _matcher(visit: Visit) -> Matcher:
    """Of all that is in force now."""
    following = visit.portal.live.of(visit.portal.store.tenant(visit.tenant.uid))
    following.refresh()
    return following.view.engine()[0]


class Reach(NamedTuple):
    """What of the kept events an indicator would have met."""

    looked_at: int
    unreadable: int
    """Kept events that cannot be read again, as those that were cut."""
    met: int
    silent: int
    """Of those, the ones that would open no alert."""
    machines: Sequence[tuple[str, int]]
    """The machines with the most, and how many events each."""
    late: bool
    """Whether the time was over before all were looked at."""


def reach(visit: Visit) -> Response:
    """GET /portal/indicators/{id}/reach: what of the past it would have met, as far as that was kept."""
    found = visit.tenant.indicator(visit.at("id"))
    return visit.page("reach.html", found=found, reach=_reach(visit, found), most=KEPT)


def _reach(visit: Visit, found: Indicator) -> Reach:
    asked = replace(found, enabled=True, definition=replace(found.definition, enabled=True))
    matcher, end = ReferenceMatcher([asked]), time.monotonic() + SECONDS
    machines: Counter[str] = Counter()
    looked = unreadable = silent = 0
    late = False
    for kept in visit.tenant.catalogue.kept_events(KEPT):
        if time.monotonic() > end:
            late = True
            break
        looked += 1
        try:
            met = detect(again(kept.text, kept.source, kept.schema)[0], matcher)
        except InputError:
            unreadable += 1
            continue
        if met:
            machines[kept.machine] += 1
            silent += not any(one.raises for one in met)
    return Reach(looked, unreadable, machines.total(), silent, machines.most_common(MACHINES), late)


def _event(text: str) -> tuple[Event, list[Place]]:
    """The event of a text; a single word is a value, as if it stood in a field that means it. InputError."""
    whole = text.strip()
    if not whole:
        raise InvalidValue("paste an event: a JSON object, a line of a log, or a value alone", target="event")
    data = whole.encode("utf-8", "replace")
    if len(data) > LIMIT:
        raise InvalidValue(f"has more than {LIMIT // 1024:,} KiB; paste one event", target="event")
    if " " not in whole and "\n" not in whole and whole[0] not in "{[<":
        return event_of_value(whole), []
    try:
        return read_event(Source("pasted", held=data))
    except InputError as error:
        raise InvalidValue(error.message, target="event") from None


def _indicator(visit: Visit, given: dict[str, str]) -> Indicator | None:
    """The one that is meant; None: all that are in force. InvalidValue, NotFound."""
    number, value = given["indicator"].strip(), given["value"].strip()
    if number:
        if not (number.isascii() and number.isdecimal() and len(number) <= 18):
            raise InvalidValue("must be the number of an indicator", target="indicator")
        return visit.tenant.indicator(int(number))
    if not value:
        return None
    if len(value) > VALUE_LIMIT:
        raise InvalidValue(f"has at most {VALUE_LIMIT:,} characters", target="value")
    plain = refang(value)
    try:
        kind = type_of(given["type"]) if given["type"] else guess_type(plain)
        function = function_of(given["function"] or "Equals")
    except ValueError as error:
        raise InvalidValue(str(error), target="type") from None
    if kind is None:
        raise InvalidValue("looks like no indicator; choose its type", target="type")
    try:
        return make.indicator(FeedRow(0, kind, plain, function), make.NOBODY, make.Choice())[0]
    except InvalidValue as error:
        raise InvalidValue(error.message, target="value") from None


def _page(
    visit: Visit, given: dict[str, str], fault: IndiciaError | None = None, answer: Answer | None = None
) -> Response:
    shown = {**dict.fromkeys(_NAMES, ""), **given}
    return visit.page(
        "try.html",
        200 if fault is None else fault.status,
        given=shown,
        fault=fault,
        answer=answer,
        shown=SHOWN,
        types=[str(one) for one in IndicatorType],
        functions=[str(one) for one in DetectionFunction],
    )


PAGES: tuple[Page, ...] = (
    Page("GET", TRY, box, Role.READER),
    Page("POST", TRY, run, Role.READER),
    Page("GET", f"{INDICATORS}/{{id:int}}/reach", reach, Role.READER),
)
