"""Alerts for the tests of the portal: made by events that are read, as everywhere."""

from __future__ import annotations

import json
from typing import Any

from indicia.detect import detect
from indicia.match.reference import ReferenceMatcher
from indicia.model import Alert, AlertDefinition, Detection, Indicator, Severity
from indicia.store import TenantStore
from indicia.telemetry import Source, events
from stored import definition, indicator

TIME = "2024-03-12T09:13:07Z"


def armed(tenant: TenantStore, value: str = "evil.example", **changes: Any) -> Indicator:
    """An indicator of a new definition."""
    given = {"ux_description": "A host spoke to it.", "recommended_action": "Isolate the host."} | changes
    (owner,) = tenant.add_definitions([definition(**given)], "tests")
    (made,) = tenant.add_indicators([under(owner, value)], "tests")
    return made


def under(owner: AlertDefinition, value: str, **changes: Any) -> Indicator:
    """An indicator that no store has seen."""
    return indicator(owner, value=value, canonical=value, **changes)


def dns(query: str = "evil.example", machine: str = "ws-17", time: str = TIME, **more: Any) -> str:
    """A line of Sysmon's DNS queries as a shipper writes it."""
    event = {
        "EventID": 22,
        "Channel": "Microsoft-Windows-Sysmon/Operational",
        "Hostname": machine,
        "UtcTime": time.replace("T", " ").removesuffix("Z"),
        "EventRecordID": hash((query, machine, time)) % 1_000_000,
        "QueryName": query,
    }
    return json.dumps(event | more)


def met(tenant: TenantStore, found: Indicator, *lines: str) -> list[Detection]:
    """What the lines and an indicator give."""
    source = Source("sysmon.json", held="\n".join(lines).encode())
    faults: list[object] = []
    read = list(events(source, malformed=faults.append))
    assert not faults
    return [one for event in read for one in detect(event, ReferenceMatcher([found]), tenant.uid)]


def alert_of(tenant: TenantStore, found: Indicator, *lines: str) -> Alert:
    """The one alert that lines open or let grow."""
    recorded = tenant.record(met(tenant, found, *(lines or (dns(),))))
    (alert,) = (*recorded.opened, *recorded.grown, *recorded.reopened)
    return tenant.alert(alert.id)


def several(tenant: TenantStore, count: int, severity: Severity = Severity.LOW) -> list[Alert]:
    """So many alerts of one definition, each of a machine of its own."""
    found = armed(tenant, severity=severity)
    lines = [dns(machine=f"ws-{number}") for number in range(count)]
    return list(tenant.record(met(tenant, found, *lines)).opened)
