"""Templates to HTML. Everything is escaped; a name that a template lacks is a fault, not an empty place."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

FOLDER = Path(__file__).parent
SHOWN = 500
"""Characters of a text from outside that are shown unless a page asks for more."""
_MARKED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""What steers a terminal, turns the direction of writing, or cannot be seen."""
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Static:
    """A file of `static/`."""

    content: bytes
    packed: bytes
    """The same, by gzip."""
    media_type: str
    digest: str


class Renderer:
    """The templates and static files of the package, read once."""

    def __init__(self) -> None:
        self.files = {
            path.name: _static(path)
            for path in sorted((FOLDER / "static").iterdir())
            if path.suffix in _TYPES
        }
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {
            "shown": shown,
            "stamp": stamp,
            "number": number,
            "ago": ago,
            "span": span,
            "bytes": size,
        }
        self._environment.globals["static"] = self.url_of
        self._environment.globals["ui"] = self._environment.get_template("components.html").module

    def warm(self) -> None:
        """Compile every template, of which the first look at its page would take tens of milliseconds."""
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    def page(self, template: str, context: Mapping[str, object]) -> str:
        """The HTML of a template."""
        return self._environment.get_template(template).render(context)

    def part(self, template: str, block: str, context: Mapping[str, object]) -> str:
        """The HTML of one block of a template alone."""
        found = self._environment.get_template(template)
        return "".join(found.blocks[block](found.new_context(dict(context))))

    def url_of(self, name: str) -> str:
        """Where a static file is; another content has another URL, so that it can be kept for good."""
        return f"/portal/static/{self.files[name].digest}/{name}"


def _static(path: Path) -> Static:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Static(content, gzip.compress(content, mtime=0), _TYPES[path.suffix], digest)


def shown(text: object, most: int = SHOWN) -> Markup:
    """A text from outside: what cannot be seen is marked by its number, and a long one is cut.

    Line ends and tabs stay what they are.
    """
    whole = str(text)
    parts: list[Markup | str] = []
    begin = 0
    kept = whole[:most]
    for found in _MARKED.finditer(kept):
        parts.append(escape(kept[begin : found.start()]))
        parts.append(Markup('<span class="mark">U+{:04X}</span>').format(ord(found[0])))
        begin = found.end()
    parts.append(escape(kept[begin:]))
    if len(whole) > most:
        more = Markup('<span class="cut">… {:,} more characters</span>')
        parts.append(more.format(len(whole) - most))
    return Markup("").join(parts)


def stamp(time: datetime | None, *, seconds: bool = False) -> Markup:
    """A time in UTC as `2026-11-25 08:31`; nothing for None."""
    if time is None:
        return Markup("")
    utc = time.astimezone(UTC)
    text = utc.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
    return Markup('<time datetime="{}">{}</time>').format(utc.strftime("%Y-%m-%dT%H:%M:%SZ"), text)


def number(value: int | float | None) -> str:
    """A number with its thousands apart: `1,000,000`; nothing for None."""
    return "" if value is None else f"{value:,}"


_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))


def ago(time: datetime | None, now: datetime | None = None) -> Markup:
    """How long ago, or how far ahead, in the largest whole unit; the time itself as a title."""
    if time is None:
        return Markup("")
    utc = time.astimezone(UTC)
    words = _distance((now or datetime.now(UTC)) - utc)
    texts = (utc.strftime("%Y-%m-%dT%H:%M:%SZ"), utc.strftime("%Y-%m-%d %H:%M:%S UTC"), words)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(*texts)


def _distance(passed: timedelta) -> str:
    seconds = abs(passed.total_seconds())
    for unit, length in _UNITS:
        if seconds >= length:
            count = int(seconds // length) if passed > timedelta() else round(seconds / length)
            told = f"{count:,} {unit}{'' if count == 1 else 's'}"
            return f"{told} ago" if passed > timedelta() else f"in {told}"
    return "just now" if passed >= timedelta() else "within a minute"


def size(count: int) -> str:
    """Bytes in the largest unit that gives at least one: `1.5 MiB`."""
    value, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:,.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:,.1f} {unit}"


def span(length: timedelta) -> str:
    """A span of time in its largest whole unit: `3 minutes`."""
    seconds = abs(length.total_seconds())
    for unit, one in (*_UNITS, ("second", 1)):
        if seconds >= one:
            count = int(seconds // one)
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return "none"


Context = Mapping[str, Any]
