"""What stands inside a text: every hash, address, domain, URL and file name of a message or command line.

Nothing here knows an indicator: a text is cut the same way whoever asks, so that the reference and every
faster engine see the same values.

- A hash is a run of exactly 32, 40 or 64 hex digits between characters that are no word characters: also in
  `<hash>.exe` and `sha256-<hash>`.
- The three other dots of IDNA (U+3002, U+FF0E, U+FF61) are dots in names and addresses, too.
- An address stands between characters that are neither word characters nor dots.
- A domain is a run of letters, digits, `-`, `_` and dots that holds a dot; `@`, `*` and the like end it.
- A URL has a scheme and `://`, up to a blank, quote or angle bracket, less closing punctuation; without a
  scheme it is a host, a slash and more. It gives its file name too, and where it has a scheme, its host as
  strong as itself; without one, `1.2.3.4/x` may well be a version.
- A file name is what follows the last separator of a path: up to the next blank or quote; where the path's
  last component holds blanks, up to the quote or the end of the line. A bare word with a dot is one too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from indicia.model import IndicatorType
from indicia.values import HASH_BY_LENGTH, IPV4, address, domain, file_name, url_parts

_WORDS = re.compile(r"[\w.\-]{4,}")
_HEX = re.compile(r"(?<!\w)[0-9A-Fa-f]{32,64}(?!\w)")
_SHORTEST_HASH = min(HASH_BY_LENGTH)
_IPV4S = re.compile(rf"(?<![\w.])(?:{IPV4})(?!\w|\.\w)")
_IPV6S = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{2,39}(?:\.[0-9]{1,3}){0,3}")
_URLS = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s\"'<>`|^{}\x00-\x1f]{1,4096}")
_BARE_URLS = re.compile(
    r"(?<![\w/\\.@:%-])[\w-]{1,63}(?:\.[\w-]{1,63}){1,12}(?::[0-9]{1,5})?/[^\s\"'<>`|^{}\\]{0,4096}"
)
_NAMES = re.compile(r"(?<=[\\/])[^\\/\s\"'<>|*?]{1,255}(?![^\s\"'<>|*?])")
_BLANK_NAMES = re.compile(
    r"(?<=[\\/])[^\\/\"<>|*?\r\n\t ]{1,255}(?: +[^\\/\"<>|*?\r\n\t ]{1,255}){1,20}(?=[\"\r\n]|\Z)"
)
_NAME = re.compile(r"[\w\-][\w.\-]*\.[A-Za-z0-9]{1,8}")
_CLOSING = ".,;:!?)]}"
_DOTS = str.maketrans("\u3002\uff0e\uff61", "...")
"""What UTS 46 takes for a dot: a browser does, so names are written so to be overlooked."""
_has_dots = re.compile("[\u3002\uff0e\uff61]").search
_DOTTED = frozenset({IndicatorType.DOMAIN_NAME, IndicatorType.IP_ADDRESS})
_STRONG = frozenset({IndicatorType.SHA1, IndicatorType.SHA256, IndicatorType.URL})


@dataclass(frozen=True, slots=True)
class Mention:
    """One value inside a text."""

    type: IndicatorType
    value: str
    """Canonical."""
    text: str
    start: int
    strong: bool
    """Means the value even inside text: a SHA-1, a SHA-256, a URL, the host of a URL with a scheme."""

    @property
    def end(self) -> int:
        """The character after the last one."""
        return self.start + len(self.text)


def mentions(text: str) -> Iterator[Mention]:
    """Every value that stands inside the text; the same one at two places comes twice."""
    if len(text) < 3:
        return
    yield from _plain(text)
    if _has_dots(text):
        yield from _with_dots(text)


def _with_dots(text: str) -> Iterator[Mention]:
    """What stands there besides when the other dots are dots; a URL's path keeps them."""
    for found in _plain(text.translate(_DOTS)):
        written = text[found.start : found.end]
        if not _has_dots(written):
            continue
        if found.type in _DOTTED:
            yield replace(found, text=written)
        elif found.type is IndicatorType.URL and (parts := url_parts(written)) is not None:
            yield replace(found, text=written, value=parts.url)


def _plain(text: str) -> Iterator[Mention]:
    if "/" in text or "\\" in text:
        if "/" in text:
            yield from _urls(text)
        yield from _file_names(text)
    if "." in text:
        for found in _IPV4S.finditer(text):
            yield Mention(IndicatorType.IP_ADDRESS, found[0], found[0], found.start(), strong=False)
    if text.count(":") > 1:
        yield from _ipv6(text)
    yield from _words(text)


def _words(text: str) -> Iterator[Mention]:
    for found in _WORDS.finditer(text):
        word = found[0]
        if len(word) >= _SHORTEST_HASH:
            yield from _hashes(word, found.start())
        if "." in word:
            yield from _dotted(word, found.start())


def _hashes(word: str, start: int) -> Iterator[Mention]:
    for found in _HEX.finditer(word):
        if kind := HASH_BY_LENGTH.get(len(found[0])):
            digits = found[0].lower()
            yield Mention(kind, digits, found[0], start + found.start(), strong=kind in _STRONG)


def _dotted(word: str, start: int) -> Iterator[Mention]:
    inner = word.strip(".-")
    if "." not in inner:
        return
    start += word.find(inner)
    if name := domain(inner):
        yield Mention(IndicatorType.DOMAIN_NAME, name, inner, start, strong=False)
    if _NAME.fullmatch(inner) and (name := file_name(inner)):
        yield Mention(IndicatorType.FILE_NAME, name, inner, start, strong=False)


def _ipv6(text: str) -> Iterator[Mention]:
    for found in _IPV6S.finditer(text):
        word = found[0].rstrip(".")
        if word.endswith(":") and not word.endswith("::"):
            word = word[:-1]
        following = text[found.start() + len(word) : found.start() + len(word) + 1]
        if word.count(":") < 2 or following.isalnum() or following == "_":
            continue
        if value := address(word):
            yield Mention(IndicatorType.IP_ADDRESS, value, word, found.start(), strong=False)


def _urls(text: str) -> Iterator[Mention]:
    if "://" in text:
        for found in _URLS.finditer(text):
            yield from _url(found[0], found.start())
    for found in _BARE_URLS.finditer(text):
        yield from _url(found[0], found.start())


def _url(word: str, start: int) -> Iterator[Mention]:
    word = _less_closing(word)
    parts = url_parts(word)
    if parts is None:
        return
    yield Mention(IndicatorType.URL, parts.url, word, start, strong=True)
    if "://" in word:
        yield Mention(parts.host[0], parts.host[1], word, start, strong=True)
    if parts.file_name:
        yield Mention(IndicatorType.FILE_NAME, parts.file_name, word, start, strong=False)


def _less_closing(word: str) -> str:
    """Without punctuation that closes the sentence; a bracket goes only where none was opened."""
    while word and word[-1] in _CLOSING:
        if word[-1] in ")]" and word.count("(" if word[-1] == ")" else "[") >= word.count(word[-1]):
            break
        word = word[:-1]
    return word


def _file_names(text: str) -> Iterator[Mention]:
    for pattern in (_NAMES, _BLANK_NAMES):
        for found in pattern.finditer(text):
            word = found[0].rstrip(" " + _CLOSING) or found[0]
            if name := file_name(word):
                yield Mention(IndicatorType.FILE_NAME, name, word, found.start(), strong=False)
            if word != found[0] and found[0][-1] in ")]}" and (name := file_name(found[0])):
                yield Mention(IndicatorType.FILE_NAME, name, found[0], found.start(), strong=False)
