"""Times as options take them: a moment, a date, or how long ago."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click

_AGO = re.compile(r"(\d{1,6})\s*([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Time:
    """A time as it was written, and the moment that it was when it was read."""

    text: str
    moment: datetime


def time_of(_context: click.Context, _option: click.Parameter, given: str | None) -> Time | None:
    """For `callback=` of an option. Raises BadParameter that says what a time looks like."""
    from indicia.feeds import rows

    if given is None:
        return None
    text = given.strip()
    try:
        if ago := _AGO.fullmatch(text):
            return Time(text, datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
        return Time(text, rows.time_of(text))
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{error}, a date as 2030-01-31, or how long ago as 7d, 12h, 30m") from None


def end_of(_context: click.Context, _option: click.Parameter, given: str | None) -> Time | None:
    """As `time_of`, of a time ahead: a date, or in how long."""
    from indicia.feeds import rows

    if given is None:
        return None
    text = given.strip()
    try:
        if ahead := _AGO.fullmatch(text):
            return Time(text, datetime.now(UTC) + timedelta(**{_UNITS[ahead[2]]: int(ahead[1])}))
        return Time(text, rows.time_of(text))
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{error}, a date as 2030-01-31, or in how long as 30d, 12h") from None


end_option = click.option(
    "--until",
    metavar="TIME",
    required=True,
    callback=end_of,
    help="When it ends: a date, or in how long, as 30d.",
)
