"""An index that follows the store: whatever was written, by any process, is in force soon after.

The generation of the store is looked at every POLL seconds, at once after a write of this process, and where
the store is on PostgreSQL at once after a write of any. What changed is read and becomes the next view
(`live.view`). When much has changed, a new base is made meanwhile (`live.compiled`). Up to SMALL indicators
there is no file: everything is compiled here in some milliseconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from indicia.errors import IndiciaError, placed
from indicia.live import compiled
from indicia.live.arrivals import Arrivals
from indicia.live.view import Layer, View
from indicia.match.kernel import BUILT
from indicia.store import Position, Store, TenantStore

POLL = 0.2
"""Seconds between two looks at the store."""
SMALL = 20_000
"""Indicators up to which a base is compiled here, and changes beyond which one is made anew."""
SHARE = 8
"""A base is made anew, too, only when a so manieth part of it has changed."""
MOST = 300_000
"""Changes that are taken in at once; beyond, a new base is quicker."""
PATIENCE = 120.0
"""Seconds that another process may take to make a base."""
PAUSE = 1.0
"""Seconds until it is looked again whether another process has made one."""
LISTENED = 2.0
"""Seconds that a listener may take to end: it may be reaching for a server that is away."""
REST = 10.0
"""Seconds until it is tried again to make a base that could not be made."""
LOG = logging.getLogger("indicia.live")
_UNNOTED = "what came of which source is not noted yet"


class Following:
    """The live index of one tenant; safe for any number of threads."""

    def __init__(self, tenant: TenantStore, folder: Path, make: Callable[[], bool]) -> None:
        self.tenant = tenant
        self.arrivals = Arrivals(tenant)
        self._folder = folder
        self._make = make
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._merging: threading.Thread | None = None
        self._over = threading.Event()
        self._base = Position(0, 0)
        self._current_at = time.monotonic()
        self._view = self._loaded()

    @property
    def view(self) -> View:
        """What is matched now."""
        return self._view

    @property
    def current_at(self) -> float:
        """When (monotonic clock) the view was known to be all that was written."""
        return self._current_at

    def refresh(self) -> bool:
        """Take in what was written; whether there was something. Raises StoreError."""
        with self._turn:
            looked = time.monotonic()
            changed = self.tenant.generation() != self._view.generation
            if changed:
                self._put(self._next(self._view) or self._loaded())
            self._current_at = looked
        self._merge_if_worth_it()
        return changed

    def wait(self, generation: int, seconds: float) -> bool:
        """Wait until a generation is in force here; whether it came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._view.generation >= generation, seconds)

    def settle(self) -> None:
        """Wait until no base is being made; no other one is begun."""
        self._over.set()
        thread = self._merging
        if thread is not None:
            thread.join()

    def _put(self, view: View) -> None:
        self._view = view
        with self._changed:
            self._changed.notify_all()

    def _next(self, view: View) -> View | None:
        """The view after one; None where everything has to be read anew."""
        if not BUILT:
            return None
        news = self.tenant.news(view.position, MOST)
        return None if news is None else view.after(news)

    def _loaded(self) -> View:
        """A view of what there is now: from the newest base, else from a new one."""
        if not BUILT or self.tenant.counts().indicators <= SMALL:
            return self._read()
        end = time.monotonic() + PATIENCE
        while (found := self._from_base()) is None:
            if not self._make():
                # Another process is at it.
                if time.monotonic() > end:
                    return self._read()
                time.sleep(POLL)
        return found

    def _read(self) -> View:
        with self.tenant.standing() as standing:
            layer = Layer.of(0, standing.indicators)
            self._base = standing.position
            return View(standing.position, (layer,), standing.definitions)

    def _from_base(self) -> View | None:
        """The newest base with what changed since; None where there is none, or too much changed."""
        found = compiled.opened(self._folder, self.tenant.uid)
        if found is None:
            return None
        position, index = found
        news = self.tenant.news(position, MOST)
        if news is None:
            index.close()
            return None
        self._base = position
        return View(position, (Layer(0, index),), news.definitions).after(news)

    def _merge_if_worth_it(self) -> None:
        weight, size = self._view.weight, len(self._view.layers[0])
        if weight <= max(SMALL, size // SHARE):
            return
        if not self._over.is_set() and (self._merging is None or not self._merging.is_alive()):
            self._merging = threading.Thread(target=self._merge, name="merge", daemon=True)
            self._merging.start()

    def _merge(self) -> None:
        try:
            small = self.tenant.counts().indicators <= SMALL
            # Matching and refreshing go on while it is made; refreshing waits while it is opened.
            if small or self._newer() or self._make():
                with self._turn:
                    self._put(self._loaded())
            else:
                self._over.wait(PAUSE)
        except IndiciaError as error:
            LOG.warning("the live index was not merged: %s", error)
            self._over.wait(REST)

    def _newer(self) -> bool:
        """Whether another process has made a base since ours."""
        found = compiled.newest(self._folder, self.tenant.uid)
        return found is not None and found[0].generation > self._base.generation


def _nobody(_generation: int, _current_at: float) -> None:
    """Hears it."""


class Followings:
    """The live indexes of a store's tenants, and the thread that keeps them up to date."""

    def __init__(
        self, store: Store, url: str, home: Path, told: Callable[[int, float], None] = _nobody
    ) -> None:
        """`told` hears after each look the highest generation, and the earliest `current_at`."""
        self._store = store
        self._url = url
        self._folder = home / "indexes"
        self._told = told
        self.loaded = threading.Event()
        """What was on the disk is loaded."""
        self._found: dict[str, Following] = {}
        self._loading = threading.Lock()
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._failed = False
        self._thread: threading.Thread | None = None
        self._listener: threading.Thread | None = None

    def of(self, tenant: TenantStore) -> Following:
        """The live index of a tenant; the first time it is loaded, which takes seconds for millions."""
        found = self._found.get(tenant.uid)
        if found is not None:
            return found
        with self._loading:
            if tenant.uid not in self._found:
                make = self._maker(tenant)
                self._found[tenant.uid] = Following(tenant, self._folder, make)
                self._start()
        return self._found[tenant.uid]

    def loaded_of(self, tenant: TenantStore) -> Following | None:
        """The live index of a tenant where it is loaded here already."""
        return self._found.get(tenant.uid)

    def _maker(self, tenant: TenantStore) -> Callable[[], bool]:
        return lambda: compiled.make_apart(self._url, tenant, self._folder)

    @property
    def all(self) -> list[Following]:
        """Those that are loaded."""
        return list(self._found.values())

    def preload(self) -> None:
        """Load those that have a base on the disk, so that their first events need not wait."""
        while not self.loaded.is_set() and not self._stopped.is_set():
            try:
                for tenant in self._store.tenants():
                    if compiled.newest(self._folder, tenant.uid) is not None:
                        self.of(self._store.tenant(tenant.uid))
                self.loaded.set()
            except IndiciaError as error:
                LOG.warning("a live index is not loaded yet: %s", error)
                self._stopped.wait(PAUSE)

    def wake(self) -> None:
        """Something was written: look at once."""
        self._woken.set()

    def close(self) -> None:
        """Stop following."""
        self._stopped.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
        if self._listener is not None:
            self._listener.join(LISTENED)
        for one in self._found.values():
            one.settle()
            _try(one.arrivals.note, _UNNOTED)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="follow", daemon=True)
            self._thread.start()
            heard = (self.wake, self._stopped)
            self._listener = threading.Thread(
                target=self._store.follow, args=heard, name="listen", daemon=True
            )
            self._listener.start()

    def _follow(self) -> None:
        while not self._stopped.is_set():
            self._woken.wait(POLL)
            self._woken.clear()
            failed = False
            for one in list(self._found.values()):
                if self._stopped.is_set():
                    return
                failed |= not _try(one.refresh, "what was written is not in force yet")
                _try(one.arrivals.note_if_due, _UNNOTED)
            if self._failed and not failed:  # whoever reads of the fault wants to know that it is over
                LOG.warning("what was written is in force again")
            self._failed = failed
            found = list(self._found.values())
            self._told(max(one.view.generation for one in found), min(one.current_at for one in found))


def _try(do: Callable[[], object], otherwise: str) -> bool:
    """Whether it was done; what was in the way is told."""
    try:
        do()
    except IndiciaError as error:
        LOG.warning("%s: %s", otherwise, error)
    except Exception as error:  # a thread that died of it would follow nothing any more
        LOG.error("%s: %s", otherwise, placed(error))
    else:
        return True
    return False
