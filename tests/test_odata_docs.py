"""docs/odata.md says what the query language has, has not, and where its limits are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from indicia.model import BULK_LIMIT
from indicia.odata import bodies, functions, options, parse, tokens, tree
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR
from indicia.odata.tree import Comparison
from indicia.store import tenant

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "odata.md").read_text("utf-8")
SUPPORTED, _, UNSUPPORTED = TEXT.partition("## Not supported")


def quoted(text: str) -> set[str]:
    """What stands in backquotes."""
    return set(re.findall(r"`([^`\n]+)`", text))


def test_every_function_and_operator_is_told() -> None:
    assert functions.BY_NAME.keys() | functions.MOMENTS <= quoted(SUPPORTED)
    assert {item.value for item in Comparison} <= quoted(SUPPORTED)
    assert functions.OPERATORS_BY_NAME.keys() - {"negate"} <= quoted(SUPPORTED)


def test_what_is_not_supported_is_told() -> None:
    assert quoted(UNSUPPORTED) >= functions.LATER
    assert quoted(UNSUPPORTED) >= options.STANDARD - options.LIST_OPTIONS
    assert not quoted(UNSUPPORTED) & functions.BY_NAME.keys()


def test_every_option_is_told() -> None:
    assert quoted(SUPPORTED) >= options.LIST_OPTIONS


@pytest.mark.parametrize(
    "figure",
    [
        f"{options.QUERY_LIMIT:,} characters of query string",
        f"{parse.DEPTH_LIMIT} levels",
        f"{parse.NODE_LIMIT:,} operators, names and values",
        f"{tokens.INTEGER_DIGITS} digits of an integer",
        f"{tokens.NUMBER_LENGTH} characters of another number",
        f"longer than {tenant.QUERY_SECONDS:g} seconds",
        f"at most {parse.ORDER_LIMIT} expressions",
        f"the first {tree.SORTED_TEXT} characters",
        f"`$skip` up to {options.SKIP_LIMIT:,}",
        f"at most {bodies.PART_LIMIT:,} members and elements",
        f"takes {BULK_LIMIT:,} entities",
        f"A page has {options.PAGE_LIMIT:,} entities, {options.EXPANDED_PAGE_LIMIT} where",
    ],
)
def test_limits_are_those_of_the_code(figure: str) -> None:
    assert figure in TEXT


def test_the_examples_are_filters() -> None:
    examples = re.findall(r"^\$filter=(.+)$", TEXT, re.MULTILINE)
    assert len(examples) == 3
    for example, entity in zip(examples, (INDICATOR, INDICATOR, ALERT_DEFINITION), strict=True):
        parse.predicate(example, parse.context(entity))
