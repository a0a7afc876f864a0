"""The overview: what it says of a tenant, where it leads, and that it waits for nothing."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from indicia.errors import StoreError, TooManyRequests
from indicia.messages import Output
from indicia.model import AlertStatus, Severity
from indicia.store import Arrived, Role, TenantStore, rows, tables
from indicia.web.portal import kept
from indicia.web.portal.kept import Kept
from service import Local
from stored import add, detection
from visiting import Visiting, settled, text_of, visiting

pytestmark = pytest.mark.full

HOSTILE = "</title><script>alert(1)</script>\x1b[31m\u202e"


@pytest.fixture
def tenant(service: Local, request: pytest.FixtureRequest) -> TenantStore:
    return service.store.tenant(service.store.add_tenant(request.node.name).uid)


@pytest.fixture
def alex(service: Local, tenant: TenantStore) -> Visiting:
    return visiting(service, tenant.uid)


def rise(
    tenant: TenantStore, *machines: str, severity: Severity = Severity.HIGH, name: str = "Lantern"
) -> None:
    """An alert on each machine."""
    owner = add(tenant, 1, severity=severity, name=name)
    (found,) = tenant.indicators(definition_id=owner.id)
    tenant.record([detection(found, tenant.uid, at, machine=one) for at, one in enumerate(machines)])


def test_who_begins_is_told_what_to_do_first(service: Local, tenant: TenantStore, alex: Visiting) -> None:
    said = text_of(alex.get("/portal/"))
    assert "Three steps to the first alert" in said
    for step in ("Set up threat intel", "Add indicators", "Send events, or scan a log"):
        assert step in said
    assert "Open alerts" not in said
    add(tenant, 1)
    after = text_of(settled(alex))
    assert "First steps" in after
    assert "Add indicators Done" in after
    assert "Open alerts" in after
    rise(tenant, "pc-1")
    assert "First steps" not in text_of(settled(alex))


def test_a_step_leads_where_the_person_may_go(service: Local, tenant: TenantStore) -> None:
    found = {role: visiting(service, tenant.uid, role).get("/portal/").body.decode() for role in Role}
    assert all('href="/portal/scan"' in page for page in found.values())
    settings = 'class="button small" href="/portal/settings/threat-intel"'
    assert settings not in found[Role.READER]
    assert settings not in found[Role.ANALYST]


def test_what_is_open_and_what_alerts_are_about(tenant: TenantStore, alex: Visiting) -> None:
    rise(tenant, "pc-1", "pc-2", "pc-3")
    rise(tenant, "pc-1", severity=Severity.LOW, name="Scanners")
    tenant.change_alert(tenant.alerts()[0].id, {"status": AlertStatus.IN_PROGRESS}, "x")
    page = settled(alex).body.decode()
    said = text_of(settled(alex))
    assert "Open alerts 4 3 High" in said
    assert re.search(r"High 2 1 Medium 0 0 Low 1 0 Informational 0 0", said)
    assert "Lantern High 3 alerts" in said
    assert "pc-1 2 alerts" in said
    assert "host-0.example 4 alerts" in said
    assert 'href="/portal/alerts?status=InProgress&amp;severity=High"' in page
    assert "4 in all: 1 Low, 3 High." in said


@pytest.mark.parametrize(
    ("period", "columns", "step"), [("24h", 24, 3600), ("7d", 7, 86400), ("30d", 30, 86400)]
)
def test_each_column_leads_to_its_alerts(
    tenant: TenantStore, alex: Visiting, period: str, columns: int, step: int
) -> None:
    rise(tenant, "pc-1", "pc-2")
    page = settled(alex, f"/portal/?period={period}").body.decode()
    chart = page[page.index('id="chart-alerts-title"') : page.index('id="chart-detections-title"')]
    assert chart.count('class="hit"') == columns
    (link,) = set(re.findall(r'href="(/portal/alerts\?[^"]*)"', chart[: chart.index("</figure>")]))
    query = parse_qs(urlsplit(link.replace("&amp;", "&")).query)
    begin, end = (
        datetime.fromisoformat(query[name][0]).replace(tzinfo=UTC) for name in ("opened-from", "opened-to")
    )
    assert (end - begin).total_seconds() == step
    assert begin <= datetime.now(UTC) <= end + timedelta(minutes=1)
    assert query["status"] == ["all"]


def test_a_period_that_there_is_not_is_the_usual_one(tenant: TenantStore, alex: Visiting) -> None:
    rise(tenant, "pc-1")
    page = settled(alex, "/portal/?period=%3Cscript%3E").body.decode()
    assert 'aria-current="page">7 days' in page
    assert "<script>" not in page


def test_a_refresh_gives_the_figures_alone(tenant: TenantStore, alex: Visiting) -> None:
    rise(tenant, "pc-1")
    part = settled(alex, "/portal/?period=24h", {"HX-Request": "true", "X-Background": "1"}).body.decode()
    assert part.strip().startswith('<div id="figures"')
    assert 'hx-get="/portal/?period=24h"' in part
    assert "<html" not in part


def test_sources_outputs_and_what_is_in_force(service: Local, tenant: TenantStore, alex: Visiting) -> None:
    rise(tenant, "pc-1")
    now = datetime.now(UTC)
    tenant.overview.note_sources(
        [
            Arrived("dns", 1200, 3, 4, now, now - timedelta(minutes=2)),
            Arrived("late", 1, 0, 0, now, now - timedelta(hours=9)),
            *(Arrived(f"s{number}", 1, 0, 0, now - timedelta(hours=1), None) for number in range(9)),
        ]
    )
    tenant.overview.note_sources([], {"dns": 5000, "late": 0, "nobody": 1})
    tenant.outbox.add(Output("siem", "webhook", "https://siem.example/"), "x")
    rise(tenant, "pc-9", name="Another")
    said = text_of(settled(alex))
    assert "dns 3 malformed 5,000 wait at the source just now 2 minutes 1,200 4" in said
    assert "late just now 9 hours" in said
    assert "and 3 that sent less lately" in said
    assert "siem webhook 1 just now 0 nothing sent yet" in said
    assert "DomainName Equals 2 0 0 0" in said
    assert "This process loads it with its first events" in said
    service.application.state.live.of(tenant)
    assert f"Generation {tenant.generation()} In force here" in text_of(settled(alex))


def test_names_of_attackers_stay_text(tenant: TenantStore, alex: Visiting) -> None:
    rise(tenant, HOSTILE, "a" * 1_000_000, name=HOSTILE)
    tenant.overview.note_sources([Arrived(HOSTILE, 1, 0, 0, datetime.now(UTC), None)])
    reply = settled(alex)
    page = reply.body.decode()
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "U+202E" in page
    assert len(reply.body) < 100_000


def test_nothing_of_another_tenant_is_in_it(service: Local, tenant: TenantStore, alex: Visiting) -> None:
    other = service.store.tenant(service.store.add_tenant("somebody else").uid)
    rise(other, "secret-machine", name="Secret name")
    other.overview.note_sources([Arrived("secret-source", 1, 0, 0, datetime.now(UTC), None)])
    rise(tenant, "pc-1")
    page = settled(alex).body.decode().lower()
    assert "secret" not in page


# What is kept


@pytest.fixture
def figures() -> Kept:
    return Kept()


def counter() -> tuple[list[int], Callable[[], int]]:
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    return made, make


def test_figures_are_made_when_something_changed(figures: Kept) -> None:
    made, make = counter()
    seen = [figures.ask(("t", "k"), mark, make) for mark in (1, 1, 2, 2)]
    assert [one.made for one in seen if one is not None] == [0, 0, 1, 1]
    assert all(one is not None and one.current for one in seen)
    assert figures.ask(("t", "other"), 2, make) is not None
    assert len(made) == 3


def test_nobody_waits_for_what_takes_long(figures: Kept) -> None:
    free = threading.Event()

    def slow() -> bool:
        return free.wait(10)

    begun = time.monotonic()
    assert figures.ask(("t", "k"), 1, slow) is None
    assert figures.ask(("t", "k"), 1, slow) is None
    assert time.monotonic() - begun < 1
    free.set()
    end = time.monotonic() + 5
    while (found := figures.ask(("t", "k"), 1, slow)) is None and time.monotonic() < end:
        time.sleep(0.01)
    assert found is not None
    free.clear()
    before = figures.ask(("t", "k"), 2, slow)
    assert before is not None
    assert (before.made, before.current) == (True, False), "what was before, until the new one is there"
    free.set()


def test_what_took_long_is_left_alone_for_longer(figures: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "PATIENCE", 5.0)
    made, make = counter()

    def slow() -> int:
        time.sleep(0.1)
        return make()

    for mark in range(5):
        figures.ask(("t", "k"), mark, slow)
    assert made == [0]
    time.sleep(1.5)
    figures.ask(("t", "k"), 9, slow)
    assert made == [0, 1]


def test_figures_that_could_not_be_made_are_asked_for_again(figures: Kept) -> None:
    def busy() -> int:
        raise StoreError("busy")

    assert figures.ask(("t", "k"), 1, busy) is None
    found = figures.ask(("t", "k"), 1, lambda: 7)
    assert found is not None
    assert found.made == 7


def test_one_is_made_at_a_time_and_few_of_a_tenant_wait(figures: Kept) -> None:
    free, running, most = threading.Event(), [0], [0]

    def slow() -> bool:
        running[0] += 1
        most[0] = max(most[0], running[0])
        free.wait(10)
        running[0] -= 1
        return True

    for number in range(kept.WAITING):
        assert figures.ask(("t", number), 1, slow) is None
    with pytest.raises(TooManyRequests, match="being made; try again") as refused:
        figures.ask(("t", "more"), 1, slow)
    assert refused.value.retry_after == kept.RETRY
    assert figures.ask(("another", 1), 1, slow) is None, "a tenant is not refused for another's"
    free.set()
    end = time.monotonic() + 5
    while figures.ask(("another", 1), 1, slow) is None and time.monotonic() < end:
        time.sleep(0.01)
    assert figures.ask(("t", "more"), 1, lambda: 1) is not None
    assert most == [1]


def test_what_is_being_made_ends_when_the_service_does(
    figures: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    ended = threading.Event()

    def endless() -> None:
        try:
            while True:
                figures.note(("t", 1), figures.noted(("t", 1)) + 1)
        finally:
            ended.set()

    assert figures.ask(("t", 1), 1, endless) is None
    assert figures.ask(("t", 2), 1, lambda: 1) is None
    assert figures.noted(("t", 1)) > 0
    figures.close()
    assert ended.is_set()
    assert figures.noted(("t", 1)) == 0
    assert not caplog.records


def test_what_went_wrong_is_logged_though_nobody_waits(
    figures: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    free, outside = threading.Event(), "what somebody wrote"

    def broken() -> None:
        free.wait(10)
        raise ValueError(outside)

    assert figures.ask(("t", 1), 1, broken) is None
    free.set()
    figures.close()
    assert "ValueError" in caplog.text
    assert outside not in caplog.text


def test_a_bounded_number_of_figures_is_kept(figures: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 3)
    for number in range(5):
        figures.ask(("t", number), 1, lambda: 1)
    assert list(figures._entries) == [("t", 2), ("t", 3), ("t", 4)]


def shown_alerts(page: str) -> int:
    """How many alerts a page of the queue lists."""
    found = re.search(r'name="shown" value="([\d,]*)"', page)
    return len(found[1].split(",")) if found and found[1] else 0


def test_what_a_link_counts_is_what_its_list_holds(tenant: TenantStore, alex: Visiting) -> None:
    rise(tenant, "pc-1", "pc-2", "pc-3")
    rise(tenant, "pc-1", severity=Severity.LOW, name="Scanners")
    tenant.change_alert(tenant.alerts()[0].id, {"status": AlertStatus.RESOLVED}, "x")
    with tenant._writing() as scope:  # as if the first of them had been opened ten days ago
        ago = rows.micros(datetime.now(UTC) - timedelta(days=10))
        scope.update(tables.alerts, tables.alerts.c.id == tenant.alerts()[0].number, created_at=ago)
    page = settled(alex).body.decode()
    wanted = {
        "definition=": {"Lantern": 2, "Scanners": 1},
        "machine=": {"pc-1": 1, "pc-2": 1, "pc-3": 1},
        "value=": {"host-0.example": 3},
    }
    for filtered, expected in wanted.items():
        links = re.findall(rf'<a href="(/portal/alerts\?[^"]*{filtered}[^"]*)">([^<]*)</a>', page)
        found = {
            text: shown_alerts(alex.get(link.replace("&amp;", "&")).body.decode()) for link, text in links
        }
        assert found == expected
    old = "/portal/alerts?status=all&opened-to=" + (datetime.now(UTC) - timedelta(days=5)).strftime(
        "%Y-%m-%d"
    )
    assert shown_alerts(alex.get(old).body.decode()) == 1
    assert shown_alerts(alex.get(f"{old}&opened-from=2000-01-01T00:00").body.decode()) == 1
    assert shown_alerts(alex.get("/portal/alerts?status=all&opened-from=2100-01-01").body.decode()) == 0
    assert alex.get("/portal/alerts?opened-from=yesterday").status == 400
