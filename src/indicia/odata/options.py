"""The query string: what a request asks beside its path (OData 4.01 Part 2, 5).

Names of options are taken with and without `$` and in any letter case (4.01). An option of the standard
that is not done is answered by 501, one that the standard does not know by 400, so that a typing error is
never ignored. Everything is bounded before it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote_plus

from indicia.errors import InputError, InvalidValue, NotSupported
from indicia.odata import literals, skiptoken
from indicia.odata import parse as expressions
from indicia.odata.entities import ALERT_DEFINITION, BY_SET
from indicia.odata.format import Level, level_of
from indicia.odata.shapes import Entity, Navigation
from indicia.odata.tokens import Kind, Tokens
from indicia.odata.tree import Expression, Order, Query, Value

QUERY_LIMIT = 16_384
"""Characters of a query string, the token of a next link aside."""
SKIP_LIMIT = 100_000
"""What $skip passes over is read; who wants more follows @odata.nextLink."""
PAGE_LIMIT = 1000
"""Entities of one page; the rest follows by @odata.nextLink."""
EXPANDED_PAGE_LIMIT = 100
"""Entities of a page that expands a collection, and of each collection expanded in it."""
EXPAND_DEPTH = 3
SKIPTOKEN = "$skiptoken"

LIST_OPTIONS = frozenset(
    {"$filter", "$orderby", "$select", "$expand", "$top", "$skip", "$count", "$format", SKIPTOKEN}
)
REFERENCE_OPTIONS = LIST_OPTIONS - {"$select", "$expand"}
"""Of a list of references."""
ENTITY_OPTIONS = frozenset({"$select", "$expand", "$format"})
COUNT_OPTIONS = frozenset({"$filter"})
FORMAT_OPTIONS = frozenset({"$format"})
STANDARD = LIST_OPTIONS | {
    "$apply",
    "$compute",
    "$deltatoken",
    "$id",
    "$index",
    "$levels",
    "$schemaversion",
    "$search",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    filter: Expression | None = None
    order: tuple[Order, ...] = ()
    """Total (see `tree.total`); empty: by id."""
    select: tuple[str, ...] | None = None
    """Names of properties, each once, in the order of the entity; None for all."""
    expand: tuple[Expansion, ...] = ()
    top: int | None = None
    """At most so many entities over all pages; None for all."""
    skip: int = 0
    count: bool = False
    after: tuple[Value, ...] | None = None
    """Sort keys of the last entity of the page before; None for the first page."""
    level: Level | None = None
    """The level of annotation that $format names."""
    given: Mapping[str, str] = field(default_factory=dict, compare=False)
    """The texts of the options, decoded, by their names; parameter aliases too."""
    page_limit: int = PAGE_LIMIT

    @property
    def page(self) -> int:
        """Entities on this page."""
        return self.page_limit if self.top is None else min(self.top, self.page_limit)

    @property
    def query(self) -> Query:
        """What the store is asked for."""
        return Query(self.filter, self.order, self.after, self.skip, self.page)


@dataclass(frozen=True, slots=True)
class Expansion:
    """Related entities that are wanted inside an entity, and what is asked of them."""

    navigation: Navigation
    entity: Entity
    """What they are."""
    options: Options


def parse(
    query: str,
    allowed: frozenset[str],
    entity: Entity = ALERT_DEFINITION,
    sets: Mapping[str, Entity] = BY_SET,
) -> Options:
    """The options of a query string, still percent-encoded, for entities of a set.

    Raises NotSupported for what the standard has and we do not, InvalidValue (target: the option) for a bad
    value, an option given twice, one that does not apply here, and one that does not exist.
    """
    given: dict[str, str] = {}
    for raw, value in _pairs(query):
        name = _name(raw)
        _admit(name, raw, allowed)
        if name in given:
            raise InvalidValue(f"the query option {name} is given twice", target=name)
        given[name] = value
    aliases = {name: value for name, value in given.items() if name.startswith("@")}
    return _options(given, expressions.context(entity, aliases, sets=sets))


def none(query: str) -> None:
    """For requests that take no option at all."""
    parse(query, frozenset())


def of_metadata(query: str) -> None:
    """The options of the metadata document, which is XML. Raises NotSupported for another format."""
    for raw, value in _pairs(query):
        _admit(_name(raw), raw, FORMAT_OPTIONS)
        if value.lower() not in ("xml", "application/xml"):
            raise NotSupported(f"the metadata document is XML, not {value[:80]!r}", target="$format")


def refuse_any(query: str) -> None:
    """For calls that delete many: an option that was meant to narrow them must not be passed over."""
    if query:
        raise InputError(
            "this call deletes everything it names and takes no query string; nothing was deleted"
        )


def format_level(query: str) -> Level | None:
    """The level of annotation that $format asks for, before the rest of the query is read."""
    if "format" not in query.lower():
        return None
    found = [value for raw, value in _pairs(query) if _name(raw) == "$format"]
    return _level(found[0]) if found else None


def next_query(options: Options, returned: int, last: Sequence[Value]) -> str | None:
    """The query string of the following page; None where $top is used up."""
    parts = {name: text for name, text in options.given.items() if name not in ("$skip", SKIPTOKEN)}
    if options.top is not None:
        if options.top <= returned:
            return None
        parts["$top"] = str(options.top - returned)
    parts[SKIPTOKEN] = skiptoken.write(last)
    return "&".join(f"{name}={quote_plus(text, safe=_SAFE)}" for name, text in parts.items())


_SAFE = "$@'()*,:;=/!"
"""Characters of a query that need no encoding (RFC 3986), so that a link is no longer than its request."""


def _pairs(query: str) -> list[tuple[str, str]]:
    if len(query) > QUERY_LIMIT and len(query) - _token_length(query) > QUERY_LIMIT:
        raise InputError(f"the query string is longer than {QUERY_LIMIT} characters")
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except UnicodeDecodeError:
        raise InputError("the query string is not UTF-8 under its percent-encoding") from None
    except ValueError:
        raise InputError("the query string has more than 100 options") from None


def _token_length(query: str) -> int:
    """Characters of the token of a next link, within its own limit."""
    _, found, rest = query.partition("skiptoken=")
    return min(len(rest.partition("&")[0]), skiptoken.LIMIT) if found else 0


def _name(raw: str) -> str:
    """The option that a name means: `$filter` for `filter` and `$Filter` too; another name as it is."""
    lower = raw.lower()
    name = lower if lower.startswith("$") else f"${lower}"
    return name if name in STANDARD else raw


def _admit(name: str, raw: str, allowed: frozenset[str]) -> None:
    if name in allowed:
        return
    if name.startswith("@") and len(name) > 1 and allowed & {"$filter", "$expand"}:
        return
    if name in STANDARD:
        if name in LIST_OPTIONS:
            raise InvalidValue(f"the query option {name} does not apply here", target=name)
        raise NotSupported(f"the query option {name} is not supported by this service yet", target=name)
    raise InvalidValue(f"there is no query option {raw[:80]!r}", target=raw[:80])


def _options(given: Mapping[str, str], within: expressions.Context, depth: int = 0) -> Options:
    """The options of a request, or those in the parentheses of an expanded property."""
    filter_ = expressions.predicate(given["$filter"], within) if "$filter" in given else None
    order = expressions.order(given["$orderby"], within) if "$orderby" in given else ()
    expand = _expand(given["$expand"], within, depth) if "$expand" in given else ()
    many = any(item.navigation.many for item in expand)
    after = None
    if SKIPTOKEN in given:
        if "$skip" in given:
            raise InvalidValue("does not go together with $skip", target=SKIPTOKEN)
        after = skiptoken.read(given[SKIPTOKEN], order)
    return Options(
        filter=filter_,
        order=order,
        select=_select(given["$select"], within.entity) if "$select" in given else None,
        expand=expand,
        top=_natural("$top", given["$top"]) if "$top" in given else None,
        skip=_skip(given["$skip"]) if "$skip" in given else 0,
        count=_count(given.get("$count", "false")),
        after=after,
        level=_level(given["$format"]) if "$format" in given else None,
        given={**given, **within.aliases},
        page_limit=EXPANDED_PAGE_LIMIT if many or depth else PAGE_LIMIT,
    )


def _natural(name: str, text: str) -> int:
    value = literals.integer(text)
    if value is None or value < 0:
        raise InvalidValue(f"must be an integer of 0 or more, not {text[:40]!r}", target=name)
    return value


def _skip(text: str) -> int:
    value = _natural("$skip", text)
    if value > SKIP_LIMIT:
        raise InvalidValue(f"passes over at most {SKIP_LIMIT}; follow @odata.nextLink", target="$skip")
    return value


def _count(text: str) -> bool:
    if text not in ("true", "false"):
        raise InvalidValue(f"must be true or false, not {text[:40]!r}", target="$count")
    return text == "true"


def _level(text: str) -> Level:
    """$format=json, or application/json with or without odata.metadata."""
    name, _, parameters = text.lower().partition(";")
    if name.strip() not in ("json", "application/json"):
        raise NotSupported(f"{text[:80]!r} is not supported; answers are JSON", target="$format")
    try:
        return level_of(parameters)
    except InvalidValue as error:
        raise InvalidValue(error.message, target="$format") from None


def _select(text: str, entity: Entity) -> tuple[str, ...] | None:
    """The properties to show. The name of a navigation is allowed: its link is shown where links are."""
    tokens = Tokens(text, "$select")
    wanted: set[str] = set()
    while True:
        token = tokens.current
        if tokens.take("*"):
            wanted |= {item.name for item in entity.properties}
        elif token.kind is Kind.NAME:
            tokens.advance()
            wanted |= _selected(tokens, entity, token.text)
        else:
            _annotation(tokens)
            tokens.unexpected("the name of a property or *")
        if not tokens.take(","):
            break
    if tokens.current.kind is not Kind.END:
        if tokens.at("/") or tokens.at("("):
            raise NotSupported("a path or options inside $select are not supported yet", target="$select")
        tokens.unexpected("',' or the end")
    chosen = tuple(item.name for item in entity.properties if item.name in wanted)
    return None if len(chosen) == len(entity.properties) else chosen


def _selected(tokens: Tokens, entity: Entity, name: str) -> set[str]:
    described = entity.by_name.get(name)
    if described is not None:
        return {described.name}
    if entity.navigation(name) is None:
        _unknown(tokens, entity, name)
    return set()


def _annotation(tokens: Tokens) -> None:
    """Refuse the name of an annotation or alias, which the standard allows in these places."""
    if tokens.current.kind is Kind.ALIAS:
        tokens.later(tokens.current.column, f"{tokens.current.text[:80]} here")


def _unknown(tokens: Tokens, entity: Entity, name: str) -> None:
    if "." in name or name.startswith("$"):
        raise NotSupported(f"{name[:80]} is not supported by this service yet", target=tokens.target)
    names = [item.name for item in entity.properties] + [way.name for way in entity.navigations]
    message = f"{entity.name} has no property {name[:80]!r}; it has {', '.join(names)}"
    raise InvalidValue(message, target=tokens.target)


def _expand(text: str, within: expressions.Context, depth: int) -> tuple[Expansion, ...]:
    """Navigation properties with the options in their parentheses."""
    if depth >= EXPAND_DEPTH:
        raise InvalidValue(f"nested more than {EXPAND_DEPTH} levels deep", target="$expand")
    tokens = Tokens(text, "$expand")
    found: dict[str, Expansion] = {}
    while True:
        for way in _expanded(tokens, within.entity):
            if way.name in found:
                raise InvalidValue(f"{way.name} is expanded twice", target="$expand")
            found[way.name] = _expansion(tokens, way, within, depth)
        if not tokens.take(","):
            break
    if tokens.current.kind is not Kind.END:
        tokens.unexpected("',' or the end")
    return tuple(found.values())


def _expanded(tokens: Tokens, entity: Entity) -> tuple[Navigation, ...]:
    """The navigation property that the tokens name, or all of them for `*`."""
    if tokens.take("*"):
        ways = entity.navigations
    else:
        if tokens.current.kind is not Kind.NAME:
            _annotation(tokens)
            tokens.unexpected("the name of a navigation property or *")
        name = tokens.advance().text
        way = entity.navigation(name)
        if way is None:
            if name in entity.by_name:
                raise InvalidValue(f"{name} is a property: name it in $select", target="$expand")
            _unknown(tokens, entity, name)
        ways = () if way is None else (way,)
    if tokens.at("/"):
        raise NotSupported("a path inside $expand is not supported yet", target="$expand")
    return ways


def _expansion(tokens: Tokens, way: Navigation, outer: expressions.Context, depth: int) -> Expansion:
    target = outer.target(way)
    given = _nested(tokens) if tokens.at("(") else {}
    try:
        options = _options(given, replace(outer, entity=target), depth + 1)
    except (InvalidValue, NotSupported) as error:
        raise type(error)(error.message, target=f"$expand/{way.name}/{error.target}") from None
    if way.many and any(item.navigation.many for item in options.expand):
        raise NotSupported("a collection inside an expanded collection is not expanded", target="$expand")
    if not way.many:
        wrong = given.keys() - {"$select", "$expand"}
        if wrong:
            raise InvalidValue(f"{min(wrong)} is for collections; {way.name} is one entity", target="$expand")
        if any(item.navigation.many for item in options.expand):
            raise NotSupported(
                f"a collection below {way.name} is not expanded: GET it on its own", target="$expand"
            )
    return Expansion(way, target, options)


def _nested(tokens: Tokens) -> dict[str, str]:
    """The options in parentheses, separated by semicolons, each as its text."""
    tokens.expect("(")
    given: dict[str, str] = {}
    while True:
        if tokens.current.kind is not Kind.NAME:
            _annotation(tokens)
            tokens.unexpected("an option such as $filter")
        raw = tokens.advance().text
        name = _name(raw)
        if name == "$levels":
            raise NotSupported("$levels is not supported by this service yet", target="$expand")
        _admit(name, raw, LIST_OPTIONS - {"$format", SKIPTOKEN})
        if name in given:
            raise InvalidValue(f"the option {name} is given twice", target="$expand")
        tokens.expect("=", f" after {name}")
        given[name] = _value(tokens)
        if not tokens.take(";"):
            break
    tokens.expect(")", " or ';'")
    return given


def _value(tokens: Tokens) -> str:
    """The text up to the semicolon or the parenthesis that ends an option."""
    start, depth = tokens.current.column, 0
    while tokens.current.kind is not Kind.END:
        if depth == 0 and (tokens.at(";") or tokens.at(")")):
            break
        depth += tokens.at("(") - tokens.at(")")
        tokens.advance()
    return tokens.text[start - 1 : tokens.current.column - 1].strip()
