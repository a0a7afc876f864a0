"""One load of a file of indicators: what is asked for, who hears of it, what is counted, and its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indicia import feeds
from indicia.errors import InvalidValue
from indicia.feeds import FeedFault, FeedRow, make
from indicia.model import AlertDefinition, Indicator

if TYPE_CHECKING:
    from indicia.store import ImportState


_FOREIGN = (
    "names an alert definition of its own, which is not made: all rows become those of "
    "AlertDefinitions({id}); of further rows this is not told"
)


def _nobody(_what: object) -> None:
    """Hears it."""


@dataclass(frozen=True, slots=True)
class LoadJob:
    """A file of indicators, and whose they become."""

    path: str
    definition: AlertDefinition
    choice: make.Choice
    format: str | None = None
    key: str = ""
    """By which the same file is known again; with it an interrupted load goes on where it was."""
    by: str = ""
    known: Callable[[Indicator], tuple[str, ...]] = lambda _made: ()
    """What allow-lists say of a new indicator, as warnings."""


@dataclass(frozen=True, slots=True)
class LoadWatch:
    """Who hears what; by default nobody."""

    fault: Callable[[FeedFault], None] = _nobody
    warning: Callable[[FeedFault], None] = _nobody
    format: Callable[[str], None] = _nobody
    """Which format the file was found to have, where none was named."""
    stored: Callable[[ImportState], None] = _nobody
    """After each batch that is on disk."""
    progress: Callable[[int], None] = _nobody


@dataclass(slots=True)
class Loaded:
    """What a load has done so far."""

    rows: int = 0
    """Rows of the file, good and bad, those skipped too."""
    skipped: int = 0
    """Rows that an earlier, interrupted load had stored already."""
    faults: int = 0
    """Rows that cannot be used; of the skipped ones, too, though nobody hears of those again."""
    warnings: int = 0
    """Of the rows that were not skipped."""
    added: int = 0
    known: int = 0
    """Rows whose indicator the definition had already, or that the file repeats."""
    broken: bool = False
    """The file breaks off: what came before counts."""
    finished: bool = False


def indicators(job: LoadJob, watch: LoadWatch, done: Loaded, start: int) -> Iterator[Indicator]:
    """The indicators of the rows behind the first `start`; what cannot be one is told and counted."""

    def breaks_off() -> None:
        done.broken = True

    foreign = False
    found = feeds.read(job.path, job.format, watch.progress, broken=breaks_off, taken=watch.format)
    for row in found:
        done.rows += 1
        if done.rows <= start:
            done.skipped += 1
            continue
        if isinstance(row, FeedFault):
            _fault(row, watch, done)
            continue
        try:
            made, warnings = make.indicator(row, job.definition, job.choice)
        except InvalidValue as error:
            _fault(FeedFault(row.line, make.words(error)), watch, done)
            continue
        if not foreign and _names_another(row, job.definition):
            foreign = True
            warnings = (*warnings, _FOREIGN.format(id=job.definition.id))
        for warning in (*warnings, *job.known(made)):
            done.warnings += 1
            watch.warning(FeedFault(row.line, warning))
        yield made


def _names_another(row: FeedRow, owner: AlertDefinition) -> bool:
    """Whether the row brings an alert definition that is not the one whose it becomes."""
    uid, name = row.definition.get("definition_uid"), row.definition.get("definition")
    return uid != owner.uid if uid else bool(name) and name != owner.name


def _fault(fault: FeedFault, watch: LoadWatch, done: Loaded) -> None:
    done.faults += 1
    watch.fault(fault)
