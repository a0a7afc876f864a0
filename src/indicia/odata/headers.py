"""What the headers of a request ask: preferences, conditions on an ETag, the version of the protocol.

References: Prefer, RFC 7240 and OData 4.01 Part 1, 8.2.8; If-Match and If-None-Match, RFC 9110 13.1 with
the weak comparison that OData asks for (8.2.4); OData-Version and OData-MaxVersion (8.1.5, 8.2.6).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from indicia.errors import InvalidValue, PreconditionFailed
from indicia.odata import literals

VERSION = "4.0"
"""What answers are written in."""
ANY = "*"
HEADER_LIMIT = 8192
"""Characters of a header that is read here."""
_READ = frozenset({"4.0", "4.01"})
"""Versions of a body that are understood: of what is served here, both say the same."""
_VERSION = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\Z")
_ETAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"\Z')


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a client would like; a preference that is unknown or makes no sense is passed over."""

    minimal: bool | None = None
    """`return=minimal` (True) or `return=representation` (False); None where nothing is said."""
    page: int | None = None
    """`odata.maxpagesize`: entities of one page, at most."""
    continue_on_error: bool = False

    @property
    def returned(self) -> str | None:
        """The preference of what is returned, as Preference-Applied repeats it."""
        if self.minimal is None:
            return None
        return "return=minimal" if self.minimal else "return=representation"


NO_PREFERENCES = Preferences()


def preferences(headers: Iterable[str]) -> Preferences:
    """The preferences of all Prefer headers of a request; of one that comes twice the first counts."""
    found: dict[str, str] = {}
    for item in ",".join(headers)[:HEADER_LIMIT].split(","):
        name, _, value = item.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower().removeprefix("odata."), value.strip().strip('"'))
    size = literals.integer(found.get("maxpagesize", ""))
    return Preferences(
        minimal={"minimal": True, "representation": False}.get(found.get("return", "").lower()),
        page=size if size is not None and size > 0 else None,
        continue_on_error=found.get("continue-on-error", "false").lower() in ("", "true"),
    )


@dataclass(frozen=True, slots=True)
class Conditions:
    """What If-Match and If-None-Match name: opaque tags without `W/` and quotes, or ANY; None: absent."""

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None

    def check(self, etag: str) -> None:
        """Raise PreconditionFailed unless an entity of that ETag may be changed."""
        if not _named(self.match, etag, absent=True):
            raise PreconditionFailed(
                f"the entity has been changed: its ETag is {etag} now; read it again", target="If-Match"
            )
        if _named(self.none_match, etag, absent=False):
            raise PreconditionFailed(f"the entity is there, with the ETag {etag}", target="If-None-Match")

    def unchanged(self, etag: str) -> bool:
        """Whether the reader of an entity has it already (304). Raises PreconditionFailed by If-Match."""
        Conditions(self.match).check(etag)
        return _named(self.none_match, etag, absent=False)

    def refuse(self) -> None:
        """For what has no ETag: raise PreconditionFailed where one is asked for."""
        if self.match not in (None, frozenset({ANY})) or self.none_match is not None:
            raise PreconditionFailed("there is no ETag here; only single entities have one")


NO_CONDITIONS = Conditions()


def conditions(match: str | None, none_match: str | None) -> Conditions:
    """The conditions of both headers. Raises InvalidValue for what is no list of ETags."""
    if match is None and none_match is None:
        return NO_CONDITIONS
    return Conditions(_etags(match, "If-Match"), _etags(none_match, "If-None-Match"))


def check_versions(version: str | None, longest: str | None) -> None:
    """Raise InvalidValue where a body is of another version, or answers must be of an older one."""
    if version is not None and version.partition(";")[0].strip() not in _READ:
        raise InvalidValue(
            f"must be one of {', '.join(sorted(_READ))}, not {version[:40]}", target="OData-Version"
        )
    if longest is not None:
        found = _VERSION.match(longest.partition(";")[0].strip())
        if found is None or (int(found[1]), int(found[2])) < (4, 0):
            raise InvalidValue(
                f"answers are written in {VERSION}, which is more than {longest[:40]}",
                target="OData-MaxVersion",
            )


def _etags(header: str | None, name: str) -> frozenset[str] | None:
    if header is None:
        return None
    if header.strip() == ANY:
        return frozenset({ANY})
    found = [_ETAG.match(item.strip()) for item in header[:HEADER_LIMIT].split(",")]
    if not all(found):
        raise InvalidValue('must be * or ETags in quotes, as W/"0123456789abcdef"', target=name)
    return frozenset(item[1] for item in found if item)


def _named(tags: frozenset[str] | None, etag: str, *, absent: bool) -> bool:
    if tags is None:
        return absent
    return ANY in tags or etag.removeprefix("W/").strip('"') in tags
