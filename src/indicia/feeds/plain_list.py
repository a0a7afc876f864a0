"""A plain list: one value a line; the type is guessed from the value.

    # a comment
    evil[.]example            # what stands behind a blank and `#` is a comment too
    hxxps://evil[.]example/x.exe
    0.0.0.0 evil.example      of hosts files the name counts

Values are refanged (`values.refang`). A line that looks like no indicator has a fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from indicia.feeds.lines import Line
from indicia.feeds.rows import FeedFault, FeedRow
from indicia.values import guess_type, refang

_COMMENT = re.compile(r"(?:^|\s)(?:#|//|;).*$")
_HOSTS = re.compile(r"(?:0\.0\.0\.0|127\.0\.0\.1|::1?)\s+(\S+)")
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
    """The value of a line; empty where it holds a comment only."""
    text = refang(_COMMENT.sub("", text)).strip().strip("\"',")
    hosts = _HOSTS.fullmatch(text)
    return hosts[1] if hosts else text
