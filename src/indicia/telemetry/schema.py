"""A mapping file understood: which events are of its schema, what their fields mean, who they are.

The files are data (`mappings/*.toml`, told in docs/mappings.md); a new one is a new schema. A file whose
name ends in `-fields` is a shared table that others include.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from indicia.errors import InputError
from indicia.model import Side
from indicia.telemetry import families
from indicia.telemetry.meanings import MEANINGS, Meaning
from indicia.telemetry.paths import lookup

LINE = "line"
GENERIC = "generic"
_KEYS = {
    "title", "priority", "default", "recognise", "identity", "time", "machine", "endpoints", "fields",
    "composed", "include",
}  # fmt: skip
_CACHE = 50_000


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of a group: it is there, and its text fits the glob, where there is one, in any letter case."""

    path: str
    glob: re.Pattern[str] | None

    def holds(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has it."""
        found = lookup(record, self.path)
        if found is None:
            return False
        return self.glob is None or self.glob.fullmatch(str(found)) is not None


@dataclass(frozen=True, slots=True)
class FieldMeaning:
    """What a field means."""

    name: str
    make: Meaning
    side: Side | None


@dataclass(frozen=True, slots=True)
class Composed:
    """A URL that stands in two fields."""

    template: tuple[str, ...]
    """Literal texts and paths in turn, a literal first."""
    meaning: FieldMeaning
    path: str


@dataclass
class Schema:
    """One mapping."""

    name: str
    title: str
    priority: int
    groups: tuple[tuple[Condition, ...], ...]
    family: str
    parts: Mapping[str, tuple[str, ...]]
    own: Mapping[str, tuple[str, ...]]
    without: frozenset[str]
    time_fields: tuple[str, ...]
    zone: tzinfo
    machine_fields: tuple[str, ...]
    source_fields: tuple[str, ...]
    destination_fields: tuple[str, ...]
    exact: Mapping[str, FieldMeaning]
    globs: tuple[tuple[re.Pattern[str], FieldMeaning], ...]
    default: FieldMeaning
    composed: tuple[Composed, ...]
    _known: dict[str, FieldMeaning] = field(default_factory=dict)

    def meaning(self, path: str) -> FieldMeaning:
        """What the field at a path means: named exactly, else the longest glob, else the default."""
        found = self._known.get(path)
        if found is None:
            found = self._find(path.lower())
            if len(self._known) >= _CACHE:  # keys come from outside
                self._known.clear()
            self._known[path] = found
        return found

    def _find(self, path: str) -> FieldMeaning:
        if path in self.exact:
            return self.exact[path]
        return next((meaning for glob, meaning in self.globs if glob.fullmatch(path)), self.default)


@cache
def schemas() -> Mapping[str, Schema]:
    """Every schema by its name, in the order in which they are asked whether an event is theirs.

    Raises InputError with file and key where a mapping file is wrong.
    """
    files = {
        entry.name.removesuffix(".toml"): entry.read_text("utf-8")
        for entry in resources.files("indicia.telemetry").joinpath("mappings").iterdir()
        if entry.name.endswith(".toml")
    }
    return read_schemas(files)


def read_schemas(files: Mapping[str, str]) -> Mapping[str, Schema]:
    """The schemas of mapping files, each given as its name and content; as `schemas`."""
    tables = {name: _table(name, content) for name, content in sorted(files.items())}
    made = [_schema(name, tables) for name in tables if not name.endswith("-fields")]
    return {schema.name: schema for schema in sorted(made, key=lambda s: (s.priority, s.name))}


def _table(name: str, content: str) -> dict[str, Any]:
    try:
        return tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not valid TOML: {error}", place=f"mappings/{name}.toml") from None


def _schema(name: str, tables: Mapping[str, dict[str, Any]]) -> Schema:
    try:
        return _Reader(name, tables).schema()
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"has not the shape of a mapping: {error}", place=f"mappings/{name}.toml") from None


class _Reader:
    """Turns one table into a Schema, saying where it is wrong."""

    def __init__(self, name: str, tables: Mapping[str, dict[str, Any]]) -> None:
        self._name = name
        self._tables = tables
        self._table = tables[name]

    def schema(self) -> Schema:
        table = self._table
        if unknown := set(table) - _KEYS:
            raise self._wrong(f"unknown key {sorted(unknown)[0]!r}")
        identity = table.get("identity", {})
        family = identity.get("family", "content")
        if family not in families.PARTS and self._name != LINE:
            raise self._wrong(f"identity.family must be one of {', '.join(families.PARTS)}, not {family!r}")
        fields = dict(self._fields(self._name, ("",), 0))
        return Schema(
            name=self._name,
            title=self._text("title"),
            priority=table.get("priority", 100),
            groups=tuple(self._group(group) for group in table.get("recognise", {}).get("any", ())),
            family=family,
            parts=self._parts(family, identity.get("parts", {})),
            own={key: tuple(paths) for key, paths in identity.get("own", {}).items()},
            without=frozenset(identity.get("without", ())),
            time_fields=tuple(table.get("time", {}).get("fields", ())),
            zone=self._zone(table.get("time", {}).get("zone", "UTC")),
            machine_fields=tuple(table.get("machine", {}).get("fields", ())),
            source_fields=tuple(table.get("endpoints", {}).get("source", ())),
            destination_fields=tuple(table.get("endpoints", {}).get("destination", ())),
            exact={path.lower(): meaning for path, meaning in fields.items() if "*" not in path},
            globs=self._globs(fields),
            default=self._meaning("default", table.get("default", "text")),
            composed=tuple(self._composed(entry) for entry in table.get("composed", ())),
        )

    def _wrong(self, message: str) -> InputError:
        return InputError(message, place=f"mappings/{self._name}.toml")

    def _text(self, key: str) -> str:
        value = self._table.get(key)
        if not isinstance(value, str) or not value:
            raise self._wrong(f"{key!r} must be a text")
        return value

    def _zone(self, name: str) -> tzinfo:
        try:
            return UTC if name == "UTC" else ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            raise self._wrong(f"time.zone: there is no time zone {name!r}") from None

    def _group(self, group: list[str]) -> tuple[Condition, ...]:
        found = []
        for text in group:
            path, equals, glob = text.partition("=")
            pattern = re.compile(fnmatch.translate(glob), re.IGNORECASE) if equals else None
            found.append(Condition(path, pattern))
        return tuple(found)

    def _parts(self, family: str, given: Mapping[str, list[str]]) -> Mapping[str, tuple[str, ...]]:
        known = families.PARTS.get(family, ())
        if unknown := set(given) - set(known):
            raise self._wrong(f"identity.parts: {sorted(unknown)[0]!r} is no part of the family {family}")
        return {name: tuple(given.get(name, ())) for name in known}

    def _fields(self, name: str, prefixes: tuple[str, ...], depth: int) -> Iterator[tuple[str, FieldMeaning]]:
        """Included tables first, so that a file's own fields win."""
        table = self._tables.get(name)
        if table is None or depth > 4:
            raise self._wrong(f"include: there is no mapping {name!r}, or it includes itself")
        for entry in table.get("include", ()):
            below = tuple(prefix + under for prefix in prefixes for under in entry.get("under", [""]))
            yield from self._fields(entry["mapping"], below, depth + 1)
        for path, text in table.get("fields", {}).items():
            meaning = self._meaning(path, text)
            for prefix in prefixes:
                yield prefix + path, meaning

    def _meaning(self, path: str, text: object) -> FieldMeaning:
        words = text.split() if isinstance(text, str) else []
        if not words or words[0] not in MEANINGS or len(words) > 2:
            raise self._wrong(f"{path!r}: {text!r} is no meaning; known: {', '.join(MEANINGS)}")
        if len(words) == 2 and words[1] not in set(Side):
            raise self._wrong(f"{path!r}: the side must be source or destination, not {words[1]!r}")
        return FieldMeaning(words[0], MEANINGS[words[0]], Side(words[1]) if len(words) == 2 else None)

    def _globs(self, fields: Mapping[str, FieldMeaning]) -> tuple[tuple[re.Pattern[str], FieldMeaning], ...]:
        found = [(path.lower(), meaning) for path, meaning in fields.items() if "*" in path]
        found.sort(key=lambda pair: -len(pair[0]))
        return tuple(
            (re.compile(".*".join(re.escape(piece) for piece in path.split("*"))), meaning)
            for path, meaning in found
        )

    def _composed(self, entry: Mapping[str, str]) -> Composed:
        pieces = tuple(re.split(r"\{([^{}]+)\}", entry["template"]))
        return Composed(pieces, self._meaning("composed", entry["meaning"]), "+".join(pieces[1::2]))
