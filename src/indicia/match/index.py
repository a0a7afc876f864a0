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
import secrets
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from indicia.errors import InputError, MalformedFile
from indicia.match import keys
from indicia.match.keys import Hard, Key
from indicia.model import (
    AlertDefinition,
    Category,
    DetectionFunction,
    GroupBy,
    Indicator,
    IndicatorType,
    Severity,
)
from indicia.values import PATTERNS

try:
    from indicia.match import _kernel as kernel
except ImportError:  # built without a compiler: the reference does the work
    kernel = None  # type: ignore[assignment]

MAGIC = b"INDICIA\0"
VERSION = 1
TYPES = tuple(IndicatorType)
FUNCTIONS = tuple(DetectionFunction)
SECTIONS = ("META", "RECS", "BLOM", "SLOT", "GRPS", "LITE", "NETS", "GRAM", "LOOS")
BITMAP = 8192
"""Bytes of LITE and of NETS."""
BLOOM_BITS = 12
LOAD = 0.78
"""Keys for each place of the table."""
GROUP = 0x8000_0000
ODD = 0xFFFF_FFFF
"""The payload of a candidate that is none of the index's keys: a spelling that only parsing can judge."""

HAS_BELOW, HAS_DOTLESS, HAS_NETS, HAS_GRAMS, ODD_ANY, V6_ODD, HAS_TOP = 1, 2, 4, 8, 16, 32, 64
_HASHED = frozenset({IndicatorType.MD5, IndicatorType.SHA1, IndicatorType.SHA256})
_HASH_BYTES = {IndicatorType.MD5: 16, IndicatorType.SHA1: 20, IndicatorType.SHA256: 32}
_HEADER = struct.Struct("<8sIIQQQ8s")
_ENTRY = struct.Struct("<8sQQ8s")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TYPE_NUMBER = {member: number for number, member in enumerate(TYPES)}
_FUNCTION_NUMBER = {member: number for number, member in enumerate(FUNCTIONS)}
_SPACE = 48
"""Bytes of a record beside its text and tail, at the most."""


@dataclass
class Columns:
    """Indicators as columns, in which they are packed at the speed of C.

    Row n of `texts` is a canonical text without a line feed; `definitions` and `sources` are numbers of what
    `build` is given (source 0: none); `tails` holds what few indicators have, by its end offsets.
    """

    types: bytearray
    functions: bytearray
    definitions: array[int]
    ids: array[int]
    sources: array[int]
    texts: list[str]
    tails: bytearray
    tail_ends: array[int]

    @classmethod
    def empty(cls) -> Self:
        """No rows."""
        return cls(bytearray(), bytearray(), array("I"), array("q"), array("I"), [], bytearray(), array("I"))


class _Gathered:
    """Indicators one by one, gathered into columns."""

    def __init__(self) -> None:
        self.columns = Columns.empty()
        self.definitions: dict[AlertDefinition, int] = {}
        self.sources: dict[str, int] = {}

    def add(self, indicator: Indicator) -> None:
        columns, owner = self.columns, indicator.definition
        columns.types.append(_TYPE_NUMBER[indicator.type])
        columns.functions.append(_FUNCTION_NUMBER[indicator.function])
        columns.definitions.append(self.definitions.setdefault(owner, len(self.definitions)))
        columns.ids.append(indicator.id)
        source = indicator.source
        columns.sources.append(self.sources.setdefault(source, len(self.sources) + 1) if source else 0)
        columns.texts.append(indicator.canonical)
        if (
            indicator.valid_from is not None
            or indicator.expires_at is not None
            or indicator.value != indicator.canonical
        ):
            columns.tails += _tail(indicator)
        columns.tail_ends.append(len(columns.tails))


def _tail(indicator: Indicator) -> bytes:
    """Times and the value as its author wrote it: a byte that says which, then what is there."""
    value = indicator.value if indicator.value != indicator.canonical else None
    times = [time for time in (indicator.valid_from, indicator.expires_at) if time is not None]
    mask = (indicator.valid_from is not None) | (indicator.expires_at is not None) << 1 | (value is not None) << 2
    packed = b"".join(struct.pack("<q", (time - _EPOCH) // _MICROSECOND) for time in times)
    written = value.encode("utf-8", "surrogatepass") if value is not None else b""
    return bytes([mask]) + packed + (_varint(len(written)) + written if value is not None else b"")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def write(
    indicators: Iterable[Indicator], path: str | os.PathLike[str], *, tenant: str = "", generation: int = 1
) -> None:
    """Compile indicators (enabled ones alone) into the file `path`, which is replaced atomically.

    `tenant` is the uid that goes into ids. Raises InputError where the file cannot be written or the
    extension was not built.
    """
    gathered = _Gathered()
    for indicator in indicators:
        if indicator.enabled:
            gathered.add(indicator)
    write_columns(
        gathered.columns,
        list(gathered.definitions),
        list(gathered.sources),
        path,
        tenant=tenant,
        generation=generation,
    )


def write_columns(
    columns: Columns,
    definitions: Sequence[AlertDefinition],
    sources: Sequence[str],
    path: str | os.PathLike[str],
    *,
    tenant: str = "",
    generation: int = 1,
) -> None:
    """As `write`, from columns that are there already: a million rows in less than a second."""
    if kernel is None:
        raise InputError("an index needs the C extension, which was not built; `indicia doctor` says more")
    seed = secrets.randbits(64)
    packed = _Packed(columns, seed)
    meta = {
        "tenant": tenant,
        "created_at": datetime.now(UTC).isoformat(),
        "indicators": len(columns.texts),
        "counts": packed.counts(),
        "definitions": [_definition_json(definition) for definition in definitions],
        "sources": list(sources),
        "kernel": packed.parameters(seed),
    }
    contents = {"META": json.dumps(meta, ensure_ascii=False).encode("utf-8", "surrogatepass")} | packed.sections
    _write_file(Path(path), contents, generation)


def _write_file(path: Path, contents: dict[str, bytes | bytearray | memoryview], generation: int) -> None:
    place = _HEADER.size + _ENTRY.size * len(SECTIONS)
    table, places = b"", []
    for name in SECTIONS:
        place += -place % 64
        places.append(place)
        digest = blake2b(contents[name], digest_size=8).digest()
        table += _ENTRY.pack(name.encode().ljust(8, b"\0"), place, len(contents[name]), digest)
        place += len(contents[name])
    head = _HEADER.pack(MAGIC, VERSION, len(SECTIONS), generation, place, 0, b"")[:-8]
    head += blake2b(head + table, digest_size=8).digest()
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with fresh.open("xb") as file:
            file.write(head + table)
            for name, start in zip(SECTIONS, places, strict=True):
                file.write(b"\0" * (start - file.tell()))
                file.write(contents[name])
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", place=str(path)) from None
    finally:
        fresh.unlink(missing_ok=True)


class _Packed:
    """Columns as the sections of a file."""

    def __init__(self, columns: Columns, seed: int) -> None:
        count = len(columns.texts)
        self._columns, self._seed = columns, seed
        self._hashes = array("Q", bytes(8 * count))
        self._offsets = array("I", bytes(4 * count))
        self.flags = HAS_BELOW if _FUNCTION_NUMBER[DetectionFunction.SUBDOMAIN_OF] in columns.functions else 0
        self.minimum = 4
        self._lite, self._nets = bytearray(BITMAP), bytearray(BITMAP)
        self._lengths4 = self._lengths6 = 0
        self._gram_bits, self._gram_lengths = 0, 0
        self._loose: list[int] = []
        self.sections: dict[str, bytes | bytearray | memoryview] = {"RECS": self._records()}
        grams = self._hard()
        self.sections |= {"LITE": self._lite, "NETS": self._nets, "GRAM": grams}
        self.sections["LOOS"] = array("I", [self._offsets[number] for number in self._loose]).tobytes()
        self._table()

    def _records(self) -> memoryview:
        columns = self._columns
        texts = "\n".join(columns.texts).encode("utf-8", "surrogatepass") + b"\n"
        blob = bytearray(1 + len(texts) + len(columns.tails) + _SPACE * len(columns.texts))
        used = kernel.records(
            self._seed,
            columns.types,
            columns.functions,
            columns.definitions,
            columns.ids,
            columns.sources,
            texts,
            columns.tails,
            columns.tail_ends if columns.tails else b"",
            self._hashes,
            self._offsets,
            blob,
        )
        return memoryview(blob)[:used]

    def _hard(self) -> bytearray:
        """Keys of those that are not their own; the bitmap of grams."""
        columns = self._columns
        hard = [
            Hard(n, TYPES[columns.types[n]], FUNCTIONS[columns.functions[n]], columns.texts[n])
            for n, hash_ in enumerate(self._hashes)
            if not hash_
        ]
        patterns = [one for one in hard if one.function in PATTERNS]
        if any(map(keys.single_label, hard)):
            self.flags |= ODD_ANY
        if any(one.type is IndicatorType.IP_ADDRESS for one in patterns):
            self.flags |= V6_ODD
            self.minimum = 2  # the shortest address is `::`
        self.minimum = min(self.minimum, *(len(text) for text in columns.texts if len(text) < 4 and ":" in text), 4)
        for number, key in keys.choose(hard).items():
            if key is None:
                self._loose.append(number)
            else:
                self._hashes[number] = self._hash(key)
        return self._grams(patterns)

    def _hash(self, key: Key) -> int:
        match key.tag:
            case keys.NET4 | keys.NET6:
                self.flags |= HAS_NETS
                self._note_network(key)
                return kernel.net_of(self._seed, key.data, key.prefix)
            case keys.BELOW if b"." not in key.data:
                self.flags |= HAS_TOP
            case keys.TEXT:
                self.minimum = min(self.minimum, len(key.data))
                if b"." not in key.data:
                    self.flags |= HAS_DOTLESS
                    place = lite_place(key.data)
                    self._lite[place >> 3] |= 1 << (place & 7)
            case _:
                pass
        if key.tag == keys.BELOW:
            self.minimum = min(self.minimum, len(key.data))
        return kernel.hash_of(self._seed, key.tag, key.data)

    def _note_network(self, key: Key) -> None:
        if key.tag == keys.NET6:
            self._lengths6 |= 1 << key.prefix
            self.minimum = 2
            return
        self._lengths4 |= 1 << key.prefix
        first = int.from_bytes(key.data[:2], "big")
        for place in range(first, first + (1 << max(0, 16 - key.prefix))):
            self._nets[place >> 3] |= 1 << (place & 7)

    def _grams(self, patterns: Sequence[Hard]) -> bytearray:
        pieces = []
        for one in patterns:
            piece = keys.piece(one)
            if piece is None:
                self._loose.append(one.number)
            else:
                pieces.append((one.number, piece))
        if not pieces:
            return bytearray(8)
        self.flags |= HAS_GRAMS
        self.minimum = min(self.minimum, *(len(piece) for _, piece in pieces))
        self._gram_bits = min(30, max(16, (len(pieces) * 48).bit_length()))
        bitmap, hashes = bytearray(1 << (self._gram_bits - 3)), array("Q", bytes(8 * len(pieces)))
        text = "\n".join(piece for _, piece in pieces).encode() + b"\n"
        self._gram_lengths = kernel.grams(
            self._seed, self._gram_bits, text, hashes, bitmap, bytearray(1 << 24)
        )
        for (number, _), hash_ in zip(pieces, hashes, strict=True):
            self._hashes[number] = hash_
        return bitmap

    def _table(self) -> None:
        loose = set(self._loose)
        pairs = array("Q", bytes(16 * (len(self._hashes) - len(loose))))
        if loose:
            kept = [n for n in range(len(self._hashes)) if n not in loose]
            pairs[0::2] = array("Q", [self._hashes[n] for n in kept])
            pairs[1::2] = array("Q", [self._offsets[n] for n in kept])
        else:
            pairs[0::2] = self._hashes
            pairs[1::2] = array("Q", self._offsets)
        count = len(pairs) // 2
        bloom = bytearray(8 * (count * BLOOM_BITS // 64 + 16))
        slots = bytearray(8 * (int(count / LOAD) + 16))
        groups = bytearray(4 * (count + count // 2 + 16))
        used = kernel.fill(pairs, array("Q", bytes(16 * count)), bloom, slots, groups)
        self.sections |= {"BLOM": bloom, "SLOT": slots, "GRPS": memoryview(groups)[: 4 * used]}

    def counts(self) -> dict[str, dict[str, int]]:
        """How many indicators by type and function."""
        pairs: dict[str, dict[str, int]] = {}
        kinds = self._columns.types
        if self._columns.functions.count(0) == len(self._columns.functions):
            return {TYPES[t]: {FUNCTIONS[0]: kinds.count(t)} for t in sorted(set(kinds))}
        both = bytes(t | f << 3 for t, f in zip(kinds, self._columns.functions, strict=True))
        for value in sorted(set(both)):
            pairs.setdefault(TYPES[value & 7], {})[FUNCTIONS[value >> 3]] = both.count(value)
        return pairs

    def parameters(self, seed: int) -> dict[str, int]:
        """What the kernel is told beside the sections."""
        mask = (1 << 64) - 1
        return {
            "seed": seed,
            "flags": self.flags,
            "minimum": self.minimum,
            "lengths4": self._lengths4 | (self._lengths6 >> 128 & 1) << 63,
            "lengths6a": self._lengths6 & mask,
            "lengths6b": self._lengths6 >> 64 & mask,
            "gram_bits": self._gram_bits,
            "gram_lengths": self._gram_lengths,
        }


def lite_place(key: bytes) -> int:
    """The bit of a key without a dot; `_kernel.c` computes the same."""
    first = int.from_bytes(bytes(byte | 0x20 for byte in key[:4]), "little")
    return ((first ^ len(key) * 0x9E3779B1 & 0xFFFFFFFF) * 0x85EBCA6B & 0xFFFFFFFF) >> 16


_DEFINITION_TIMES = ("created_at", "last_modified_at")


def _definition_json(definition: AlertDefinition) -> dict[str, Any]:
    found = {field.name: getattr(definition, field.name) for field in fields(definition)}
    for name in _DEFINITION_TIMES:
        found[name] = found[name].isoformat() if found[name] else None
    return found


def _definition(found: dict[str, Any]) -> AlertDefinition:
    for name in _DEFINITION_TIMES:
        found[name] = datetime.fromisoformat(found[name]) if found[name] else None
    return AlertDefinition(
        **found
        | {
            "severity": Severity(found["severity"]),
            "category": Category(found["category"]),
            "group_by": GroupBy(found["group_by"]),
        }
    )


class Index:
    """An index that is open; safe for any number of threads. `Index.open(path)` opens one."""

    def __init__(self, path: Path, data: mmap.mmap, generation: int, places: dict[str, tuple[int, int, bytes]]) -> None:
        self.path = path
        self.data = data
        self.generation = generation
        self._places = places
        meta = self._meta()
        self.tenant: str = meta["tenant"]
        self.created_at = datetime.fromisoformat(meta["created_at"])
        self.counts: dict[str, dict[str, int]] = meta["counts"]
        self._count: int = meta["indicators"]
        self.definitions: list[AlertDefinition] = [_definition(found) for found in meta["definitions"]]
        self._sources: list[str | None] = [None, *meta["sources"]]
        self.layout = self._layout(meta["kernel"])
        self.loose = [self.indicator(offset) for offset in self._numbers("LOOS")]
        """Indicators that no key can find: with one of them every line is parsed."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open an index file. Raises InputError where it cannot be read, MalformedFile where it is none."""
        place = Path(path)
        try:
            with place.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", place=str(place)) from None
        except ValueError:
            raise MalformedFile("is empty; `indicia index build` makes an index", place=str(place)) from None
        try:
            generation, places = _sections(data)
            return cls(place, data, generation, places)
        except (ValueError, KeyError, TypeError, IndexError, struct.error, RecursionError, OverflowError) as error:
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

    def _meta(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.section("META").decode("utf-8", "surrogatepass"))
        return found

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
        if given["flags"] & HAS_GRAMS and self.size("GRAM") != 1 << max(gram_bits - 3, 0):
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
            raise MalformedFile(f"holds {found} indicators, not {len(self)}; build it again", place=str(self.path))

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
            if kind in _HASHED and function is DetectionFunction.EQUALS:
                size = _HASH_BYTES[kind]
                canonical = data[at : at + size].hex()
            else:
                size, at = self._varint(at)
                canonical = data[at : at + size].decode("utf-8", "surrogatepass")
            at += size
            value, valid_from, expires_at = canonical, None, None
            if head & 0x40:
                value, valid_from, expires_at, at = self._tail(at, canonical)
            owner, provenance = self.definitions[number], self._sources[source]
        except (IndexError, ValueError, struct.error, OverflowError) as error:
            raise MalformedFile(f"a record is damaged ({type(error).__name__}); build it again", place=str(self.path)) from None
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
                times.append(_EPOCH + timedelta(microseconds=micros))
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
    if len(data) < _HEADER.size or data[:8] != MAGIC:
        raise ValueError("it does not begin as one")
    _, version, count, generation, size, _, digest = _HEADER.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"it has version {version}, this Indicia reads {VERSION}")
    if size != len(data):
        raise ValueError(f"it has {len(data)} bytes and should have {size}")
    end = _HEADER.size + _ENTRY.size * count
    if count != len(SECTIONS) or end > size:
        raise ValueError("its section table is damaged")
    table = data[_HEADER.size : end]
    if blake2b(data[: _HEADER.size - 8] + table, digest_size=8).digest() != digest:
        raise ValueError("its header is damaged")
    places = {}
    for name, start, length, checksum in _ENTRY.iter_unpack(table):
        if start < end or start + length > size:
            raise ValueError("a section lies outside the file")
        places[name.rstrip(b"\0").decode()] = start, length, checksum
    if set(places) != set(SECTIONS):
        raise ValueError("its sections are not those of an index")
    return generation, places
