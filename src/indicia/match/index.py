"""The compiled index: one file, opened by mmap, that any number of processes share.

    header    magic, version, generation, size, checksum of header and section table
    sections  META   JSON: alert definitions, sources, counts, the kernel's parameters
              RECS   the indicators, packed; a record is known by its offset
              BLOM   a blocked Bloom filter over all keys, 12 bits a key
              SLOT   an open hash table: mark (32 bits of the hash), record or group
              GRPS   groups of records that share a key
              LITE   a bitmap of keys without a dot, NETS of the networks' first 16 bits
              GRAM   a bitmap of the patterns' grams
              LOOS   records that no key can find (`keys`)

All numbers are little-endian. A file is written beside its name and renamed, so that readers see the old one
or the new one. Header and section table are checked at opening, everything by `verify`. What is in no
section that the kernel reads is read by Python alone, so a damaged file can give errors, never a crash.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from indicia.errors import InputError, MalformedFile
from indicia.model import (
    AlertDefinition,
    DetectionFunction,
    Indicator,
    IndicatorType,
)

MAGIC = b"INDICIA\0"
VERSION = 1
TYPES = tuple(IndicatorType)
FUNCTIONS = tuple(DetectionFunction)
SECTIONS = ("META", "RECS", "BLOM", "SLOT", "GRPS", "LITE", "NETS", "GRAM", "LOOS")
HEADER = struct.Struct("<8sIIQQQ8s")
"""Magic, version, sections, generation, size of the file, nothing, checksum."""
ENTRY = struct.Struct("<8sQQ8s")
"""Name, offset, length, checksum."""
BITMAP = 8192
"""Bytes of LITE and of NETS."""
GROUP = 0x8000_0000
ODD = 0xFFFF_FFFF
"""The payload of a candidate that is none of the index's keys: a spelling that only parsing can judge."""
HAS_GRAMS = 8
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

HASHED = {IndicatorType.MD5: 16, IndicatorType.SHA1: 20, IndicatorType.SHA256: 32}
"""Bytes of a hash, which is kept in binary, as an IPv4 address is."""


_DEFINITION_TIMES = ("created_at", "last_modified_at")


def definition_json(definition: AlertDefinition) -> dict[str, Any]:
    """An alert definition as META has it."""
    found = {field.name: getattr(definition, field.name) for field in fields(definition)}
    for name in _DEFINITION_TIMES:
        found[name] = found[name].isoformat() if found[name] else None
    return found


class _Meta(msgspec.Struct):
    """What META holds."""

    tenant: str
    created_at: str
    indicators: int
    counts: dict[str, dict[str, int]]
    definitions: list[AlertDefinition]
    sources: list[str]
    kernel: dict[str, int]


def _meta(data: bytes) -> _Meta:
    """Typed as it is read: ten thousand definitions are open in a few milliseconds. Raises ValueError."""
    try:
        return msgspec.json.decode(data, type=_Meta)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        fault = error
    try:  # an unpaired surrogate, which JSON of the API can bring into a text
        return msgspec.convert(json.loads(data.decode("utf-8", "surrogatepass")), _Meta)
    except (ValueError, msgspec.ValidationError):
        raise ValueError(f"its description is damaged: {fault}") from None


class Index:
    """An index that is open; safe for any number of threads. `Index.open(path)` opens one."""

    def __init__(
        self, path: Path, data: mmap.mmap, generation: int, places: dict[str, tuple[int, int, bytes]]
    ) -> None:
        self.path = path
        self.data = data
        self.generation = generation
        self._places = places
        meta = _meta(self.section("META"))
        self.tenant = meta.tenant
        self.created_at = datetime.fromisoformat(meta.created_at)
        self.counts = meta.counts
        if not 0 <= meta.indicators < 1 << 31:
            raise ValueError("its description is damaged")
        self._count = meta.indicators
        self.definitions = meta.definitions
        self._sources: list[str | None] = [None, *meta.sources]
        self.layout = self._layout(meta.kernel)
        self.loose = [self.indicator(offset) for offset in self._numbers("LOOS")]
        """Indicators that no key can find: with one of them every line is parsed."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open an index file. Raises InputError where it cannot be read, MalformedFile where it is none."""
        place = Path(path)
        try:
            with place.open("rb") as file:
                return cls.of_file(file.fileno(), place)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", place=str(place)) from None

    @classmethod
    def of_file(cls, file: int, place: Path) -> Self:
        """As `open`, of a descriptor, which stays the caller's to close. Raises MalformedFile, OSError."""
        try:
            data = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise MalformedFile("is empty; `indicia index build` makes an index", place=str(place)) from None
        try:
            generation, places = _sections(data)
            return cls(place, data, generation, places)
        except (
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            struct.error,
            RecursionError,
            OverflowError,
        ) as error:
            data.close()
            said = str(error) if isinstance(error, MalformedFile | ValueError) else type(error).__name__
            raise MalformedFile(f"is no usable index: {said}; build it again", place=str(place)) from None

    def close(self) -> None:
        """Give back the mapping."""
        self.data.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    def section(self, name: str) -> bytes:
        """The bytes of a section."""
        start, length, _ = self._places[name]
        return self.data[start : start + length]

    def _numbers(self, name: str) -> array[int]:
        return array("I", self.section(name))

    def size(self, name: str) -> int:
        """Bytes of a section."""
        return self._places[name][1]

    def _layout(self, given: dict[str, int]) -> bytes:
        place = {name: start for name, (start, _, _) in self._places.items()}
        gram_bits = given["gram_bits"]
        if self.size("LITE") != BITMAP or self.size("NETS") != BITMAP:
            raise ValueError("a bitmap of the wrong size")
        if min(self.size("BLOM"), self.size("SLOT")) < 8:
            raise ValueError("a table without places")
        if given["flags"] & HAS_GRAMS and not (
            3 <= gram_bits <= 32 and self.size("GRAM") == 1 << (gram_bits - 3)
        ):
            raise ValueError("a bitmap of the wrong size")
        return struct.pack(
            "<15Q",
            given["seed"],
            given["flags"],
            given["minimum"],
            place["BLOM"],
            self.size("BLOM") // 8,
            place["SLOT"],
            self.size("SLOT") // 8,
            place["LITE"],
            place["NETS"],
            given["lengths4"],
            given["lengths6a"],
            given["lengths6b"],
            place["GRAM"],
            gram_bits,
            given["gram_lengths"],
        )

    def verify(self) -> None:
        """Check every section and read every record. Raises MalformedFile that names what is damaged."""
        for name, (start, length, digest) in self._places.items():
            if blake2b(memoryview(self.data)[start : start + length], digest_size=8).digest() != digest:
                raise MalformedFile(f"section {name} is damaged; build it again", place=str(self.path))
        found = sum(1 for _ in self.indicators())
        if found != len(self):
            raise MalformedFile(
                f"holds {found} indicators, not {len(self)}; build it again", place=str(self.path)
            )

    def indicators(self) -> Iterator[Indicator]:
        """All of them, in the order in which they came."""
        start, length, _ = self._places["RECS"]
        at, end = start + 1, start + length
        while at < end:
            made, at = self._read(at)
            yield made

    def records(self, payload: int) -> Iterator[int]:
        """The offsets of the records that a payload of the kernel names."""
        if not payload & GROUP:
            yield payload
            return
        start, length, _ = self._places["GRPS"]
        at = start + 4 * (payload & (GROUP - 1))
        if at + 4 <= start + length:
            (count,) = struct.unpack_from("<I", self.data, at)
            count = min(count, (start + length - at) // 4 - 1)
            yield from struct.unpack_from(f"<{count}I", self.data, at + 4)

    def indicator(self, offset: int) -> Indicator:
        """The indicator of a record. Raises MalformedFile for an offset that is none."""
        start, length, _ = self._places["RECS"]
        if not 0 < offset < length:
            raise MalformedFile("a record lies outside its section; build it again", place=str(self.path))
        return self._read(start + offset)[0]

    def _read(self, at: int) -> tuple[Indicator, int]:
        data = self.data
        head = data[at]
        try:
            kind, function = TYPES[head & 7], FUNCTIONS[head >> 3 & 7]
            number, at = self._varint(at + 1)
            id_, at = self._varint(at)
            source, at = self._varint(at)
            if kind in HASHED and function is DetectionFunction.EQUALS:
                size = HASHED[kind]
                canonical = data[at : at + size].hex()
            elif head & 0x80:
                size = 4
                canonical = ".".join(map(str, data[at : at + size]))
            else:
                size, at = self._varint(at)
                canonical = data[at : at + size].decode("utf-8", "surrogatepass")
            at += size
            value, valid_from, expires_at = canonical, None, None
            if head & 0x40:
                value, valid_from, expires_at, at = self._tail(at, canonical)
            owner, provenance = self.definitions[number], self._sources[source]
        except (IndexError, ValueError, struct.error, OverflowError) as error:
            raise MalformedFile(
                f"a record is damaged ({type(error).__name__}); build it again", place=str(self.path)
            ) from None
        made = Indicator(
            kind, value, canonical, function, owner, id_, True, valid_from, expires_at, provenance
        )
        return made, at

    def _tail(self, at: int, canonical: str) -> tuple[str, datetime | None, datetime | None, int]:
        mask = self.data[at]
        at += 1
        times: list[datetime | None] = []
        for bit in (1, 2):
            if mask & bit:
                (micros,) = struct.unpack_from("<q", self.data, at)
                times.append(EPOCH + timedelta(microseconds=micros))
                at += 8
            else:
                times.append(None)
        value = canonical
        if mask & 4:
            size, at = self._varint(at)
            value = self.data[at : at + size].decode("utf-8", "surrogatepass")
            at += size
        return value, times[0], times[1], at

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift > 63:
                raise ValueError("a number without an end")


def _sections(data: mmap.mmap) -> tuple[int, dict[str, tuple[int, int, bytes]]]:
    """Generation and places of the sections, from a header that holds. Raises ValueError."""
    if len(data) < HEADER.size or data[:8] != MAGIC:
        raise ValueError("it does not begin as one")
    _, version, count, generation, size, _, digest = HEADER.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"it has version {version}, this Indicia reads {VERSION}")
    if size != len(data):
        raise ValueError(f"it has {len(data)} bytes and should have {size}")
    end = HEADER.size + ENTRY.size * count
    if count != len(SECTIONS) or end > size:
        raise ValueError("its section table is damaged")
    table = data[HEADER.size : end]
    if blake2b(data[: HEADER.size - 8] + table, digest_size=8).digest() != digest:
        raise ValueError("its header is damaged")
    places = {}
    for name, start, length, checksum in ENTRY.iter_unpack(table):
        if start < end or start + length > size:
            raise ValueError("a section lies outside the file")
        places[name.rstrip(b"\0").decode()] = start, length, checksum
    if set(places) != set(SECTIONS):
        raise ValueError("its sections are not those of an index")
    return generation, places
