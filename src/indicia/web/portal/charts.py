"""Charts as HTML that the server makes: columns over time, lists with bars, and lines in a word's size.

Pure functions: figures in, `Markup` out. Texts are escaped here and nothing else is done to them, so callers
cut what is long and show what is invisible. No chart needs JavaScript or a style of its own: shapes have
classes, whose colours `portal.css` gives in light and dark, and every figure is in a table as well.

Links inside of a drawing are for the pointer; who uses the keyboard finds the same ones in the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 600, 160
"""Of the drawing, in units of its own; it is as wide as there is room."""
_GAP = 0.22
"""Of the width of a column."""
_LEAST = 2.0
"""Height of the smallest value that is not 0, so that it is seen beside a huge one."""
_LABELS = 7
"""Of columns that are named below the drawing, at the most."""
_LINES = 4
"""Of the grid, about."""


class Series(NamedTuple):
    """One of the kinds that a column is stacked from."""

    name: str
    kind: str
    """The class of its shapes."""


class Column(NamedTuple):
    """A span of time and what was counted in it."""

    label: str
    """Short, for the axis."""
    title: str
    """Whole, for the table and the pointer."""
    counts: Sequence[int]
    """Of each series."""
    href: str = ""
    """The list behind it."""


class Bar(NamedTuple):
    """A thing and its number."""

    label: str
    number: int
    href: str = ""
    note: str = ""
    """What stands behind the label, smaller."""
    kind: str = ""
    """The class of its shape."""
    mono: bool = False
    """Whether the label is a value."""


def columns(name: str, title: str, series: Sequence[Series], found: Sequence[Column]) -> Markup:
    """Stacked columns, with a legend and the table. `name` makes ids and is unique on its page."""
    top = _nice(max((sum(column.counts) for column in found), default=0))
    drawn = Markup("").join(_column(column, at, len(found), series, top) for at, column in enumerate(found))
    step = max(1, -(-len(found) // _LABELS))
    ticks = _join("<span>{}</span>", ((column.label,) for column in found[::step]))
    legend = _join('<li><i class="{}"></i>{}</li>', ((one.kind, one.name) for one in series))
    return Markup(
        '<figure class="chart" aria-labelledby="{id}-title"><div class="plot"><span class="most">{top}</span>'
        '<svg role="group" aria-labelledby="{id}-title {id}-desc" viewBox="0 0 {width} {height}" '
        'preserveAspectRatio="none"><title id="{id}-title">{title}</title><desc id="{id}-desc">{desc}</desc>'
        '{grid}{drawn}</svg></div><div class="axis{each}" aria-hidden="true">{ticks}</div>'
        '<figcaption><ul class="legend">{legend}</ul></figcaption>{table}</figure>'
    ).format(
        id=name,
        top=f"{top:,}",
        width=WIDTH,
        height=HEIGHT,
        title=title,
        desc=_described(series, found),
        grid=_grid(),
        drawn=drawn,
        each=" each" if step == 1 else "",
        ticks=ticks,
        legend=legend,
        table=_table(title, series, found),
    )


def bars(found: Sequence[Bar], noun: str) -> Markup:
    """A list, longest bar for the largest number; `noun` is what is counted, for who does not see it."""
    most = max((bar.number for bar in found), default=0)
    return Markup('<ol class="bars">{}</ol>').format(Markup("").join(_bar(bar, most, noun) for bar in found))


def sparkline(title: str, counts: Sequence[int]) -> Markup:
    """A line of numbers in order, without an axis; the title says what it shows."""
    most = max(counts, default=0) or 1
    step = 100 / max(1, len(counts) - 1)
    points = " ".join(f"{at * step:.1f},{22 - 20 * count / most:.1f}" for at, count in enumerate(counts))
    return Markup(
        '<svg class="sparkline" role="img" aria-label="{title}" viewBox="0 0 100 24" '
        'preserveAspectRatio="none"><title>{title}</title><polyline points="{points}"/></svg>'
    ).format(title=title, points=points or "0,22 100,22")


def _column(column: Column, at: int, many: int, series: Sequence[Series], top: int) -> Markup:
    wide = WIDTH / many
    left, width = at * wide + wide * _GAP / 2, wide * (1 - _GAP)
    shapes, bottom = [], float(HEIGHT)
    for one, count in zip(series, column.counts, strict=True):
        if count:
            high = max(_LEAST, HEIGHT * count / top)
            bottom = max(0.0, bottom - high)
            shapes.append(_rect(one.kind, left, bottom, width, high))
    # Over the whole height, so that a low column is as easily met by the pointer as a high one.
    shapes.append(_rect("hit", at * wide, 0, wide, HEIGHT))
    whole = f"{column.title}: {_words(column, series)}"
    inner = Markup("<title>{}</title>{}").format(whole, Markup("").join(shapes))
    if not column.href or not sum(column.counts):
        return Markup("<g>{}</g>").format(inner)
    link = Markup('<a href="{}" tabindex="-1" aria-label="{}">{}</a>')
    return link.format(column.href, whole, inner)


def _rect(kind: str, left: float, top: float, width: float, height: float) -> Markup:
    # There are hundreds of them, and Markup.format takes ten times as long.
    size = f'x="{left:.5g}" y="{top:.5g}" width="{width:.5g}" height="{height:.5g}"'
    return Markup(f'<rect class="{escape(kind)}" {size}/>')  # noqa: S704 - the rest is numbers


def _grid() -> Markup:
    heights = ((HEIGHT * line / _LINES,) for line in range(_LINES))
    return _join('<line class="grid" x1="0" x2="600" y1="{0:g}" y2="{0:g}"/>', heights)


def _words(column: Column, series: Sequence[Series]) -> str:
    parts = [f"{count:,} {one.name}" for one, count in zip(series, column.counts, strict=True) if count]
    return ", ".join(parts) or "none"


def _described(series: Sequence[Series], found: Sequence[Column]) -> str:
    """The drawing in a sentence."""
    total = sum(sum(column.counts) for column in found)
    if not total:
        return "There is nothing in this period."
    best = max(found, key=lambda column: sum(column.counts))
    sums = [sum(column.counts[at] for column in found) for at in range(len(series))]
    parts = ", ".join(f"{count:,} {one.name}" for one, count in zip(series, sums, strict=True) if count)
    return f"{total:,} in all: {parts}. Most in {best.title}, {sum(best.counts):,}."


def _table(title: str, series: Sequence[Series], found: Sequence[Column]) -> Markup:
    head = _join('<th scope="col" class="number">{}</th>', ((one.name,) for one in series))
    body = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            _link(column.title, column.href if sum(column.counts) else ""),
            _join('<td class="number">{}</td>', ((f"{count:,}",) for count in column.counts)),
        )
        for column in found
    )
    return Markup(
        '<details class="figures"><summary>As a table</summary><div class="wide" tabindex="0" role="region" '
        'aria-label="{title}"><table><caption>{title}</caption><thead><tr><th scope="col">Time (UTC)</th>'
        "{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    ).format(title=title, head=head, body=body)


def _bar(bar: Bar, most: int, noun: str) -> Markup:
    width = max(1.0, 100 * bar.number / most) if bar.number and most else 0.0
    note = Markup(' <span class="note">{}</span>').format(bar.note) if bar.note else ""
    return Markup(
        '<li><span class="label{mono}">{label}{note}</span><span class="count">{count}'
        '<span class="unseen"> {noun}</span></span>'
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rail" width="100" height="4"/><rect class="{kind}" width="{width:.4g}" height="4"/>'
        "</svg></li>"
    ).format(
        mono=" mono" if bar.mono else "",
        label=_link(bar.label, bar.href),
        note=note,
        count=f"{bar.number:,}",
        noun=noun,
        kind=bar.kind or "plain",
        width=width,
    )


def _link(text: str, href: str) -> Markup:
    return Markup('<a href="{}">{}</a>').format(href, text) if href else escape(text)


def _join(shape: str, rows: Iterable[tuple[object, ...]]) -> Markup:
    return Markup("").join(Markup(shape).format(*row) for row in rows)  # noqa: S704 - the shapes are ours


def _nice(most: int) -> int:
    """The least of 1, 2, 4, 5, 8, 10, 20, … that is not below: all of them are round quarters or halves."""
    if most <= 1:
        return 1
    unit = 1
    while unit * 10 < most:
        unit *= 10
    return next(step * unit for step in (1, 2, 4, 5, 8, 10) if step * unit >= most)
