"""What a token may allow. An application has roles; every route names the ones of which it asks one."""

from __future__ import annotations

from collections.abc import Collection

from indicia.errors import Forbidden

TI_READ = "Ti.Read"
TI_WRITE = "Ti.ReadWrite"
ALERT_READ = "Alert.Read"
ALERT_WRITE = "Alert.ReadWrite"
EVENT_WRITE = "Event.Write"
ADMIN = "Admin"

ALL = (TI_READ, TI_WRITE, ALERT_READ, ALERT_WRITE, EVENT_WRITE, ADMIN)
DEFAULT = (TI_WRITE, ALERT_WRITE, EVENT_WRITE)
"""What `indicia init` gives its application: all of the API, nothing of the administration."""
READERS = frozenset({TI_READ, TI_WRITE})
WRITERS = frozenset({TI_WRITE})
ALERT_READERS = frozenset({ALERT_READ, ALERT_WRITE})
ALERT_WRITERS = frozenset({ALERT_WRITE})
EVENT_WRITERS = frozenset({EVENT_WRITE})
ADMINS = frozenset({ADMIN})


def require(held: Collection[str], asked: frozenset[str]) -> None:
    """Raise Forbidden unless one of `asked` is held. An empty `asked` asks for nothing."""
    if asked and asked.isdisjoint(held):
        wanted = " or ".join(sorted(asked))
        raise Forbidden(f"the token lacks the role {wanted}; it has {', '.join(sorted(held)) or 'none'}")
