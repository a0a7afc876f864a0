"""A tenant with what `examples/` holds: definitions, indicators, alerts and the work on them.

The definitions have a description here, and the alerts were opened in the course of the last days.
"""

from __future__ import annotations

import io
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from indicia import telemetry
from indicia.allow import AllowEntry, AllowKind, AllowList
from indicia.auth import secrets
from indicia.detect import detect
from indicia.feeds import read
from indicia.feeds.make import OwnList
from indicia.live import runner
from indicia.live.imports import Asked, Import, Imports
from indicia.live.jobs import J, Jobs
from indicia.live.scans import Scan, Scans
from indicia.match import ReferenceMatcher
from indicia.messages import Output
from indicia.model import (
    AlertDefinition,
    AlertStatus,
    Classification,
    Indicator,
    IndicatorType,
    Quotas,
    Suppression,
)
from indicia.store import Arrived, Store, TenantStore, rows
from stored import path_of, url

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
BY = "Kim Abara"
DAYS = (6, 5, 5, 3, 2, 2, 1, 1, 0, 0)
"""How long ago the events of each file came."""
TEXTS = {
    "delivery": (
        "A document of the campaign Paper Lantern, or what it loads, was met. Who opens it starts a script"
        " that fetches the tools of the attacker.",
        "Ask the user what was opened. Take the machine off the network when the script ran; delete the mail"
        " in every mailbox.",
    ),
    "tools": (
        "A program that Paper Lantern brings along was met on the machine: it moves on from there with"
        " passwords that it reads in memory.",
        "Take the machine off the network. Set new passwords for everybody who was signed in.",
    ),
    "command and control": (
        "The machine asked for or spoke to a server from which Paper Lantern steers its tools. Where a"
        " name is all that met, it was perhaps only looked up.",
        "Look for the process that spoke, keep a copy of its file, and block the address at the proxy.",
    ),
    "exfiltration": (
        "Data went, or was about to go, to a place where Paper Lantern collects what it steals.",
        "Find out what was sent and how much. Tell the owner of the data.",
    ),
}
"""Description and recommended action, by the end of a definition's name."""


def furnish(tenant: TenantStore) -> None:
    """Put it in."""
    found: dict[AlertDefinition, list[Indicator]] = defaultdict(list)
    for one in OwnList("indicators.csv").indicators(read(str(EXAMPLES / "indicators.csv"))):
        found[one.definition].append(one)
    for owner, listed in found.items():
        (made,) = tenant.add_definitions([_described(owner)], BY)
        tenant.add_indicators([replace(one, definition=made) for one in listed], BY)
    matcher = ReferenceMatcher(list(tenant.matchable()))
    for days, source in zip(DAYS, telemetry.sources([str(EXAMPLES / "telemetry")]), strict=True):
        found_there = [
            detection
            for event in telemetry.events(source, malformed=lambda _fault: None)
            for detection in detect(event, matcher, tenant.uid)
        ]
        with _days_ago(days):
            tenant.record(found_there)
    _work(tenant)
    _settings(tenant)
    _arrivals(tenant)


def _described(definition: AlertDefinition) -> AlertDefinition:
    description, action = TEXTS.get(definition.name.partition(": ")[2], ("", None))
    return replace(definition, ux_description=description, recommended_action=action)


@contextmanager
def _days_ago(days: int) -> Iterator[None]:
    """What is stored within was stored then."""
    with patch.object(rows, "now", lambda: datetime.now(UTC) - timedelta(days=days)):
        yield


def upload(tenant: TenantStore) -> Import:
    """An upload that has ended, with a row that was refused."""
    lines = b"type,value\nDomainName,beacon.example\nSha1,none\n"
    owner = tenant.definitions()[0]
    asked = Asked(
        name="partners.csv",
        size=0,
        by=BY,
        made_at=datetime.now(UTC),
        definition_id=owner.id,
        definition=owner.title,
        function="",
        format="",
        source="",
        subdomains=True,
        quotas=Quotas(),
    )
    found = uploads(tenant)
    begun = found.begin(asked, io.BytesIO(lines), 2**20)
    return ended(found, begun.id)


def scan(tenant: TenantStore) -> Scan:
    """A scan of one of the examples, which has ended."""
    found = scans(tenant)
    with (EXAMPLES / "telemetry" / "zeek" / "dns.log").open("rb") as file:
        begun = found.begin("dns.log", file, BY, 2**20, record=False)
    return ended(found, begun.id)


def ended(jobs: Jobs[J], key: str) -> J:
    """A job that has ended, for which a service need not run."""
    home, address, end = _home(jobs.tenant), _url(jobs.tenant), time.monotonic() + 60
    with Store.open(address) as store, runner.running(store, address, home):
        while not (now := jobs.one(key)).state.phase.is_over and time.monotonic() < end:
            time.sleep(0.05)
    return now


def scans(tenant: TenantStore) -> Scans:
    """Those of the home in which the tenant's store is."""
    return Scans(_home(tenant), tenant)


def uploads(tenant: TenantStore) -> Imports:
    """Those of the same home."""
    return Imports(_home(tenant), tenant)


def _home(tenant: TenantStore) -> Path:
    return path_of(tenant).parent


def _url(tenant: TenantStore) -> str:
    return url(path_of(tenant))


def _arrivals(tenant: TenantStore) -> None:
    """Sources that send."""
    now = datetime.now(UTC)
    tenant.overview.note_sources(
        [
            Arrived("zeek", 184_220, 3, 41, now, now - timedelta(seconds=4)),
            Arrived("/var/log/proxy/access.log", 96_031, 0, 12, now, now - timedelta(hours=3)),
            Arrived("bulk", 8_112, 12, 0, now - timedelta(minutes=7), None),
        ]
    )


def _work(tenant: TenantStore) -> None:
    """What people did with the alerts."""
    alerts = tenant.alerts()
    for alert, status in zip(alerts, (AlertStatus.IN_PROGRESS, AlertStatus.RESOLVED), strict=False):
        tenant.change_alert(alert.number, {"status": status, "assigned_to": BY}, BY)
        tenant.add_comment(alert.number, "The machine is off the network; its owner has been told.", BY)
    tenant.change_alert(alerts[1].number, {"classification": Classification.TRUE_POSITIVE}, BY)
    tenant.add_suppression(Suppression("a scanner of our own", AHEAD, machine="192.0.2.200"), BY)


def _settings(tenant: TenantStore) -> None:
    """Applications, outputs, allow-lists."""
    for name, roles in (("firewall feed", ("Ti.ReadWrite",)), ("Sentinel", ("Alert.Read",))):
        application = tenant.add_application(name, roles)
        secret = secrets.make()
        tenant.add_secret(application.client_id, secrets.digest(secret), secrets.hint(secret), "first", AHEAD)
    tenant.outbox.add(Output("siem", "file", "alerts.ndjson"), BY)
    known = AllowEntry(AllowKind.STRING, "updates.example", IndicatorType.DOMAIN_NAME)
    tenant.allow_lists.put(AllowList("our own names", enabled=True), [known], BY)
