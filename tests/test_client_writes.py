"""Writing with the SDK: versions that others may have changed, uploads with a result for each entity."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from indicia.client import (
    AlertDefinition,
    AlertStatus,
    AsyncClient,
    Category,
    Classification,
    Client,
    Details,
    Indicator,
    IndicatorType,
    Position,
    Result,
    Severity,
)
from indicia.client.session import Retries, Session
from indicia.client.uploads import INDICATOR_UPLOAD, Way, upload
from indicia.client.wire import Answer, Lost, Request, Steps, Wait
from indicia.errors import BadAnswer, InvalidValue, NotFound, PreconditionFailed, QuotaExceeded, UploadStopped
from indicia.model import BULK_LIMIT, Quotas
from indicia.settings import Settings
from indicia.store import Store
from service import Process, add_access, running
from stored import detection

DEFINITION = AlertDefinition(name="mine", title="Seen", severity=Severity.HIGH, category=Category.MALWARE)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(tmp_path_factory.mktemp("home")) as service:
        yield service


@pytest.fixture
def details(process: Process, request: pytest.FixtureRequest) -> Details:
    """Those of a new tenant."""
    with Store.open(Settings(home=process.home).database_url) as store:
        access = add_access(store, request.node.name[:60])
    return Details(
        client_id=access.client_id,
        client_secret=access.client_secret,
        authorization_url=f"{process.url}/{access.tenant_id}/oauth2/token",
        api_url=f"{process.url}/V1.0",
        ca_file=process.authority,
    )


@pytest.fixture
def client(details: Details) -> Iterator[Client]:
    with Client(details) as made:
        yield made


def name(definition_id: int, value: str, **changes: Any) -> Indicator:
    """An indicator of a name."""
    return replace(
        Indicator(type=IndicatorType.DOMAIN_NAME, value=value, definition_id=definition_id), **changes
    )


def test_a_definition_is_changed_only_as_it_was_read(client: Client) -> None:
    made = client.add_definition(DEFINITION)
    read = client.definition(made.id)
    assert read.etag == made.etag != ""
    changed = client.change_definition(made.id, if_match=read, title="Seen again")
    assert changed.etag not in ("", read.etag)
    for stale in (read, read.etag):
        with pytest.raises(PreconditionFailed) as refused:
            client.change_definition(made.id, if_match=stale, title="Lost")
        assert refused.value.target == "If-Match"
        with pytest.raises(PreconditionFailed):
            client.delete_definition(made.id, if_match=stale)
    assert client.definition(made.id) == changed
    client.change_definition(made.id, if_match="*", title="Whatever it was")
    client.delete_definition(made.id, if_match=client.definition(made.id))
    assert client.count_definitions() == 0


def test_an_indicator_is_changed_moved_and_deleted_only_as_it_was_read(client: Client) -> None:
    first, second = client.add_definition(DEFINITION).id, client.add_definition(DEFINITION).id
    made = client.add_indicator(name(first, "evil.example"))
    read = client.indicator(made.id)
    assert read.etag == made.etag != ""
    assert read.definition is not None
    assert read.definition.etag == client.definition(first).etag
    changed = client.change_indicator(made.id, if_match=read, enabled=False)
    with pytest.raises(PreconditionFailed):
        client.move_indicator(made.id, second, if_match=read)
    client.move_indicator(made.id, second, if_match=changed)
    for call in (
        lambda: client.change_indicator(made.id, if_match=changed, enabled=True),
        lambda: client.delete_indicator(made.id, if_match=changed),
    ):
        with pytest.raises(PreconditionFailed):
            call()
    kept = client.indicator(made.id)
    assert (kept.enabled, kept.definition_id) == (False, second)
    client.delete_indicator(made.id, if_match=kept)
    assert client.count_indicators() == 0


def test_an_alert_is_worked_on(client: Client, process: Process, details: Details) -> None:
    owner = client.add_definition(DEFINITION).id
    client.add_indicator(name(owner, "evil.example"))
    with Store.open(f"sqlite:///{process.home / 'indicia.db'}") as store:
        tenant = store.tenant(details.authorization_url.split("/")[3])
        tenant.record([detection(tenant.indicators()[0], tenant.uid)])
    (listed,) = client.alerts()
    read = client.alert(listed.id)
    assert (read, listed.etag) == (listed, "")
    done = client.change_alert(
        read.id, if_match=read, status=AlertStatus.RESOLVED, classification=Classification.FALSE_POSITIVE
    )
    assert (done.status, done.classification) == (AlertStatus.RESOLVED, Classification.FALSE_POSITIVE)
    assert done.resolved_at is not None
    assert done.etag not in ("", read.etag)
    with pytest.raises(PreconditionFailed):
        client.change_alert(read.id, if_match=read, assigned_to="ann@contoso.example")
    assert client.change_alert(read.id, assigned_to="ann").assigned_to == "ann"
    assert client.change_alert(read.id, assigned_to=None).assigned_to is None
    with pytest.raises(InvalidValue, match="these can: assigned_to, classification, determination, status"):
        client.change_alert(read.id, title="x")  # type: ignore[call-arg]
    first = client.add_comment(read.id, "Ask the owner ✓")
    assert (first.text, first.alert_id, first.created_by) == (
        "Ask the owner ✓",
        read.alert_id,
        details.client_id,
    )
    client.add_comment(read.id, "x")
    assert [one.text for one in client.comments(read.id)] == ["Ask the owner ✓", "x"]
    with pytest.raises(InvalidValue, match="must not be empty"):
        client.add_comment(read.id, " ")
    with pytest.raises(NotFound):
        client.add_comment(999_999, "x")


def test_what_has_no_version_is_refused_before_it_is_sent(client: Client) -> None:
    made = client.add_definition(DEFINITION)
    (listed,) = client.definitions()
    assert listed.etag == ""
    for wrong, told in (
        (listed, "by its id"),
        ("", "by its id"),
        ("abc", "in quotes"),
        ('"a"\r\nX: y', "in quotes"),
    ):
        with pytest.raises(InvalidValue, match=told) as refused:
            client.change_definition(made.id, if_match=wrong, title="x")
        assert refused.value.target == "if_match"


def test_the_asynchronous_client_has_versions_and_results_too(details: Details) -> None:
    async def both() -> list[Result]:
        told: list[Result] = []
        async with AsyncClient(details) as client:
            made = await client.add_definition(DEFINITION)
            await client.change_definition(made.id, if_match=made, title="x")
            with pytest.raises(PreconditionFailed):
                await client.delete_definition(made.id, if_match=made)
            await client.upload_indicators([name(made.id, "a.example")], results=told.append)
        return told

    (result,) = asyncio.run(both())
    assert (result.index, result.created, result.error) == (0, True, None)


def test_each_entity_of_an_upload_has_its_own_result(client: Client) -> None:
    owner = client.add_definition(DEFINITION).id
    given = [
        name(owner, "a.example"),
        name(owner, "not a name"),
        name(owner, "b.example", expires_at=datetime(2030, 1, 1)),  # noqa: DTZ001
        name(0, "c.example"),
        name(999_999, "d.example"),
        name(owner, "e.example"),
    ]
    told: list[Result] = []
    seen: list[Position] = []
    end = client.upload_indicators(given, results=told.append, progress=seen.append)
    assert end == Position(6) == seen[-1]
    assert [result.index for result in told] == [0, 1, 2, 3, 4, 5]
    errors = {result.index: result.error for result in told if result.error}
    assert {index: (type(error), error.target) for index, error in errors.items()} == {
        1: (InvalidValue, "iocs[1].Value"),
        2: (InvalidValue, "iocs[2].ExpiresAt"),
        3: (InvalidValue, "iocs[3].definition_id"),
        4: (InvalidValue, "iocs[4].AlertDefinition@odata.bind"),
    }
    stored = {one.id: one.value for one in client.indicators()}
    assert [stored[told[index].id] for index in (0, 5)] == ["a.example", "e.example"]
    assert len(stored) == 2
    assert all(
        result.created is (result.error is None) and (result.id > 0) is result.created for result in told
    )


def test_an_upsert_tells_what_was_there(client: Client) -> None:
    owner = client.add_definition(DEFINITION).id
    told: list[Result] = []
    for source in ("one", "two"):
        given = [name(owner, "a.example", source=source), name(owner, f"{source}.example")]
        client.upload_indicators(given, results=told.append, upsert=True)
    assert [result.created for result in told] == [True, True, False, True]
    assert told[2].id == told[0].id
    assert client.indicator(told[0].id).source == "two"


@pytest.mark.full
def test_the_indexes_of_results_are_those_of_the_whole_upload(client: Client) -> None:
    given = [replace(DEFINITION, name=f"d{number}") for number in range(BULK_LIMIT + 3)]
    given[BULK_LIMIT + 1] = replace(DEFINITION, title="x" * 121)
    told: list[Result] = []
    client.upload_definitions(given, results=told.append)
    assert [result.index for result in told] == list(range(BULK_LIMIT + 3))
    (refused,) = (result for result in told if result.error)
    assert refused.error is not None
    assert refused.error.target == f"alertDefinitions[{BULK_LIMIT + 1}].Title"
    room = Quotas().definitions - client.count_definitions()
    told.clear()
    client.upload_definitions(given[: BULK_LIMIT - 1], results=told.append)
    full = [result for result in told if isinstance(result.error, QuotaExceeded)]
    assert len(full) == BULK_LIMIT - 1 - room > 0
    assert client.count_definitions() == Quotas().definitions


def test_nothing_is_sent_where_nothing_is_left_of_a_chunk(client: Client) -> None:
    told: list[Result] = []
    assert client.upload_indicators([name(0, "a.example")], results=told.append) == Position(1)
    assert [result.error is not None for result in told] == [True]
    with pytest.raises(InvalidValue) as refused:
        client.upload_indicators([], start=Position(0, 5), results=told.append)
    assert refused.value.target == "start"


def test_a_wrong_entity_stops_an_upload_with_its_index(client: Client) -> None:
    with pytest.raises(UploadStopped) as stopped:
        client.upload_indicators([name(1, "a.example"), name(0, "b.example")])
    assert stopped.value.target == "iocs[1].definition_id"


@pytest.mark.parametrize(
    ("upsert", "lost", "tries"), [(False, True, 1), (True, True, 3), (False, False, 3), (True, False, 3)]
)
def test_a_lost_answer_is_asked_for_again_only_by_an_upsert(upsert: bool, lost: bool, tries: int) -> None:
    session = session_with_a_token(Retries(attempts=3, first_wait=0))
    steps = upload(session, INDICATOR_UPLOAD, [name(1, "a.example")], 0, Way(results=print, upsert=upsert))
    with pytest.raises(UploadStopped) as stopped:
        lose_all(steps, tries, Lost(sent=lost, timed_out=False, reason="hung up"))
    assert (stopped.value.stored, stopped.value.after) == (0, None)


def lose_all(steps: Steps[Position], tries: int, lost: Lost) -> None:
    """Lose the answers to so many requests, with waits between them."""
    for number in range(tries):
        if number:
            assert isinstance(steps.send(lost), Wait)
        assert isinstance(next(steps), Request)
    steps.send(lost)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"value": []}',
        b'{"value": [1]}',
        b'{"value": [{"Id": 1}]}',
        b'{"value": [{"@indicia.status": 201}]}',
        b'{"value": [{"@indicia.status": 400, "@indicia.error": "x"}]}',
    ],
)
def test_an_answer_without_results_is_told_as_such(body: bytes) -> None:
    steps = upload(session_with_a_token(Retries()), INDICATOR_UPLOAD, [name(1, "a")], 0, Way(results=print))
    next(steps)
    with pytest.raises(UploadStopped) as stopped:
        steps.send(Answer(200, {}, body, "https://h/v"))
    assert isinstance(stopped.value.__cause__, BadAnswer)


def test_a_move_with_a_version_is_not_made_twice() -> None:
    session = session_with_a_token(Retries(attempts=3, first_wait=0))
    for headers, again in (({}, True), ({"If-Match": '"x"'}, False)):
        step = next(session.call("PUT", "https://h/v/x", {}, headers=headers))
        assert isinstance(step, Request)
        assert step.repeatable is again
        assert step.headers.get("If-Match") == headers.get("If-Match")


def session_with_a_token(retries: Retries) -> Session:
    """One that asks for no token."""
    details = Details(
        client_id="a", client_secret="b", authorization_url="https://h/t", api_url="https://h/v"
    )
    session = Session(details, retries)
    given = session.call("GET", "https://h/v/x")
    assert isinstance(next(given), Request)
    given.send(Answer(200, {}, b'{"access_token": "t", "expires_in": 3600}', "https://h/t"))
    given.close()
    return session
