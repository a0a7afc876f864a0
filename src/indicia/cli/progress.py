"""How far a long command is: a bar on a terminal; otherwise nothing, or a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from indicia.cli.show import say

SECONDS = 5.0
"""Between two lines where there is no terminal."""


@contextmanager
def bar(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar of bytes on stderr where it is a terminal; yields what is told of bytes read."""
    if not sys.stderr.isatty():
        yield lambda _bytes: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # Streams are left alone: results go to stdout untouched.
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=True,
        refresh_per_second=5,
    ) as progress:
        task = progress.add_task(title, total=total)
        yield lambda count: progress.advance(task, count)


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
