"""Zeek's TSV: the header's separators, fields and types; a row as the object that Zeek's JSON writer gives.

Source: Zeek's manual, "Zeek Log Formats"; `threading/formatters/{Ascii,JSON}.cc` for the escapes.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

from indicia.telemetry.lines import without_cr

_HEX = re.compile(rb"\\x([0-9A-Fa-f]{2})|\\\\")
_CONTROL = re.compile("[\x00-\x07\x0b\x0e-\x1f\x7f]")


def _as_escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101 - it is registered for decoding alone
    return "".join(f"\\x{byte:02x}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("indicia.zeek", _as_escape)


class Header:
    """What the `#` lines said so far."""

    def __init__(self) -> None:
        self._separator = b"\t"
        self._set_separator = b","
        self._empty = b"(empty)"
        self._unset = b"-"
        self._path = ""
        self._fields: list[str] = []
        self._lists: list[bool] = []

    def read(self, line: bytes) -> None:
        """Take one header line; unknown ones (`#open`, `#close`) say nothing here."""
        if line.startswith(b"#separator "):
            self._separator = _bytes(line.removeprefix(b"#separator ")) or b"\t"
            return
        name, _, rest = line.partition(self._separator)
        match name:
            case b"#set_separator":
                self._set_separator = rest or b","
            case b"#empty_field":
                self._empty = rest
            case b"#unset_field":
                self._unset = rest
            case b"#path":
                self._path = rest.decode("utf-8", "replace")
            case b"#fields":
                self._fields = [field.decode("utf-8", "replace") for field in rest.split(self._separator)]
            case b"#types":
                self._lists = [kind.startswith((b"vector", b"set")) for kind in rest.split(self._separator)]
            case _:
                pass

    @property
    def cuts(self) -> bytes:
        """The bytes between cells and between elements."""
        return self._separator + self._set_separator

    def row(self, line: bytes) -> dict[str, Any]:
        """The row as an object with `_path`; absent and empty cells are left out. ValueError: why not."""
        cells = line.split(self._separator)
        if not self._fields:
            raise ValueError("a Zeek row without #fields before it")
        if len(cells) != len(self._fields):
            raise ValueError(f"{len(cells)} cells under {len(self._fields)} #fields")
        lists = self._lists if len(self._lists) == len(cells) else [False] * len(cells)
        row: dict[str, Any] = {"_path": self._path} if self._path else {}
        for field, cell, is_list in zip(self._fields, cells, lists, strict=True):
            if cell in (self._unset, self._empty, b""):
                continue
            row[field] = [_text(part) for part in cell.split(self._set_separator)] if is_list else _text(cell)
        return row


def _bytes(data: bytes) -> bytes:
    return _HEX.sub(lambda found: bytes([int(found[1], 16)]) if found[1] else b"\\", data)


def _text(cell: bytes) -> str:
    text = (_bytes(cell) if b"\\" in cell else cell).decode("utf-8", "indicia.zeek")
    return text if text.isprintable() else _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class Further:
    """Lines that are parsed whatever a sieve says: the header's, and all under a strange header."""

    def __init__(self, head: bytes) -> None:
        self._separators = _separators(head)

    def __call__(self, block: bytearray, begin: int, end: int) -> list[int] | None:
        """Starts of lines; None: all of them."""
        if (
            self._separators & _OF_WORDS
            or not _separators(bytes(block[begin:end]), rest=True) <= self._separators
        ):
            return None
        found = [begin] if block[begin] == _HASH else []
        at = block.find(b"\n#", begin, end)
        while at >= 0:
            found.append(at + 1)
            at = block.find(b"\n#", at + 1, end)
        return found


_HASH = ord("#")
_OF_WORDS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:\\%&")
_SEPARATOR = re.compile(rb"^#(?:set_)?separator[^\n]*", re.MULTILINE)


def _separators(head: bytes, *, rest: bool = False) -> frozenset[int]:
    """The bytes that separate cells or elements by the `#` lines there."""
    if rest and b"#separator" not in head and b"#set_separator" not in head:
        return frozenset()
    header = Header()
    for line in _SEPARATOR.findall(head):
        header.read(without_cr(line))
    return frozenset(header.cuts)
