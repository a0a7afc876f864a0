"""The indicators that `indicia explain` looks among: those of a list, an index or a tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from indicia.cli import matching
from indicia.cli.matching import Asked
from indicia.cli.show import counted
from indicia.match import ReferenceMatcher
from indicia.model import IndicatorType

if TYPE_CHECKING:
    from indicia.allow import Allowance
    from indicia.cli.session import Session
    from indicia.match import Matcher
    from indicia.match.index import Index
    from indicia.model import Event, Indicator
    from indicia.store import TenantStore

NEAR = 5
"""Indicators that are shown as near."""
DIGITS = 18
"""Of an id."""
ASKED = 12
"""Texts that the store is asked for."""


class Asking(Asked):
    """Which indicators: as a scan asks for them."""


@dataclass
class Ground:
    """What is looked among."""

    says: str
    count: int
    generation: int | None
    matcher: Matcher
    named: Callable[[str], list[Indicator]]
    """Those of an id or a value."""
    of_texts: Callable[[set[str]], Sequence[Indicator]]
    """Those whose value is one of these texts, or some of them."""
    uid: str = ""
    allowance: Allowance | None = None
    """The allow-lists in force, where there is a tenant."""
    absent: list[Indicator] = field(default_factory=list)
    """Of those that `named` gave, those that the index does not hold."""

    def near(self, event: Event) -> list[Indicator]:
        """Some that an event could have met: of its values, and of the names above them."""
        wanted: dict[str, None] = {}
        for one in event.observables:
            wanted[one.value] = None
            if one.type is IndicatorType.DOMAIN_NAME:
                parts = one.value.split(".")
                wanted |= dict.fromkeys(".".join(parts[n:]) for n in range(1, len(parts) - 1))
        return sorted(self.of_texts(set(wanted)), key=lambda one: (-len(one.canonical), one.id))[:NEAR]


@contextmanager
def ground(session: Session, asked: Asked) -> Iterator[Ground]:
    """The indicators that were asked for, open."""
    if asked.indicators:
        yield _of_list(asked)
    elif asked.index:
        yield from _of_index(session, asked.index)
    else:
        with session.tenant(asked.tenant) as tenant, matching.index_of(session, tenant) as index:
            yield _of_store(tenant, index)


def _of_list(asked: Asked) -> Ground:
    found = matching.own_list(asked)
    return Ground(
        f"the {counted(len(found), 'indicator')} of {asked.indicators}",
        len(found),
        None,
        ReferenceMatcher(found),
        lambda text: [one for one in found if _is(one, text)],
        lambda texts: [one for one in found if one.canonical in texts],
    )


def _id(text: str) -> int | None:
    """The id that a text is; a hash may be of digits alone."""
    return int(text) if text.isdecimal() and len(text) <= DIGITS else None


def _is(indicator: Indicator, text: str) -> bool:
    return text in {indicator.value, indicator.canonical} or indicator.id == (_id(text) or -1)


def _of_index(session: Session, path: str) -> Iterator[Ground]:
    from indicia.errors import IndiciaError
    from indicia.match import engine
    from indicia.match.index import Index

    with Index.open(path) as index:
        matcher, _ = engine.of_index(index)()

        def named(text: str) -> list[Indicator]:
            found = [one for one in index.indicators() if _is(one, text)]
            number = _id(text)
            if found or not index.tenant or number is None:
                return found
            try:
                with session.tenant(index.tenant) as tenant:
                    made.absent = [tenant.indicator(number)]
            except IndiciaError:  # no such store, tenant or indicator here: then nobody knows it
                return []
            return made.absent

        made = Ground(
            f"the {counted(len(index), 'indicator')} of {path}, generation {index.generation}",
            len(index),
            index.generation,
            matcher,
            named,
            lambda texts: _near_in(index, texts),
            index.tenant,
        )
        yield made


def _near_in(index: Index, texts: set[str]) -> list[Indicator]:
    """What the keys of the texts lead to."""
    from indicia.match import engine
    from indicia.match.kernel import BUILT

    if not BUILT:
        return [one for one in index.indicators() if one.canonical in texts]
    data = "\n".join(sorted(texts)).encode("utf-8", "surrogatepass")
    found = {one.canonical: one for _, one in engine.candidates(index, data) if one is not None}
    return [one for text, one in found.items() if text in texts]


def _of_store(tenant: TenantStore, index: Index | None) -> Ground:
    from indicia.match import engine

    counts = tenant.counts()
    if index is not None:
        matcher, _ = engine.of_index(index)()
    else:
        matcher = ReferenceMatcher(tenant.matchable())
    generation = tenant.generation()

    def named(text: str) -> list[Indicator]:
        number = _id(text)
        if number is not None:
            return [tenant.indicator(number)]
        return _select(tenant, {text, text.lower()})

    return Ground(
        f"the {counted(counts.indicators, 'indicator')} of tenant {tenant.name}, generation {generation}",
        counts.indicators,
        generation,
        matcher,
        named,
        lambda texts: _select(tenant, texts),
        tenant.uid,
        tenant.allow_lists.allowance(),
    )


def _select(tenant: TenantStore, texts: set[str]) -> list[Indicator]:
    """Those of the store whose value, as it was written but for letter case, is one of the texts."""
    from indicia.odata import options
    from indicia.odata.entities import INDICATOR

    some = sorted(texts, key=lambda text: (-len(text), text))[:ASKED]
    if not some:
        return []
    wanted = " or ".join(f"tolower(Value) eq '{text.lower().replace(chr(39), chr(39) * 2)}'" for text in some)
    query = options.parse(f"$filter={quote(wanted)}&$top=50", options.LIST_OPTIONS, INDICATOR).query
    found: list[Indicator] = tenant.select(INDICATOR, query).found
    return found
