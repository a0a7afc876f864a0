"""No tenant sees or changes what is another's: by the sources, by the SQL that runs, and by every method."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from indicia.allow import AllowEntry, AllowKind, AllowList
from indicia.errors import NotFound
from indicia.messages import Delivery, Message, Outcome, Output
from indicia.model import (
    Actor,
    Alert,
    AlertStatus,
    Detection,
    Indicator,
    IndicatorType,
    SuppressAlert,
    Suppression,
)
from indicia.odata.entities import ALERT, ALERT_DEFINITION, DETECTION, ENTITIES, INDICATOR
from indicia.odata.tree import Query
from indicia.store import (
    Arrived,
    Certificate,
    Limit,
    Outbox,
    Overview,
    Position,
    Receipt,
    Role,
    Store,
    TenantStore,
    Upload,
    What,
    Within,
    tables,
)
from indicia.store.access import Access
from indicia.store.allow import AllowLists
from indicia.store.catalogue import Catalogue, Chosen
from indicia.store.jobs import UPLOAD, Jobs, NewJob, Phase, Piece
from indicia.store.many import DELETES, Many
from indicia.store.members import Members
from indicia.store.queue import AlertFilter, Queue, Sort
from indicia.store.retention import Retention
from indicia.store.trail import Trail, Wanted
from stored import add, copy, definition, detection, engine_of, everything, indicator, sound, url

LATER = timedelta(days=1)
MANY = {"unfinished": 9, "most": 9}
AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
PARTS = (
    ("queue", Queue),
    ("access", Access),
    ("allow_lists", AllowLists),
    ("catalogue", Catalogue),
    ("many", Many),
    ("members", Members),
    ("outbox", Outbox),
    ("overview", Overview),
    ("jobs", Jobs),
    ("retention", Retention),
    ("trail", Trail),
)
"""What hangs on a TenantStore."""
RESOLVED = {"status": AlertStatus.RESOLVED}
KNOWN = AllowEntry(AllowKind.STRING, "host-9.example", IndicatorType.DOMAIN_NAME)
OTHER = AllowEntry(AllowKind.HOSTNAME, "host-10.example")


# The SQL, and every method


@dataclass
class Two:
    """Two tenants with the same things, and what the second has."""

    path: Path
    store: Store
    mine: TenantStore
    theirs: TenantStore
    met: Detection
    definition_id: int
    found: Indicator
    alert: Alert
    client_id: str
    secret_id: int
    certificate_id: int
    suppression_id: int
    output_id: int
    message: Message
    list_id: int
    entry_id: int
    job_id: int
    person_uid: str
    link_id: int


def certificate(digit: str) -> Certificate:
    """One as it comes from its file."""
    now = datetime.now(UTC)
    return Certificate(0, digit * 40, digit * 64, "PEM", "CN=x", now, now, now + LATER, None)


def person(store: Store, tenant: TenantStore) -> tuple[Any, ...]:
    """An administrator who is signed in, and a link that can be used."""
    tenant.members.invite(f"first {tenant.uid}", Role.ADMINISTRATOR, "", LATER)
    found, _ = store.people.begin(f"first {tenant.uid}", tenant.uid, "password", Actor())
    store.people.sign_in(found.uid, tenant.tenant, f"token {tenant.uid}", AHEAD, Actor())
    return found.uid, tenant.members.invite(f"next {tenant.uid}", Role.READER, tenant.uid, LATER).id


def came(name: str) -> Arrived:
    """Events of a source."""
    return Arrived(name, 5, 1, 2, datetime.now(UTC), None)


def coming(key: str, of: str = "x") -> NewJob:
    """A job whose file is on the way."""
    return NewJob(key, of, of, of, of, datetime.now(UTC))


def key_of(tenant: TenantStore) -> str:
    """Of the job that a tenant has for itself."""
    return tenant.uid[:32]


def furnish(tenant: TenantStore) -> tuple[Any, ...]:
    """One of everything."""
    owner = add(tenant, 2)
    found = tenant.indicators()[0]
    met = replace(detection(found, tenant.uid), event_text=tenant.uid)
    (alert,) = tenant.record([met]).opened
    for _ in tenant.import_indicators(owner.id, [indicator(owner, 8)], "x", key="k"):
        pass
    client = tenant.add_application("app", ["role"]).client_id
    secret = tenant.add_secret(client, "hash", "abc")
    kept = tenant.add_certificate(client, certificate("a"))
    tenant.access.add_refresh_token(client, "refresh", "resource", LATER, LATER)
    tenant.keep_receipt("k", Receipt(client, client))
    tenant.change_alert(alert.id, RESOLVED, tenant.uid)
    tenant.add_comment(alert.id, tenant.uid, tenant.uid)
    for name in ("known", tenant.uid):
        tenant.allow_lists.put(AllowList(name, enabled=True), [KNOWN], "x")
    tenant.retention.change(What.ALERTS, Limit(100), "x")
    output = tenant.outbox.add(Output("one", "file", tenant.uid, sealed=tenant.uid), tenant.uid)
    tenant.change_alert(alert.id, {"assigned_to": tenant.uid}, tenant.uid)
    silent = tenant.add_suppression(Suppression(tenant.uid, AHEAD, value=tenant.uid), tenant.uid)
    (waiting,) = tenant.outbox.waiting(output.id, 10)
    (entry,) = tenant.allow_lists.entries(tenant.uid)
    listed = (entry.list_id, entry.id)
    tenant.overview.note_sources([came("dns"), came(tenant.uid)])
    for key in ("job", key_of(tenant)):
        tenant.jobs.add("scans", coming(key, tenant.uid), 60, **MANY)
        last = {"phase": Phase.WAITING, "asked": tenant.uid, "state": tenant.uid}
        assert tenant.jobs.put("scans", key, tenant.uid, 60, last, [Piece(UPLOAD, 0, tenant.uid.encode())])
    ids = client, secret.id, kept.id, silent.id, output.id
    job = tenant.jobs.find("scans", key_of(tenant))
    return owner.id, found, alert, *ids, waiting, *listed, job and job.number


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, kind: str) -> tuple[Path, tuple[Any, ...]]:
    """A store with two tenants, closed, and what the second has."""
    path = tmp_path_factory.mktemp("made") / "indicia.db"
    with Store.open(url(path)) as store:
        mine, theirs = (store.tenant(store.add_tenant(name).uid) for name in ("mine", "theirs"))
        furnish(mine)
        person(store, mine)
        things = furnish(theirs)
        ((_, met),) = theirs.detections()
        return path, (met, *things, *person(store, theirs))


@pytest.fixture
def two(tmp_path: Path, database: str, made: tuple[Path, tuple[Any, ...]]) -> Iterator[Two]:
    """Two tenants of one store, a copy of the one that was made."""
    path, things = tmp_path / "indicia.db", made[1]
    copy(made[0], path)
    with Store.open(url(path)) as store:
        yield Two(path, store, store.tenant("mine"), store.tenant("theirs"), *things)
    sound(path)


def imported(two: Two) -> list[Any]:
    states = two.mine.import_indicators(two.definition_id, [two.found], "x", key="k")
    return list(states)


EVERY = AlertFilter(machine="host-7", value="host-0.example", text="lantern")


def inside(two: Two) -> Within:
    """The indicators of the other's definition."""
    return Within("definition_id", two.definition_id)


def upload(two: Two) -> Upload:
    """The other's indicator, as one to be stored or changed."""
    return Upload(two.found, lambda before: {"enabled": False})


def said(two: Two) -> list[Delivery]:
    """The other's messages, as if a receiver had taken and refused them."""
    return [Delivery(two.message, Outcome.DELIVERED), Delivery(two.message, Outcome.REFUSED)]


def standing(two: Two) -> list[Any]:
    with two.mine.standing() as found:
        return [found.position, found.definitions, list(found.indicators)]


def emptied(tenant: TenantStore) -> list[Any]:
    """Everything that retention can take: all of it is 500 days old then."""
    with tenant._writing() as scope:
        for table, column in ((tables.detections, "recorded_at"), (tables.audit, "at")):
            scope.update(table, **{column: 0})
        scope.update(tables.alerts, last_modified_at=0, last_seen=0)
    found = [dict(counts) for counts in tenant.retention.run()]
    assert found[-1][What.DETECTIONS]
    assert found[-1][What.ALERTS]
    return found


ATTACKS: dict[str, Callable[[Two], object]] = {
    "definition": lambda two: two.mine.definition(two.definition_id),
    "definitions_by_id": lambda two: two.mine.definitions_by_id([two.definition_id]),
    "change_definition": lambda two: two.mine.change_definition(two.definition_id, {"name": "x"}, "x"),
    "delete_definition": lambda two: two.mine.delete_definition(two.definition_id),
    "indicators": lambda two: two.mine.indicators(definition_id=two.definition_id),
    "select": lambda two: two.mine.select(INDICATOR, Query(), inside(two)).found,
    "select_each": lambda two: [
        page
        for page, count in two.mine.select_each(INDICATOR, Query(), [inside(two)], counted=True)
        if page.found or count
    ],
    "count": lambda two: two.mine.count(INDICATOR, None, inside(two)),
    "find": lambda two: [
        *two.mine.find(ALERT_DEFINITION, "id", [two.definition_id]),
        *two.mine.find(INDICATOR, "id", [two.found.id, two.found.id + 1]),
        *two.mine.find(ALERT, "alert_id", [two.alert.id]),
        *two.mine.find(DETECTION, "alert_id", [two.alert.id]),
    ],
    "indicator": lambda two: two.mine.indicator(two.found.id),
    "add_indicators": lambda two: two.mine.add_indicators([two.found], "x"),
    "upload_indicators": lambda two: [
        outcome
        for upsert in (False, True)
        for outcome in two.mine.upload_indicators([upload(two)], "x", upsert=upsert)
        if not isinstance(outcome, NotFound)
    ],
    "change_indicator": lambda two: two.mine.change_indicator(two.found.id, {"enabled": False}, "x"),
    "move_indicator": lambda two: two.mine.move_indicator(two.found.id, two.definition_id, "x"),
    "delete_indicator": lambda two: two.mine.delete_indicator(two.found.id),
    "delete_indicators": lambda two: two.mine.delete_indicators(two.definition_id),
    "import_indicators": imported,
    "import_state": lambda two: two.mine.import_state(two.definition_id, "k"),
    "catalogue.indicators": lambda two: [
        *two.mine.catalogue.indicators(Chosen(definition_id=two.definition_id)).found,
        *two.mine.catalogue.indicators(Chosen(value=two.found.value, definition_id=two.definition_id)).found,
    ],
    "catalogue.figures": lambda two: [
        one
        for one in two.mine.catalogue.figures([two.definition_id], datetime(2000, 1, 1, tzinfo=UTC)).values()
        if one.indicators or one.alerts
    ],
    "catalogue.alerts": lambda two: two.mine.catalogue.alerts(two.definition_id),
    "catalogue.history": lambda two: two.mine.catalogue.history("AlertDefinitions", two.definition_id),
    "many.do": lambda two: two.mine.many.do([two.found.id], DELETES, "x"),
    "many.step": lambda two: two.mine.many.step(Chosen(definition_id=two.definition_id), DELETES, "x").done,
    "alert": lambda two: two.mine.alert(two.alert.id),
    "alerts": lambda two: two.mine.alerts(definition_uid=two.found.definition.uid),
    "alerts_by_id": lambda two: two.mine.alerts_by_id([two.alert.id]),
    "detections": lambda two: two.mine.detections(two.alert.id),
    "change_alert": lambda two: two.mine.change_alert(two.alert.number, RESOLVED, "x"),
    "add_comment": lambda two: two.mine.add_comment(two.alert.id, "text", "x"),
    "comments": lambda two: two.mine.comments(two.alert.number),
    "history": lambda two: two.mine.history(two.alert.id),
    "suppress_alert": lambda two: two.mine.suppress_alert(two.alert.number, SuppressAlert(AHEAD), "x"),
    "change_suppression": lambda two: two.mine.change_suppression(two.suppression_id, {"reason": "x"}, "x"),
    "delete_suppression": lambda two: two.mine.delete_suppression(two.suppression_id),
    "allow_lists.one": lambda two: two.mine.allow_lists.one(two.theirs.uid),
    "allow_lists.entries": lambda two: two.mine.allow_lists.entries(two.theirs.uid),
    "allow_lists.search": lambda two: two.mine.allow_lists.search(two.theirs.uid, "host"),
    "allow_lists.change": lambda two: two.mine.allow_lists.change(two.list_id, {"enabled": False}, "x"),
    "allow_lists.add_entries": lambda two: two.mine.allow_lists.add_entries(two.list_id, [OTHER], "x"),
    "allow_lists.delete_entry": lambda two: two.mine.allow_lists.delete_entry(two.entry_id, "x"),
    "allow_lists.delete_entries": lambda two: two.mine.allow_lists.delete_entries(two.list_id, "x"),
    "allow_lists.delete": lambda two: two.mine.allow_lists.delete(two.theirs.uid),
    "allow_lists.preview": lambda two: two.mine.allow_lists.preview(two.theirs.uid, 30),
    "queue.several": lambda two: two.mine.queue.several([two.alert.number]),
    "queue.hours": lambda two: two.mine.queue.hours(two.alert).counts,
    "queue.detections": lambda two: two.mine.queue.detections(two.alert),
    "queue.detection": lambda two: two.mine.queue.detection(two.alert, two.met.number),
    "queue.event": lambda two: two.mine.queue.event(two.met),
    "queue.change": lambda two: two.mine.queue.change({two.alert.number: None}, RESOLVED, "x").changed,
    "jobs.find": lambda two: two.mine.jobs.find("scans", key_of(two.theirs)),
    "jobs.put": lambda two: two.mine.jobs.put("scans", key_of(two.theirs), two.theirs.uid, 60),
    "jobs.stands": lambda two: two.mine.jobs.stands("scans", key_of(two.theirs), two.theirs.uid),
    "jobs.give_back": lambda two: two.mine.jobs.give_back(
        "scans", key_of(two.theirs), two.theirs.uid, counted=True
    ),
    "jobs.begin_again": lambda two: two.mine.jobs.begin_again(
        "scans", key_of(two.theirs), "", "", datetime.now(UTC), 9
    ),
    "jobs.cancel": lambda two: two.mine.jobs.cancel("scans", key_of(two.theirs), ""),
    "jobs.delete": lambda two: two.mine.jobs.delete("scans", key_of(two.theirs)),
    "jobs.read": lambda two: two.mine.jobs.read(two.job_id, UPLOAD, 0),
    "jobs.holds": lambda two: two.mine.jobs.holds(two.job_id, UPLOAD),
    "jobs.drop_upload": lambda two: two.mine.jobs.drop_upload(two.job_id),
    "outbox.waiting": lambda two: two.mine.outbox.waiting(two.output_id, 10),
    "outbox.settle": lambda two: two.mine.outbox.settle(two.output_id, said(two), AHEAD),
    "outbox.replay": lambda two: two.mine.outbox.replay("one", "x", message_id=two.message.id),
    "members.one": lambda two: two.mine.members.one(two.person_uid),
    "members.change_role": lambda two: two.mine.members.change_role(two.person_uid, Role.READER),
    "members.disable": lambda two: two.mine.members.disable(two.person_uid),
    "members.enable": lambda two: two.mine.members.enable(two.person_uid),
    "members.remove": lambda two: two.mine.members.remove(two.person_uid),
    "members.sessions": lambda two: two.mine.members.sessions(two.person_uid),
    "members.sign_out": lambda two: two.mine.members.sign_out(two.person_uid),
    "members.reset": lambda two: two.mine.members.reset("reset", two.person_uid, LATER),
    "members.revoke_link": lambda two: two.mine.members.revoke_link(two.link_id),
    "add_secret": lambda two: two.mine.add_secret(two.client_id, "h", "x"),
    "revoke_secret": lambda two: two.mine.revoke_secret(two.client_id, two.secret_id),
    "revoke_application": lambda two: two.mine.revoke_application(two.client_id),
    "add_certificate": lambda two: two.mine.add_certificate(two.client_id, certificate("b")),
    "revoke_certificate": lambda two: two.mine.revoke_certificate(two.client_id, two.certificate_id),
    "access.application": lambda two: two.mine.access.application(two.client_id),
    "access.change": lambda two: two.mine.access.change(two.client_id, name="x", roles=["x"]),
    "access.add_refresh_token": lambda two: two.mine.access.add_refresh_token(
        two.client_id, "r", "x", LATER, LATER
    ),
    "access.rotate_refresh_token": lambda two: two.mine.access.rotate_refresh_token(
        two.client_id, "refresh", "n", LATER
    ),
    "access.revoke_refresh_tokens": lambda two: two.mine.access.revoke_refresh_tokens(two.client_id),
}
"""Each method with what is another's: nothing comes of it."""

OWN: dict[str, Callable[[Two], object]] = {
    "definitions": lambda two: two.mine.definitions(),
    "indicators": lambda two: two.mine.indicators(),
    "select": lambda two: [two.mine.select(entity, Query()) for entity in ENTITIES],
    "count": lambda two: [two.mine.count(entity) for entity in ENTITIES],
    "matchable": lambda two: list(two.mine.matchable()),
    "alerts": lambda two: two.mine.alerts(),
    "detections": lambda two: two.mine.detections(),
    "applications": lambda two: two.mine.applications(),
    "counts": lambda two: two.mine.counts(),
    "generation": lambda two: two.mine.generation(),
    "standing": standing,
    "news": lambda two: two.mine.news(Position(0, 0), 1000),
    "drop_changes": lambda two: two.mine.drop_changes(1000),
    "receipt": lambda two: two.mine.receipt("k"),
    "keep_receipt": lambda two: two.mine.keep_receipt("k", Receipt("mine", "mine")),
    "add_definitions": lambda two: two.mine.add_definitions([definition()], "x"),
    "upload_definitions": lambda two: two.mine.upload_definitions([definition()], "x"),
    "add_application": lambda two: two.mine.add_application("x", []),
    "catalogue.kept_events": lambda two: two.mine.catalogue.kept_events(),
    "catalogue.stored": lambda two: two.mine.catalogue.stored([two.found.canonical]),
    "delete_indicators": lambda two: two.mine.delete_indicators(),
    "delete_definitions": lambda two: two.mine.delete_definitions(),
    "record": lambda two: two.mine.record([detection(two.found, two.mine.uid, 5)]),
    "acting": lambda two: two.mine.acting(Actor("x")).definitions(),
    "add_suppression": lambda two: two.mine.add_suppression(Suppression("", AHEAD, machine="host-7"), "x"),
    "suppressions": lambda two: two.mine.suppressions(),
    "audit_log": lambda two: two.mine.audit_log(),
    "trail.page": lambda two: two.mine.trail.page(Wanted()).found,
    "trail.each": lambda two: list(two.mine.trail.each(Wanted(set_name="Outputs"))),
    "outbox.outputs": lambda two: two.mine.outbox.outputs(),
    "outbox.output": lambda two: two.mine.outbox.output("one"),
    "outbox.add": lambda two: two.mine.outbox.add(Output("two", "file", "x"), "x"),
    "outbox.change": lambda two: two.mine.outbox.change("one", {"enabled": False}, "x"),
    "outbox.delete": lambda two: two.mine.outbox.delete("one", "x"),
    "outbox.dead": lambda two: two.mine.outbox.dead("one"),
    "outbox.trial": lambda two: two.mine.outbox.trial(),
    "outbox.backlogs": lambda two: two.mine.outbox.backlogs(),
    "outbox.drop_old": lambda two: two.mine.outbox.drop_old(datetime(2200, 1, 1, tzinfo=UTC)),
    "members.page": lambda two: two.mine.members.page(),
    "members.all": lambda two: two.mine.members.all(),
    "members.has_administrator": lambda two: two.mine.members.has_administrator(),
    "members.invite": lambda two: two.mine.members.invite("new", Role.READER, "x", LATER),
    "members.links": lambda two: two.mine.members.links(),
    "queue.page": lambda two: [two.mine.queue.page(EVERY, sort) for sort in Sort],
    "queue.newer": lambda two: two.mine.queue.newer(EVERY, 0, 10),
    "queue.newest": lambda two: two.mine.queue.newest(),
    "queue.related": lambda two: two.mine.queue.related(two.mine.alerts()[0]),
    "queue.event": lambda two: two.mine.queue.event(two.mine.detections()[0][1]),
    "queue.silencing": lambda two: two.mine.queue.silencing(two.mine.alerts()[0]),
    "allow_lists.all": lambda two: two.mine.allow_lists.all(),
    "allow_lists.add": lambda two: two.mine.allow_lists.add(AllowList("new"), "x"),
    "allow_lists.put": lambda two: two.mine.allow_lists.put(AllowList("known"), [KNOWN], "x"),
    "allow_lists.allowance": lambda two: two.mine.allow_lists.allowance().known(
        IndicatorType.DOMAIN_NAME, "host-9.example"
    ),
    "allow_lists.recording": lambda two: two.mine.allow_lists.recording(lambda scope, over: scope.tenant_id),
    "allow_lists.revision": lambda two: two.mine.allow_lists.revision(),
    "overview.state": lambda two: two.mine.overview.state(),
    "overview.recorded": lambda two: two.mine.overview.recorded(LONG_AGO),
    "overview.open": lambda two: two.mine.overview.open(),
    "overview.top": lambda two: two.mine.overview.top(LONG_AGO, 10),
    "overview.held": lambda two: two.mine.overview.held(AHEAD),
    "overview.storms": lambda two: two.mine.overview.storms(AHEAD, 10),
    "overview.suppressions": lambda two: two.mine.overview.suppressions(LONG_AGO),
    "overview.sources": lambda two: two.mine.overview.sources(),
    "overview.note_sources": lambda two: two.mine.overview.note_sources([came("dns")]),
    "jobs.every": lambda two: two.mine.jobs.every("scans"),
    "jobs.leases": lambda two: two.mine.jobs.leases("scans"),
    "jobs.add": lambda two: two.mine.jobs.add("scans", coming("other"), 60, **MANY),
    "jobs.take": lambda two: two.mine.jobs.take("scans", "lease", "host", 60),
    "jobs.tidy": lambda two: two.mine.jobs.tidy("scans", AHEAD),
    "retention.limits": lambda two: two.mine.retention.limits(),
    "retention.change": lambda two: two.mine.retention.change(What.ALERTS, Limit(50), "x"),
    "retention.change_all": lambda two: two.mine.retention.change_all({What.ALERTS: Limit(60)}, "x"),
    "retention.extents": lambda two: two.mine.retention.extents(),
    "retention.due": lambda two: two.mine.retention.due(),
    "retention.run": lambda two: emptied(two.mine),
}
"""Each method without an id, or with the tenant's own: nothing of another's is in it."""


def test_every_method_is_tried() -> None:
    methods = {name for name, value in vars(TenantStore).items() if callable(value) and name[0] != "_"}
    for name, part in PARTS:
        methods |= {f"{name}.{one}" for one, value in vars(part).items() if callable(value) and one[0] != "_"}
    assert ATTACKS.keys() | OWN.keys() == methods


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_anothers_is_not_there(two: Two, name: str) -> None:
    before = everything(two.path)
    try:
        result = ATTACKS[name](two)
    except NotFound:
        result = None
    assert not result, f"{name} gave {result!r}"
    assert everything(two.path) == before


@pytest.mark.parametrize("name", OWN)
def test_nothing_of_anothers_is_in_ones_own(two: Two, name: str) -> None:
    before = everything(two.path, two.theirs.tenant.id)
    result = repr(OWN[name](two))
    assert everything(two.path, two.theirs.tenant.id) == before
    if name != "record":  # it was given the other's definition to keep
        for secret in (two.theirs.uid, two.found.definition.uid, two.alert.id, two.client_id):
            assert secret not in result


def watched(store: Store) -> list[tuple[str, Any]]:
    """Every statement from now on, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        seen.append((re.sub(r"%s(::\w+(\[\])?)?", "?", statement), parameters))

    event.listen(engine_of(store), "before_cursor_execute", note)
    return seen


def unowned(statement: str, names: Iterable[str]) -> list[str]:
    """Tables of tenants that a statement touches without saying whose rows."""
    into = re.match(r"INSERT INTO (\w+) \(([^)]*)\) VALUES", statement)
    if into:
        return [into[1]] if into[1] in names and "tenant_id" not in into[2].split(", ") else []
    found: list[str] = []
    for name in names:
        uses = re.findall(rf"(?:FROM|JOIN|UPDATE|,)\s+{name}(?:\s+AS\s+(\w+))?(?=[\s,)]|$)", statement)
        owned = [re.findall(rf"\b{use or name}\.tenant_id = \?", statement) for use in set(uses)]
        if len(uses) > sum(map(len, owned)):
            found.append(name)
    return found


def test_the_watch_sees_what_is_missing() -> None:
    for text in (
        "SELECT * FROM alerts WHERE alerts.id = ?",
        "SELECT 1 FROM alerts WHERE alerts.tenant_id = ? AND x IN (SELECT id FROM alerts)",
        "SELECT 1 FROM alerts AS a, alerts WHERE a.tenant_id = ?",
        "INSERT INTO alerts (id) VALUES (?)",
        "DELETE FROM alerts",
        "UPDATE alerts SET status=?",
    ):
        assert unowned(text, ["alerts"]) == ["alerts"], text
    for text in (
        "SELECT 1 FROM alerts AS a WHERE a.tenant_id = ?",
        "DELETE FROM alerts WHERE alerts.tenant_id = ? AND 1",
        "INSERT INTO alerts (id, tenant_id) VALUES (?, 1)",
    ):
        assert unowned(text, ["alerts"]) == [], text


def test_each_statement_says_whose_rows(two: Two) -> None:
    seen = watched(two.store)
    for call in (*ATTACKS.values(), *OWN.values()):
        try:
            call(two)
        except NotFound:
            continue
    names = [table.name for table in tables.OF_TENANTS]
    of_tenants = [(text, given) for text, given in seen if any(re.search(rf"\b{n}\b", text) for n in names)]
    assert len(of_tenants) > 60
    bad = [text for text, _ in of_tenants if unowned(text, names)]
    assert not bad
    for text, given in of_tenants:
        for row in given if isinstance(given, list) else [given]:
            mine = two.mine.tenant.id
            assert mine in tuple(row) or re.search(rf"VALUES \((\?, )?{mine},", text), text
