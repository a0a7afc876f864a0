"""Rows become indicators: which function they get, and what their author should know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from indicia import identity, values
from indicia.errors import InvalidValue
from indicia.feeds.rows import FeedFault, FeedRow, category_of, severity_of, squeezed
from indicia.model import (
    NAME_LIMIT,
    SOURCE_LIMIT,
    TITLE_LIMIT,
    WINDOW_SECONDS,
    AlertDefinition,
    Category,
    DetectionFunction,
    GroupBy,
    Indicator,
    IndicatorType,
    Severity,
)
from indicia.odata.entities import WINDOW_MAXIMUM, WINDOW_MINIMUM

_EQUALS = DetectionFunction.EQUALS
_SUBDOMAIN = DetectionFunction.SUBDOMAIN_OF
_DEFANGED_SCHEMES = frozenset({"hxx", "fxp", "h**"})


@dataclass(frozen=True, slots=True)
class Choice:
    """Which function the rows of a file get, and whose they are."""

    function: DetectionFunction | None = None
    """Named by the user: it wins over the row's own. SubdomainOf goes to domain names alone."""
    subdomains: bool = False
    """A feed: a domain name without a function gets SubdomainOf."""
    source: str | None = None
    """Provenance of rows that name none."""
    force: bool = False
    """Short patterns, and SubdomainOf of public suffixes, as they were asked for."""


def indicator(row: FeedRow, owner: AlertDefinition, choice: Choice) -> tuple[Indicator, tuple[str, ...]]:
    """The row as an indicator of a definition, and its warnings. Raises InvalidValue with the rule."""
    function, asked = _function(row, choice)
    value, canonical = _value(row, function, force=choice.force)
    warnings = values.warnings(row.type, function, canonical)
    found = (row.warning,) if row.warning else ()
    if function is _SUBDOMAIN and warnings and not asked and values.is_public_suffix(canonical):
        function = _EQUALS
        warnings = (f"{warnings[0]}; taken as Equals",)
    if row.valid_from is not None and row.expires_at is not None and row.valid_from >= row.expires_at:
        raise InvalidValue("valid_from must be earlier than expires_at", target="ValidFrom")
    source = row.source or choice.source
    made = Indicator(
        type=row.type,
        value=value,
        canonical=canonical,
        function=function,
        definition=owner,
        enabled=row.enabled,
        valid_from=row.valid_from,
        expires_at=row.expires_at,
        source=source[:SOURCE_LIMIT] if source else None,
    )
    return made, (*warnings, *found)


def _value(row: FeedRow, function: DetectionFunction, *, force: bool) -> tuple[str, str]:
    """The value and its canonical form; refanged where it is none as it stands, though its type was named.

    `hxxp` would do as a scheme, and meet nothing.
    """
    value = row.value
    if row.type is IndicatorType.URL and value[:3].lower() in _DEFANGED_SCHEMES:
        value = values.refang(value)
    try:
        return value, values.indicator_value(row.type, function, value, force=force)
    except InvalidValue:
        plain = values.refang(value)
        if plain == value:
            raise
        return plain, values.indicator_value(row.type, function, plain, force=force)


def _function(row: FeedRow, choice: Choice) -> tuple[DetectionFunction, bool]:
    """The function, and whether SubdomainOf of a public suffix was asked for of this very row."""
    is_name = row.type is IndicatorType.DOMAIN_NAME
    if choice.function is _SUBDOMAIN:
        return (_SUBDOMAIN, choice.force) if is_name else (row.function or _EQUALS, False)
    if choice.function is not None:
        return choice.function, True
    if row.function is not None:
        return row.function, True
    return (_SUBDOMAIN if is_name and choice.subdomains else _EQUALS), False


@dataclass
class OwnList:
    """A list that brings its own alert definitions, for a scan without a store."""

    name: str
    """Of the definition of rows that name none."""
    choice: Choice = field(default_factory=Choice)
    group_by: GroupBy | None = None
    faults: list[FeedFault] = field(default_factory=list)
    warnings: list[tuple[int, str]] = field(default_factory=list)

    def indicators(self, rows: Iterable[FeedRow | FeedFault]) -> list[Indicator]:
        """The indicators of all rows; what is wrong with the others is in `faults`.

        A definition is what rows of one `definition_uid` or `definition` share; its title, severity and
        category are those of its first row that has them. Its uid is `definition_uid`, else the digest of
        its rows (identity.list_uid), so that a list moved or sorted anew raises the same alerts.
        """
        groups: dict[str, dict[tuple[str, str, str], Indicator]] = {}
        about: dict[str, dict[str, str]] = {}
        for row in rows:
            if isinstance(row, FeedFault):
                self.faults.append(row)
            elif row.enabled:
                self._take(row, groups, about)
        return list(self._named(groups, about))

    def _take(
        self,
        row: FeedRow,
        groups: dict[str, dict[tuple[str, str, str], Indicator]],
        about: dict[str, dict[str, str]],
    ) -> None:
        try:
            made, warnings = indicator(row, NOBODY, self.choice)
            _definition("", self.name, row.definition)
        except (InvalidValue, ValueError) as error:
            self.faults.append(FeedFault(row.line, words(error)))
            return
        self.warnings.extend((row.line, warning) for warning in warnings)
        group = row.definition.get("definition_uid") or row.definition.get("definition", "")
        key = str(made.type), str(made.function), made.canonical
        groups.setdefault(group, {}).setdefault(key, made)
        known = about.setdefault(group, {})
        for name, text in row.definition.items():
            known.setdefault(name, text)

    def _named(
        self,
        groups: dict[str, dict[tuple[str, str, str], Indicator]],
        about: dict[str, dict[str, str]],
    ) -> Iterator[Indicator]:
        names: dict[str, str] = {}
        for group, found in groups.items():
            uid = about[group].get("definition_uid") or identity.list_uid(found)
            owner = _definition(uid, self.name, about[group], self.group_by)
            if (other := names.setdefault(uid, owner.name)) != owner.name:
                note = f"{owner.name} and {other} hold the same indicators: the alerts of both are one"
                self.warnings.append((0, note))
            for made in found.values():
                yield replace(made, definition=owner)


def _definition(
    uid: str, name: str, given: Mapping[str, str], group_by: GroupBy | None = None
) -> AlertDefinition:
    """The definition that columns describe. Raises ValueError."""
    shown = given.get("definition") or name
    title = given.get("title") or shown
    for what, text, limit in (("definition", shown, NAME_LIMIT), ("title", title, TITLE_LIMIT)):
        if len(text) > limit:
            raise ValueError(f"{what} has {len(text)} characters; at most {limit} are allowed")
    return AlertDefinition(
        uid=uid,
        name=shown,
        title=title,
        severity=severity_of(given["severity"]) if "severity" in given else Severity.MEDIUM,
        category=category_of(given["category"]) if "category" in given else Category.GENERAL,
        group_by=group_by or _group_by(given.get("group_by", "")),
        window_seconds=_window(given.get("window_seconds", "")),
    )


def _group_by(word: str) -> GroupBy:
    if not word:
        return GroupBy.DEFINITION
    for member in GroupBy:
        if member.value.lower() == squeezed(word):
            return member
    raise ValueError(f"{word[:60]!r} is no group_by; known: {', '.join(GroupBy)}")


def _window(word: str) -> int:
    if not word:
        return WINDOW_SECONDS
    if not word.isdecimal() or not WINDOW_MINIMUM <= int(word[:9]) <= WINDOW_MAXIMUM:
        raise ValueError(f"window_seconds must be from {WINDOW_MINIMUM} to {WINDOW_MAXIMUM}")
    return int(word)


def words(error: ValueError | InvalidValue) -> str:
    """A fault of a row, with the property where it is known."""
    return f"{error.target}: {error.message}" if isinstance(error, InvalidValue) else str(error)


NOBODY = AlertDefinition(uid="", name="", title="", severity=Severity.MEDIUM, category=Category.GENERAL)
"""Whose the rows of an own list are until all of them are read: the uid comes from the rows."""
