"""What is matched at one generation: layers of compiled indicators, and what of the older ones holds no more.

    layer 0   the base: everything, as it was when it was compiled
    layer n   what was new or changed when the view was made over the layers before

A view never changes. The next one shares the layers of this one (small ones at the end are put together, so
that there are few), and is put in its place by one assignment, so nobody who matches ever waits. An
indicator counts where its layer is the newest that speaks of it, its definition is there and enabled, and
it was not cleared since; it is given with its definition as that now is.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from indicia.match import Matcher, compiler
from indicia.match.engine import IndexMatcher, Sieve
from indicia.match.index import Index
from indicia.match.kernel import BUILT
from indicia.match.reference import ReferenceMatcher
from indicia.model import AlertDefinition, Indicator, Observable

if TYPE_CHECKING:
    from indicia.store import News, Position

GROWTH = 4
"""A layer is put together with the next one unless it is this many times as large."""


class Layer:
    """Indicators that became known at once; compiled where the extension was built."""

    def __init__(self, number: int, found: Index | list[Indicator], *, kept: bool = True) -> None:
        """`kept`: with its file, for those who need it, too."""
        self.number = number
        self._found = found
        self._of_thread = threading.local()
        self.file = os.open(found.path, os.O_RDONLY) if kept and isinstance(found, Index) else None
        """A descriptor of the compiled file, which may have no name any more; None: it is not compiled."""
        if self.file is not None:
            weakref.finalize(self, os.close, self.file)

    @classmethod
    def of(cls, number: int, indicators: Iterable[Indicator]) -> Layer:
        """A layer of indicators that are in no index."""
        if not BUILT:
            return cls(number, list(indicators))
        with TemporaryDirectory(prefix="indicia-") as folder:
            path = Path(folder, "layer.idx")
            compiler.write(indicators, path)
            # The mapping outlives the name.
            return cls(number, Index.open(path))

    def __len__(self) -> int:
        return len(self._found)

    def indicators(self) -> Iterator[Indicator]:
        """All of them, those that hold no more too."""
        return self._found.indicators() if isinstance(self._found, Index) else iter(self._found)

    def matcher(self) -> Matcher:
        """For the thread that asks."""
        kept: Matcher | None = getattr(self._of_thread, "matcher", None)
        if kept is None:
            found = self._found
            kept = IndexMatcher(found) if isinstance(found, Index) else ReferenceMatcher(found)
            self._of_thread.matcher = kept
        return kept

    def sieve(self) -> Sieve | None:
        """For the thread that asks; None: everything is to be parsed."""
        kept: Sieve | None = getattr(self._of_thread, "sieve", None)
        if kept is None and isinstance(self._found, Index):
            kept = self._of_thread.sieve = Sieve(self._found)
        return kept


@dataclass(frozen=True)
class View:
    """What is matched at one generation."""

    position: Position
    layers: tuple[Layer, ...]
    definitions: Mapping[int, AlertDefinition]
    """By id, disabled ones too."""
    replaced: Mapping[int, int] = field(default_factory=dict)
    """Of indicators that were changed or deleted: the layer before which nothing of them holds."""
    clears: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Of definitions (0: all): the id up to which indicators are gone, in layers before that number."""

    @property
    def generation(self) -> int:
        """The store's, of which this is the state."""
        return self.position.generation

    @property
    def weight(self) -> int:
        """How much there is beside the base: what merging would save."""
        return sum(len(layer) for layer in self.layers[1:]) + len(self.replaced)

    def after(self, news: News) -> View:
        """The view that takes in what changed since this one."""
        number = self.layers[-1].number + 1
        clears = dict(self.clears)
        for definition_id, last in news.clears:
            clears[definition_id] = last, number
        replaced = self.replaced
        if news.touched:
            replaced = {**replaced, **dict.fromkeys(news.touched, number)}
        made = View(
            news.position,
            self.layers,
            news.definitions,
            replaced,
            clears,
        )
        return made._with(number, list(news.indicators)) if news.indicators else made

    def _with(self, number: int, fresh: list[Indicator]) -> View:
        """The same with a new layer, into which small ones before it go."""
        layers = list(self.layers)
        while len(layers) > 1 and len(layers[-1]) <= GROWTH * len(fresh):
            last = layers.pop()
            # Judged by what is replaced and cleared alone: a definition may be enabled again.
            fresh += [one for one in last.indicators() if self._newest(last.number, one)]
        return replace(self, layers=(*layers, Layer.of(number, fresh)))

    def current(self, layer: int, indicator: Indicator) -> Indicator | None:
        """An indicator of a layer as it now is; None where it holds no more."""
        owner = self.definitions.get(indicator.definition.id)
        if owner is None or not owner.enabled or not self._newest(layer, indicator):
            return None
        return indicator if owner == indicator.definition else replace(indicator, definition=owner)

    def _newest(self, layer: int, indicator: Indicator) -> bool:
        if self.replaced.get(indicator.id, 0) > layer:
            return False
        for definition_id in (indicator.definition.id, 0):
            last, number = self.clears.get(definition_id, (0, 0))
            if layer < number and indicator.id <= last:
                return False
        return True

    def engine(self) -> tuple[Matcher, LayeredSieve | None]:
        """A matcher and a sieve, for the thread that asks; without a sieve everything is to be parsed."""
        sieves = [layer.sieve() for layer in self.layers if len(layer)]
        built = [sieve for sieve in sieves if sieve is not None]
        return LayeredMatcher(self), LayeredSieve(built) if len(built) == len(sieves) else None


class LayeredMatcher:
    """The indicators of a view, met one observable at a time. For one thread."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._layers = [(layer.number, layer.matcher()) for layer in view.layers if len(layer)]

    def meet(self, observable: Observable) -> list[Indicator]:
        """The indicators that the observable meets, whatever their time, in no order."""
        found = []
        for number, matcher in self._layers:
            for indicator in matcher.meet(observable):
                current = self._view.current(number, indicator)
                if current is not None:
                    found.append(current)
        return found


class LayeredSieve:
    """What any of several sieves names (`match.engine.Sieve`). For one thread."""

    def __init__(self, sieves: list[Sieve]) -> None:
        self._sieves = sieves

    def spans(
        self, data: bytes | bytearray, start: int = 0, end: int | None = None, *, all_odd: bool = False
    ) -> list[tuple[int, int]]:
        """Start and end of each line that is to be parsed, in order."""
        found = [sieve.spans(data, start, end, all_odd=all_odd) for sieve in self._sieves]
        return sorted({span for spans in found for span in spans}) if len(found) != 1 else found[0]

    def feeds(self, data: bytes | bytearray, start: int, end: int) -> int:
        """Line feeds of data[start:end]."""
        return self._sieves[0].feeds(data, start, end) if self._sieves else data.count(b"\n", start, end)

    def holds(self, data: bytes, *, all_odd: bool = False) -> bool:
        """Whether a piece that is parsed as one may hold a hit."""
        return any(sieve.holds(data, all_odd=all_odd) for sieve in self._sieves)

    def rows(
        self, data: bytes, offsets: Any, width: int, first: int, count: int, *, all_odd: bool = False
    ) -> list[int]:
        """Which of `count` values are to be parsed, in order."""
        found = [sieve.rows(data, offsets, width, first, count, all_odd=all_odd) for sieve in self._sieves]
        return sorted({row for rows in found for row in rows})
