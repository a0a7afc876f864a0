"""Indicators become an index file: columns, packed at the speed of C, and written atomically."""

from __future__ import annotations

import json
import os
import secrets
import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Self

from indicia.errors import InputError
from indicia.match import keys
from indicia.match.index import (
    BITMAP,
    ENTRY,
    EPOCH,
    FUNCTIONS,
    HAS_GRAMS,
    HEADER,
    MAGIC,
    SECTIONS,
    TYPES,
    VERSION,
    definition_json,
)
from indicia.match.kernel import BUILT, kernel
from indicia.match.keys import Hard, Key
from indicia.model import AlertDefinition, DetectionFunction, Indicator, IndicatorType
from indicia.values import PATTERNS

BLOOM_BITS = 12
LOAD = 0.78
"""Keys for each place of the table."""
HAS_BELOW, HAS_DOTLESS, HAS_NETS, ODD_ANY, V6_ODD, HAS_TOP = 1, 2, 4, 16, 32, 64
"""Flags that `_kernel.c` has too, with HAS_GRAMS."""
_MICROSECOND = timedelta(microseconds=1)
_TYPE_NUMBER = {member: number for number, member in enumerate(TYPES)}
_FUNCTION_NUMBER = {member: number for number, member in enumerate(FUNCTIONS)}
_SPACE = 48
"""Bytes of a record beside its text and tail, at the most."""
_SHORTEST_V6 = 2
"""`::`, which any mention of an address may be."""


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
    mask = (
        (indicator.valid_from is not None)
        | (indicator.expires_at is not None) << 1
        | (value is not None) << 2
    )
    packed = b"".join(struct.pack("<q", (time - EPOCH) // _MICROSECOND) for time in times)
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
    if not BUILT:
        raise InputError("an index needs the C extension, which was not built; `indicia doctor` says more")
    seed = secrets.randbits(64)
    packed = _Packed(columns, seed)
    meta = {
        "tenant": tenant,
        "created_at": datetime.now(UTC).isoformat(),
        "indicators": len(columns.texts),
        "counts": packed.counts(),
        "definitions": [definition_json(definition) for definition in definitions],
        "sources": list(sources),
        "kernel": packed.parameters(seed),
    }
    contents = {
        "META": json.dumps(meta, ensure_ascii=False).encode("utf-8", "surrogatepass")
    } | packed.sections
    _write_file(Path(path), contents, generation)


def _write_file(path: Path, contents: dict[str, bytes | bytearray | memoryview], generation: int) -> None:
    place = HEADER.size + ENTRY.size * len(SECTIONS)
    table, places = b"", []
    for name in SECTIONS:
        place += -place % 64
        places.append(place)
        digest = blake2b(contents[name], digest_size=8).digest()
        table += ENTRY.pack(name.encode().ljust(8, b"\0"), place, len(contents[name]), digest)
        place += len(contents[name])
    head = HEADER.pack(MAGIC, VERSION, len(SECTIONS), generation, place, 0, b"")[:-8]
    head += blake2b(head + table, digest_size=8).digest()
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # What is looked for is nobody else's to know.
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
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
            self.minimum = _SHORTEST_V6
        if min(map(len, columns.texts), default=4) < self.minimum:
            short = (len(text) for text in columns.texts if len(text) < 4 and ":" in text)
            self.minimum = min(self.minimum, *short, 4)
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
            self.minimum = _SHORTEST_V6
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
