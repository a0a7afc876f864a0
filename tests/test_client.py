"""The SDK against the service as a process over TLS: every operation, both clients, conditions, uploads."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from indicia import client as sdk
from indicia.client import (
    AlertDefinition,
    AsyncClient,
    Category,
    Client,
    Condition,
    Details,
    DetectionFunction,
    Indicator,
    IndicatorType,
    Position,
    Severity,
    nouns,
)
from indicia.client.fields import INT64
from indicia.errors import (
    Forbidden,
    GrantRefused,
    InvalidValue,
    MalformedFile,
    NotFound,
    QuotaExceeded,
    Unreachable,
    UploadStopped,
)
from indicia.model import BULK_LIMIT, Quotas
from indicia.odata import entities
from indicia.settings import Settings
from indicia.store import Store
from service import Access, Process, add_access, free_port, running
from stored import detection

DEFINITION = AlertDefinition(
    name="mine", title="Seen", severity=Severity.HIGH, category=Category.MALWARE, recommended_action="Look."
)
NASTY = (
    "it's",
    "' or 1 eq 1 or Value eq '",
    "''",
    "a' and not (Id eq 0",
    "100%_x",
    "a+b&$top=0#f?%27",
    "x)(y,z",
    "\\'",
    "ü€𝄞\u202e",
    "line\nbreak\ttab",
)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(tmp_path_factory.mktemp("home")) as service:
        yield service


def details_of(process: Process, access: Access) -> Details:
    """As `indicia init --save` would write them."""
    return Details(
        client_id=access.client_id,
        client_secret=access.client_secret,
        authorization_url=f"{process.url}/{access.tenant_id}/oauth2/token",
        api_url=f"{process.url}/V1.0",
        ca_file=process.authority,
    )


def new_access(process: Process, name: str) -> Access:
    """A new tenant of the running service."""
    with Store.open(Settings(home=process.home).database_url) as store:
        return add_access(store, name)


@pytest.fixture
def details(process: Process, request: pytest.FixtureRequest) -> Details:
    return details_of(process, new_access(process, request.node.name[:60]))


@pytest.fixture
def client(details: Details) -> Iterator[Client]:
    with Client(details) as made:
        yield made


def domain(definition_id: int, value: str, **changes: Any) -> Indicator:
    """An indicator of a name."""
    made = Indicator(type=IndicatorType.DOMAIN_NAME, value=value, definition_id=definition_id)
    return replace(made, **changes)


def files(definition_id: int, count: int, first: int = 0) -> Iterator[Indicator]:
    """Any number of indicators."""
    for number in range(first, first + count):
        yield Indicator(
            type=IndicatorType.FILE_NAME, value=f"file-{number:07}.exe", definition_id=definition_id
        )


def test_definitions_come_and_go(client: Client) -> None:
    made = client.add_definition(DEFINITION)
    assert replace(made, id=0, uid="", created_at=None, created_by=None) == DEFINITION
    assert made.id > 0
    assert made.created_at is not None
    assert made.created_at.utcoffset() == timedelta(0)
    assert client.definition(made.id) == made
    assert list(client.definitions()) == [made]
    changed = client.change_definition(made.id, title="Seen again", recommended_action=None)
    assert (changed.title, changed.recommended_action) == ("Seen again", None)
    assert client.count_definitions(AlertDefinition.Title == "Seen again") == 1
    client.delete_definition(made.id)
    with pytest.raises(NotFound) as missing:
        client.definition(made.id)
    assert missing.value.code == "NotFound"
    client.delete_all_definitions()
    assert client.count_definitions() == 0


def test_indicators_come_and_go(client: Client) -> None:
    first, second = client.add_definition(DEFINITION), client.add_definition(replace(DEFINITION, name="b"))
    end = datetime(2040, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
    made = client.add_indicator(domain(first.id, "evil.example", expires_at=end, source="a report"))
    assert (made.definition_id, made.expires_at, made.source) == (first.id, end, "a report")
    found = client.indicator(made.id)
    assert found.definition == first
    assert replace(found, definition=None) == made
    client.move_indicator(made.id, second.id)
    assert client.indicator(made.id).definition_id == second.id
    changed = client.change_indicator(
        made.id, definition_id=first.id, enabled=False, function=DetectionFunction.SUBDOMAIN_OF
    )
    assert (changed.enabled, changed.definition_id) == (False, first.id)
    assert client.count_indicators(definition_id=first.id) == 1
    assert [one.definition_id for one in client.indicators(definition_id=first.id)] == [first.id]
    assert [one.definition for one in client.indicators(expand=True)] == [first]
    client.delete_indicators(first.id)
    assert client.count_indicators() == 0
    again = client.add_indicator(domain(first.id, "evil.example"))
    client.delete_indicator(again.id)
    client.delete_all_indicators()
    assert list(client.indicators()) == []


def test_what_cannot_be_is_refused_before_it_is_sent(details: Details) -> None:
    nowhere = replace(details, api_url="https://127.0.0.1:1/V1.0", authorization_url="https://127.0.0.1:1/t")
    with Client(nowhere) as client:
        with pytest.raises(InvalidValue, match="which definition"):
            client.add_indicator(domain(0, "evil.example"))
        with pytest.raises(InvalidValue, match="cannot be changed") as wrong:
            client.change_definition(1, uid="x")  # type: ignore[call-arg]
        assert wrong.value.target == "uid"
        with pytest.raises(InvalidValue, match="time zone"):
            client.change_indicator(1, expires_at=datetime(2030, 1, 1))  # noqa: DTZ001
        with pytest.raises(InvalidValue, match="0 or more"):
            client.indicators(limit=-1)
        with pytest.raises(InvalidValue, match="is a condition"):
            client.indicators("Value eq 'x'")  # type: ignore[arg-type]
        with pytest.raises(InvalidValue, match="name of a set"):
            client.rows("../x")


def test_errors_carry_code_target_and_details(client: Client) -> None:
    owner = client.add_definition(DEFINITION).id
    with pytest.raises(InvalidValue) as one:
        client.add_indicator(domain(owner, "not a name", type=IndicatorType.SHA1))
    assert (one.value.code, one.value.target) == ("InvalidValue", "Value")
    with pytest.raises(InvalidValue) as two:
        client.change_definition(owner, title="x" * 121, name="y" * 101)
    assert {item.target for item in two.value.details} == {"Title", "Name"}
    with pytest.raises(InvalidValue) as moved:
        client.move_indicator(client.add_indicator(domain(owner, "a.example")).id, 999_999)
    assert "999999" in moved.value.message


def test_a_wrong_secret_is_refused_as_the_issuer_says(details: Details) -> None:
    with Client(replace(details, client_secret="wrong")) as client:
        with pytest.raises(GrantRefused) as refused:
            client.count_indicators()
        assert (refused.value.error, refused.value.aadsts) == ("invalid_client", 7000215)
    assert details.client_secret not in repr(details)


def test_the_service_of_nobody_is_unreachable(details: Details) -> None:
    url = f"https://127.0.0.1:{free_port()}"
    lost = replace(details, api_url=f"{url}/V1.0", authorization_url=f"{url}/t/oauth2/token")
    with (
        Client(lost, retries=sdk.Retries(attempts=2, first_wait=0)) as client,
        pytest.raises(Unreachable, match="is the service running"),
    ):
        client.count_indicators()


def test_another_authority_is_not_trusted(details: Details) -> None:
    with (
        Client(replace(details, ca_file=""), retries=sdk.Retries(attempts=1)) as client,
        pytest.raises(Unreachable, match="certificate"),
    ):
        client.count_indicators()


@pytest.mark.parametrize("value", NASTY, ids=repr)
def test_no_value_ends_its_quotes(client: Client, value: str) -> None:
    owner = client.add_definition(replace(DEFINITION, title=value, internal_description="x")).id
    client.add_definition(replace(DEFINITION, title="another"))
    field = AlertDefinition.Title
    for condition in (
        field == value,
        field.within([value, "no"]),
        field.startswith(value) & field.endswith(value) & field.contains(value),
        ~(field != value),
    ):
        assert [one.id for one in client.definitions(condition)] == [owner], condition
    assert client.count_definitions(field != value) == 1


def test_conditions_mean_what_they_say(client: Client) -> None:
    first = client.add_definition(DEFINITION)
    second = client.add_definition(replace(DEFINITION, name="b", severity=Severity.LOW))
    start = datetime(2030, 1, 1, tzinfo=UTC)
    for owner, value, changes in (
        (first.id, "a.example", {"source": "feed"}),
        (first.id, "b.example", {"expires_at": start}),
        (second.id, "c.example", {"expires_at": start + timedelta(microseconds=1), "enabled": False}),
    ):
        client.add_indicator(domain(owner, value, **changes))

    def found(condition: Condition) -> str:
        return "".join(one.value[0] for one in client.indicators(condition, order=[Indicator.Value]))

    assert found(Indicator.Source.is_null()) == "bc"
    assert found(Indicator.Source == None) == "bc"  # noqa: E711 - the field's own
    assert found(Indicator.Source != "feed") == "bc"
    assert found(Indicator.ExpiresAt > start) == "c"
    assert found(Indicator.ExpiresAt <= start) == "b"
    assert found(Indicator.Enabled == False) == "c"  # noqa: E712 - the field's own
    assert found((Indicator.Value == "a.example") | (Indicator.Value == "c.example")) == "ac"
    assert found((Indicator.Id > 0) & ((Indicator.Enabled == False) | (Indicator.Source == "feed"))) == "ac"  # noqa: E712
    assert found(Indicator.Type.within([IndicatorType.DOMAIN_NAME])) == "abc"
    assert found(Indicator.AlertDefinition.Severity >= Severity.MEDIUM) == "ab"
    assert found(Indicator.AlertDefinition.IndicatorsOfCompromise.any(Indicator.Enabled == False)) == "c"  # noqa: E712
    some = AlertDefinition.IndicatorsOfCompromise.any(Indicator.Source == "feed")
    every = AlertDefinition.IndicatorsOfCompromise.all(Indicator.Enabled == True)  # noqa: E712
    assert [one.id for one in client.definitions(some & every)] == [first.id]
    down = client.indicators(order=[Indicator.AlertDefinition.Name.descending, Indicator.Value], limit=2)
    assert [one.value[0] for one in down] == ["a", "b"]


def test_a_condition_is_never_text_or_a_truth_value() -> None:
    with pytest.raises(TypeError, match="join conditions by &"):
        bool(Indicator.Value == "x")
    with pytest.raises(TypeError, match="joins two conditions"):
        (Indicator.Value == "x") & "1 eq 1"  # type: ignore[operator]
    with pytest.raises(InvalidValue) as wrong:
        Indicator.Value == 5  # noqa: B015
    assert wrong.value.target == "Value"
    with pytest.raises(InvalidValue, match=r"U\+0000"):
        Indicator.Value.contains("a\0b")
    for bad in (True, "1", 1.5, INT64.stop):
        with pytest.raises(InvalidValue):
            Indicator.Id.literal(bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue):
        Indicator.Type.literal("Sha1")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="one or more"):
        Indicator.Value.within([])


def test_many_alternatives_stay_flat() -> None:
    condition = Indicator.Value == "0"
    for number in range(1, 200):
        condition |= Indicator.Value == str(number)
    assert "(" not in condition.text()


KINDS = {
    "an integer of 64 bits": "INT64",
    "a text": "STRING",
    "True or False": "BOOLEAN",
    "a datetime with its time zone": "TIME",
    "no value: a list of texts is not compared": "TEXTS",
}


@pytest.mark.parametrize(
    "name", ["AlertDefinitions", "IndicatorsOfCompromise", "Alerts", "AlertComments", "Detections"]
)
def test_the_fields_are_those_of_the_service(name: str) -> None:
    served = entities.BY_SET[name]
    ours: dict[str, type[Any]] = {
        nouns.DEFINITIONS: AlertDefinition,
        nouns.INDICATORS: Indicator,
        nouns.ALERTS: sdk.Alert,
        nouns.DETECTIONS: sdk.Detection,
        "AlertComments": sdk.AlertComment,
    }
    table = ours[name].table()
    assert table.keys() == {item.name for item in served.properties}
    attributes = {item.name for item in dataclasses.fields(ours[name])}
    for item in served.properties:
        field = table[item.name]
        assert field.attribute in attributes
        assert field.sent is not item.server_set, item.name
        what = f"a member of {item.enum.__name__}" if item.enum else item.kind.name
        assert KINDS.get(field.codec.what, field.codec.what) == what, item.name
    for way in served.navigations:
        assert hasattr(ours[name], way.name)


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> dict[str, Any]:
        return {name: held for name, held in vars(kind).items() if not name.startswith("_")}

    blocking, awaited = public(Client), public(AsyncClient)
    assert blocking.keys() == awaited.keys()
    for name in blocking.keys() - {"from_file", "close"}:
        one, other = blocking[name], awaited[name]
        assert one.__wrapped__ is other.__wrapped__, f"{name} is not one operation"
        assert inspect.signature(one) == inspect.signature(other)
        assert one.__name__ == name
        assert inspect.getdoc(one)


def test_the_asynchronous_client_does_the_same(details: Details) -> None:
    async def all_of_it() -> tuple[list[str], Position]:
        async with AsyncClient(details) as client:
            owner = (await client.add_definition(DEFINITION)).id
            end = await client.upload_indicators(files(owner, 2))
            await client.add_indicator(domain(owner, "evil.example"))
            with pytest.raises(NotFound):
                await client.indicator(999_999)
            return [one.value async for one in client.indicators(order=[Indicator.Id.descending])], end

    found, end = asyncio.run(all_of_it())
    assert found == ["evil.example", "file-0000001.exe", "file-0000000.exe"]
    assert end.stored == 2


def test_several_may_share_a_client(details: Details) -> None:
    async def both() -> list[int]:
        async with AsyncClient(details) as client:
            return list(await asyncio.gather(*(client.count_indicators() for _ in range(8))))

    assert asyncio.run(both()) == [0] * 8


@pytest.mark.full
def test_an_upload_has_progress_pages_and_a_position(client: Client) -> None:
    owner = client.add_definition(DEFINITION).id
    seen: list[int] = []
    end = client.upload_indicators(
        files(owner, BULK_LIMIT + 1), progress=lambda position: seen.append(position.stored)
    )
    assert seen == [BULK_LIMIT, BULK_LIMIT + 1]
    assert end.stored == BULK_LIMIT + 1
    walked = [one.value for one in client.indicators()]
    assert walked == [one.value for one in files(owner, BULK_LIMIT + 1)]
    assert sum(1 for _ in client.indicators(limit=1500)) == 1500


def test_an_upload_that_was_refused_goes_on_where_it_stopped(client: Client) -> None:
    owner = client.add_definition(DEFINITION).id
    given = list(files(owner, BULK_LIMIT + 20))
    given[BULK_LIMIT + 7] = domain(owner, "not a name")
    with pytest.raises(UploadStopped) as stopped:
        client.upload_indicators(given)
    assert stopped.value.target == f"iocs[{BULK_LIMIT + 7}].Value"
    assert isinstance(stopped.value.__cause__, InvalidValue)
    assert stopped.value.stored == BULK_LIMIT == client.count_indicators()
    given[BULK_LIMIT + 7] = domain(owner, "a.example")
    end = client.upload_indicators(given, start=Position.of(stopped.value))
    assert end.stored == len(given) == client.count_indicators()
    # What was stored already, as after a kill before the position was kept, is seen and not stored twice.
    assert client.upload_indicators(given, start=Position.of(stopped.value)).stored == len(given)
    assert client.count_indicators() == len(given)


def test_an_upsert_makes_none_twice(client: Client) -> None:
    owner = client.add_definition(DEFINITION).id
    assert client.upload_indicators(files(owner, 3), upsert=True).stored == 3
    again = (replace(one, source="feed") for one in files(owner, 5))
    assert client.upload_indicators(again, upsert=True).stored == 5
    assert client.count_indicators() == client.count_indicators(Indicator.Source == "feed") == 5


def test_alerts_and_their_detections_are_read(process: Process) -> None:
    access = new_access(process, "alerts")
    with Client(details_of(process, access)) as client:
        owner = client.add_definition(DEFINITION)
        named = client.add_indicator(domain(owner.id, "evil.example"))
        with Store.open(Settings(home=process.home).database_url) as store:
            tenant = store.tenant(access.tenant_id)
            kept = tenant.indicator(named.id)
            found = [detection(kept, tenant.uid, hour, machine=f"host-{hour // 3}") for hour in range(6)]
            tenant.record(found)
        assert client.count_alerts() == 2
        (alert,) = client.alerts(sdk.Alert.Machine == "host-1")
        assert client.alert(alert.id) == alert
        assert (alert.alert_id, alert.title, alert.definition_id) == (
            found[3].alert_id,
            owner.title,
            owner.id,
        )
        assert (alert.detection_count, alert.indicators) == (3, ("evil.example",))
        assert alert.status is sdk.AlertStatus.NEW
        seen = list(client.detections(alert_id=alert.id, order=[sdk.Detection.EventTime]))
        assert [one.detection_id for one in seen] == [one.id for one in found[3:]]
        assert (seen[0].value, seen[0].indicator_id, seen[0].event_time) == (
            "evil.example",
            named.id,
            found[3].event_time,
        )
        assert seen[0].evidence == ("query observed: evil.example",)
        late = sdk.Detection.Alert.Machine == "host-1"
        assert client.count_detections(late) == len(list(client.detections(late))) == 3
        held = sdk.Alert.Detections.any(sdk.Detection.EventId == found[0].event_id)
        assert [one.machine for one in client.alerts(held)] == ["host-0"]
        assert client.count_alerts(sdk.Alert.AlertDefinition.Name == "mine") == 2
        with pytest.raises(InvalidValue, match="not compared"):
            sdk.Alert.Indicators == ("evil.example",)  # noqa: B015


def test_a_role_that_is_lacking_is_told(process: Process) -> None:
    with Store.open(Settings(home=process.home).database_url) as store:
        access = add_access(store, "reader", ("Ti.Read",))
    with Client(details_of(process, access)) as client:
        assert client.count_indicators() == 0
        for refused in (client.count_alerts, client.delete_all_indicators):
            with pytest.raises(Forbidden, match="lacks the role"):
                refused()


@pytest.mark.full
def test_a_quota_stops_an_upload_with_its_figures(client: Client) -> None:
    quota = Quotas().definitions
    given = (replace(DEFINITION, name=f"d{number}") for number in range(quota + 1))
    with pytest.raises(UploadStopped, match=r"10,?000") as stopped:
        client.upload_definitions(given)
    assert isinstance(stopped.value.__cause__, QuotaExceeded)
    assert stopped.value.stored == quota == client.count_definitions()


def test_definitions_are_uploaded_too(client: Client) -> None:
    assert client.upload_definitions(replace(DEFINITION, name=f"d{n}") for n in range(3)).stored == 3
    with pytest.raises(UploadStopped, match="there are 3 entities"):
        client.upload_definitions((replace(DEFINITION, name=f"d{n}") for n in range(3)), start=4)


def test_rows_are_plain_objects_of_what_was_selected(client: Client) -> None:
    owner = client.add_definition(DEFINITION).id
    client.add_indicator(domain(owner, "evil.example"))
    found = client.rows(nouns.INDICATORS, select=[Indicator.Value, Indicator.Enabled])
    assert [row.keys() for row in found] == [{"Value", "Enabled"}]


def test_details_are_read_from_what_init_saves(process: Process, tmp_path: Path) -> None:
    path = tmp_path / "details.json"
    access = new_access(process, "details")
    known = {
        "tenant_id": access.tenant_id, "client_id": access.client_id, "client_secret": access.client_secret,
        "authorization_url": f"{process.url}/{access.tenant_id}/oauth2/token",
        "api_url": f"{process.url}/V1.0", "ca_file": process.authority, "resource": "https://graph.windows.net",
    }  # fmt: skip
    path.write_text(json.dumps(known))
    with Client.from_file(path) as client:
        assert client.count_definitions() == 0
    for content, told in (
        ("{", "indicia init --save"),
        ("[]", "indicia init --save"),
        ("{}", "lacks client_id"),
        (json.dumps(known | {"api_url": "ftp://x"}), "must be a URL"),
    ):
        path.write_text(content)
        with pytest.raises(MalformedFile, match=told) as bad:
            Client.from_file(path)
        assert bad.value.place == str(path)
    with pytest.raises(MalformedFile, match="cannot be read"):
        Client.from_file(tmp_path / "absent.json")
    path.write_text(json.dumps(known | {"ca_file": str(path)}))
    with pytest.raises(InvalidValue, match="certificates"):
        Client.from_file(path)


def test_without_httpx2_the_error_names_the_extra(details: Details) -> None:
    script = """
import sys
sys.modules["httpx2"] = None
from indicia.client import Client, Details, Indicator
Indicator.Value == "it's"
try:
    Client(Details(client_id="a", client_secret="b", authorization_url="http://a/t", api_url="http://a/v"))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingExtra ")
    assert "pip install 'indicia[client]'" in done.stdout
