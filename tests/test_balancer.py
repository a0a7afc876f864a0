"""Three services of three homes over one PostgreSQL database, behind a balancer, while things go away.

The load is in `soak/hosts.py`; `make soak-hosts MINUTES=10` goes on with it for longer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest
import requests

from hosts import HAPROXY, NGINX, Hosts, hosts, promote
from service import wait_until
from soak.hosts import PASSWORD, Load, fail_over, kill_in_turn, restart
from soak.served import LOST

pytestmark = pytest.mark.full
OFTEN = 5.0
"""Seconds until a write is in force on a machine that does much else; the goal, and what is usual, is 1."""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """The services, ready."""
    if NGINX is None and HAPROXY is None:
        pytest.skip("neither nginx nor haproxy is there: tests of several hosts are skipped")
    # Matching in the service itself: three processes less, and it is not what this is about.
    with hosts(tmp_path_factory.mktemp("hosts"), "matchers = 0\n", PASSWORD) as started:
        yield started


@pytest.fixture(scope="module")
def load(three: Hosts) -> Iterator[Load]:
    """What goes on meanwhile."""
    assert three.access is not None
    made = Load(three, three.access)
    three.balance("nginx" if NGINX else "haproxy")
    made.begin(made.furnish())
    yield made
    made.end()


def test_hosts_are_killed_in_turn(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    wait_until(30, lambda: len(load.delays) >= 12)
    took = kill_in_turn(load)
    with capsys.disabled():
        print(f"\n  ready again after {max(took):.1f} s at the most")
    assert not load.wrong


def test_the_database_crashes_and_comes_back(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    said, back = restart(load)
    for status, text in said:
        assert status == 503
        assert "is away" in json.loads(text)["status"]
    with capsys.disabled():
        print(f"\n  a restart of the database: all well {back:.1f} s after it")
    assert not load.wrong
    purged(load)


def test_a_standby_becomes_the_primary(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    # HAProxy ends a kept connection whose request it cannot hand on, so that the client sends it again.
    assert NGINX is None or not load.lost, "nginx answers whatever becomes of a host"
    if HAPROXY is not None:
        load.hosts.balance("haproxy")  # whose predecessor leaves some requests without an answer
        load.back()
        load.answers = Counter({key: count for key, count in load.answers.items() if key[1] != LOST})
    back = fail_over(load, promote)
    before = len(load.delays)
    wait_until(30, lambda: len(load.delays) >= before + 6)
    with capsys.disabled():
        print(f"\n  fail-over: all well {back:.1f} s after it")
    purged(load)
    assert not load.wrong


def test_nothing_is_lost_and_nothing_is_there_twice(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    """After all of the above."""
    load.end()
    figures = load.judge()
    with capsys.disabled():
        print(f"\n  {figures}")
    assert not load.wrong
    assert not figures["no answer"]
    assert figures["in force p50"] < 1.0
    assert figures["in force p99"] < OFTEN


def test_wrong_secrets_are_counted_over_all_hosts_by_the_clients_address(load: Load) -> None:
    three, form = load.hosts, load.access.form | {"client_secret": "wrong"}
    path = f"/{load.access.tenant_id}/oauth2/token"
    with requests.Session() as session:
        session.trust_env, session.verify = False, three.authority
        said = [session.post(f"{three.url}{path}", data=form, timeout=30).status_code for _ in range(11)]
    assert (set(said[:10]), said[10]) == ({401}, 429)
    for host in three.each:
        with requests.Session() as session:
            session.trust_env, session.verify = False, str(host.home / "tls" / "ca.pem")
            assert session.post(f"{host.url}{path}", data=form, timeout=30).status_code == 429
            # Another client of the same balancer.
            other = {"X-Forwarded-For": "192.0.2.9"}
            reply = session.post(f"{host.url}{path}", data=load.access.form, headers=other, timeout=30)
            assert reply.status_code == 200


def test_what_the_logs_tell(load: Load) -> None:
    """What was wrong, each time; neither who asked for what nor the password."""
    for host in load.hosts.each:
        log = host.log
        assert "Traceback" not in log
        assert "unforeseen" not in log
        assert PASSWORD not in log
        assert "host-1.example" not in log
        faults = [one for one in map(json.loads, log.splitlines()) if one["level"] != "info"]
        assert any("cannot be reached" in one["message"] for one in faults)
        assert len(faults) < 50, f"{len(faults)} lines of a minute"


def purged(load: Load) -> None:
    """What somebody deletes is removed beside the requests."""
    server = load.hosts.standby if load.hosts.primary.stopped else load.hosts.primary
    with server.connect("indicia") as raw:
        raw.execute(
            "INSERT INTO purges (tenant_id, definition_id, indicators_to, definitions_to) "
            "SELECT id, 999999, 0, 0 FROM tenants"
        )
        wait_until(20, lambda: raw.execute("SELECT count(*) FROM purges").fetchone() == (0,))
