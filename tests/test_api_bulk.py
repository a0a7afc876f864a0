"""Many at once: bulk uploads whole and by item, upserts, quotas, collections that are deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from indicia.model import Quotas
from service import (
    DEFINITION,
    Client,
    Local,
    Reply,
    add_access,
    indicator,
    local,
)

BIND = "AlertDefinition@odata.bind"


def test_collections_are_deleted_whole_but_never_with_a_query(empty: Client) -> None:
    first, second = empty.add_definition(), empty.add_definition()
    for owner in (first, first, second):
        empty.add_indicator(owner)
    for path in (
        "AlertDefinitions",
        "IndicatorsOfCompromise",
        f"AlertDefinitions({first})/Actions.DeleteIOCs",
    ):
        method = "POST" if "Actions" in path else "DELETE"
        for query in ("$filter=Id%20eq%201", "x", "$top=1"):
            assert empty(method, f"{path}?{query}").status == 400
    assert empty("GET", "IndicatorsOfCompromise?$count=true").json()["@odata.count"] == 3
    assert empty("POST", f"AlertDefinitions({first})/Actions.DeleteIOCs").status == 204
    assert empty("GET", "IndicatorsOfCompromise?$count=true").json()["@odata.count"] == 1
    assert empty("POST", "AlertDefinitions(999999)/Actions.DeleteIOCs").status == 404
    assert empty("DELETE", "IndicatorsOfCompromise").status == 204
    assert empty("GET", "AlertDefinitions?$count=true").json()["@odata.count"] == 2
    assert empty("DELETE", "AlertDefinitions").status == 204
    assert empty("GET", "AlertDefinitions").json()["value"] == []


def test_a_bulk_upload_is_whole_or_not_at_all(empty: Client) -> None:
    owner = empty.add_definition()
    rows = [indicator(owner, Type="DomainName", Value=f"h{n}.example") for n in range(20)]
    twice = [*rows, rows[0]]
    rows[17] = rows[17] | {"Value": "not a domain"}
    reply = empty("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": rows})
    assert (reply.status, reply.error["target"]) == (400, "iocs[17].Value")
    rows[17] = indicator(999_999)
    reply = empty("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": rows})
    assert (reply.status, reply.error["target"]) == (400, f"iocs[17].{BIND}")
    assert empty("GET", "IndicatorsOfCompromise").json()["value"] == []
    assert empty("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": twice}).status == 200
    reply = empty("POST", "AlertDefinitions/Actions.BulkUpload", {"alertDefinitions": [DEFINITION] * 3})
    assert [item["Title"] for item in reply.json()["value"]] == [DEFINITION["Title"]] * 3
    wrong = [DEFINITION, DEFINITION | {"Severity": "Huge"}]
    reply = empty("POST", "AlertDefinitions/Actions.BulkUpload", {"alertDefinitions": wrong})
    assert reply.error["target"] == "alertDefinitions[1].Severity"
    assert "Informational, Low, Medium, High" in reply.error["message"]
    assert len(empty("GET", "AlertDefinitions").json()["value"]) == 4


def test_five_thousand_entities_and_not_one_more(empty: Client) -> None:
    owner = empty.add_definition()
    rows = [indicator(owner, Type="DomainName", Value=f"h{n}.example") for n in range(5001)]
    path = "IndicatorsOfCompromise/Actions.BulkUpload"
    assert empty("POST", path, {"iocs": rows}).error["target"] == "iocs"
    assert empty("POST", path, {"iocs": rows[:5000]}).status == 200


def test_quotas_are_507_with_the_figures(tmp_path: Path) -> None:
    with local(tmp_path, Quotas(definitions=2, indicators=4, patterns=1)) as service:
        api = service.client(add_access(service.store, "small"))
        owner = api.add_definition()
        api.add_definition()
        reply = api("POST", "AlertDefinitions", DEFINITION)
        assert (reply.status, reply.error["code"]) == (507, "QuotaExceeded")
        assert "2" in reply.error["message"]
        pattern = indicator(owner, Type="DomainName", Value="evil.example", DetectionFunction="EndWith")
        number = api.add_indicator(
            owner, Type="DomainName", Value="evil.example", DetectionFunction="Contains"
        )
        assert api("POST", "IndicatorsOfCompromise", pattern).status == 507
        other = api.add_indicator(owner)
        change = {"Type": "DomainName", "Value": "evil.example", "DetectionFunction": "EndWith"}
        assert api("PATCH", f"IndicatorsOfCompromise({other})", change).status == 507
        many = {"iocs": [indicator(owner)] * 3}
        assert api("POST", "IndicatorsOfCompromise/Actions.BulkUpload", many).status == 507
        assert len(api("GET", "IndicatorsOfCompromise").json()["value"]) == 2
        assert api("DELETE", f"IndicatorsOfCompromise({number})").status == 204
        assert api("POST", "IndicatorsOfCompromise", pattern).status == 201


MANY_PARTS = [b"[" * 300_000, b'{"iocs":[' + b"{}," * 300_000 + b"{}]}", b'"x",' * 300_000]


# Each on its own, and upserts

BULK = "IndicatorsOfCompromise/Actions.BulkUpload"
EACH = {"Prefer": "continue-on-error"}


def domain(owner: int, name: str, **changes: Any) -> dict[str, Any]:
    """An indicator of a domain name."""
    return indicator(owner, Type="DomainName", Value=name, **changes)


def statuses(reply: Reply) -> list[int]:
    """Of the results of a bulk upload that goes on after errors."""
    assert reply.status == 200, reply.body
    return [item["@indicia.status"] for item in reply.json()["value"]]


def test_each_entity_has_its_own_outcome(empty: Client) -> None:
    owner = empty.add_definition()
    rows: list[Any] = [
        domain(owner, "one.example"),
        domain(owner, "not a domain") | {"Enabled": 7},
        domain(999_999, "two.example"),
        7,
        domain(owner, "three.example", ValidFrom="2030-01-01T00:00:00Z", ExpiresAt="2029-01-01T00:00:00Z"),
        domain(owner, "a\nb"),
        domain(owner, "four.example"),
    ]
    reply = empty("POST", BULK, {"iocs": rows}, EACH)
    assert statuses(reply) == [201, 400, 400, 400, 400, 400, 201]
    assert reply.headers["preference-applied"] == "continue-on-error"
    found = reply.json()["value"]
    errors = [item["@indicia.error"] for item in found if item["@indicia.status"] == 400]
    assert [error["target"] for error in errors] == [
        "iocs[1].Enabled",
        f"iocs[2].{BIND}",
        "iocs[3]",
        "iocs[4].ValidFrom",
        "iocs[5].Value",
    ]
    assert all(error["message"] for error in errors)
    stored = empty("GET", "IndicatorsOfCompromise").json()["value"]
    assert [item["Id"] for item in stored] == [found[0]["Id"], found[6]["Id"]]
    wrong = [DEFINITION, {}, DEFINITION | {"Title": ""}, DEFINITION]
    reply = empty("POST", "AlertDefinitions/Actions.BulkUpload", {"alertDefinitions": wrong}, EACH)
    assert statuses(reply) == [201, 400, 400, 201]
    assert len(reply.json()["value"][1]["@indicia.error"]["details"]) == 4
    short = empty("POST", BULK, {"iocs": rows}, {"Prefer": "return=minimal, odata.continue-on-error"})
    assert short.headers["preference-applied"] == "return=minimal, continue-on-error"
    assert set(short.json()["value"][0]) == {"@indicia.status", "Id"}
    bad: list[Any] = [{"iocs": {}}, {"iocs": [], "upsert": 1}, {"iocs": [], "merge": True}, [], {}]
    for body in bad:
        assert empty("POST", BULK, body, EACH).status == 400


def test_what_fits_is_stored_and_the_rest_is_507_with_the_figures(tmp_path: Path) -> None:
    with local(tmp_path, Quotas(definitions=2, indicators=4, patterns=1)) as service:
        api = service.client(add_access(service.store, "small"))
        owner = api.add_definition()
        rows = [domain(owner, f"h{n}.example", DetectionFunction="Contains") for n in range(3)]
        rows += [domain(owner, f"h{n}.example") for n in range(4)]
        reply = api("POST", BULK, {"iocs": rows}, EACH)
        assert statuses(reply) == [201, 507, 507, 201, 201, 201, 507]
        errors = [item.get("@indicia.error") for item in reply.json()["value"]]
        assert errors[1]["message"].startswith("the tenant has 1 of 1 indicators with StartWith")
        assert errors[6]["message"].startswith("the tenant has 4 of 4 indicators; 1 more does not fit")
        assert (errors[6]["code"], errors[6]["target"]) == ("QuotaExceeded", "iocs[6]")
        again = api("POST", BULK, {"iocs": rows, "upsert": True}, EACH)
        assert statuses(again) == [200, 507, 507, 200, 200, 200, 507]
        assert api("POST", BULK, {"iocs": rows, "upsert": True}).status == 507
        many = {"alertDefinitions": [DEFINITION] * 3}
        reply = api("POST", "AlertDefinitions/Actions.BulkUpload", many, EACH)
        assert statuses(reply) == [201, 507, 507]
        assert api("GET", "IndicatorsOfCompromise/$count").body == b"4"


def test_an_upsert_changes_what_is_there(empty: Client) -> None:
    first, second = empty.add_definition(), empty.add_definition()
    old = empty.add_indicator(
        first, Type="DomainName", Value="Evil.example", Source="feed 1", ExpiresAt="2030-01-01T00:00:00Z"
    )
    twin = empty.add_indicator(first, Type="DomainName", Value="evil.example")
    before = empty("GET", f"IndicatorsOfCompromise({twin})").body
    rows = [
        domain(first, "EVIL.example.", Enabled="false", ExpiresAt="2031-01-01T00:00:00Z"),
        domain(second, "evil.example"),
        domain(first, "evil.example", DetectionFunction="EndWith"),
        domain(first, "new.example", Source="a"),
        domain(first, "NEW.example", Source="b"),
    ]
    reply = empty("POST", BULK, {"iocs": rows, "upsert": True}, EACH)
    assert statuses(reply) == [200, 201, 201, 201, 200]
    found = reply.json()["value"]
    assert found[0]["Id"] == old
    now = empty("GET", f"IndicatorsOfCompromise({old})").json()
    assert (now["Value"], now["Enabled"], now["Source"]) == ("EVIL.example.", False, "feed 1")
    assert now["ExpiresAt"] == "2031-01-01T00:00:00Z"
    assert now["LastModifiedAt"] is not None
    assert {name: found[0][name] for name in now if "@" not in name} == {
        name: value for name, value in now.items() if "@" not in name
    }
    assert empty("GET", f"IndicatorsOfCompromise({twin})").body == before, "of several, the oldest is meant"
    assert found[3]["Id"] == found[4]["Id"]
    assert empty("GET", f"IndicatorsOfCompromise({found[3]['Id']})/Source").json()["value"] == "b"
    assert empty("GET", "IndicatorsOfCompromise/$count").body == b"5"


def test_an_upsert_that_changes_nothing_writes_nothing(service: Local) -> None:
    access = add_access(service.store, "same")
    api = service.client(access)
    owner = api.add_definition()
    body = {"iocs": [domain(owner, f"h{n}.example") for n in range(50)], "upsert": True}
    made = api("POST", BULK, body)
    assert made.status == 200
    generation = service.store.tenant(access.tenant_id).generation()
    again = api("POST", BULK, body)
    assert again.json()["value"] == made.json()["value"]
    assert service.store.tenant(access.tenant_id).generation() == generation


def test_an_upsert_is_whole_or_not_at_all(empty: Client) -> None:
    owner = empty.add_definition()
    number = empty.add_indicator(
        owner, Type="DomainName", Value="evil.example", ExpiresAt="2030-01-01T00:00:00Z"
    )
    rows = [
        domain(owner, "new.example"),
        domain(owner, "evil.example", ValidFrom="2031-01-01T00:00:00Z"),
    ]
    reply = empty("POST", BULK, {"iocs": rows, "upsert": True})
    assert (reply.status, reply.error["target"]) == (400, "iocs[1].ValidFrom")
    assert empty("GET", "IndicatorsOfCompromise/$count").body == b"1"
    reply = empty("POST", BULK, {"iocs": rows, "upsert": True}, EACH)
    assert statuses(reply) == [201, 400]
    assert empty("GET", f"IndicatorsOfCompromise({number})/ValidFrom").status == 204


@pytest.mark.parametrize("body", MANY_PARTS)
def test_what_would_need_much_memory_is_refused_before(api: Client, body: bytes) -> None:
    assert api("POST", BULK, body).status == 413


def test_brackets_and_commas_in_texts_are_none(empty: Client) -> None:
    owner = empty.add_definition()
    rows = [domain(owner, f"h{n}.example", Source='[,"\\' * 125) for n in range(1000)]
    reply = empty("POST", BULK, {"iocs": rows})
    assert reply.status == 200, reply.body
