"""What came of which source: counted by who takes it in, noted in the store soon after."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from indicia.errors import StoreError
from indicia.live import arrivals, blocks
from indicia.live.arrivals import Arrivals
from indicia.live.following import Followings
from indicia.live.intake import Intake
from indicia.live.watch import Watch
from indicia.store import Overview, Store
from indicia.telemetry import Source
from indicia.telemetry.records import Form, Part
from stored import add, opened, url


def dns(query: str, at: datetime) -> bytes:
    """An event of Zeek as a line."""
    event = {
        "_path": "dns",
        "ts": at.timestamp(),
        "uid": "C1",
        "id.orig_h": "192.0.2.1",
        "id.orig_p": 5,
        "id.resp_h": "192.0.2.53",
        "id.resp_p": 53,
        "proto": "udp",
        "trans_id": 7,
        "query": query,
    }
    return json.dumps(event).encode() + b"\n"


def line(data: bytes) -> Source:
    return Source("s", part=Part(Form.JSON), held=data)


def test_what_an_intake_takes_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    monkeypatch.setattr(arrivals, "EVERY", 0.0)
    path = tmp_path / "i.db"
    ago = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
    with opened(path) as tenant:
        add(tenant, 1)
        with Store.open(url(path)) as store:
            live = Followings(store, url(path), tmp_path)
            try:
                taking = Intake(live.of(tenant), "zeek")
                taking.feed(dns("host-0.example", ago - timedelta(hours=1)) + b"no json\n")
                taking.feed(dns("elsewhere.example", ago))
                taking.end()
                end = time.monotonic() + 10
                while not (found := tenant.overview.sources()) and time.monotonic() < end:
                    time.sleep(0.05)
            finally:
                live.close()
    (one,) = found
    assert (one.name, one.events, one.malformed, one.detections) == ("zeek", 2, 1, 1)
    assert one.event_at == ago
    assert one.lag is not None
    assert timedelta(minutes=5) <= one.lag < timedelta(minutes=6)


def test_what_came_last_is_noted_at_the_end(tmp_path: Path, database: str) -> None:
    path, log = tmp_path / "i.db", tmp_path / "dns.log"
    at = datetime(2026, 3, 1, tzinfo=UTC)
    log.write_bytes(dns("host-0.example", at) + dns("elsewhere.example", at))
    with opened(path) as tenant:
        add(tenant, 1)
        with Store.open(url(path)) as store:
            live = Followings(store, url(path), tmp_path)
            Watch(live.of(tenant), [str(log)], tmp_path / "marks").run(threading.Event(), idle=0.1)
            live.close()
        (one,) = tenant.overview.sources()
    assert (one.name, one.events, one.malformed, one.detections) == (str(log), 2, 0, 1)
    assert one.event_at == at


def test_what_could_not_be_noted_is_noted_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    with opened(tmp_path / "i.db") as tenant:
        came = Arrivals(tenant)
        came.came("s", line(b"{}\n"), 1, 0, 0)
        note = Overview.note_sources

        def busy(*_given: object) -> None:
            raise StoreError("busy")

        monkeypatch.setattr(Overview, "note_sources", busy)
        with pytest.raises(StoreError):
            came.note()
        came.came("s", line(b"{}\n"), 1, 0, 0)
        with pytest.raises(StoreError):
            came.note()
        monkeypatch.setattr(Overview, "note_sources", note)
        came.note()
        came.note()
        (one,) = tenant.overview.sources()
        assert one.events == 2


def test_a_fault_of_ours_does_not_end_the_following(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, database: str
) -> None:
    met = threading.Event()

    def broken(_source: Source) -> None:
        met.set()
        raise KeyError

    monkeypatch.setattr(arrivals, "EVERY", 0.0)
    monkeypatch.setattr(arrivals, "time_of", broken)
    path = tmp_path / "i.db"
    with opened(path) as tenant, Store.open(url(path)) as store:
        live = Followings(store, url(path), tmp_path)
        try:
            one = live.of(tenant)
            one.arrivals.came("s", line(b"{}\n"), 1, 0, 0)
            assert met.wait(10)
            add(tenant, 1)
            end = time.monotonic() + 10
            while one.view.generation != tenant.generation() and time.monotonic() < end:
                time.sleep(0.05)
            assert one.view.generation == tenant.generation()
            monkeypatch.undo()
        finally:
            live.close()
        (kept,) = tenant.overview.sources()
        assert kept.events == 1
    assert "KeyError" in caplog.text


def test_the_last_line_may_be_anything(tmp_path: Path, database: str) -> None:
    with opened(tmp_path / "i.db") as tenant:
        came = Arrivals(tenant)
        lines = (
            b"",
            b"\n\n",
            b"no json",
            b"\xff\xfe\x00",
            b"[" * 5000,
            b"x" * (blocks.LONGEST + 1),
            b'{"a":1}\r\n',
        )
        for given in lines:
            came.came("s", line(last) if (last := blocks.last_line(given)) else None, 1, 0, 0)
            came.note()
        (one,) = tenant.overview.sources()
        assert (one.events, one.event_at) == (len(lines), None)


def test_of_a_flood_of_names_a_bounded_number_is_held(tmp_path: Path, database: str) -> None:
    with opened(tmp_path / "i.db") as tenant:
        came = Arrivals(tenant)
        for number in range(arrivals.MOST + 500):
            came.came(f"s{number}", None, 1, 0, 0)
        assert len(came._found) == arrivals.MOST
        came.note()
        assert len(tenant.overview.sources()) == 200
