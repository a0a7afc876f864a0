"""GET /api/alerts: detections as SIEM tools pull them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from indicia.auth import roles
from indicia.odata.entities import DETECTION
from indicia.store import rows, tables
from indicia.web import siem
from service import SHA1, Access, Local, Reply, add_access, add_application
from stored import detection, plan_of

# As the original's documentation lists them.
SPELT = """
AlertTime ComputerDnsName AlertTitle Category Severity AlertId Actor LinkToWDATP IocName IocValue
CreatorIocName CreatorIocValue Sha1 FileName FilePath IpAddress Url IoaDefinitionId UserName
AlertPart FullId LastProcessedTimeUtc ThreatCategory ThreatFamily ThreatName RemediationAction
RemediationIsSuccess Source Md5 Sha256 WasExecutingWhileDetected UserDomain LogOnUsers MachineDomain
MachineName InternalIPv4List InternalIPv6List FileHash DeviceID MachineGroup Description
DeviceCreatedMachineTags CloudCreatedMachineTags CommandLine IncidentLinkToWDATP ReportID LinkToMTP
IncidentLinkToMTP ExternalId IocUniqueId
"""
FIELDS = set(SPELT.split()) | {"Status", "Classification", "Determination", "AssignedTo", "ResolvedTime"}
"""With what Indicia adds."""


def pull(service: Local, access: Access, **asked: str) -> Reply:
    """One pull with a token."""
    headers = {"Authorization": f"Bearer {service.token(access)}"}
    return service.request("GET", f"/api/alerts?{urlencode(asked)}", headers=headers)


@pytest.fixture(scope="module")
def found(service: Local) -> Access:
    """A tenant with three detections, one of them silent."""
    access = add_access(service.store, "siem")
    api, tenant = service.client(access), service.store.tenant(access.tenant_id)
    owner = api.add_definition(Title="Seen", Severity="High")
    api.add_indicator(owner)
    api.add_indicator(owner, Type="DomainName", Value="evil.example")
    first, second = tenant.indicators()
    tenant.record([detection(first, tenant.uid, 0, machine="host-1")])
    tenant.record([detection(second, tenant.uid, 1)])
    tenant.record([detection(second, tenant.uid, 2, raises=False)])
    return access


def test_what_raised_in_the_last_two_hours_is_pulled(service: Local, found: Access) -> None:
    first, second = pull(service, found).json()
    assert set(first) == FIELDS
    assert (first["AlertTitle"], first["Severity"], first["Category"]) == ("Seen", "High", "Trojan")
    assert (first["Sha1"], first["FileHash"], first["IocValue"]) == (SHA1, SHA1, SHA1)
    assert (first["MachineName"], first["AlertTime"]) == ("host-1", "2024-03-12T00:00:00Z")
    assert (second["IocName"], second["IocValue"], second["Sha1"]) == ("DomainName", "evil.example", None)
    stored = service.store.tenant(found.tenant_id).detections()
    assert [item["FullId"] for item in (first, second)] == [one.id for _, one in stored[:2]]


def test_what_was_made_of_an_alert_is_told(service: Local) -> None:
    access = add_access(service.store, "worked on")
    api, tenant = service.client(access), service.store.tenant(access.tenant_id)
    api.add_indicator(api.add_definition())
    (found,) = tenant.indicators()
    tenant.record([detection(found, tenant.uid, 0)])
    (first,) = pull(service, access).json()
    assert (first["Status"], first["Classification"], first["ResolvedTime"]) == ("New", "Unknown", None)
    given = {
        "Status": "Resolved",
        "Classification": "TruePositive",
        "Determination": "Apt",
        "AssignedTo": "ann@contoso.example",
    }
    changed = api("PATCH", f"Alerts({tenant.alerts()[0].number})", given).json()
    (second,) = pull(service, access).json()
    assert {name: second[name] for name in given} == given
    assert second["ResolvedTime"] == changed["ResolvedAt"] is not None


def test_bounds(service: Local, found: Access) -> None:
    first, second = pull(service, found).json()
    moment: Any = second["LastProcessedTimeUtc"]
    later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    for asked, expected in (
        ({"sinceTimeUtc": moment}, [second]),
        ({"sinceTimeUtc": "2024-01-01T00:00:00Z", "untilTimeUtc": moment}, [first]),
        ({"sinceTimeUtc": later}, []),
        ({"ago": "PT10M"}, [first, second]),
        ({"ago": "PT10M", "limit": "1"}, [first]),
        ({"untilTimeUtc": "2024-01-01T00:00:00"}, []),
        ({"untilTimeUtc": later}, [first, second]),
    ):
        assert pull(service, found, **asked).json() == expected, asked


def test_a_clock_that_was_set_back_hides_nothing(service: Local) -> None:
    """What was recorded under a clock that was ahead is followed, not preceded, by what comes later."""
    access = add_access(service.store, "clock")
    api, tenant = service.client(access), service.store.tenant(access.tenant_id)
    api.add_indicator(api.add_definition())
    (seen,) = tenant.indicators()
    tenant.record([detection(seen, tenant.uid, 0)])
    with tenant._writing() as scope:
        ahead = datetime.now(UTC) + timedelta(days=1)
        scope.update(tables.detections, recorded_at=rows.micros(ahead))
    tenant.record([detection(seen, tenant.uid, number) for number in range(1, 6)])
    (first, *_) = pull(service, access, limit="1").json()
    ids, since = [first["FullId"]], first["LastProcessedTimeUtc"]
    for _ in range(5):
        last, further = pull(service, access, sinceTimeUtc=since, limit="2").json()
        assert last["FullId"] == ids[-1]
        ids, since = [*ids, further["FullId"]], further["LastProcessedTimeUtc"]
    assert ids == [one.id for _, one in tenant.detections()]
    assert len(pull(service, access, sinceTimeUtc=since).json()) == 1
    steps = plan_of(tenant, DETECTION, siem._query({"ago": "PT10M"}, datetime.now(UTC)))
    assert "ix_detections_tenant_id_recorded_at_id" in steps
    assert "TEMP B-TREE" not in steps


@pytest.mark.parametrize(
    ("asked", "status", "target"),
    [
        ({"ago": "10m"}, 400, "ago"),
        ({"ago": "P9999999999999D"}, 400, "ago"),
        ({"ago": "-PT1S"}, 400, "ago"),
        ({"ago": "P2000000D"}, 400, "ago"),
        ({"ago": "PT1H", "sinceTimeUtc": "2024-01-01T00:00:00Z"}, 400, "ago"),
        ({"sinceTimeUtc": "yesterday"}, 400, "sinceTimeUtc"),
        ({"untilTimeUtc": ""}, 400, "untilTimeUtc"),
        ({"limit": "0"}, 400, "limit"),
        ({"limit": "10001"}, 400, "limit"),
        ({"machinegroups": "servers"}, 501, "machinegroups"),
        ({"since": "x"}, 400, "since"),
    ],
    ids=str,
)
def test_wrong_parameters(
    service: Local, found: Access, asked: dict[str, str], status: int, target: str | None
) -> None:
    reply = pull(service, found, **asked)
    assert reply.status == status, reply.body
    if target:
        assert reply.error["target"] == target


def test_who_may_pull(service: Local, found: Access) -> None:
    assert service.request("GET", "/api/alerts").status == 401
    writer = add_application(service.store, found.tenant_id, (roles.TI_WRITE,))
    assert pull(service, writer).status == 403
    reader = add_application(service.store, found.tenant_id, (roles.ALERT_READ,))
    assert len(pull(service, reader).json()) == 2
    assert pull(service, add_access(service.store, "nobody")).json() == []
