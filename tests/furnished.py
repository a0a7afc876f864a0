"""A tenant with what `examples/` holds: definitions, indicators, alerts and the work on them."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from indicia import telemetry
from indicia.allow import AllowEntry, AllowKind, AllowList
from indicia.auth import secrets
from indicia.detect import detect
from indicia.feeds import read
from indicia.feeds.make import OwnList
from indicia.live.scans import Scan, Scans
from indicia.match import ReferenceMatcher
from indicia.messages import Output
from indicia.model import AlertDefinition, AlertStatus, Classification, Indicator, IndicatorType, Suppression
from indicia.store import Arrived, TenantStore

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
BY = "Kim Abara"


def furnish(tenant: TenantStore) -> None:
    """Put it in."""
    found: dict[AlertDefinition, list[Indicator]] = defaultdict(list)
    for one in OwnList("indicators.csv").indicators(read(str(EXAMPLES / "indicators.csv"))):
        found[one.definition].append(one)
    for owner, listed in found.items():
        (made,) = tenant.add_definitions([owner], BY)
        tenant.add_indicators([replace(one, definition=made) for one in listed], BY)
    matcher = ReferenceMatcher(list(tenant.matchable()))
    for source in telemetry.sources([str(EXAMPLES / "telemetry")]):
        tenant.record(
            [
                detection
                for event in telemetry.events(source, malformed=lambda _fault: None)
                for detection in detect(event, matcher, tenant.uid)
            ]
        )
    _work(tenant)
    _settings(tenant)
    _arrivals(tenant)


def scan(tenant: TenantStore) -> Scan:
    """A scan of one of the examples, which has ended."""
    found = scans(tenant)
    with (EXAMPLES / "telemetry" / "zeek" / "dns.log").open("rb") as file:
        begun = found.begin(tenant.uid, "dns.log", file, BY, 2**20, record=False)
    end = time.monotonic() + 60
    while not (now := found.one(tenant.uid, begun.id)).state.phase.is_over and time.monotonic() < end:
        time.sleep(0.05)
    return now


def scans(tenant: TenantStore) -> Scans:
    """Those of the home in which the tenant's store is."""
    path = tenant._database.path
    return Scans(path.parent, f"sqlite:///{path}", 1000)


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
