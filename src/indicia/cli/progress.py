"""How far a long command is: a bar on a terminal; otherwise nothing, or a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indicia.cli.show import counted, say

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS = 5.0
"""Between two lines where there is no terminal."""
REFRESH = 0.2
"""Seconds between two looks of a bar."""
MB = 1_000_000


@contextmanager
def bar(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar of bytes on stderr where it is a terminal; yields what is told of bytes read."""
    if not sys.stderr.isatty():
        yield lambda _bytes: None
        return
    from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    with _progress(DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task(title, total=total)
        look = _Look(progress)

        def advance(count: int) -> None:
            progress.advance(task, count)
            look()

        yield advance


@contextmanager
def meter(title: str, total: int | None, detections: Callable[[], int]) -> Iterator[Meter]:
    """What a scan tells of bytes and events; shown as a bar, or as a line now and then."""
    made = Meter(total, detections)
    if not sys.stderr.isatty():
        tick = Ticker()
        made.look = lambda: tick(lambda: f"{title}: {made.text()}")
        yield made
        return
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Figures(ProgressColumn):
        """The rates, the detections, and the time that is left."""

        def render(self, task: Task) -> Text:
            # The meter knows more than the task.
            return Text(made.text(), overflow="ellipsis", no_wrap=True)

    with _progress(Figures()) as progress:
        task = progress.add_task(title, total=total)
        made.look = _Look(progress, lambda: progress.update(task, completed=made.read))
        yield made


@contextmanager
def rows(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each table, or a line now and then; yields what is told of a table and its rows."""
    if not sys.stderr.isatty():
        tick = Ticker()
        yield lambda name, done, total: tick(lambda: f"{title}: {name}, {done:,} of {total:,} rows")
        return
    from rich.progress import MofNCompleteColumn

    with _progress(MofNCompleteColumn()) as progress:
        task = progress.add_task(title)
        look = _Look(progress)

        def tell(name: str, done: int, total: int) -> None:
            progress.update(task, description=f"{title}: {name}", completed=done, total=max(total, 1))
            look()

        yield tell


@dataclass
class Meter:
    """How far a scan is, and how fast."""

    total: int | None
    """Bytes on the disk; None where nobody knows."""
    detections: Callable[[], int]
    read: int = 0
    events: int = 0
    look: Callable[[], None] = lambda: None
    """Shows it when it is time."""
    _start: float = field(default_factory=time.monotonic)

    def __call__(self, read: int, events: int) -> None:
        """So many bytes and events more."""
        self.read += read
        self.events += events
        self.look()

    def text(self) -> str:
        """`340 of 2,800 MB, 310 MB/s, 912,000 events/s, 12 detections, 0:08 left`."""
        seconds = max(time.monotonic() - self._start, 0.001)
        rate = self.read / seconds
        of_all = f" of {self.total / MB:,.0f}" if self.total else ""
        parts = [
            f"{self.read / MB:,.0f}{of_all} MB",
            f"{rate / MB:,.0f} MB/s",
            f"{self.events / seconds:,.0f} events/s",
            counted(self.detections(), "detection"),
        ]
        if self.total and self.read:
            left = max(0, round((self.total - self.read) / rate))
            parts.append(f"{left // 60}:{left % 60:02} left")
        return ", ".join(parts)


class _Look:
    """Draws a bar when it is time. No thread does: a scan forks, and threads do not survive that whole."""

    def __init__(self, progress: Progress, before: Callable[[], None] = lambda: None) -> None:
        self._progress = progress
        self._before = before
        self._last = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last >= REFRESH:
            self._last = now
            self._before()
            self._progress.refresh()


def _progress(*columns: object) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

    shown = [column for column in columns if isinstance(column, ProgressColumn)]
    # Streams are left alone: results go to stdout untouched.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        *shown,
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=True,
    )


class Ticker:
    """Lines for logs: at most one in SECONDS, and none on a terminal, which has its bar."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._quiet = sys.stderr.isatty()

    def __call__(self, text: Callable[[], str]) -> None:
        """Say `text` when it is time."""
        now = time.monotonic()
        if not self._quiet and now - self._last >= SECONDS:
            self._last = now
            say(text())
