"""Filters and entities that Hypothesis makes up: typed texts of the query language, nouns to meet them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from indicia import model, values
from indicia.errors import InvalidValue
from indicia.model import AlertDefinition, Indicator
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR
from indicia.odata.shapes import Entity, Kind
from indicia.store import TenantStore

TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "%",
    "_",
    "a%b",
    "a_b",
    "axb",
    "'",
    "''",
    "\\",
    '"',
    "é",
    "É",
    "ß",
    "İ",
    "ı",
    "ſ",
]
TEXTS += [
    "\U0001f600",
    "\ue000",
    " a ",
    "\u00a0",
    "null",
    "true",
    "1",
    "10",
    "9",
    "Sha1",
    "a\tb",
    "e\u0301",
    "Ω",
]
TEXTS += ["x" * 300 + "a", "x" * 300 + "b"]
SAMPLES = st.sampled_from(TEXTS) | st.text(st.sampled_from("aAbB%_'é\U0001f600 "), max_size=5)
BLANKLESS = SAMPLES.map(lambda text: text if text.strip() else f"{text}.")
NUMBERS = [0, 1, -1, 2, 3, 60, 86_400, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
MOMENTS = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=UTC),
    datetime(2024, 3, 1, 0, 30, tzinfo=UTC),
    datetime(1900, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]
ZONES = [UTC, timezone(timedelta(hours=2)), timezone(-timedelta(hours=5, minutes=30))]


def quoted(text: str) -> str:
    """A text as a literal."""
    return "'" + text.replace("'", "''") + "'"


def moment(time: datetime, zone: timezone) -> str:
    """A time as a literal in a zone, where it can be written in it."""
    try:
        shown = time.astimezone(zone).isoformat()
    except OverflowError:
        shown = time.isoformat()
    return shown.replace("+00:00", "Z")


DEFINITIONS = st.builds(
    AlertDefinition,
    uid=st.just(""),
    name=BLANKLESS,
    title=BLANKLESS,
    severity=st.sampled_from(model.Severity),
    category=st.sampled_from([model.Category.NONE, model.Category.TROJAN, model.Category.GENERAL]),
    internal_description=SAMPLES,
    recommended_action=st.none() | SAMPLES,
    enabled=st.booleans(),
    window_seconds=st.sampled_from([60, 3600, 86_400]),
)


@dataclass(frozen=True)
class Row:
    """An indicator before it has a definition."""

    owner: int
    value: str
    made: Indicator


def _indicator(
    value: str, expires: datetime | None, starts: datetime | None, source: str | None
) -> Indicator:
    return Indicator(
        type=model.IndicatorType.DOMAIN_NAME,
        value=value,
        canonical=value,
        function=model.DetectionFunction.EQUALS,
        definition=AlertDefinition("", "n", "t", model.Severity.LOW, model.Category.NONE),
        expires_at=expires,
        valid_from=starts,
        source=source,
    )


_TIMES = st.none() | st.sampled_from(MOMENTS)
INDICATORS = st.tuples(
    st.integers(0, 3),
    st.builds(_indicator, BLANKLESS, _TIMES, _TIMES, st.none() | SAMPLES),
    st.sampled_from(model.IndicatorType),
    st.sampled_from(model.DetectionFunction),
    st.booleans(),
)


def fill(
    tenant: TenantStore, new: list[AlertDefinition], rows: list[tuple[int, Indicator, str, str, bool]]
) -> None:
    """The tenant holds these and nothing else; every third indicator has been changed."""
    tenant.delete_definitions()
    owners = tenant.add_definitions(new, "someone")
    made = [
        replace(
            _valid(found, model.IndicatorType(kind), model.DetectionFunction(function)),
            definition=owners[place % len(owners)],
            enabled=enabled,
        )
        for place, found, kind, function, enabled in rows
    ]
    added = tenant.add_indicators(made, "other") if owners else []
    for item in added[::3]:
        tenant.change_indicator(item.id, {"enabled": not item.enabled}, "third")


def _valid(found: Indicator, kind: model.IndicatorType, function: model.DetectionFunction) -> Indicator:
    """The indicator with its canonical form; with a type and function that its value goes with, or "a"."""
    part = model.DetectionFunction.CONTAINS
    for kind_, function_ in (
        (kind, function),
        (model.IndicatorType.FILE_NAME, part),
        (model.IndicatorType.URL, part),
    ):
        with suppress(InvalidValue):
            form = values.indicator_value(kind_, function_, found.value, force=True)
            return replace(found, type=kind_, function=function_, canonical=form)
    return replace(found, type=model.IndicatorType.FILE_NAME, function=part, value="a", canonical="a")


_COMPARISONS = st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le"])
_KINDS = [Kind.STRING, Kind.INT64, Kind.BOOLEAN, Kind.TIME, Kind.ENUM]


class Filters:
    """Texts of expressions about one entity, by type; `prefix` is what stands before its properties."""

    def __init__(self, entity: Entity, prefix: str = "", depth: int = 3, collections: int = 1) -> None:
        self.entity = entity
        self.prefix = prefix
        self.depth = depth
        self.collections = collections
        self.below = None if depth == 0 else Filters(entity, prefix, depth - 1, collections)

    def property(self, kind: Kind) -> st.SearchStrategy[str]:
        """A property of that kind, of the entity or of its definition."""
        names = [self.prefix + item.name for item in self.entity.properties if item.kind is kind]
        if self.entity is INDICATOR:
            names += [
                f"{self.prefix}AlertDefinition/{item.name}"
                for item in ALERT_DEFINITION.properties
                if item.kind is kind
            ]
        return st.sampled_from(names)

    def texts(self) -> st.SearchStrategy[str]:
        """Expressions of type Edm.String."""
        plain = self.property(Kind.STRING) | SAMPLES.map(quoted)
        if self.below is None:
            return plain
        inner = self.below.texts()
        return (
            plain
            | st.builds("{1}({0})".format, inner, st.sampled_from(["tolower", "toupper", "trim"]))
            | st.builds("concat({},{})".format, inner, inner)
            | st.builds("substring({},{})".format, inner, self.property(Kind.INT64))
            | st.builds("substring({}, {}, {})".format, inner, st.integers(-2, 5), st.integers(-2, 5))
            | st.just("null")
        )

    def numbers(self) -> st.SearchStrategy[str]:
        """Expressions of type Edm.Int64 or Edm.Double."""
        plain = (
            self.property(Kind.INT64)
            | st.sampled_from(NUMBERS).map(str)
            | st.sampled_from(["0.5", "-2.5", "1e3", "2.0", "1e300", "9007199254740993"])
        )
        if self.below is None:
            return plain
        inner, text = self.below.numbers(), self.below.texts()
        time = self.below.times()
        operators = st.sampled_from(["add", "sub", "mul", "div", "divby", "mod"])
        counts = [] if self.collections == 0 else [self.counted()]
        return st.one_of(
            plain,
            st.builds("({} {} {})".format, inner, operators, self.property(Kind.INT64)),
            st.builds("({} {} {})".format, inner, operators, inner).filter(lambda t: not _by_zero(t)),
            st.builds("-({})".format, inner),
            st.builds("{1}({0})".format, inner, st.sampled_from(["round", "floor", "ceiling"])),
            st.builds("length({})".format, text),
            st.builds("indexof({},{})".format, text, text),
            st.builds("{1}({0})".format, time, st.sampled_from(["year", "month", "day", "hour", "minute"])),
            st.builds("{1}({0})".format, time, st.sampled_from(["second", "fractionalseconds"])),
            st.builds("year(date({}))".format, time),
            st.builds("totalseconds({} sub {})".format, time, time),
            *counts,
        )

    def times(self) -> st.SearchStrategy[str]:
        """Expressions of type Edm.DateTimeOffset."""
        literal = st.builds(moment, st.sampled_from(MOMENTS), st.sampled_from(ZONES))
        plain = (
            self.property(Kind.TIME) | literal | st.sampled_from(["now()", "mindatetime()", "maxdatetime()"])
        )
        if self.below is None:
            return plain
        spans = st.sampled_from(["P1D", "-PT1.5S", "P0DT36H", "P3000000D"]).map(lambda d: f"duration'{d}'")
        return plain | st.builds(
            "({} {} {})".format, self.below.times(), st.sampled_from(["add", "sub"]), spans
        )

    def conditions(self) -> st.SearchStrategy[str]:
        """Expressions of type Edm.Boolean."""
        plain = st.one_of(
            self.property(Kind.BOOLEAN),
            self.member_compared(),
            st.builds("{} {} {}".format, self.texts(), _COMPARISONS, self.texts()),
            st.builds("{} {} {}".format, self.numbers(), _COMPARISONS, self.numbers()),
            st.builds("{} {} {}".format, self.times(), _COMPARISONS, self.times()),
            st.builds("{} {} null".format, self.property(Kind.STRING), _COMPARISONS),
            st.builds("{} in ({})".format, self.property(Kind.STRING), _listed(SAMPLES.map(quoted))),
            st.builds("{} in ({})".format, self.property(Kind.INT64), _listed(st.integers(-3, 9).map(str))),
        )
        if self.below is None:
            return plain | st.sampled_from(["true", "false", "null"])
        inner, text = self.below.conditions(), self.below.texts()
        some = [] if self.collections == 0 else [self.quantified()]
        functions = st.sampled_from(["contains", "startswith", "endswith"])
        return st.one_of(
            plain,
            st.builds("{2}({0},{1})".format, text, text, functions),
            st.builds("not ({})".format, inner),
            st.builds("({}) and ({})".format, inner, inner),
            st.builds("({}) or ({}) or ({})".format, inner, inner, inner),
            st.builds("({}) {} ({})".format, inner, _COMPARISONS, inner),
            st.builds("date({}) {} {}".format, self.below.times(), _COMPARISONS, st.just("2024-02-29")),
            st.builds("time({}) {} {}".format, self.below.times(), _COMPARISONS, st.just("12:30:15.25")),
            *some,
        )

    def member_compared(self) -> st.SearchStrategy[str]:
        """Enums against members, plain and qualified."""
        chosen = [item for item in self.entity.properties if item.enum is not None]

        def compared(item: int) -> st.SearchStrategy[str]:
            described = chosen[item % len(chosen)]
            enum = described.enum
            assert enum is not None
            members = st.sampled_from([str(member) for member in enum])
            literals = members.map(quoted) | members.map(lambda name: f"Indicia.{enum.__name__}'{name}'")
            return st.builds(
                f"{self.prefix}{described.name} {{}} {{}}".format, _COMPARISONS, literals
            ) | st.builds(f"{self.prefix}{described.name} in ({{}})".format, _listed(literals))

        return st.integers(0, 9).flatmap(compared)

    def collection(self) -> str:
        """The path to the indicators of the definition."""
        way = "" if self.entity is ALERT_DEFINITION else "AlertDefinition/"
        return f"{self.prefix}{way}IndicatorsOfCompromise"

    def quantified(self) -> st.SearchStrategy[str]:
        """any and all."""
        variable = f"x{self.collections}"
        inner = Filters(INDICATOR, f"{variable}/", min(self.depth - 1, 1), self.collections - 1)
        both = inner.conditions() | st.builds(
            "({}) and {}/Id gt {}Id".format, inner.conditions(), st.just(variable), st.just(self.prefix)
        )
        path = self.collection()
        return st.just(f"{path}/any()") | st.builds(
            f"{path}/{{}}({variable}:{{}})".format, st.sampled_from(["any", "all"]), both
        )

    def counted(self) -> st.SearchStrategy[str]:
        """$count of a collection, filtered or not."""
        path = self.collection()
        inner = Filters(INDICATOR, "", 0, 0)
        return st.just(f"{path}/$count") | inner.conditions().map(
            lambda text: f"{path}/$count($filter={text})"
        )


def _listed(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(items | st.just("null"), max_size=4).map(",".join)


def _by_zero(text: str) -> bool:
    return text.endswith((" 0)", " -0)"))
