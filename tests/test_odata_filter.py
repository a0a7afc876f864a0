"""The query language: what is parsed, what is refused and how fast, and that the store means what it says."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import abnf
from explained import ON_A_FILE
from filters import DEFINITIONS, INDICATORS, Filters, fill
from indicia import model, values
from indicia.errors import IndiciaError, InputError, InvalidValue, NotSupported
from indicia.model import AlertDefinition, Indicator
from indicia.odata import functions, options, parse, skiptoken, tree
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR
from indicia.odata.meaning import Meaning, Noun
from indicia.odata.shapes import Entity
from indicia.odata.tree import Query
from indicia.store import Store, TenantStore, Within
from stored import plan_of, url

CASES = Path(__file__).parent / "cases" / "odata"
SETS = {"D": ALERT_DEFINITION, "I": INDICATOR}
EXAMPLES = {"sqlite": 160, "postgresql": 40}
"""Of filters; each is some dozen round trips to a server."""


def cases(name: str) -> list[dict[str, Any]]:
    """A file of cases."""
    found: list[dict[str, Any]] = yaml.safe_load((CASES / f"{name}.yaml").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Iterator[Store]:
    """Of each kind of database in turn."""
    with Store.open(url(tmp_path_factory.mktemp(kind) / "indicia.db")) as opened:
        for name in ("one", "two", "cases", "pages"):
            opened.add_tenant(name)
        yield opened


@pytest.fixture(scope="module")
def numbered(store: Store) -> TenantStore:
    """A tenant with the entities of the cases; their ids are the numbers of the cases, and a little more."""
    tenant = store.tenant("cases")
    text = yaml.safe_load((CASES / "entities.yaml").read_text("utf-8"))
    made = tenant.add_definitions([definition(**row) for row in text["definitions"]], "tests")
    tenant.add_indicators([indicator(made[row.pop("of") - 1], **row) for row in text["indicators"]], "tests")
    return tenant


def definition(severity: str, category: str, **rest: Any) -> AlertDefinition:
    """A definition of the cases."""
    return AlertDefinition(
        uid="", severity=model.Severity(severity), category=model.Category(str(category)), **rest
    )


def indicator(owner: AlertDefinition, **row: Any) -> Indicator:
    """An indicator of the cases."""
    kind, function = model.IndicatorType(row.pop("type")), model.DetectionFunction(row.pop("function"))
    times: dict[str, Any] = {
        name: datetime.fromisoformat(row.pop(name)) for name in ("expires_at", "valid_from") if name in row
    }
    canonical = values.indicator_value(kind, function, row["value"])
    return Indicator(type=kind, function=function, canonical=canonical, definition=owner, **times, **row)


def selected(tenant: TenantStore, entity: Entity, query: Query) -> Sequence[Noun]:
    """What the store gives."""
    return tenant.select(entity, query).found


def nouns_of(tenant: TenantStore, entity: Entity) -> Sequence[Noun]:
    """All that a tenant has of a set."""
    return tenant.definitions() if entity is ALERT_DEFINITION else tenant.indicators()


def meaning(tenant: TenantStore) -> Meaning:
    """The plain meaning over what a tenant has."""
    indicators = tenant.indicators()
    return Meaning(lambda owner: [item for item in indicators if item.definition.id == owner.id])


def refusal(attempt: Callable[[], object]) -> IndiciaError | None:
    """The error of ours that an attempt ends with, which must be 400 or 501; None where it succeeds."""
    said: IndiciaError | None = None
    try:
        attempt()
    except IndiciaError as error:
        said = error
    assert said is None or said.status in (400, 501)
    return said


@pytest.mark.parametrize("case", cases("filters"), ids=lambda case: str(case["about"]))
def test_what_a_filter_keeps(numbered: TenantStore, case: Mapping[str, Any]) -> None:
    entity = SETS[case["of"]]
    where = parse.predicate(case["filter"], parse.context(entity, case.get("aliases")))
    nouns = nouns_of(numbered, entity)
    first = min(noun.id for noun in nouns) - 1
    plain = meaning(numbered)
    assert [noun.id - first for noun in nouns if plain.keeps(where, noun)] == case["keeps"]
    assert [noun.id - first for noun in selected(numbered, entity, Query(where))] == case["keeps"]
    assert numbered.count(entity, where) == len(case["keeps"])


@pytest.mark.parametrize("case", cases("refused"), ids=lambda case: str(case["filter"])[:60])
def test_what_is_refused(case: Mapping[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        parse.predicate(case["filter"], parse.context(ALERT_DEFINITION, case.get("aliases")))
    assert case["says"] in caught.value.message
    assert caught.value.status == case.get("status", 400)
    assert caught.value.target == case.get("target", "$filter")
    assert "column " in caught.value.message


ODD = [
    "Id in (1, 2.5)",
    "Id in (2.0)",
    "Enabled in (true,false)",
    "Enabled in (null)",
    "Enabled in (false)",
    "null in (null,1)",
    "null in (1)",
    "null in ()",
    "1 in (1,2)",
    "'a' in ('a')",
    "date(CreatedAt) in (2024-01-01)",
    "Severity in ()",
    "Enabled gt null",
    "null gt null",
    "null ge null",
    "null eq true",
    "not (null eq null)",
    "-null eq null",
    "contains(null,null) eq null",
    "null add null eq null",
    "year(null) eq null",
    "round(null) eq 1",
    "null and true",
    "null or true",
    "IndicatorsOfCompromise/any(i:null)",
    "IndicatorsOfCompromise/all(i:null)",
    "IndicatorsOfCompromise/$count($filter=null) eq 0",
    "IndicatorsOfCompromise/any(i:true)",
    "IndicatorsOfCompromise/any(i:not null)",
    "true in (true)",
    "(Id in (1)) eq true",
    "not (Id in (1))",
    "not IndicatorsOfCompromise/any()",
    "IndicatorsOfCompromise/any() eq Enabled",
    "IndicatorsOfCompromise/any() in (true,null)",
    "(1 eq 1) in (true)",
    "contains('abc','b')",
    "length('abc') eq 3",
    "true",
    "not true",
    "not not Enabled",
    "(Enabled and true) gt false",
    "Enabled ge true",
    "'High' eq 'High'",
    "Severity eq null",
    "Severity gt null",
    "null lt Severity",
    "Severity in (null,'Low')",
    "concat(RecommendedAction,'') eq RecommendedAction",
    "RecommendedAction eq RecommendedAction",
    "RecommendedAction ge RecommendedAction",
    "IndicatorsOfCompromise/$count add IndicatorsOfCompromise/$count eq 6",
    "2.5 lt Id",
    "Id eq 1.0",
    "1 divby 3 eq 0.3333333333333333",
    "mindatetime() lt maxdatetime()",
    "duration'PT1S' gt duration'-PT1S'",
    "duration'PT1S' eq null",
    "12:00 lt 13:00",
    "contains(tolower(Name),toupper('n')) eq false",
]
"""Filters at the edges of types and of null."""


@pytest.mark.parametrize("text", ODD)
def test_odd_filters_mean_the_same_to_the_store(numbered: TenantStore, text: str) -> None:
    where = parse.predicate(text, parse.context(ALERT_DEFINITION))
    plain = meaning(numbered)
    expected = [noun.id for noun in numbered.definitions() if plain.keeps(where, noun)]
    assert [noun.id for noun in numbered.select(ALERT_DEFINITION, Query(where)).found] == expected


HOSTILE = {
    "parentheses": "(" * 10_000,
    "closed parentheses": "(" * 5000 + "true" + ")" * 5000,
    "brackets": "[" * 10_000,
    "not": "not " * 4000 + "true",
    "minus": "-" * 10_000 + "1 eq 1",
    "functions": "tolower(" * 2000 + "Name" + ")" * 2000 + " eq ''",
    "a chain of sums": "1" + " add 1" * 2500 + " eq 1",
    "a chain of comparisons": "Enabled" + " eq true" * 1900,
    "digits": "Id eq " + "9" * 5000,
    "digits after the point": "Id eq 0." + "9" * 5000,
    "digits of an exponent": "Id eq 1e" + "9" * 5000,
    "digits of a duration": "now() sub now() eq duration'P" + "9" * 5000 + "D'",
    "an open text": "Name eq '" + "a" * 16_000,
    "quotes": "Name eq " + "'" * 16_001,
    "names": "a" * 16_000,
    "dots": "a." * 8000,
    "slashes": "AlertDefinition" + "/a" * 8000,
    "NUL": "Name eq '\0'",
    "a NUL outside": "\0",
    "white space": " " * 16_000,
    "too long": "Enabled or " * 2000 + "Enabled",
    "lists": "Id in (" + "1," * 8000 + "1)",
    "aliases": "@a" + " or @a" * 2000,
    "lambdas": "IndicatorsOfCompromise/any(a:" * 500,
    "operators": "or " * 5000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("entity", [ALERT_DEFINITION, INDICATOR], ids=lambda entity: str(entity.name))
def test_hostile_texts_are_refused_at_once(text: str, entity: Entity) -> None:
    within = parse.context(entity, {"@a": "Enabled" + " or Enabled" * 100})
    start = time.thread_time()
    with pytest.raises(InputError) as caught:
        parse.predicate(text, within)
    assert caught.value.status in (400, 501)
    assert time.thread_time() - start < 0.25
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("name", ["$filter", "$orderby", "$select", "$expand", "$skiptoken", "$format", "@a"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_query_strings_are_refused_at_once(name: str, text: str) -> None:
    start = time.thread_time()
    for asked in (
        f"{name}={text}",
        f"{name}={text}&$filter=@a",
        f"$expand=IndicatorsOfCompromise({name}={text})",
    ):
        said = refusal(partial(options.parse, asked.replace(" ", "+"), options.LIST_OPTIONS))
        assert said is None or len(said.message) < 700
    assert time.thread_time() - start < 3


WIDEST = {
    "or": " or ".join(f"Id eq {n}" for n in range(660)),
    "and": " and ".join("Enabled" for _ in range(1300)),
    "in": f"Id in ({','.join(str(n) for n in range(1900))})",
    "parentheses": "(" * 22 + "Id gt 0" + ")" * 22,
    "not": "not (" * 11 + "Id gt 0" + ")" * 11,
    "functions": "tolower(" * 20 + "Value" + ")" * 20 + " ne ''",
    "sums": "Id" + " add 1" * 21 + " gt 0",
    "mixed": "(" * 11
    + "Id gt 0"
    + "".join(
        f" {word} {f' {word} '.join(['Enabled'] * 110)})" for word in ("or", "and", "or", "and", "or") * 2
    )
    + ")",
    "comparisons": "(" * 20 + "Enabled" + " eq true)" * 20,
}


@pytest.mark.parametrize("text", WIDEST.values(), ids=WIDEST)
def test_the_largest_trees_run(numbered: TenantStore, text: str) -> None:
    where = parse.predicate(text, parse.context(INDICATOR))
    plain = meaning(numbered)
    expected = [noun.id for noun in numbered.indicators() if plain.keeps(where, noun)]
    assert [noun.id for noun in numbered.select(INDICATOR, Query(where)).found] == expected


def test_five_hundred_ors_are_one_level() -> None:
    where = parse.predicate(" or ".join(f"Id eq {n}" for n in range(500)), parse.context(INDICATOR))
    assert isinstance(where, tree.Junction)
    assert len(where.operands) == 500


@given(st.text(max_size=60) | st.text("'()@$/:, \tandeqort12.-xId", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    readers: tuple[Callable[..., object], ...] = (parse.predicate, parse.order)
    for read in readers:
        refusal(partial(read, text, parse.context(INDICATOR, {"@a": text})))


@given(st.text(max_size=40), st.integers(0, 3))
def test_any_token_is_read_or_refused(text: str, keys: int) -> None:
    order = parse.order(
        ",".join(["Name", "Id add 0.5", "Enabled"][:keys]) or "Id", parse.context(ALERT_DEFINITION)
    )
    said = refusal(lambda: skiptoken.read(text, order))
    assert said is None or said.target == "$skiptoken"


def test_tokens_hold_what_was_written_and_nothing_else() -> None:
    order = parse.order("Name,WindowSeconds divby 7,Enabled,LastModifiedAt", parse.context(ALERT_DEFINITION))
    last = ("x\u00e9\U0001f600" * 80, 0.1, True, None, 7)
    assert skiptoken.read(skiptoken.write(last), order) == last
    wrongs: list[tuple[Any, ...]] = [
        ("x" * 257, 0.1, True, None, 7),
        ("\ud800", 0.1, True, None, 7) and ("a\0", 0.1, True, None, 7),
        (1, 0.1, True, None, 7),
        ("x", "0.1", True, None, 7),
        ("x", 0.1, 1, None, 7),
        ("x", 0.1, True, 2**63, 7),
        ("x", 0.1, True, None, None),
        ("x", 0.1, True, None, True),
        ("x", 0.1, True, None),
        ("x", 0.1, True, None, 7, 8),
    ]
    for wrong in wrongs:
        with pytest.raises(InvalidValue):
            skiptoken.read(skiptoken.write(wrong), order)


def test_every_function_is_total() -> None:
    """The database calls them with whatever a row holds; an exception there would be a 503."""
    samples: dict[functions.Type, list[Any]] = {
        functions.Type.STRING: ["", "a", "\U0001f600"],
        functions.Type.INT64: [0, 1, -1, 2**63 - 1, -(2**63)],
        functions.Type.DOUBLE: [0.0, -0.5, 1e308, -1e308, 2.0**60, 5],
        functions.Type.TIME: [0, functions.FIRST_TIME, functions.LAST_TIME, 2**63 - 1, -(2**63)],
        functions.Type.DATE: [0, functions.FIRST_DAY, functions.LAST_DAY],
        functions.Type.TIME_OF_DAY: [0, functions.DAY - 1],
        functions.Type.DURATION: [0, 1, -1, functions.DAY, 2**63 - 1, -(2**63)],
    }

    def combinations(kinds: Sequence[functions.Type]) -> list[list[Any]]:
        if not kinds:
            return [[]]
        return [[value, *rest] for value in samples[kinds[0]] for rest in combinations(kinds[1:])]

    every: tuple[functions.Function, ...] = (*functions.FUNCTIONS, *functions.OPERATORS)
    for function in every:
        call = functions.null_safe(function)
        for given_ in combinations(function.arguments):
            result = call(*given_)
            assert result is not None or function.partial, (function.key, given_)
            if isinstance(result, int):
                assert -(2**63) <= result < 2**63, (function.key, given_)
        assert call(*[None] * len(function.arguments)) is None


# The grammar's own cases


@pytest.fixture(scope="module")
def grammar(shared: Path) -> Path:
    file = shared / "conformance" / "odata_abnf_cases.json"
    if not file.exists():
        pytest.skip("the cases of the OData grammar are absent")
    return file


def test_the_grammars_own_cases(grammar: Path) -> None:
    thing = abnf.things(grammar)
    statuses = {(case.text, case.valid): abnf.status(case, thing) for case in abnf.cases(grammar)}
    accepted = {text for (text, valid), status in statuses.items() if not valid and status == 200}
    assert accepted == set(), "invalid by the grammar"
    refused = {text for (text, valid), status in statuses.items() if valid and status == 400}
    assert refused == abnf.REFUSED
    assert sum(status == 200 for (_, valid), status in statuses.items() if valid) >= 150


# The store means what the tree says


@pytest.mark.full
@pytest.mark.parametrize("entity", [ALERT_DEFINITION, INDICATOR], ids=lambda entity: str(entity.name))
def test_the_store_means_what_the_tree_says(store: Store, kind: str, entity: Entity) -> None:
    one, two = store.tenant("one"), store.tenant("two")
    filters = Filters(entity)

    @settings(max_examples=EXAMPLES[kind], deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        new=st.lists(DEFINITIONS, min_size=1, max_size=3),
        rows=st.lists(INDICATORS, max_size=6),
        texts=st.lists(filters.conditions(), min_size=4, max_size=8),
    )
    def equal(
        new: list[AlertDefinition], rows: list[tuple[int, Indicator, str, str, bool]], texts: list[str]
    ) -> None:
        fill(one, new, rows)
        fill(two, new, rows)
        nouns, plain = nouns_of(one, entity), meaning(one)
        for text in texts:
            where = parse.predicate(text, parse.context(entity))
            expected = [noun.id for noun in nouns if plain.keeps(where, noun)]
            assert [noun.id for noun in selected(one, entity, Query(where))] == expected, text

    equal()


ORDERS = {
    "AlertDefinition": [
        "RecommendedAction",
        "RecommendedAction desc",
        "Severity desc,Name",
        "Category,Severity desc,RecommendedAction desc",
        "Enabled desc,WindowSeconds",
        "IndicatorsOfCompromise/$count desc",
        "WindowSeconds divby 7000 desc,Id desc",
        "length(Name) mod 3,tolower(Name) desc",
        "contains(RecommendedAction,'a'),Title",
        "Id desc,Name",
    ],
    "IndicatorOfCompromise": [
        "ExpiresAt",
        "ExpiresAt desc,Value",
        "Source desc,ValidFrom",
        "Source,ValidFrom desc,ExpiresAt desc",
        "AlertDefinition/Severity desc,Type,Value desc",
        "AlertDefinition/RecommendedAction desc,Id",
        "year(ExpiresAt),fractionalseconds(ExpiresAt) desc",
        "Value",
        "Id desc",
    ],
}


@pytest.mark.full
@pytest.mark.parametrize("entity", [ALERT_DEFINITION, INDICATOR], ids=lambda entity: str(entity.name))
def test_pages_in_any_order_are_the_whole(store: Store, kind: str, entity: Entity) -> None:
    tenant = store.tenant("pages")

    @settings(max_examples=EXAMPLES[kind] // 4, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        new=st.lists(DEFINITIONS, min_size=1, max_size=6),
        rows=st.lists(INDICATORS, max_size=10),
        text=st.sampled_from(ORDERS[entity.name]),
        size=st.integers(1, 4),
        skip=st.integers(0, 3),
    )
    def equal(
        new: list[AlertDefinition],
        rows: list[tuple[int, Indicator, str, str, bool]],
        text: str,
        size: int,
        skip: int,
    ) -> None:
        fill(tenant, new, rows)
        order = parse.order(text, parse.context(entity))
        whole = meaning(tenant).answer(Query(order=order, skip=skip), nouns_of(tenant, entity))
        seen: list[Noun] = []
        after: tuple[tree.Value, ...] | None = None
        for _ in range(20):
            query = Query(order=order, after=after, skip=0 if after else skip, limit=size)
            page = tenant.select(entity, query)
            assert len(page.found) <= size
            seen += page.found
            if page.last is None:
                break
            after = skiptoken.read(skiptoken.write(page.last), order)
        assert [noun.id for noun in seen] == [noun.id for noun in whole], text

    equal()


@ON_A_FILE
@pytest.mark.parametrize(
    ("query", "plan"),
    [
        (Query(after=(5,)), r"ix_indicators_tenant_id_id \(tenant_id=\? AND id>\?\)"),
        (
            Query(parse.predicate("AlertDefinition/Id eq 5", parse.context(INDICATOR))),
            r"\(tenant_id=\? AND definition_id=\?\)",
        ),
    ],
)
def test_pages_are_found_by_an_index(numbered: TenantStore, query: Query, plan: str) -> None:
    steps = plan_of(numbered, INDICATOR, query)
    assert re.search(plan, steps)
    assert "TEMP B-TREE" not in steps


def test_no_query_meets_another_tenant(store: Store) -> None:
    one, two = store.tenant("one"), store.tenant("two")
    for tenant in (one, two):
        fill(tenant, [definition("Low", "None", name="n", title="t")], [])
        owner = tenant.definitions()[0]
        tenant.add_indicators(
            [indicator(owner, type="Url", value="http://a.example", function="Equals")], "x"
        )
    for text in (
        "IndicatorsOfCompromise/$count eq 1",
        "IndicatorsOfCompromise/all(i:i/AlertDefinition/Id eq Id)",
    ):
        where = parse.predicate(text, parse.context(ALERT_DEFINITION))
        assert [noun.id for noun in one.select(ALERT_DEFINITION, Query(where)).found] == [
            one.definitions()[0].id
        ]
    where = parse.predicate(
        "AlertDefinition/IndicatorsOfCompromise/any(x:x/Id ne $it/Id)", parse.context(INDICATOR)
    )
    assert one.count(INDICATOR, where) == 0
    assert one.count(INDICATOR, None, Within("definition_id", two.definitions()[0].id)) == 0


def test_a_query_that_takes_too_long_is_stopped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = store.tenant("two")
    fill(tenant, [definition("Low", "None", name="n", title="t")], [])
    owner = tenant.definitions()[0]
    rows = [
        indicator(owner, type="DomainName", value=f"h{n}.example", function="Equals") for n in range(4000)
    ]
    tenant.add_indicators(rows, "tests")
    way = "AlertDefinition/IndicatorsOfCompromise/any"
    text = f"{way}(x:contains(x/Value,concat($it/Value,'nothing')))"
    where = parse.predicate(text, parse.context(INDICATOR))
    monkeypatch.setattr("indicia.store.tenant.QUERY_SECONDS", 0.2)
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"longer than 0\.2 seconds and was stopped"):
        tenant.count(INDICATOR, where)
    assert time.perf_counter() - start < 3
    assert tenant.count(INDICATOR, parse.predicate("Value ne null", parse.context(INDICATOR))) == 4000
    tenant.delete_definitions()


def test_now_is_one_moment_for_a_whole_request() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    within = parse.context(INDICATOR, now=moment)
    where = parse.predicate("now() eq 2030-01-01T00:00:00Z and now() eq now()", within)
    assert Meaning(lambda owner: []).value(where, {}) is True


def test_not_supported_has_its_own_status() -> None:
    with pytest.raises(NotSupported):
        parse.predicate("cast(Id,Edm.String) eq '1'", parse.context(INDICATOR))
