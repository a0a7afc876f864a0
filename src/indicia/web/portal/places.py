"""Where the file of a scan or an import is, where several hosts are one service (docs/hosts.md).

The host that took a file works on it and has what came of it. Another host that shares no folder with it says
where that is; the balancer keeps a browser on one host while that lives.
"""

from __future__ import annotations

import socket
from typing import Any

from indicia.errors import Elsewhere, NotFound
from indicia.live.jobs import J, Jobs
from indicia.store import Placed
from indicia.web.portal.visit import Visit


def noted(visit: Visit, jobs: Jobs[J], one: J) -> J:
    """Note that it is here, where there are other hosts."""
    if visit.portal.store.shared:
        placed = Placed(one.id, socket.gethostname(), one.asked.name, one.asked.by, one.asked.made_at)
        visit.tenant.places.note(jobs.place, placed, jobs.kept)
    return one


def forgotten(visit: Visit, jobs: Jobs[Any], key: str) -> None:
    """It was deleted."""
    if visit.portal.store.shared:
        visit.tenant.places.forget(jobs.place, key)


def found(visit: Visit, jobs: Jobs[J], key: str) -> J:
    """The job of that id; Elsewhere, which says on which host, NotFound."""
    try:
        return jobs.one(visit.tenant.uid, key)
    except NotFound:
        placed = None
        if visit.portal.store.shared:
            placed = visit.tenant.places.find(jobs.place, key, jobs.kept)
        if placed is None:
            raise
        raise Elsewhere(
            f"the {jobs.word} of {placed.name} is on the host {placed.host}, which took its file; this is "
            f"{socket.gethostname()}. Open the page again: a balancer that keeps a browser on one host "
            "may lead there. While that host is away, so is what came of the file"
        ) from None


def elsewhere(visit: Visit, jobs: Jobs[J], here: list[J]) -> list[Placed]:
    """Those of other hosts, for the list."""
    if not visit.portal.store.shared:
        return []
    keys = {one.id for one in here}
    return [one for one in visit.tenant.places.every(jobs.place, jobs.kept) if one.key not in keys]
