"""`indicia alerts ingest`: detections that a job of Spark wrote become alerts."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indicia.cli.session import Session, pass_session, store_options
from indicia.cli.show import counted, result, say

if TYPE_CHECKING:
    from indicia.model import Detection

BATCH = 2000
"""Detections of one transaction."""


@click.command()
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@store_options
@pass_session
def ingest(session: Session, path: Path, tenant: str | None, json_asked: bool) -> None:
    """Put detections into the store that `indicia spark` wrote (Parquet or NDJSON, a folder or a file).

    They have the ids that `indicia scan` gives, so whatever is there already changes nothing, however often
    it is brought. All is read and checked before any of it is stored.
    """
    from indicia.scale import read_back

    with session.tenant(tenant) as own:
        read = 0
        for found in read_back(path):
            check(found, own.uid, str(path))
            read += 1
        recorded = opened = reopened = 0
        found_again = read_back(path)
        while some := list(islice(found_again, BATCH)):
            done = own.record(some)
            recorded += done.new_detections
            opened += done.new_alerts
            reopened += len(done.reopened)
    numbers = {"read": read, "recorded": recorded, "alerts_opened": opened, "alerts_reopened": reopened}
    text = (
        f"{counted(read, 'detection')} read, {recorded:,} new; {counted(opened, 'alert')} opened, "
        f"{reopened:,} reopened."
    )
    result(numbers, json_asked=json_asked, text=lambda: say(text))


def check(found: Detection, uid: str, place: str) -> None:
    """Raises InputError with the place where it is not of this tenant."""
    from indicia.errors import InputError

    if found.tenant != uid:
        of = "a list" if not found.tenant else f"the tenant {found.tenant}"
        raise InputError(
            f"was found with an index of {of}; make one of this store with `indicia index build`",
            place=place,
        )
