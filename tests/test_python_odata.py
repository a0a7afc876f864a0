"""An independent client drives the whole API: python-odata, which knows it by its $metadata alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from indicia.odata.entities import BY_SET
from indicia.store import Store
from service import SHA1, add_access, running
from stored import detection

# By name, because to a type checker `odata` is the benchmark of that name.
odata = import_module("odata")
ODataError = import_module("odata.exceptions").ODataError
pytestmark = pytest.mark.full


@dataclass(frozen=True)
class Peer:
    """The client over a real service, and the folder of that."""

    service: Any
    home: Path
    tenant: str

    def __getattr__(self, name: str) -> Any:
        """A set by its name, as `peer.AlertDefinitions`."""
        return self.service.entities[name]

    def query(self, name: str) -> Any:
        """A query of a set."""
        return self.service.query(self.service.entities[name])

    def add(self, **changes: Any) -> Any:
        """A new definition."""
        made = self.AlertDefinitions()
        made.Name, made.Title, made.UxDescription = "n", "t", ""
        made.InternalDescription = ""
        made.Severity, made.Category = self.member("Severity", "Low"), self.member("Category", "Trojan")
        made.Enabled, made.WindowSeconds = True, 86_400
        made.GroupBy = self.member("GroupBy", "Definition")
        for name, value in changes.items():
            setattr(made, name, value)
        self.service.save(made)
        return made

    def member(self, enum: str, name: str) -> Any:
        """A member of an enum of $metadata."""
        return self.service.types[f"Indicia.{enum}"][name]

    def rows(self, owner: Any, count: int) -> list[dict[str, Any]]:
        """Indicators as BulkUpload takes them."""
        bound = {"AlertDefinition@odata.bind": f"AlertDefinitions({owner.Id})"}
        plain = {"Type": "DomainName", "DetectionFunction": "Equals", **bound}
        return [plain | {"Value": f"h{number}.example"} for number in range(count)]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """The client, with a token, over the service's own authority."""
    with Store.open(f"sqlite:///{tmp_path / 'indicia.db'}") as store:
        access = add_access(store, "contoso")
    with running(tmp_path) as process, process.session(access) as session:
        url = f"{process.url}/v1.0/"
        service = odata.ODataService(url, session=session, reflect_entities=True, quiet_progress=True)
        for name, kind in service.entities.items():
            # What actions and navigations give is of the type, which to this client has no URL.
            kind.__mro__[1].__odata_collection__ = name
        yield Peer(service, tmp_path, access.tenant_id)


def test_it_reads_the_model(peer: Peer) -> None:
    sets = set(BY_SET)
    assert set(peer.service.entities) == sets
    assert peer.member("Severity", "High").value == 3
    assert peer.member("DetectionFunction", "SubdomainOf")


def test_entities_are_made_read_changed_and_deleted(peer: Peer) -> None:
    made = peer.add(Name="first", Severity=peer.member("Severity", "High"))
    assert made.Id > 0
    assert made.CreatedAt.tzinfo is not None
    found = peer.query("AlertDefinitions").get(made.Id)
    assert (found.Name, found.Severity) == ("first", peer.member("Severity", "High"))
    found.Title = "it's & <new>"
    peer.service.save(found)
    again = peer.query("AlertDefinitions").get(made.Id)
    assert again.Title == "it's & <new>"
    assert again.LastModifiedAt > again.CreatedAt
    peer.service.delete(again)
    assert peer.query("AlertDefinitions").count() == 0
    with pytest.raises(ODataError, match="HTTP 404"):
        peer.service.delete(again)


def test_an_indicator_is_bound_by_its_navigation(peer: Peer) -> None:
    owner, other = peer.add(Name="owner"), peer.add(Name="other")
    made = peer.IndicatorsOfCompromise()
    made.Type, made.Value = peer.member("IndicatorType", "Sha1"), SHA1
    made.DetectionFunction, made.Enabled = peer.member("DetectionFunction", "Equals"), True
    made.ExpiresAt = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    made.AlertDefinition = owner
    peer.service.save(made)
    found = peer.query("IndicatorsOfCompromise").expand(peer.IndicatorsOfCompromise.AlertDefinition).one()
    assert found.AlertDefinition.Name == "owner"
    assert found.ExpiresAt == made.ExpiresAt
    found.AlertDefinition = other
    peer.service.save(found)
    assert peer.query("IndicatorsOfCompromise").one().AlertDefinition.Name == "other"
    assert [item.Value for item in other.IndicatorsOfCompromise] == [SHA1]


def test_queries(peer: Peer) -> None:
    owner = peer.add()
    made = peer.IndicatorsOfCompromise.BulkUpload(iocs=peer.rows(owner, 2500), upsert=False)
    assert len(made) == 2500
    kind = peer.IndicatorsOfCompromise
    query = peer.query("IndicatorsOfCompromise")
    assert len(query.all()) == 2500, "over the next links of three pages"
    assert query.count() == 2500
    assert query.filter(kind.Value == "h7.example").one().Value == "h7.example"
    assert query.filter(kind.Value.contains("h99")).count() == 11
    assert query.filter(kind.Value.startswith("h24") & kind.Value.endswith("9.example")).count() == 11
    assert query.filter((kind.Id >= made[10].Id) & (kind.Id < made[20].Id)).count() == 10
    assert query.filter(kind.ExpiresAt == None).count() == 2500  # noqa: E711 - how the client spells null
    assert query.filter(kind.CreatedAt >= datetime(2020, 1, 1, tzinfo=UTC)).count() == 2500
    assert query.filter("Type eq 'Sha1'").count() == 0
    some = query.order_by(kind.Id.desc()).limit(3).offset(1).all()
    assert [item.Value for item in some] == ["h2498.example", "h2497.example", "h2496.example"]
    assert query.select(kind.Value).limit(1).all() == [{"Value": "h0.example"}]
    with pytest.raises(ODataError, match="HTTP 400"):
        query.filter("Colour eq 'red'").all()


def test_actions(peer: Peer) -> None:
    owner, other = peer.add(), peer.add()
    body = {
        "Name": "n",
        "Title": "t",
        "Severity": "Low",
        "Category": "None",
    }
    assert len(peer.AlertDefinitions.BulkUpload(alertDefinitions=[body] * 3)) == 3
    for item in (owner, other):
        peer.IndicatorsOfCompromise.BulkUpload(iocs=peer.rows(item, 5), upsert=False)
        peer.IndicatorsOfCompromise.BulkUpload(iocs=peer.rows(item, 7), upsert=True)
    assert peer.query("IndicatorsOfCompromise").count() == 14
    owner.DeleteIOCs()
    assert peer.query("IndicatorsOfCompromise").count() == 7
    with pytest.raises(ODataError, match="must be a list"):
        peer.IndicatorsOfCompromise.BulkUpload(iocs="x", upsert=False)


def test_alerts_and_detections_are_read(peer: Peer) -> None:
    owner = peer.add(Title="Seen")
    peer.IndicatorsOfCompromise.BulkUpload(iocs=peer.rows(owner, 2), upsert=False)
    with Store.open(f"sqlite:///{peer.home / 'indicia.db'}") as store:
        tenant = store.tenant(peer.tenant)
        tenant.record([detection(found, tenant.uid) for found in tenant.indicators()])
    (alert,) = peer.query("Alerts").all()
    assert (alert.Title, alert.DetectionCount) == ("Seen", 2)
    assert alert.Status == peer.member("AlertStatus", "New")
    assert alert.AlertDefinition.Id == owner.Id
    assert {item.Value for item in alert.Detections} == {"h0.example", "h1.example"}
    detections = peer.query("Detections").filter(peer.Detections.Machine == "host-7").all()
    assert [item.Alert.Id for item in detections] == [alert.Id] * 2
    assert [item.IndicatorOfCompromise.Value for item in detections] == ["h0.example", "h1.example"]
    with pytest.raises(ODataError, match="HTTP 405"):
        peer.service.delete(alert)
