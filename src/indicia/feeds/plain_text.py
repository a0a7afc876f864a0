"""Free text, as a report, a mail or a web page: whatever stands inside it and looks like an indicator.

The text is refanged (`hxxp`, `[.]`, `(dot)`, `{dot}`, `[:]//` …). Of values that stand inside one another the
longest counts: of `http://evil.example/a.exe` the URL, and neither its host nor its file name. A domain
must end in a public top-level domain or stand defanged, as `evil[.]example`, and a file name in a usual
extension, or every `i.e.` would be one. An IPv4 address and a bare file name that stand undefanged get a
warning: `1.2.3.4` may be a version, and `readme.txt` a file of everybody's.
Of a mail address nothing counts: its domain is most often that of a provider.
Each value is given once, with the line on which it stands first. A text without any has no faults: look at
what would be imported with `--dry-run`.
"""

from __future__ import annotations

import re
from collections import deque
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
_DOT = r"(?:\s?[\[({]\s?(?:\.|dot)\s?[\])}]\s?|\[\.|\.\])"
_DEFANGED = re.compile(rf"(?i)(?<![\w.-])[\w-]++(?:\.[\w-]++)*+{_DOT}[\w-]++(?:(?:\.|{_DOT})[\w-]++)*+")
"""A name or an address of whose dots at least one is in brackets."""
_FOUR_NUMBERS = re.compile(r"[0-9.]+")
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
        for row in found_in(line):
            if isinstance(row, FeedRow):
                key = row.type, canonical(row.type, row.value) or row.value
                if key not in seen:
                    if len(seen) < REMEMBERED:
                        seen.add(key)
                    yield row


def found_in(line: Line) -> Iterator[FeedRow | FeedFault]:
    """Every value of a line, repeated ones too, and as faults what looks like one and is taken for none."""
    text = refang(line.text)
    defanged = _defanged(line.text) if text != line.text else frozenset()
    for mail in _mails(text):
        yield FeedFault(line.number, f"{text[slice(*mail)]} is a mail address: its domain is a provider's")
    for found, kind in _values(text, defanged):
        if kind is not None:
            yield FeedRow(line.number, kind, found.text, warning=_warning(kind, found.text, defanged))
        elif found.type is IndicatorType.DOMAIN_NAME:
            reason = "ends in no public top-level domain, and does not stand defanged"
            yield FeedFault(line.number, f"{found.text} {reason}")


def _defanged(text: str) -> frozenset[str]:
    """Refanged words of a text that stood defanged in it."""
    found = (refang(word[0]) for word in _DEFANGED.finditer(text))
    return frozenset(word.lower() for word in found)


def _warning(kind: IndicatorType, value: str, defanged: frozenset[str]) -> str | None:
    """Of what may be no indicator at all."""
    if value.lower() in defanged:
        return None
    if kind is IndicatorType.IP_ADDRESS and _FOUR_NUMBERS.fullmatch(value):
        return f"{value} stands undefanged in a text; it may be a version"
    if kind is IndicatorType.FILE_NAME and not set("/\\") & set(value):
        return f"{value[:60]!r} stands undefanged in a text; it may be a file of everybody's"
    return None


def _values(text: str, defanged: frozenset[str]) -> Iterator[tuple[Mention, IndicatorType | None]]:
    """What stands in a text, outside of what was taken, with its type; None: it is taken for none."""
    end = 0
    mails = _mails(text)
    for found in sorted(mentions(text), key=lambda mention: (mention.start, -mention.end)):
        while mails and mails[0][1] <= found.start:
            mails.popleft()
        if found.start < end or (mails and mails[0][0] <= found.start and found.end <= mails[0][1]):
            continue
        kind = _kind(found, defanged)
        if kind is not None:
            end = found.end
        yield found, kind


def _mails(text: str) -> deque[tuple[int, int]]:
    """Where mail addresses begin and end."""
    return deque(found.span() for found in _MAIL.finditer(text)) if "@" in text else deque()


def _kind(found: Mention, defanged: frozenset[str]) -> IndicatorType | None:
    kind = guess_type(found.text)
    if kind is IndicatorType.DOMAIN_NAME and not _is_public(found.value):
        return kind if found.text.lower() in defanged else None
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
