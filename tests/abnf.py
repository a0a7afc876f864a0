"""The OASIS grammar's own cases, asked of our parser over a set of things that has the names they use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from indicia.errors import InputError, NotSupported
from indicia.odata import literals, options, parse
from indicia.odata.shapes import Entity, Kind, Navigation, Property

INTEGERS = frozenset({"Age", "Amount", "Cost", "ID", "ItemID", "OrderID", "Population", "Price"}) | frozenset(
    {"Quantity", "Rating", "Revenue", "Size", "SumAmount", "TaxRate"}
)
TIMES = frozenset({"BirthDate", "Date", "LifeTime", "ReleaseDate"})
EXPRESSIONS = frozenset({"commonExpr", "boolCommonExpr"})
OPTIONS = frozenset(
    {"queryOptions", "systemQueryOption", "skiptoken", "expand", "select", "filter", "orderby"}
)

ANOTHER_MODEL = (
    "$filter=Addresses/$count gt 0",
    "$filter=Sizes/$count gt 0",
    "$orderby=Addresses/$count",
    "$orderby=Sizes/$count",
    "$expand=BestSellingProduct/Sales",
    "$filter=Addresses/$filter(endswith(Street,'St'))/$count lt 10",
    "Address/Street eq 'Hugo'",
    '$filter=Address eq {"Street":"NE 40th","City":"Redmond","State":"WA","ZipCode":"98052"}',
    'contains(Names,["Fred","George"])',
    "lambda/Name eq $it/Name",
    "EmailAddresses/all(lambda:true)",
    "$select=EmailAddresses($filter=endswith($this,'.com'))",
    "$select=Addresses($filter=endswith($this/Street,'gasse'))",
    "$select=Addresses(@a=$this;$filter=endswith(@a/Street,'gasse'))",
    "$expand=Address/Country",
    "$expand=Addresses/Country",
    "$expand=Address/*,Address/Address/*,Addresses/*,Address/Model.AddressWithLocation/*,"
    "Model.VipCustomer/Address/*",
    "$expand=Address/*/$ref,Address/*($levels=max)",
    "$select=Address/Street",
    "$select=Address/Country",
    "$select=Address/Model.AddressWithLocation",
    "$select=Address/Model.AddressWithLocation/Location",
    "$select=Address/AddressWithLocation/Location",
    "$select=AddressWithLocation/Location",
    "$select=ActionName,MostPopularName(Location,Kind)",
    "$select=PreferredSupplier/AccountRepresentative,Address/Street,Address/AddressWithLocation/Location",
    "$select=Address($select=Street,City,Namespace.AddressWithLocation/Location)",
    "$select=Addresses($filter=startswith(City,'H');$top=5;$skip=0;$count=true;$orderby=$it;"
    "$search=blue;@c=15)&$expand=Addresses/Country",
    "$select=Address/@Core.Messages($top=5)",
    "$filter=style eq Sales.Pattern'Yellow'",
    "$filter=style eq Sales.Pattern'Yellow,32'",
    "Products/BestProduct()/MostPopularName()",
    "Items/MostPopularNames()/MostPopularName()",
    "Items/MostPopularName()/MostPopularName()",
)
"""They name complex properties, collections of values, functions and types of a model that we do not serve:
there is no such name here, and a name that is not there is 400."""
WRONG_TYPES = (
    "Size eq true",
    "totalseconds(LifeTime)",
    "$filter=ReleaseDate gt 2013-05-24",
    "FirstName in (FirstName)",
    "Items",
)
"""The grammar knows no types; these do not go together. (A date is no moment: it depends on the zone.)"""
NO_SUCH_TIME = ("1972-06-30T23:59:60Z", "0000-01-01T00:00Z", "-10000-04-01T00:00Z")
"""Leap seconds, and years before 1."""
STRICT = (
    "$format=json&$Format=atom&$format=xml&$format=text/html",
    "$format=JSON&$format=Atom&$format=XML&$format=text/html",
    "$skiptoken=Start@Next_Chunk:From?=Here!",
    "find=O%27Neil&!special",
    "$orderby=Name&!deltatoken=0412312321",
)
"""An option given twice, a token that is not ours, and options of other services' own."""
REFUSED = frozenset({*ANOTHER_MODEL, *WRONG_TYPES, *NO_SUCH_TIME, *STRICT})
"""What the grammar allows and we answer by 400. The rest that it allows is parsed, or answered by 501."""


@dataclass(frozen=True)
class Case:
    """One case of the grammar."""

    rule: str
    text: str
    valid: bool


def cases(file: Path) -> Iterator[Case]:
    """Those that concern expressions, query options and literals."""
    for case in json.loads(file.read_text("utf-8"))["cases"]:
        rule, text = case["Rule"], case["Input"]
        if rule == "odataRelativeUri":
            _, found, text = text.partition("?")
            # What is refused there is refused for its path, or for what the path allows.
            if not found or "FailAt" in case:
                continue
        yield Case(rule, text, "FailAt" not in case)


def things(file: Path) -> Entity:
    """A set whose properties and navigations have the names that the cases use."""
    names = json.loads(file.read_text("utf-8"))["constraints"]
    plain = names["primitiveKeyProperty"] + names["primitiveNonKeyProperty"]
    ways = [Navigation(name, "Things", many=True) for name in names["entityColNavigationProperty"]]
    ways += [Navigation(name, "Things", many=False) for name in names["entityNavigationProperty"]]
    properties = [Property(name, name, _kind(name), nullable=True) for name in plain]
    properties.append(Property("Id", "id", Kind.INT64))
    return Entity("Thing", "Things", object, tuple(properties), tuple(ways), (), "things")


def _kind(name: str) -> Kind:
    if name in INTEGERS:
        return Kind.INT64
    if name == "Completed":
        return Kind.BOOLEAN
    return Kind.TIME if name in TIMES else Kind.STRING


def status(case: Case, thing: Entity) -> int | None:
    """200, 400 or 501; None for a rule that says nothing about expressions, options or literals."""
    try:
        return 200 if _read(case, thing) else None
    except NotSupported:
        return 501
    except (InputError, ValueError):
        return 400


def _read(case: Case, thing: Entity) -> bool:
    within = parse.context(thing, sets={"Things": thing})
    if case.rule in EXPRESSIONS or case.rule in ("primitiveLiteral", "boolean"):
        # An expression of any type: that it can be sorted by asks the least of it.
        text = unquote(case.text)
        (parse.predicate if case.rule in ("boolCommonExpr", "boolean") else parse.order)(text, within)
    elif case.rule in OPTIONS or case.rule == "odataRelativeUri":
        options.parse(case.text, options.LIST_OPTIONS, thing, {"Things": thing})
    elif case.rule == "dateTimeOffsetValue":
        literals.time(case.text)
    elif case.rule == "dateValue":
        literals.days(case.text)
    elif case.rule in ("decimalValue", "doubleValue", "int64Value"):
        parse.order(case.text, within)
    elif case.rule == "booleanValue":
        options.parse(f"$count={case.text}", options.LIST_OPTIONS, thing)
    else:
        return False
    return True
