"""Lines of text that have fields after all: CEF, LEEF, audit records of Linux, key=value pairs, syslog.

A line is only read so where its form is sure, from its first byte to its last; every other one stays a line.
Whatever is learnt from a line, it is the same event as before: its id is that of its bytes
(`families.line_id`), and the fields serve its time, its machine, its ends and what its values mean
(docs/decisions/0010-lines-with-fields.md).

Sources: ArcSight's "Common Event Format" rev. 25; IBM's "Log Event Extended Format" 1.0 and 2.0; RFC 3164 and
RFC 5424; linux-audit's "Audit Event Fields"; logfmt as go-logfmt reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

LIMIT = 1 << 20
"""Characters of a line that is looked at; what is longer stays a line."""
Fields = dict[str, Any]

_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)"
_PRIORITY = re.compile(r"(?:\d{1,7} (?=<))?<\d{1,3}>")
_RFC5424 = re.compile(
    rf"1 (?P<time>-|{_ISO}) (?P<host>\S{{1,255}}) (?P<app>\S{{1,48}}) (?P<pid>\S{{1,128}}) "
    r"(?P<msgid>\S{1,32}) "
    r"(?P<data>-|(?:\[[^\s\]=\"]{1,32}(?: [^\s\]=\"]{1,32}=\"(?:[^\"\\\]]|\\.)*+\")*+\])++)"
    r"(?: (?P<message>.*))?",
    re.DOTALL,
)
_HEADER = re.compile(
    rf"(?P<time>(?:{_MONTHS}) [ \d]\d (?:\d{{4}} )?\d\d:\d\d:\d\d|{_ISO}) (?P<host>[\w.:-]{{1,255}}) ",
    re.ASCII,
)
_TAG = re.compile(r"(?P<app>[^\s:\[\]=\"<>{}]{1,48})(?:\[(?P<pid>[^\s\[\]]{1,32})\])?: ?")
_ELEMENT = re.compile(r"\[([^\s\]=\"]+)((?: [^\s\]=\"]+=\"(?:[^\"\\\]]|\\.)*+\")*+)\]")
_PARAMETER = re.compile(r" ([^\s\]=\"]+)=\"((?:[^\"\\\]]|\\.)*+)\"")
_CEF = re.compile(r"CEF: ?(\d{1,3}(?:\.\d{1,3})?)\|" + r"((?:[^|\\]|\\.)*+)\|" * 6, re.DOTALL)
_CEF_NAMES = ("cef", "deviceVendor", "deviceProduct", "deviceVersion", "signatureId", "name", "severity")
_CEF_KEY = re.compile(r"(?:^|(?<=\s))([A-Za-z0-9_.\[\]-]{1,100})=")
_CEF_ESCAPE = re.compile(r"\\([\\=|nr])")
_ESCAPED_PAIR = re.compile(r"\\\\")
_RAW_PATH = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]:\\(?!\\)|\\(?![\\=|nr])")
_LEEF = re.compile(r"LEEF:([12]\.0)\|([^|]*+)\|([^|]*+)\|([^|]*+)\|([^|\t]*+)[|\t]", re.DOTALL)
_LEEF_NAMES = ("leef", "vendor", "product", "version", "eventId")
_AUDIT = re.compile(
    r"(?:node=(?P<node>\S{1,255}) )?type=(?P<type>[A-Z0-9_\[\]]{2,64}) "
    r"msg=audit\((?P<time>\d{1,12}\.\d{1,6}):(?P<serial>\d{1,20})\): ?"
)
_PAIR = re.compile(r"([A-Za-z_@][\w.@/-]{0,99})=(\"(?:[^\"\\]|\\.)*+\"|'[^']*+'|[^\s\"']\S*+|)(?:\s++|\Z)")
_LONE = re.compile(r"\S+(?:\s++|\Z)")
_ENDS = frozenset(
    name + ending for name in ("src", "dst", "source", "dest", "client", "server") for ending in ("ip", "_ip")
) | {"src", "dst", "SRC", "DST"}
"""Keys of the ends of a connection: who names them is a sensor, and not the machine that it is about."""
_LEAST = 3
"""Pairs that make a line one of pairs."""


@dataclass(frozen=True, slots=True)
class Text:
    """A line that is understood."""

    schema: str
    fields: Fields


def understand(line: bytes) -> Text | None:
    """The fields of a line, by the first form that is sure; None: it is a line."""
    if len(line) > LIMIT:
        return None
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    if matched := _PRIORITY.match(text):
        text = text[matched.end() :]
    header, body = _header(text)
    for reader in READERS:
        if (found := reader(body)) is not None:
            if header is not None:
                header.pop("message", None)
                found.fields["syslog"] = header
            return found
    if header is None or "message" not in header:
        return None
    return Text("syslog-line", {"syslog": header})


def _header(text: str) -> tuple[Fields | None, str]:
    """The header of syslog and what follows it; no header: None and all of it."""
    if found := _RFC5424.fullmatch(text):
        header = {name: value for name, value in found.groupdict().items() if value and value != "-"}
        if "data" in header:
            header["data"] = dict(_elements(found["data"]))
        message = (found["message"] or "").removeprefix("\ufeff")
        return header | {"message": message}, message
    found = _HEADER.match(text)
    if found is None:
        return None, text
    header, body = dict(found.groupdict()), text[found.end() :]
    if body.startswith(("CEF:", "LEEF:")):
        return header, body
    tag = _TAG.match(body)
    if tag is None:
        return header, body
    header |= {name: value for name, value in tag.groupdict().items() if value}
    message = body[tag.end() :]
    return header | {"message": message}, message


def _elements(data: str) -> Iterator[tuple[str, Fields]]:
    for name, parameters in _ELEMENT.findall(data):
        yield (
            name,
            {key: re.sub(r'\\(["\\\]])', r"\1", value) for key, value in _PARAMETER.findall(parameters)},
        )


# CEF and LEEF


def _cef(body: str) -> Text | None:
    found = _CEF.match(body)
    if found is None:
        return None
    fields: Fields = {
        name: _CEF_ESCAPE.sub(_unescaped, value)
        for name, value in zip(_CEF_NAMES, found.groups(), strict=True)
    }
    extension = body[found.end() :]
    keys = list(_CEF_KEY.finditer(extension))
    if extension[: keys[0].start() if keys else len(extension)].strip():
        return None
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        end = following.start() if following is not None else len(extension)
        fields[key[1]] = _cef_value(extension[key.end() : end].rstrip())
    return Text("cef" if fields.keys() & {"src", "dst", "c6a2", "c6a3"} else "cef-host", fields)


def _cef_value(value: str) -> str:
    """Without escapes; who writes paths without escaping them escapes nothing but the equals sign."""
    if "\\" not in value:
        return value
    if _RAW_PATH.search(_ESCAPED_PAIR.sub("", value)):
        return value.replace("\\=", "=")
    return _CEF_ESCAPE.sub(_unescaped, value)


def _unescaped(found: re.Match[str]) -> str:
    return {"n": "\n", "r": "\r"}.get(found[1], found[1])


def _leef(body: str) -> Text | None:
    found = _LEEF.match(body)
    if found is None:
        return None
    rest, delimiter = body[found.end() :], "\t"
    if found[1] == "2.0":
        given, bar, after = rest.partition("|")
        if bar and len(given) <= 6 and "=" not in given:
            rest, delimiter = after, _delimiter(given) or "\t"
    fields: Fields = dict(zip(_LEEF_NAMES, found.groups(), strict=True))
    for pair in filter(None, rest.split(delimiter)):
        key, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"\s*[\w.\[\]-]{1,100}", key):
            return None
        fields[key.strip()] = value.strip()
    return Text("leef", fields)


def _delimiter(given: str) -> str | None:
    """`^`, or its code as `x5E` or `0x5E`."""
    code = re.fullmatch(r"(?:0?x)([0-9A-Fa-f]{1,4})", given)
    if code is not None:
        return chr(int(code[1], 16))
    return given if len(given) == 1 else None


# Pairs


def _audit(body: str) -> Text | None:
    found = _AUDIT.match(body)
    if found is None:
        return None
    fields: Fields = {"type": found["type"], "audit": {"time": found["time"], "serial": found["serial"]}}
    if found["node"]:
        fields["node"] = found["node"]
    # Programs put what they say between apostrophes: msg='op=login acct="x" addr=192.0.2.1'.
    _add_pairs(fields, body[found.end() :].replace("\x1d", " "))
    for key in ("msg", "text"):
        inner = fields.get(key)
        if isinstance(inner, str) and "=" in inner:
            fields[key] = _add_pairs({}, inner)
    return Text("auditd", fields)


def _add_pairs(fields: Fields, text: str) -> Fields:
    """Every pair; what is none is kept beside them as `text`."""
    at, lone = 0, list[str]()
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is not None:
            _add(fields, pair)
            at = pair.end()
            continue
        word = _LONE.match(text, at)
        lone.append(word[0].strip() if word else text[at])
        at = word.end() if word else at + 1
    if any(lone):
        fields["text"] = " ".join(filter(None, lone))
    return fields


def _add(fields: Fields, pair: re.Match[str]) -> None:
    """A pair; of a key that comes twice both values stay."""
    key, value = pair[1], _bare(pair[2])
    before = fields.get(key)
    if before is None:
        fields[key] = value
    elif isinstance(before, list):
        before.append(value)
    else:
        fields[key] = [before, value]


def _bare(value: str) -> str:
    if value[:1] in {'"', "'"}:
        return value[1:-1].replace('\\"', '"')
    return value


def _pairs(body: str) -> Text | None:
    """A line of pairs and nothing else."""
    fields: Fields = {}
    at = count = 0
    while at < len(body):
        pair = _PAIR.match(body, at)
        if pair is None:
            return None
        _add(fields, pair)
        at, count = pair.end(), count + 1
    if count < _LEAST:
        return None
    return Text("logfmt" if fields.keys() & _ENDS else "logfmt-host", fields)


READERS: tuple[Callable[[str], Text | None], ...] = (_cef, _leef, _audit, _pairs)
"""Forms of a line's body, in the order in which they are asked."""
