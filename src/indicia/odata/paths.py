"""The path of a URL, and references to an entity (OData 4.01 Part 2, 4).

A path becomes its shape, in which every key is written `#`, and the keys: `AlertDefinitions(1)/Title` is
`AlertDefinitions(#)/Title` with (1,). The route table names shapes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from indicia.errors import InputError, InvalidValue, NotFound, NotSupported
from indicia.odata import literals

PATH_LIMIT = 2048
SEGMENT_LIMIT = 16
VERSION = "v1.0"
CROSSJOIN = "$crossjoin"
"""It alone has names of sets in the place of a key."""

_SEGMENT = re.compile(r"([$A-Za-z_][A-Za-z0-9_.]{0,127})(?:\(([^()]*)\))?\Z")


@dataclass(frozen=True, slots=True)
class Path:
    """What a URL names below the service root."""

    shape: str
    """Empty for the service root itself."""
    keys: tuple[int, ...] = ()


def parse(raw: str) -> Path:
    """The path below the service root, still percent-encoded, as `AlertDefinitions(1)`.

    One slash at the end is ignored. Raises NotFound for what cannot name anything, InputError for a key
    that is not an Int64 and for what is no path, NotSupported for $crossjoin.
    """
    if len(raw) > PATH_LIMIT:
        raise InputError(f"the path is longer than {PATH_LIMIT} characters")
    raw = raw.removesuffix("/")
    if not raw:
        return Path("")
    parts = raw.split("/")
    if len(parts) > SEGMENT_LIMIT:
        raise NotFound(f"the path has more than {SEGMENT_LIMIT} segments")
    shape: list[str] = []
    keys: list[int] = []
    for part in parts:
        name, key = _segment(part)
        shape.append(name if key is None else f"{name}(#)")
        keys += [] if key is None else [key]
    return Path("/".join(shape), tuple(keys))


def _segment(part: str) -> tuple[str, int | None]:
    try:
        text = unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise InputError("the path is not UTF-8 under its percent-encoding") from None
    if "\0" in text:
        raise InputError("the path holds the character U+0000, which is not allowed")
    if text.startswith(f"{CROSSJOIN}("):
        raise NotSupported(f"{CROSSJOIN} is not supported by this service yet")
    found = _SEGMENT.match(text)
    if not found:
        raise NotFound(f"there is no resource {text[:80]!r}; GET the service document for those there are")
    name, key = found.groups()
    return name, None if key is None else _key(name, key)


def _key(name: str, text: str) -> int:
    value = literals.integer(text.strip().removeprefix("Id="))
    if value is None:
        raise InputError(f"the key of {name} must be an integer of 64 bits, as {name}(1), not ({text[:40]})")
    return value


def version(segment: str) -> bool:
    """Whether the first segment names the version; the published pages write both v1.0 and V1.0."""
    return segment.lower() == VERSION


def reference(text: object, set_name: str, roots: frozenset[str], target: str) -> int:
    """The key that a reference to an entity of `set_name` holds.

    Accepted: `AlertDefinitions(1)`, `/V1.0/AlertDefinitions(1)`, and the absolute URL on one of `roots`
    (scheme and authority, as `https://127.0.0.1:8443`). Raises InvalidValue at `target`.
    """
    wanted = f"{set_name}(1)"
    if not isinstance(text, str):
        raise InvalidValue(f"must be a text that names an entity, as {wanted!r}", target=target)
    try:
        path = _below_root(text, roots, target)
        found = parse(path)
    except (NotFound, NotSupported, InputError, ValueError) as error:
        if isinstance(error, InvalidValue):
            raise
        raise InvalidValue(f"{text[:200]!r} names no entity; write it as {wanted!r}", target=target) from None
    if found.shape != f"{set_name}(#)":
        raise InvalidValue(f"{text[:200]!r} does not name one of {set_name}, as {wanted!r}", target=target)
    return found.keys[0]


def _below_root(text: str, roots: frozenset[str], target: str) -> str:
    parts = urlsplit(text)
    if parts.query or parts.fragment:
        raise ValueError(text)
    if parts.scheme or parts.netloc:
        root = f"{parts.scheme}://{parts.netloc}".lower()
        if root not in roots:
            raise InvalidValue(f"{root} is not this service", target=target)
    path = parts.path.removeprefix("/")
    first, _, rest = path.partition("/")
    return rest if version(first) else path
