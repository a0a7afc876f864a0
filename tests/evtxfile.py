"""Makes EVTX files: a header, chunks, and records of plain BinXML without templates.

By the format's description in libyal's libevtx ("Windows XML Event Log (EVTX) format"). Good for tests of a
reader, and for nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

HEADER = 4096
CHUNK = 65536
_RECORDS = 512
"""Where the first record of a chunk begins."""
_MOMENT = 132_000_000_000_000_000
"""A time in 100 ns since 1601."""

Element = tuple[str, Mapping[str, str], "str | list[Element]"]
"""Name, attributes, and a text or what lies below."""


def event(number: int, data: Mapping[str, str], computer: str = "WS5.corp.example") -> Element:
    """An event of Sysmon, as its channel has it."""
    system: list[Element] = [
        ("Provider", {"Name": "Microsoft-Windows-Sysmon"}, ""),
        ("EventID", {}, "1"),
        ("TimeCreated", {"SystemTime": "2024-03-12T09:00:00.250000Z"}, ""),
        ("EventRecordID", {}, str(number)),
        ("Channel", {}, "Microsoft-Windows-Sysmon/Operational"),
        ("Computer", {}, computer),
    ]
    below: list[Element] = [("Data", {"Name": name}, text) for name, text in data.items()]
    xmlns = {"xmlns": "http://schemas.microsoft.com/win/2004/08/events/event"}
    return ("Event", xmlns, [("System", {}, system), ("EventData", {}, below)])


def evtx_file(chunks: Iterable[Iterable[Element]], first: int = 1) -> bytes:
    """A file of these chunks of events; records are numbered from `first` on."""
    made, number = [], first
    for events in chunks:
        chunk, number = _chunk(list(events), number)
        made.append(chunk)
    header = b"ElfFile\0" + struct.pack("<QQQIHHHH", 0, len(made) - 1, number, 128, 1, 3, HEADER, len(made))
    return header.ljust(HEADER, b"\0") + b"".join(made)


def _chunk(events: list[Element], number: int) -> tuple[bytes, int]:
    body = b""
    last = 0
    for element in events:
        last = _RECORDS + len(body)
        body += _record(element, number, last)
        number += 1
    first = number - len(events)
    head = b"ElfChnk\0" + struct.pack(
        "<QQQQIII", first, number - 1, first, number - 1, 128, last, _RECORDS + len(body)
    )
    return (head.ljust(_RECORDS, b"\0") + body).ljust(CHUNK, b"\0"), number


def _record(element: Element, number: int, place: int) -> bytes:
    xml = b"\x0f\x01\x01\x00"
    xml += _element(element, place + 24 + len(xml)) + b"\x00"
    size = 24 + len(xml) + 4
    return b"**\0\0" + struct.pack("<IQQ", size, number, _MOMENT) + xml + struct.pack("<I", size)


def _element(element: Element, place: int) -> bytes:
    """An element whose first byte lies at `place` of its chunk: offsets of names count from there."""
    name, attributes, content = element
    begin = place + 9
    body = _name(name, begin)
    if attributes:
        listed = b""
        at = begin + len(body) + 4
        for place_of, (key, value) in enumerate(attributes.items(), 1):
            token = b"\x06" if place_of == len(attributes) else b"\x46"
            one = token + struct.pack("<I", at + len(listed) + 5) + _name(key, at + len(listed) + 5)
            listed += one + _text(value)
        body += struct.pack("<I", len(listed)) + listed
    body += b"\x02"
    if isinstance(content, str):
        body += _text(content) if content else b""
    else:
        for below in content:
            body += _element(below, begin + len(body))
    body += b"\x04"
    token = b"\x41" if attributes else b"\x01"
    return token + struct.pack("<II", 4 + len(body), begin) + body


def _name(name: str, place: int) -> bytes:
    """A name that stands where it is used; `place` is its own."""
    hashed = 0
    for letter in name:
        hashed = (hashed * 65599 + ord(letter)) & 0xFFFFFFFF
    return struct.pack("<IHH", 0, hashed & 0xFFFF, len(name)) + name.encode("utf-16-le") + b"\0\0"


def _text(text: str) -> bytes:
    return b"\x05\x01" + struct.pack("<H", len(text)) + text.encode("utf-16-le")
