"""Receivers one by one, against real servers: what they send, and what they make of answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as draw
from hypothesis import strategies as st

from indicia import outputs
from indicia.auth import certificates
from indicia.auth.sealing import Seal
from indicia.errors import InvalidValue, StoreError
from indicia.messages import Delivery, Message, Outcome, Sent
from indicia.model import IndicatorType
from indicia.outputs import elastic, syslog, webhook
from indicia.outputs.file import File
from indicia.outputs.given import Given
from indicia.outputs.reaching import Allowed, public
from indicia.outputs.syslog import Syslog
from indicia.outputs.webhook import Webhook
from receivers import Reply, Request, message, slowly, stream, web
from service import wait_until

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
LOCAL = {"allow": "127.0.0.1"}


def hook(url: str, **more: Any) -> Webhook:
    options = LOCAL | more.pop("options", {})
    return Webhook(Given(url, options, SECRET), **more)


def sent(receiver: outputs.Receiver, *messages: Message) -> list[Delivery]:
    """What became of messages, by a connection that is closed then."""
    try:
        return receiver.send(messages or [message()])
    finally:
        receiver.close()


# Webhooks


def test_a_webhook_is_signed_and_acknowledged() -> None:
    with web() as server:
        receiver = hook(server.url + "?key=1", clock=lambda: 1_710_233_587.9)
        (said,) = receiver.send([message()])
        receiver.close()
    assert said.outcome is Outcome.DELIVERED
    (request,) = server.requests
    assert request.path == "/hook?key=1"
    assert request.body == message().body.encode()
    signed = f"{message().id}.1710233587.".encode() + request.body
    wanted = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{wanted}"
    assert (request.id, request.headers["webhook-timestamp"]) == (message().id, "1710233587")


def test_the_example_of_standard_webhooks_has_its_signature() -> None:
    key = webhook.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = webhook.signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "Delivered"), (302, "Later"), (307, "Later"), (400, "Refused"), (401, "Later"), (404, "Later"),
     (413, "Refused"), (422, "Refused"), (429, "Later"), (500, "Later"), (503, "Later")],
)  # fmt: skip
def test_what_an_answer_means(status: int, outcome: str) -> None:
    where = {"Location": "http://127.0.0.1:1/", "Retry-After": "17"}
    with web(lambda _: (status, where, b"no")) as server:
        receiver = hook(server.url)
        said = receiver.send([message(1), message(2)])
        receiver.close()
    assert said[0].outcome is Outcome(outcome)
    assert len(said) == (2 if outcome == "Delivered" else 1)
    assert len(server.requests) == len(said)
    if outcome == "Later":
        assert (said[0].fault, said[0].retry_after) == (f"the receiver answered {status}", 17.0)


@contextmanager
def dripping(at_once: bytes = b"") -> Iterator[int]:
    """A server that answers a byte each 50 ms after what it says at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.sendall(at_once)
                for byte in b"HTTP/1.1 200 OK\r\n" * 10:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)

        thread = threading.Thread(target=drip)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join()


@pytest.mark.full
def test_a_receiver_that_is_slow_or_drips_is_hung_up_on() -> None:
    with web(slowly(0.6)) as server:
        (said,) = sent(hook(server.url, seconds=0.2))
    assert said.outcome is Outcome.LATER
    with dripping() as port:
        (said,) = sent(hook(f"http://127.0.0.1:{port}/", seconds=0.3))
    assert (said.outcome, said.fault) == (
        Outcome.LATER,
        "no answer came: the receiver took longer than 0.3 s",
    )
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n") as port:
        (said,) = sent(hook(f"http://127.0.0.1:{port}/", seconds=0.3))
    assert said.outcome is Outcome.DELIVERED  # it has said so
    with socket.create_server(("127.0.0.1", 0)) as listening:
        receiver = hook(f"http://127.0.0.1:{listening.getsockname()[1]}/", seconds=0.2)
        (said,) = sent(receiver)
    assert (said.outcome, said.fault[:13]) == (Outcome.LATER, "no answer cam")
    (said,) = receiver.send([message()])
    assert "cannot be reached: Connection refused" in said.fault


def test_a_connection_is_kept_and_made_anew_when_the_receiver_ended_it() -> None:
    with web() as server:
        receiver = hook(server.url)
        assert receiver.send([message(1), message(2)])[-1].outcome is Outcome.DELIVERED
        port = int(server.url.rpartition(":")[2].partition("/")[0])
    with web(port=port) as server:
        assert receiver.send([message(3)])[0].outcome is Outcome.DELIVERED
        assert server.ids == [message(3).id]
    receiver.close()


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
     "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
     "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "192.0.2.1", "198.18.0.1"],
)  # fmt: skip
def test_what_is_no_address_of_the_internet(text: str) -> None:
    from ipaddress import ip_address  # noqa: PLC0415

    assert not public(ip_address(text))
    assert ip_address(text) not in Allowed()
    assert ip_address(text) in Allowed.of("any")


def test_public_addresses_are_public() -> None:
    from ipaddress import ip_address  # noqa: PLC0415

    for text in ("1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"):
        assert public(ip_address(text)), text
    assert ip_address("::ffff:10.1.2.3") in Allowed.of("10.0.0.0/8")
    assert ip_address("10.1.2.3") not in Allowed.of("10.0.0.0/16, ::1")


def test_a_private_address_is_refused_unless_allowed() -> None:
    with web() as server:
        (said,) = sent(Webhook(Given(server.url, {}, SECRET)))
        assert said.outcome is Outcome.LATER
        assert "127.0.0.1, which is no address of the internet" in said.fault
        (said,) = sent(Webhook(Given(server.url.replace("127.0.0.1", "localhost"), {}, SECRET)))
        assert "which is no address of the internet" in said.fault
        assert server.requests == []


def test_a_name_that_leads_elsewhere_a_moment_later_leads_nowhere() -> None:
    answers = [["127.0.0.2"], ["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]]

    def resolving(_host: str, _port: int) -> list[str]:
        return answers.pop(0)

    with web(lambda _: (200, {"Connection": "close"}, b""), host="127.0.0.2") as server:
        url = server.url.replace("127.0.0.2", "hook.example")
        receiver = Webhook(Given(url, {"allow": "127.0.0.2"}, SECRET), resolving=resolving)
        first, second, third = (receiver.send([message(number)])[0] for number in range(3))
    assert first.outcome is Outcome.DELIVERED
    assert (second.outcome, "hook.example leads to 127.0.0.1" in second.fault) == (Outcome.LATER, True)
    assert third.outcome is Outcome.DELIVERED
    assert server.ids == [message(0).id, message(2).id]
    assert server.requests[0].headers["Host"].startswith("hook.example:")


def test_redirects_are_followed_on_demand_and_never_to_a_private_address() -> None:
    with web() as inside, web(host="127.0.0.2") as outside:

        def to(place: str) -> Reply:
            return 307, {"Location": place}, b""

        allowed = {"allow": "127.0.0.2"}
        with web(lambda _: to(inside.url), host="127.0.0.2") as server:
            (said,) = sent(Webhook(Given(server.url, allowed, SECRET)))
            assert said.fault == "the receiver answered 307"
            (said,) = sent(Webhook(Given(server.url, allowed | {"redirects": "3"}, SECRET)))
            assert (said.outcome, "127.0.0.1, which is no" in said.fault) == (Outcome.LATER, True)
        assert inside.requests == []
        with web(lambda _: to(outside.url), host="127.0.0.2") as server:
            receiver = Webhook(Given(server.url, allowed | {"redirects": "1"}, SECRET))
            assert receiver.send([message()])[0].outcome is Outcome.DELIVERED
            receiver.close()
        assert [one.body for one in outside.requests] == [message().body.encode()]
        with web(lambda request: to(f"http://127.0.0.2{request.path}"), host="127.0.0.2") as server:
            server.answer = lambda _: to(server.url)
            (said,) = sent(Webhook(Given(server.url, allowed | {"redirects": "2"}, SECRET)))
            assert said.fault == "the receiver redirects more than 2 times"
            server.answer = lambda _: to("file:///etc/passwd")
            (said,) = sent(Webhook(Given(server.url, allowed | {"redirects": "2"}, SECRET)))
            assert "neither http nor https" in said.fault


def home_context(home: Path) -> tuple[ssl.SSLContext, str]:
    """What a server shows by the home's own authority, and the file that trusts it."""
    found = certificates.ensure(home, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(found.certificate, found.key)
    return context, str(found.authority)


def test_https_checks_the_certificate(tmp_path: Path) -> None:
    context, authority = home_context(tmp_path)
    with web(context=context) as server:
        (said,) = sent(hook(server.url))
        assert "certificate verify failed" in said.fault
        receiver = hook(server.url, options={"trust": authority})
        assert receiver.send([message()])[0].outcome is Outcome.DELIVERED
        receiver.close()


@pytest.mark.parametrize(
    ("target", "options", "secret", "words"),
    [
        ("ftp://host/", {}, "", "begins with one of"),
        ("https://u:p@host/", {}, SECRET, "must not hold a password"),
        ("https:///x", {}, SECRET, "must have a host"),
        ("https://host:99999/", {}, SECRET, "must have a host"),
        ("https://host/ä", {}, SECRET, "escape"),
        ("https://host/", {}, "short", "whsec_"),
        ("https://host/", {}, "whsec_" + base64.b64encode(b"k" * 8).decode(), "24 to 64 bytes"),
        ("https://host/", {"alow": "any"}, SECRET, "is no option of this target"),
        ("https://host/", {"allow": "10.0.0.1/8"}, SECRET, "host bits"),
        ("https://host/", {"redirects": "9"}, SECRET, "from 0 to 5"),
        ("https://host/", {"trust": "/nowhere.pem"}, SECRET, "cannot be used"),
        ("https://host/", {"key": "k"}, SECRET, "give certificate and key"),
        ("file:relative", {}, "", "whole path"),
        ("file://host/a", {}, "", "whole path"),
        ("syslog+tcp://host/x", {}, "", "and no more"),
        ("syslog+udp://host", {"framing": "lines"}, "", "is no option"),
        ("syslog+tcp://host", {"format": "xml"}, "", "one of rfc5424, cef"),
        ("syslog+tcp://host", {}, "x", "knows no secret"),
        ("elastic+http://host:9200/", {}, "", "index in lower case"),
        ("elastic+http://host:9200/a", {}, "secret", "USER:PASSWORD"),
    ],
)
def test_what_cannot_be_a_target(target: str, options: dict[str, str], secret: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=re.escape(words)):
        outputs.opened(outputs.kind_of(target), Given(target, options, secret))


@pytest.mark.parametrize("kind", outputs.KINDS)
def test_every_output_explains_itself(kind: str) -> None:
    from importlib import import_module  # noqa: PLC0415

    assert len((import_module(outputs.KINDS[kind].partition(":")[0]).__doc__ or "").split()) > 80


# Files


def lines(path: Path) -> list[str]:
    return [json.loads(line)["MessageId"] for line in path.read_text().splitlines()]


def file(path: Path, **options: str) -> File:
    return File(Given(f"file://{path}", options))


def test_a_file_grows_and_knows_after_a_kill_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    receiver = file(path)
    assert {one.outcome for one in receiver.send([message(1), message(2)])} == {Outcome.DELIVERED}
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("a") as writing:
        writing.write(message(3).body[:-9])  # killed while it wrote
    assert len(file(path).send([message(number) for number in (1, 2, 3, 4)])) == 4
    assert lines(path) == [message(number).id for number in (1, 2, 3, 4)]


def test_a_file_that_is_renamed_away_loses_nothing(tmp_path: Path) -> None:
    path, away = tmp_path / "alerts.ndjson", tmp_path / "old"
    receiver = file(path)
    receiver.send([message(1)])
    path.rename(away)
    receiver.send([message(2)])
    assert (lines(away), lines(path)) == ([message(1).id], [message(2).id])


def test_a_file_rotates(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    receiver = file(path, rotate="1500", keep="2")
    for number in range(1, 12):
        receiver.send([message(number)])
    old = sorted(tmp_path.glob("alerts.ndjson.*"))
    assert len(old) == 2
    held = [key for one in old for key in lines(one)] + (lines(path) if path.exists() else [])
    wanted = [message(number).id for number in range(1, 12)]
    assert held == wanted[-len(held) :]
    # What was written last is known, although the file is another one.
    last = int(held[-1][-32:], 16)
    assert (
        file(path, rotate="1500", keep="2").send([message(last), message(12)])[-1].outcome
        is Outcome.DELIVERED
    )
    assert sum(lines(one).count(held[-1]) for one in tmp_path.glob("alerts.ndjson*")) == 1


def test_a_line_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("no line feed")
    file(path).send([message()])
    assert path.read_text() == f"no line feed\n{message().body}\n"


def test_a_file_that_cannot_be_written_waits(tmp_path: Path) -> None:
    for target, words in (
        (tmp_path / "no" / "folder", "No such file"),
        (tmp_path, "Is a directory"),
        (Path("/dev/full"), "no regular file"),
    ):
        (said,) = file(target).send([message(1), message(2)])
        assert (said.outcome, words in said.fault) == (Outcome.LATER, True), said.fault


# Syslog

SYSLOG = re.compile(
    r"<(\d+)>1 2024-03-12T08:53:07\.000000Z \S+ indicia - (\w+) "
    r'\[indicia@32473((?: \w+="(?:[^"\\\]]|\\["\\\]])*")*)\] \ufeff(.*)'
)


def test_rfc5424() -> None:
    text = syslog.rfc5424(message(Title='A "b" ]c\\ d\n<13>1 forged'), 16, 8192).decode()
    found = SYSLOG.fullmatch(text)
    assert found, text
    assert (found[1], found[2]) == ("131", "Opened")
    assert f'id="{message().id}"' in found[3]
    assert 'machine="pc-1"' in found[3]
    assert found[4].startswith('Opened: A "b" ]c\\ d <13>1 forged on pc-1, 2 detections (198.51.100.44')


@draw(st.text(), st.text(max_size=40))
def test_no_text_forges_a_field_or_a_message(title: str, machine: str) -> None:
    given = message(Title=title, Machine=machine)
    for longest in (480, 8192):
        text = syslog.rfc5424(given, 16, longest)
        assert SYSLOG.fullmatch(text.decode()), text
        assert len(text) <= longest
        line = syslog.cef(given, 16, longest)
        assert len(line) <= max(longest, 300 + 4 * len(title))
        assert not set(line) & set(b"\n\r\0")
        header = re.split(rb"(?<!\\)(?:\\\\)*\|", line)
        assert len(header) >= 8
        keys = re.findall(r"(?:^| )(\w+)(?<!\\)=", header[7].decode())
        assert keys[:2] == ["rt", "externalId"]
        assert len(keys) == len(set(keys))


def test_cef() -> None:
    line = syslog.cef(message(Title=r"a|b\c", Machine="h=1"), 4, 8192).decode()
    start, _, extension = line.partition("|9|")
    assert re.fullmatch(
        r"<35>Mar 12 08:53:07 \S+ CEF:0\|Indicia\|Indicia\|[\w.]+\|Opened\|a\\\|b\\\\c", start
    )
    assert r" dhost=h\=1 start=1710230400000 end=1710232200000 cnt=2 cs1Label=Indicators " in extension
    assert " dst=192.0.2.7 " in syslog.cef(message(Machine="192.0.2.7"), 4, 8192).decode()
    assert " c6a3=2001:db8::1 " in syslog.cef(message(Machine="2001:db8::1"), 4, 8192).decode()


def test_our_own_reader_understands_what_is_sent(tmp_path: Path) -> None:
    """By TLS with the home's own authority, in octet counting."""
    context, authority = home_context(tmp_path)
    with stream(context) as server:
        target = f"syslog+tls://127.0.0.1:{server.port}"
        (said,) = sent(Syslog(Given(target, {})))
        assert "certificate verify failed" in said.fault
        receiver = Syslog(Given(target, {"trust": authority, "format": "cef"}))
        said_of = receiver.send([message(1), message(2)])
        assert [one.outcome for one in said_of] == [Outcome.DELIVERED] * 2
        wait_until(5, lambda: server.data.count(b"cs3=") == 2)
        receiver.close()
    length, _, rest = bytes(server.data).partition(b" ")
    assert rest[: int(length)] == syslog.cef(message(1), 16, 8192)


def test_tcp_is_connected_anew_and_udp_says_what_it_can() -> None:
    with stream() as server:
        target = f"syslog+tcp://127.0.0.1:{server.port}"
        receiver = Syslog(Given(target, {"framing": "lines"}))
        assert receiver.send([message(1)])[0].outcome is Outcome.DELIVERED
        receiver.close()
        assert receiver.send([message(2)])[0].outcome is Outcome.DELIVERED
        wait_until(5, lambda: server.data.count(b"\n") == 2)
    (said,) = receiver.send([message(3)])
    assert said.outcome is Outcome.LATER
    receiver.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(5)
        receiver = Syslog(Given(f"syslog+udp://127.0.0.1:{listening.getsockname()[1]}"))
        receiver.send([message(1)])
        assert listening.recv(9000) == syslog.rfc5424(message(1), 16, 8192)
        receiver.close()


def test_a_receiver_that_reads_nothing_has_confirmed_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        receiver = Syslog(Given(f"syslog+tcp://127.0.0.1:{server.getsockname()[1]}"), seconds=0.3)
        many = [message(number, UxDescription="x" * 8000, Title="y" * 7000) for number in range(2000)]
        (said,) = receiver.send(many)
    assert said.outcome is Outcome.LATER


# Elasticsearch


def bulk(statuses: dict[str, int]) -> Any:
    """Answers as `_bulk` does, each document by its id."""

    def answer(request: Request) -> Reply:
        ids = [json.loads(line)["create"]["_id"] for line in request.body.splitlines()[::2]]
        items = []
        for key in ids:
            status = statuses.get(key, 201)
            error = {} if status < 300 else {"error": {"type": "some_exception", "reason": "why"}}
            items.append({"create": {"status": status, **error}})
        return 200, {}, json.dumps({"errors": True, "items": items}).encode()

    return answer


def search(url: str, secret: str = "") -> elastic.Elastic:
    return elastic.Elastic(Given(f"elastic+{url.replace('/hook', '/path/indicia-alerts')}", {}, secret))


def test_bulk_judges_each_document() -> None:
    statuses = {message(2).id: 409, message(3).id: 400, message(4).id: 429, message(5).id: 503}
    with web(bulk(statuses)) as server:
        receiver = search(server.url, "elastic:pässword")
        said = receiver.send([message(number) for number in range(1, 6)])
        receiver.close()
    assert [str(one.outcome) for one in said] == ["Delivered", "Delivered", "Refused", "Later", "Later"]
    assert said[2].fault == "the receiver answered 400 for it: some_exception: why"
    (request,) = server.requests
    assert request.path.startswith("/path/indicia-alerts/_bulk?filter_path=")
    assert (
        request.headers["Authorization"] == "Basic " + base64.b64encode("elastic:pässword".encode()).decode()
    )


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ((401, {}, b'{"error":{"type":"security_exception"}}'), "Later"),
        ((400, {}, b"no JSON"), "Refused"),
        ((503, {}, b""), "Later"),
        ((200, {}, b"{}"), "Later"),
        ((200, {}, b'{"items":[]}'), "Later"),
    ],
)
def test_bulk_as_a_whole(reply: Reply, outcome: str) -> None:
    with web(lambda _: reply) as server:
        said = sent(search(server.url, "ApiKey abc"), message(1), message(2))
        assert [str(one.outcome) for one in said] == [outcome]
        assert server.requests[0].headers["Authorization"] == "ApiKey abc"


def test_a_bulk_that_is_too_large_is_sent_in_parts() -> None:
    def answer(request: Request) -> Reply:
        return bulk({})(request) if request.body.count(b"\n") <= 4 else (413, {}, b"")

    with web(answer) as server:
        said = sent(search(server.url), *(message(number) for number in range(8)))
    assert [one.outcome for one in said] == [Outcome.DELIVERED] * 2


def test_a_document_is_ecs() -> None:
    made = elastic.document(message())
    assert made["@timestamp"] == "2024-03-12T08:30:00Z"
    assert made["event"]["kind"] == "alert"
    assert (made["event"]["category"], made["event"]["type"]) == (["threat"], ["indicator"])
    assert made["related"] == {"ip": ["198.51.100.44"], "hosts": ["pc-1"]}
    assert made["host"] == {"name": "pc-1"}
    assert made["indicia"]["Alert"]["Status"] == "New"
    for kind, value, wanted in (
        (IndicatorType.SHA256, "a" * 64, {"type": "file", "file": {"hash": {"sha256": "a" * 64}}}),
        (IndicatorType.IP_ADDRESS, "192.0.2.1", {"type": "ipv4-addr", "ip": "192.0.2.1"}),
        (IndicatorType.IP_ADDRESS, "2001:db8::/32", {"type": "ipv6-addr"}),
        (IndicatorType.URL, "http://a.example/b", {"type": "url", "url": {"full": "http://a.example/b"}}),
        (IndicatorType.DOMAIN_NAME, "a.example", {"type": "domain-name", "url": {"domain": "a.example"}}),
    ):
        assert elastic.document(detected(kind, value))["threat"]["indicator"] == wanted | {"name": value}


def detected(kind: IndicatorType, value: str) -> Message:
    """A message of a detection."""
    given = json.loads(message(sent=Sent.DETECTED).body)
    found = given.pop("Alert") | {"Type": kind, "Value": value, "Evidence": [], "EventTime": None}
    body = json.dumps(given | {"Detection": found})
    return Message(1, message().id, Sent.DETECTED, message().made_at, body)


# Sealing


def test_a_secret_is_opened_by_the_key_of_the_home_alone(tmp_path: Path) -> None:
    seal = Seal(tmp_path)
    kept = seal.seal("secret", "tenant")
    assert "secret" not in kept
    assert (tmp_path / "outputs.key").stat().st_mode & 0o777 == 0o600
    assert Seal(tmp_path).unseal(kept, "tenant") == "secret"
    with pytest.raises(StoreError, match="is not the key"):
        seal.unseal(kept, "another tenant")
    (tmp_path / "outputs.key").write_bytes(b"x" * 32)
    with pytest.raises(StoreError, match="is not the key"):
        seal.unseal(kept, "tenant")
    (tmp_path / "outputs.key").unlink()
    with pytest.raises(StoreError, match="is not there"):
        seal.unseal(kept, "tenant")
