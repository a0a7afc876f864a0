"""Events in by HTTP, what is in force, and writes that wait for it."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from indicia import telemetry
from indicia.auth import roles
from indicia.live.following import Following
from indicia.live.intake import Intake
from indicia.telemetry import Malformed, Source
from indicia.telemetry.records import Form, Part
from service import Access, Client, Local, add_access, add_application, local
from stored import add, indicator, opened

TIME = "2024-03-12T08:53:07Z"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path) as service:
        yield service


@pytest.fixture
def access(service: Local) -> Access:
    return add_access(service.store, "contoso")


@pytest.fixture
def client(service: Local, access: Access) -> Client:
    return service.client(access)


def event(host: str, number: int = 0) -> dict[str, Any]:
    return {
        "event": {"id": str(number)},
        "@timestamp": TIME,
        "host": {"name": "pc-1"},
        "dns": {"question": {"name": host}},
    }


def lines(*events: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in events)


def post(client: Client, body: bytes, **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = client("POST", "Events", body, {"Content-Type": "application/x-ndjson", **given})
    assert reply.status == 200, reply.body
    assert reply.headers["indicia-generation"] == str(reply.json()["generation"])
    return reply.json()


def look_for(client: Client, value: str = "evil.example") -> int:
    """An indicator that is in force when this returns; its Id."""
    owner = client.add_definition()
    reply = client(
        "POST",
        "IndicatorsOfCompromise",
        {
            "Type": "DomainName",
            "Value": value,
            "DetectionFunction": "SubdomainOf",
            "Enabled": True,
            "AlertDefinition@odata.bind": f"AlertDefinitions({owner})",
        },
        {"Prefer": "return=representation, wait=5"},
    )
    assert reply.status == 201, reply.body
    assert reply.headers["preference-applied"] == "return=representation, wait=5"
    return int(reply.json()["Id"])


def test_an_event_meets_an_indicator_that_was_just_written(client: Client, service: Local) -> None:
    assert post(client, lines(event("www.evil.example")))["detections"] == 0
    number = look_for(client)
    found = post(client, lines(event("www.evil.example"), event("good.example", 1)))
    assert (found["accepted"], found["detections"], found["newAlerts"]) == (2, 1, 1)
    assert client("DELETE", f"IndicatorsOfCompromise({number})", headers={"Prefer": "wait=5"}).status == 204
    assert post(client, lines(event("www.evil.example", 2)))["detections"] == 0


def test_events_that_come_again_change_nothing(client: Client) -> None:
    look_for(client)
    body = lines(*(event("evil.example", number) for number in range(5)))
    first, second = post(client, body), post(client, body)
    assert (first["newDetections"], second["detections"], second["newDetections"]) == (5, 5, 0)
    (alert,) = client("GET", "Alerts").json()["value"]
    assert alert["DetectionCount"] == 5


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gzip", "zstd"])
def test_compressed_events(client: Client, pack: Any) -> None:
    look_for(client)
    body = pack(lines(*(event("evil.example", number) for number in range(2000))))
    encoding = "gzip" if body.startswith(b"\x1f\x8b") else "zstd"
    assert post(client, body, Content_Encoding=encoding)["newDetections"] == 2000


def test_every_malformed_line_is_counted_and_the_first_are_told(client: Client) -> None:
    look_for(client)
    bad = [b"nonsense", b'{"a":', b"[1]", b"", b"   ", b"7"] + [b"{]"] * 30
    body = b"\n".join([lines(event("evil.example")).strip(), *bad, lines(event("good.example", 1)).strip()])
    found = post(client, body)
    assert (found["accepted"], found["malformed"], found["newDetections"]) == (2, 34, 1)
    assert found["malformedLines"][:6] == [2, 3, 4, 7, 8, 9]
    assert len(found["reasons"]) == 20
    assert found["reasons"][0]["line"] == 2


def test_the_records_of_an_envelope_are_events(client: Client) -> None:
    look_for(client)
    found = post(client, lines({"Records": [event("evil.example"), event("good.example", 1)]}))
    assert (found["accepted"], found["newDetections"]) == (2, 1)


def test_an_answer_is_repeated_under_its_key(client: Client) -> None:
    look_for(client)
    body = lines(event("evil.example"))
    first = post(client, body, Idempotency_Key="k1")
    again = client("POST", "Events", body, {"Content-Type": "", "Idempotency-Key": "k1"})
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first
    other = client("POST", "Events", body + b"\n", {"Content-Type": "", "Idempotency-Key": "k1"})
    assert other.status == 400
    assert other.error["target"] == "Idempotency-Key"


def test_too_large_and_damaged_bodies_are_refused(tmp_path: Path) -> None:
    with local(tmp_path, max_event_bytes=100_000) as service:
        client = service.client(add_access(service.store, "contoso"))
        bomb = gzip.compress(b"\n" * 10_000_000)
        assert len(bomb) < 100_000
        for body, encoding, status in (
            (b"\n" * 100_001, "identity", 413),
            (bomb, "gzip", 413),
            (zstandard.ZstdCompressor().compress(b"\n" * 10_000_000), "zstd", 413),
            (gzip.compress(b"{}\n")[:-6], "gzip", 400),
            (b"{}\n", "zstd", 400),
            (b"{}\n", "br", 415),
        ):
            reply = client("POST", "Events", body, {"Content-Type": "", "Content-Encoding": encoding})
            assert reply.status == status, (encoding, reply.body)
        assert client("POST", "Events", b"{}", {"Content-Type": "text/csv"}).status == 415


def test_roles_are_asked_for(service: Local, access: Access) -> None:
    reader = service.client(add_application(service.store, access.tenant_id, (roles.TI_READ,)))
    assert reader("POST", "Events", b"{}\n").status == 403
    assert reader("GET", "Index").status == 200
    assert service.request("POST", "/v1.0/Events", b"{}\n").status == 401
    assert service.request("GET", "/v1.0/Index").status == 401
    assert reader("GET", "Events").status == 404
    assert service.request("POST", "/v2.0/Events", b"{}\n").status == 404


def test_no_tenant_meets_the_indicators_of_another(service: Local, client: Client) -> None:
    look_for(client)
    other = service.client(add_access(service.store, "fabrikam"))
    assert post(other, lines(event("evil.example")))["detections"] == 0


def test_what_is_in_force_is_told(client: Client) -> None:
    look_for(client)
    found = client("GET", "Index").json()
    assert found["generation"] == found["storeGeneration"]
    assert sum(found["indicators"]) == 1


def test_lines_are_counted_over_blocks(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indicia.live.intake.BLOCK", 1000)
    look_for(client)
    body = lines(*(event("evil.example", number) for number in range(3000))) + b"oops\n"
    found = post(client, body)
    assert (found["newDetections"], found["malformedLines"]) == (3000, [3001])


LINES = (
    b"{}",
    b'{"a":1}',
    b'{"a":1}\r',
    b'{"a":1} ',
    b' {"a":1}',
    b'{"a":"x',
    b'y"}',
    b'{"a":"}',
    b'{"}',
    b'{"a":[{}',
    b"{}]}",
    b"{},{}",
    b"{}{}",
    b"{",
    b"}",
    b"",
    b"  ",
    b"[1]",
    b"nonsense",
    b"\xef\xbb\xbf{}",
    b'{"a":"\xff"}',
    b'{"Records":[{"a":1},{"b":2}]}',
    b'{ "value" : [{"a":1}]}',
    b'{"b":{"value":[{"a":1}]}}',
    lines(event("evil.example")).strip(),
    lines(event("evil.example", 1)).strip(),
)
"""What is one object, several, none, or looks as if it went on in the next line."""


def one_by_one(body: bytes) -> tuple[int, list[int]]:
    """How many events there are, and which lines are malformed, by reading each line for itself."""
    events, malformed = 0, []
    for number, line in enumerate(body.split(b"\n"), 1):
        bad: list[Malformed] = []
        source = Source("x", part=Part(Form.JSON), held=line)
        events += len(list(telemetry.events(source, malformed=bad.append)))
        malformed += [number] * len(bad)
    return events, malformed


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Following]:
    """One indicator."""
    home = tmp_path_factory.mktemp("home")
    with opened(home / "indicia.db") as tenant:
        tenant.add_indicators([indicator(add(tenant), value="evil.example", canonical="evil.example")], "x")
        yield Following(tenant, home / "indexes", lambda: False)


@pytest.mark.parametrize("few", [0, 64])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(st.sampled_from(LINES), max_size=12), ended=st.booleans(), step=st.integers(1, 300))
@example(found=[b'{"a":[{}', b"{}]}", b"{},{}"], ended=True, step=300)
@example(found=[b'{"a":"}', b'{"}', b"{}{}"], ended=False, step=300)
def test_lines_that_are_checked_together_are_checked_as_each_alone(
    live: Following, few: int, found: list[bytes], ended: bool, step: int
) -> None:
    body = b"\n".join(found) + b"\n" * ended
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("indicia.live.blocks.FEW", few)
        patch.setattr("indicia.live.intake.BLOCK", 200)
        intake = Intake(live, "x")
        for begin in range(0, len(body), step):
            intake.feed(body[begin : begin + step])
        taken = intake.end()
    assert (taken.accepted, taken.lines) == one_by_one(body)
    assert taken.detections == sum(b"evil.example" in line for line in found)


def test_a_detection_says_on_which_line_it_was(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indicia.live.intake.BLOCK", 500)
    look_for(client)
    post(client, lines(*(event("good.example", n) for n in range(40)), event("evil.example", 40)))
    (found,) = client("GET", "Detections").json()["value"]
    assert found["Line"] == 41


# Shippers


def basic(access: Access, scheme: str = "Basic") -> dict[str, str]:
    both = f"{access.client_id}:{access.client_secret}"
    return {"Authorization": f"{scheme} {base64.b64encode(both.encode()).decode()}"}


@pytest.mark.parametrize("scheme", ["Basic", "ApiKey"])
def test_the_bulk_form_of_elasticsearch(service: Local, client: Client, access: Access, scheme: str) -> None:
    look_for(client)
    body = lines(
        {"create": {"_index": "logs"}},
        event("evil.example"),
        {"index": {}},
        event("good.example", 1),
        {"delete": {"_id": "7"}},
        {"update": {"_id": "7"}},
        {"doc": {}},
    )
    body += b'{"create":{}}\nnonsense\n' + lines({"index": {}}, event("evil.example", 2))
    reply = service.request("POST", "/_bulk", body, basic(access, scheme))
    assert reply.status == 200, reply.body
    found = reply.json()
    assert found["errors"] is True
    outcomes = [(action, item["status"]) for row in found["items"] for action, item in row.items()]
    assert outcomes == [
        ("create", 201),
        ("index", 201),
        ("delete", 400),
        ("update", 400),
        ("create", 400),
        ("index", 201),
    ]
    (alert,) = client("GET", "Alerts").json()["value"]
    assert alert["DetectionCount"] == 2
    assert service.request("POST", "/_bulk", b"oops\n", basic(access)).status == 400


def test_the_event_collector_of_splunk(service: Local, client: Client, access: Access) -> None:
    look_for(client)
    token = {"Authorization": f"Splunk {access.client_id}:{access.client_secret}"}
    body = json.dumps({"event": event("evil.example")}) + json.dumps(
        {"event": "Mar 12 08:53:07 pc-1 proxy: GET http://evil.example/\nx", "host": "pc-1"}
    )
    reply = service.request("POST", "/services/collector/event", body.encode(), token)
    assert (reply.status, reply.json()) == (200, {"text": "Success", "code": 0})
    assert client("GET", "Detections/$count").body.lstrip(b"\xef\xbb\xbf") == b"2"
    for bad, code in ((b"", 5), (b"{}", 6), (b'{"event":"x"} {"even', 6), (b"oops", 6)):
        reply = service.request("POST", "/services/collector", bad, token)
        assert (reply.status, reply.json()["code"]) == (400, code), bad


def test_shippers_show_who_they_are(service: Local, access: Access) -> None:
    for shown in ("", "Basic x", "Splunk x", f"Splunk {access.client_id}:wrong", "Digest x"):
        reply = service.request("POST", "/_bulk", b"", {"Authorization": shown})
        assert reply.status == 401, shown
    assert service.request("POST", "/_bulk", b"", basic(access)).status == 200
    tenant = service.store.tenant(access.tenant_id)
    tenant.revoke_secret(access.client_id, access.secret_id)
    assert service.request("POST", "/_bulk", b"", basic(access)).status == 401
