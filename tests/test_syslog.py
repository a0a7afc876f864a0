"""Syslog over streams: framing, TLS, and what an address does not put up with."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from indicia.auth import certificates
from indicia.errors import InputError
from indicia.live.syslog import Frames, Syslog, listen
from oauth import Pair, pair
from service import wait_until
from shell import Shell

pytestmark = pytest.mark.full

OLD = b"<13>Mar 12 08:53:07 pc-1 proxy: GET http://host-0.example/1"
NEW = b"<165>1 2024-03-12T08:53:07Z pc-1 app - ID47 - GET http://host-0.example/2"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Commands with a home of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INDICIA_HOME", str(tmp_path / "home"))
    return Shell(tmp_path, monkeypatch, capsys)


def own(home: Path) -> tuple[Path, Path]:
    """Of a home."""
    found = certificates.ensure(home, "127.0.0.1")
    return found.certificate, found.key


@contextmanager
def listening(home: Path, given: str = "") -> Iterator[Syslog]:
    one = listen(f"syslog+tls://127.0.0.1:0{given}", lambda _host: own(home))
    try:
        yield one
    finally:
        one.close()


def received(one: Syslog, count: int) -> list[bytes]:
    """The lines that came, once there are so many."""
    lines: list[bytes] = []

    def enough() -> bool:
        for piece in one.pieces():
            lines.extend(piece.data.splitlines())
        return len(lines) >= count

    wait_until(10, enough)
    return lines


def trusting(authority: Path, client: Pair | None = None, folder: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    if client is not None and folder is not None:
        file = folder / "client.pem"
        file.write_bytes(client.key_pem + client.pem)
        context.load_cert_chain(file)
    return context


@contextmanager
def sender(one: Syslog, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(one.address, timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        yield secured


def hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def is_refused(one: Syslog, context: ssl.SSLContext) -> bool:
    """Whether a sender cannot get rid of a message; with TLS 1.3 it learns that after the handshake."""
    try:
        with sender(one, context) as secured:
            secured.sendall(OLD + b"\n")
            return hung_up(secured)
    except OSError:
        return True


# Framing

MESSAGE = st.binary(min_size=1, max_size=40).map(lambda text: b"<13>" + text.replace(b"\n", b" "))


@given(st.lists(st.tuples(MESSAGE, st.booleans()), max_size=8), st.lists(st.integers(0, 400), max_size=12))
@example([(b"<13>a", True), (b"<13>b", True)], [8])
def test_a_stream_gives_the_same_messages_however_it_is_cut(
    sent: list[tuple[bytes, bool]], cuts: list[int]
) -> None:
    stream = b"".join(b"%d %s" % (len(text), text) if counted else text + b"\n" for text, counted in sent)
    frames, found = Frames(1000), []
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for begin, end in pairwise(places):
        found += list(frames.feed(stream[begin:end]))
    assert found + list(frames.end()) == [text for text, _ in sent]
    assert frames.cut == 0


def test_what_is_too_long_is_cut_and_the_next_message_is_whole() -> None:
    stream = b"100 <1>" + b"x" * 97 + b"5 <1>ab" + b"<1>" + b"y" * 50 + b"\n" + b"<1>cd\n" + b"<1>last"
    for step in (1, 7, 1000):
        frames, found = Frames(10), []
        for begin in range(0, len(stream), step):
            found += list(frames.feed(stream[begin : begin + step]))
        found += list(frames.end())
        assert found == [b"<1>xxxxxxx", b"<1>ab", b"<1>yyyyyyy", b"<1>cd", b"<1>last"]
        assert frames.cut == 2


def test_a_message_that_breaks_off_is_none() -> None:
    frames = Frames(100)
    assert list(frames.feed(b"20 <1>half")) == []
    assert list(frames.end()) == []
    assert frames.cut == 1


# TLS


def test_messages_over_tls_by_the_authority_of_the_home(tmp_path: Path) -> None:
    with listening(tmp_path) as one:
        context = trusting(tmp_path / "tls" / "ca.pem")
        with sender(one, context) as secured:
            secured.sendall(b"%d %s" % (len(NEW), NEW) + OLD + b"\n")
            assert received(one, 2) == [NEW[5:], OLD[4:]]
        with pytest.raises(ssl.SSLError), sender(one, ssl.create_default_context()):
            pass
        with socket.create_connection(one.address, timeout=10) as plain:
            plain.sendall(OLD + b"\n" * 20)
            while not hung_up(plain):  # an alert, then the end
                pass
        assert list(one.pieces()) == []


def test_senders_show_a_certificate_where_that_is_asked_for(tmp_path: Path) -> None:
    known, strange = pair("sender"), pair("stranger")
    (tmp_path / "senders.pem").write_bytes(known.pem)
    with listening(tmp_path, f"?clients={tmp_path / 'senders.pem'}") as one:
        authority = tmp_path / "tls" / "ca.pem"
        for context in (trusting(authority), trusting(authority, strange, tmp_path)):
            assert is_refused(one, context)
        with sender(one, trusting(authority, known, tmp_path)) as secured:
            secured.sendall(NEW + b"\n")
            assert received(one, 1) == [NEW[5:]]


def test_one_connection_too_many_is_hung_up_on(tmp_path: Path) -> None:
    with listening(tmp_path, "?connections=1") as one:
        context = trusting(tmp_path / "tls" / "ca.pem")
        with sender(one, context) as first:
            with socket.create_connection(one.address, timeout=10) as second:
                assert hung_up(second)
            first.sendall(OLD + b"\n")
            assert received(one, 1) == [OLD[4:]]
        assert one.lost == 1

        def again() -> bool:
            try:
                with sender(one, context) as third:
                    third.sendall(NEW + b"\n")
                    return True
            except OSError:
                return False

        wait_until(10, again)
        assert received(one, 1) == [NEW[5:]]


@pytest.mark.full
def test_who_is_silent_for_too_long_is_hung_up_on(tmp_path: Path) -> None:
    one = listen("syslog+tcp://127.0.0.1:0?idle=1", lambda _host: own(tmp_path))
    try:
        with socket.create_connection(one.address, timeout=10) as silent:
            begun = time.monotonic()
            silent.sendall(OLD)
            assert hung_up(silent)
            assert 0.9 < time.monotonic() - begun < 5
        assert received(one, 1) == [OLD[4:]]
    finally:
        one.close()


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ("syslog+tls://127.0.0.1:0?certificate=x.pem", "certificate and key"),
        ("syslog+tls://127.0.0.1:0?certificate=x.pem&key=x.key", "cannot show x.pem"),
        ("syslog+tls://127.0.0.1:0?clients=x.pem", "cannot trust x.pem"),
        ("syslog+tls://127.0.0.1:0?colour=red", "'colour' is nothing to say here"),
        ("syslog+tcp://127.0.0.1:0?key=x", "'key' is nothing to say here"),
        ("syslog+tcp://127.0.0.1:0?idle=0", "idle must be"),
        ("syslog+ssl://127.0.0.1:0", "must be syslog+udp://HOST:PORT or"),
        ("syslog+tcp://127.0.0.1", "must be"),
        ("syslog+tcp://127.0.0.1:0/x", "must be"),
    ],
)
def test_what_an_address_cannot_be_is_said(tmp_path: Path, given_: str, told: str) -> None:
    with pytest.raises(InputError) as refused:
        listen(given_, lambda _host: own(tmp_path))
    assert told in str(refused.value)
    assert given_ in str(refused.value)


def test_the_certificate_of_the_home_stays_as_it_is(shell: Shell) -> None:
    shell("init", "--save", "-")
    before = (shell.home / "tls" / "ca.pem").read_bytes()
    ran = shell("watch", "syslog+tls://192.0.2.7:6514", code=2)
    assert "not for 192.0.2.7" in ran.err
    shell("watch", "--idle", "0", "syslog+tls://127.0.0.1:0")
    assert (shell.home / "tls" / "ca.pem").read_bytes() == before
