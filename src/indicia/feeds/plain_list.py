"""A plain list: one value a line; the type is guessed from the value.

    # a comment
    evil[.]example            # what stands behind a blank and `#` is a comment too
    hxxps://evil[.]example/x.exe
    198.51.100.7<TAB>C2       what stands behind a value and a TAB is a remark
    0.0.0.0 evil.example      of hosts files the name counts; `localhost` and its like are left out

Values are refanged (`values.refang`). A line that looks like no indicator has a fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from indicia.feeds.lines import Line
from indicia.feeds.rows import FeedFault, FeedRow
from indicia.values import guess_type, refang

_COMMENT = re.compile(r"(?:^|\s)(?:#|//|;).*$")
_HOSTS = re.compile(r"(?:0\.0\.0\.0|127\.0\.0\.1|255\.255\.255\.255|[0-9a-f:]*::[0-9a-f%:lo]*)\s+(\S+)")
_OWN_NAMES = frozenset({"localhost", "localhost.localdomain", "local", "broadcasthost", "0.0.0.0"})  # noqa: S104
SHARE = 0.8
"""Of the lines that one looks at, how many must be values."""


def fits(head: Sequence[str]) -> bool:
    """Whether nearly all lines are a value each."""
    texts = [text for line in head if (text := _value(line))]
    values = sum(" " not in text and guess_type(text) is not None for text in texts)
    return bool(texts) and values >= SHARE * len(texts)


def rows(lines: Iterable[Line]) -> Iterator[FeedRow | FeedFault]:
    """One row for each line that is no comment."""
    for line in lines:
        if line.fault:
            yield FeedFault(line.number, line.fault)
            continue
        value = _value(line.text)
        if not value:
            continue
        kind = guess_type(value)
        if kind is None:
            yield FeedFault(line.number, f"{value[:60]!r} looks like no indicator")
        else:
            yield FeedRow(line.number, kind, value)


def _value(text: str) -> str:
    """The value of a line; empty where it holds a comment, or a machine's own names, only."""
    text = refang(_COMMENT.sub("", text)).strip().strip("\"',")
    if " " not in text and "\t" not in text:
        return text
    if hosts := _HOSTS.fullmatch(text):
        own = hosts[1] in _OWN_NAMES or hosts[1].startswith("ip6-")
        return "" if own else hosts[1]
    first, tab, _ = text.partition("\t")
    first = first.strip().strip("\"',")
    return first if tab and guess_type(first) is not None else text
