"""How long a $filter takes: text to tree, tree to SQL expression, and the SQL text that the driver is given.

    .venv/bin/python bench/odata.py

Medians of many runs in one process, in microseconds. The goal is 200 for parse and compile together. Each
filter is also run once over a small store, and must keep as many indicators as the table says: a fast
compiler that means something else cannot win.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.dialects import sqlite

from indicia import model
from indicia.model import AlertDefinition, Indicator
from indicia.odata import parse
from indicia.odata.entities import INDICATOR
from indicia.odata.tree import Expression, Query
from indicia.store import Store, indicators, queries
from indicia.store.scope import Scope

GOAL = 200.0
"""Microseconds of parse and compile."""
FILTERS = {
    "one comparison": ("Value eq 'h00001.example'", 1),
    "enum and time": (
        "Type eq 'DomainName' and (ExpiresAt eq null or ExpiresAt gt 2030-01-01T00:00:00Z)",
        1000,
    ),
    "functions": ("startswith(tolower(Value),'h0000') and not contains(Source,'feed')", 0),
    "navigation": ("AlertDefinition/Severity ge 'Medium' and Enabled", 1000),
    "lambda": ("AlertDefinition/IndicatorsOfCompromise/any(i:i/Value eq 'h00002.example')", 1000),
    "in of ten": (f"Id in ({','.join(str(n) for n in range(1, 11))})", 10),
}


def microseconds(work: Callable[[], object], runs: int) -> float:
    """The median time of one run."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        work()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1000


def fill(store: Store) -> None:
    """A tenant with one definition and a thousand indicators."""
    tenant = store.tenant(store.add_tenant("bench").uid)
    definition = AlertDefinition("", "n", "t", model.Severity.HIGH, model.Category.TROJAN)
    (owner,) = tenant.add_definitions([definition], "bench")
    kind, function = model.IndicatorType.DOMAIN_NAME, model.DetectionFunction.EQUALS
    names = [f"h{number:05}.example" for number in range(1000)]
    tenant.add_indicators([Indicator(kind, name, name, function, owner) for name in names], "bench")


def main() -> None:
    """Print the table; a missed goal ends with status 1."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=2000, help="runs of each step (default 2000)")
    runs: int = options.parse_args().runs
    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{Path(folder) / 'i.db'}") as store:
        fill(store)
        tenant = store.tenant("bench")
        print(f"Python {platform.python_version()}, {platform.machine()}; microseconds, median of {runs}")
        print(f"{'filter':16} {'parse':>8} {'compile':>8} {'both':>8} {'SQL text':>9}")
        worst = 0.0
        for name, (text, expected) in FILTERS.items():
            where = parse.predicate(text, parse.context(INDICATOR))
            kept = tenant.count(INDICATOR, where)
            if kept != expected:
                raise SystemExit(f"{name}: keeps {kept}, not {expected}")
            worst = max(worst, measured(tenant._reading, name, text, where, runs))
    print(f"slowest {worst:.0f} of a goal of {GOAL:.0f}")
    if worst > GOAL:
        raise SystemExit(1)


def measured(reading: Callable[[], object], name: str, text: str, where: Expression, runs: int) -> float:
    """Print one row; microseconds of parse and compile."""
    with reading() as scope:  # type: ignore[attr-defined]
        parsing = microseconds(lambda: parse.predicate(text, parse.context(INDICATOR)), runs)
        compiling = microseconds(lambda: condition(scope, where), runs)
        statement = queries.statement(scope, INDICATOR, Query(where))
        writing = microseconds(lambda: statement.compile(dialect=sqlite.dialect()), max(runs // 10, 1))
    print(f"{name:16} {parsing:8.0f} {compiling:8.0f} {parsing + compiling:8.0f} {writing:9.0f}")
    return parsing + compiling


def condition(scope: Scope, where: Expression) -> object:
    """A tree as the condition of a statement, every value met for the first time."""
    indicators.forms_of.cache_clear()
    return queries.condition(scope, INDICATOR, where)


if __name__ == "__main__":
    main()
