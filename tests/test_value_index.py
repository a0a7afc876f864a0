"""Asking for indicators by their value: by the index of canonical values, which must leave out none."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from explained import ON_A_FILE
from indicia import model, values
from indicia.errors import InvalidValue
from indicia.odata import parse, tree
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR
from indicia.odata.shapes import Entity
from indicia.odata.tree import Query
from indicia.store import Store, TenantStore
from stored import add, indicator, plan_of, url

FORMS = (
    "evil.example",
    "EVIL.Example.",
    "*.evil.example",
    ".evil",
    "xn--bcher-kva.example",
    "bücher.example",
    "192.0.2.1",
    "192.0.2.7/24",
    "2001:0DB8::0:1",
    "::ffff:192.0.2.1",
    "fe80::1%eth0",
    "0:0:",
    "HTTP://User@Evil.example:80/a/../%7eb?c=D#e",
    "//evil.example/x",
    "evil.example/x",
    "hxxp://evil.example",
    "A" * 32,
    "a" * 40,
    "0" * 64,
    "dead",
    "C:\\Temp\\Dropper.EXE:Zone.Identifier",
    "/tmp/dropper.sh",
    " padded.exe ",
    "x",
    "%41",
    "\x01",
)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Iterator[TenantStore]:
    with Store.open(url(tmp_path_factory.mktemp(kind) / "indicia.db")) as store:
        yield store.tenant(store.add_tenant("contoso").uid)


@ON_A_FILE
@pytest.mark.parametrize(
    ("entity", "text", "sorted_by_id"),
    [
        (INDICATOR, "Value eq 'evil.example'", True),
        (INDICATOR, "'evil.example' eq Value and Enabled", True),
        (INDICATOR, "Value eq 'a.example' or (Value in ('b.example','c.example') and Id gt 3)", True),
        (ALERT_DEFINITION, "IndicatorsOfCompromise/any(i:i/Value eq 'evil.example')", False),
        (ALERT_DEFINITION, "IndicatorsOfCompromise/$count($filter=Value eq 'evil.example') gt 0", False),
    ],
)
def test_values_are_found_by_an_index(
    tenant: TenantStore, entity: Entity, text: str, sorted_by_id: bool
) -> None:
    query = Query(parse.predicate(text, parse.context(entity)), after=(0,))
    steps = plan_of(tenant, entity, query)
    assert re.search(r"canonical_key_definition_id \(tenant_id=\? AND canonical_key=\?", steps)
    assert ("TEMP B-TREE" in steps) is sorted_by_id
    assert "ix_indicators_tenant_id_id" not in steps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Value eq 'a'", {"a"}),
        ("'a' eq Value", {"a"}),
        ("Value in ('a','b')", {"a", "b"}),
        ("Value eq 'a' or Value eq 'b'", {"a", "b"}),
        ("Value in ('a','b') and Value eq 'a' and Enabled", {"a"}),
        ("Value eq 'a' or Enabled", None),
        ("not (Value eq 'a')", None),
        ("Value ne 'a'", None),
        ("Value eq null", None),
        ("Value in ('a',null)", None),
        ("Value eq Source", None),
        ("Source eq 'a'", None),
        ("tolower(Value) eq 'a'", None),
        ("AlertDefinition/IndicatorsOfCompromise/any(i:i/Value eq 'a')", None),
    ],
)
def test_which_values_a_filter_can_meet(text: str, expected: set[str] | None) -> None:
    assert tree.pinned(parse.predicate(text, parse.context(INDICATOR)), tree.IT, "Value") == expected


def form_of(kind: model.IndicatorType, function: model.DetectionFunction, value: str) -> str | None:
    """The canonical form that an indicator has; None where there is no such indicator."""
    try:
        return values.indicator_value(kind, function, value, force=True)
    except InvalidValue:
        return None


def test_a_value_is_found_as_it_was_written(tenant: TenantStore) -> None:
    owner = add(tenant)
    made = [
        indicator(owner, type=kind, function=function, value=value, canonical=form)
        for value in FORMS
        for kind in model.IndicatorType
        for function in model.DetectionFunction
        if (form := form_of(kind, function, value)) is not None
    ]
    tenant.add_indicators(made, "tests")
    for value in FORMS:
        text = "Value eq '" + value.replace("'", "''") + "'"
        found = tenant.select(INDICATOR, Query(parse.predicate(text, parse.context(INDICATOR)))).found
        assert len(found) == sum(item.value == value for item in made), value
        assert {item.value for item in found} <= {value}
