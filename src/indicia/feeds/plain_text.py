"""Free text, as a report, a mail or a web page: whatever stands inside it and looks like an indicator.

The text is refanged (`hxxp`, `[.]`, `(dot)`, `{dot}`, `[:]//` …). Of values that stand inside one another the
longest counts: of `http://evil.example/a.exe` the URL, and neither its host nor its file name. A domain
must end in a public top-level domain, and a file name in a usual extension, or every `i.e.` would be one.
Of a mail address nothing counts: its domain is most often that of a provider.
Each value is given once, with the line on which it stands first. A text without any has no faults: look at
what would be imported with `--dry-run`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from indicia.feeds.lines import Line
from indicia.feeds.rows import FeedFault, FeedRow
from indicia.mentions import Mention, mentions
from indicia.model import IndicatorType
from indicia.values import canonical, guess_type, network, refang

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

REMEMBERED = 1_000_000
"""Values by which repeats are known."""
_MAIL = re.compile(r"[\w.+%-]{1,64}@[\w-]+(?:\.[\w-]+)+")


def fits(_head: Sequence[str]) -> bool:
    """Everything is a text."""
    return True


def rows(lines: Iterable[Line]) -> Iterator[FeedRow | FeedFault]:
    """One row for each value."""
    seen: set[tuple[IndicatorType, str]] = set()
    for line in lines:
        if line.fault:
            yield FeedFault(line.number, line.fault)
            continue
        for kind, value in _values(refang(line.text)):
            key = kind, canonical(kind, value) or value
            if key not in seen:
                if len(seen) < REMEMBERED:
                    seen.add(key)
                yield FeedRow(line.number, kind, value)


def _values(text: str) -> Iterator[tuple[IndicatorType, str]]:
    end = 0
    mails = [found.span() for found in _MAIL.finditer(text)] if "@" in text else []
    for found in sorted(mentions(text), key=lambda mention: (mention.start, -mention.end)):
        if found.start < end or any(start <= found.start and found.end <= stop for start, stop in mails):
            continue
        kind = _kind(found)
        if kind is not None:
            end = found.end
            yield kind, found.text


def _kind(found: Mention) -> IndicatorType | None:
    kind = guess_type(found.text)
    if kind is IndicatorType.DOMAIN_NAME and not _is_public(found.value):
        return None
    if kind is IndicatorType.IP_ADDRESS and "/" in found.text and network(found.text) is None:
        return None
    return kind


@cache
def _suffixes() -> PublicSuffixList:
    # Reading the list takes a tenth of a second, and most runs never ask.
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415

    return PublicSuffixList(accept_unknown=False)


def _is_public(name: str) -> bool:
    return _suffixes().publicsuffix(name) is not None
