"""What telemetry is held against: a compiled index, a list of one's own, or the store's indicators."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indicia.cli.faults import Faults
from indicia.cli.show import counted, say, stamp

if TYPE_CHECKING:
    from indicia.cli.session import Session
    from indicia.match.engine import Engine
    from indicia.match.index import Index
    from indicia.model import Indicator
    from indicia.store import TenantStore


@dataclass(frozen=True)
class Asked:
    """The options that name it."""

    tenant: str | None
    indicators: str | None
    index: str | None
    group_by: str | None
    strict: bool


@dataclass(frozen=True)
class Against:
    """An engine, the tenant's uid for ids, and the store where there is one."""

    engine: Engine
    mark: str
    """Which indicators, so that a scan that goes on knows whether they are the same."""
    uid: str = ""
    tenant: TenantStore | None = None


@contextmanager
def against(session: Session, asked: Asked, *, parse_all: bool) -> Iterator[Against]:
    """What was asked for, open."""
    from indicia.match import engine

    if asked.index:
        from indicia.match.index import Index

        with Index.open(asked.index) as index:
            mark = f"index of generation {index.generation}, {stamp(index.created_at)}"
            yield Against(engine.of_index(index, parse_all=parse_all), mark, index.tenant)
    elif asked.indicators:
        from indicia import feeds

        mark = f"list {feeds.digest(asked.indicators)}"
        yield Against(engine.of_indicators(own_list(asked), parse_all=parse_all), mark)
    else:
        with session.tenant(asked.tenant) as tenant, index_of(session, tenant) as found:
            generation = tenant.generation() if found is None else found.generation
            made = (
                engine.of_reference(tenant.matchable())
                if found is None
                else engine.of_index(found, parse_all=parse_all)
            )
            yield Against(made, f"store of generation {generation}", tenant.uid, tenant)


@contextmanager
def index_of(session: Session, tenant: TenantStore) -> Iterator[Index | None]:
    """The index of a tenant's indicators in the home, compiled anew where the store has changed since.

    None where the extension was not built.
    """
    from indicia.errors import InputError
    from indicia.match import compiler
    from indicia.match.index import Index
    from indicia.match.kernel import BUILT

    if not BUILT:
        if sys.stderr.isatty():
            say(f"Loading {counted(tenant.counts().indicators, 'indicator')} …")
        yield None
        return
    generation = tenant.generation()
    path = session.home / "indexes" / f"{tenant.uid}.idx"
    try:
        index = Index.open(path)
    except InputError:
        index = None
    if index is None or index.generation != generation:
        if index is not None:
            index.close()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if sys.stderr.isatty():
            say(f"Compiling {counted(tenant.counts().indicators, 'indicator')} …")
        # A write meanwhile makes the next scan compile again: the generation was read before.
        compiler.write(tenant.matchable(), path, tenant=tenant.uid, generation=generation)
        index = Index.open(path)
    with index:
        yield index


def own_list(asked: Asked) -> list[Indicator]:
    """The indicators of a file that brings its own definitions; what is wrong in it is told."""
    from indicia import feeds
    from indicia.errors import InputError
    from indicia.feeds.make import OwnList
    from indicia.model import GroupBy

    path = str(asked.indicators)
    group_by = GroupBy(asked.group_by.capitalize()) if asked.group_by else None
    own = OwnList("Indicators" if path == "-" else Path(path).name, group_by=group_by)
    broken: list[str] = []

    def told(form: str) -> None:
        if form == "text":
            say(f"{path} is read as free text, of which every value counts.")

    rows = feeds.read(path, broken=lambda: broken.append(path), taken=told)
    found = own.indicators(rows)
    faults = Faults("rows that cannot be used")
    for fault in own.faults:
        faults(path, *fault)
    faults.close()
    notes = Faults("warnings")
    for line, note in own.warnings:
        notes(path, line, f"warning: {note}")
    notes.close()
    if broken:
        raise InputError("breaks off; get the whole list", place=path)
    if own.faults and asked.strict:
        raise InputError(f"{counted(len(own.faults), 'row')} cannot be used", place=path)
    if not found:
        raise InputError("holds no indicator that can be used", place=path)
    return found
