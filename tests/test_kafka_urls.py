"""What may be said of Kafka and what not, without a broker; `test_kafka.py` has one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from indicia.errors import InputError, InvalidValue
from indicia.live import targets
from indicia.live.deadletters import Dead, DeadLetters
from indicia.live.kafka import Wanted, read
from indicia.outputs import opened
from indicia.outputs.brokers import Address
from indicia.outputs.given import Given
from indicia.store import Store
from indicia.telemetry.records import Form


def test_brokers_topic_and_options() -> None:
    found = Wanted.of("kafka://one,two:9093,[::1]:9094/dns.v1?group=g&session=6")
    assert found.address == Address(("one:9092", "two:9093", "[::1]:9094"), "dns.v1", tls=False)
    assert found.address.shown == "kafka://one:9092,two:9093,[::1]:9094/dns.v1"
    assert dict(found.options) == {"group": "g", "session": "6"}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("kafka://broker:9092", "one topic"),
        ("kafka://broker:9092/a/b", "one topic"),
        ("kafka://broker:9092/..", "one topic"),
        ("kafka:///topic", "must name brokers"),
        ("kafka://broker:0/topic", "port from 1 to 65535"),
        ("kafka://broker:99999/topic", "port from 1 to 65535"),
        ("kafka://a b/topic", "must name brokers"),
        ("kafka://me:word@broker/topic", "must not hold a password"),
        ("kafka://me:wo/rd@broker/topic", "one topic"),
        ("kafka://me:wo?rd@broker/topic", "one topic"),
        ("kafka://broker/topic?gruop=x", "'gruop' is no option"),
        ("kafka://broker/topic?group=", "group must be"),
        ("kafka://broker/topic?session=0", "session must be a whole number from 1 to 1800"),
        ("kafka://broker/topic?start=now", "start must be one of earliest, latest"),
        ("kafka://broker/topic?longest=-1", "longest must be"),
        ("kafka://broker/topic?secret=/nowhere", "/nowhere cannot be read"),
        ("kafka://broker/topic?secret=/dev/null", "/dev/null holds none"),
        ("kafka://broker/topic?dead=topic", "dead must be another topic"),
        ("kafka://[::1/topic", "must name brokers"),
    ],
)
def test_what_a_source_may_not_be(url: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Wanted.of(url)
    assert "?" not in (caught.value.place or "?")
    assert "wo" not in (caught.value.place or "")


@pytest.mark.parametrize(
    ("target", "options", "secret", "words"),
    [
        ("kafka://broker/alerts?x=1", {}, "", "one topic"),
        ("kafka://broker/alerts", {"trust": "ca.pem"}, "", "for kafka\\+tls:"),
        ("kafka+tls://broker/alerts", {"trust": "/nowhere"}, "", "/nowhere cannot be used"),
        ("kafka://broker/alerts", {"mechanism": "PLAIN"}, "a:b", "shows the password"),
        ("kafka://broker/alerts", {"mechanism": "GSSAPI"}, "a:b", "must be one of SCRAM-SHA-512"),
        ("kafka://broker/alerts", {"mechanism": "PLAIN"}, "", "needs a secret"),
        ("kafka://broker/alerts", {}, "password", "USER:PASSWORD"),
        ("kafka://broker/alerts", {"plugin.library.paths": "x"}, "", "no option of this target"),
    ],
)
def test_what_an_output_may_not_be(target: str, options: dict[str, str], secret: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        opened("kafka", Given(target, options, secret))


def test_files_are_for_the_command_line_alone() -> None:
    with pytest.raises(InvalidValue, match="file of the service's machine"):
        targets.must_be_remote("kafka+tls://broker/alerts", {"trust": "/etc/passwd"})


EDGES = "\uff45vil.example \u0441\u0442\u043e\u043b".encode()
"""Its first byte, and its last one, are those of a byte order mark, too."""


@pytest.mark.parametrize(
    ("value", "form", "lines", "faults"),
    [
        (b'{"a":1}', Form.JSON, [b'{"a":1}'], 0),
        (b'\xef\xbb\xbf{"a":1}\r\n', Form.JSON, [b'{"a":1}'], 0),
        (b'{\r\n"a":\n1}', Form.JSON, [b'{  "a": 1}'], 0),
        (b'{"a":1}\n{"b":2}', Form.JSON, [b'{"a":1}', b'{"b":2}'], 0),
        (b'{"a":1}\n\n{"b"\n[]', Form.JSON, [b'{"a":1}'], 2),
        (b"one\n\ntwo", Form.LINES, [b"one", b"two"], 0),
        (b"caf\xe9", Form.LINES, [b"caf\xe9"], 0),
        ("\uff45vil.example \u0441\u0442\u043e\u043b\r\n".encode(), Form.LINES, [EDGES], 0),
        (None, Form.LINES, [], 1),
        (b"", Form.LINES, [], 1),
        (b"\x00", Form.LINES, [], 1),
        (b"x" * 101, Form.LINES, [], 1),
        (b"x" * 100, Form.LINES, [b"x" * 100], 0),
        (b"{" * 100, Form.JSON, [], 1),
    ],
)
def test_a_message_is_an_object_or_lines(
    value: bytes | None, form: Form, lines: list[bytes], faults: int
) -> None:
    found = read(value, 100)
    assert (found.form, found.lines, len(found.faults)) == (form, lines, faults)


class Odd:
    """A message as the client gives it that has a header whose name is no UTF-8."""

    def value(self) -> bytes:
        return b"\0"

    def key(self) -> None:
        return None

    def headers(self) -> None:
        raise SystemError("returned a result with an exception set")

    def topic(self) -> str:
        return "dns"

    def partition(self) -> int:
        return 0

    offset = partition


def test_a_header_that_cannot_be_read_stops_nothing() -> None:
    told: list[str] = []
    letters = DeadLetters("dead", {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, told.append)
    letters.send(Dead(Odd(), "it holds NUL"))
    assert told == []
    assert letters.waiting  # and what the client has to say of brokers
    letters._producer.purge()
    letters.wait(5)
    assert letters.failed == len(told) == 1


@pytest.mark.full
def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        code = "import sys; sys.modules['confluent_kafka'] = None; from indicia.cli import main; main()"
        command = [sys.executable, "-c", code, "--home", str(tmp_path), *arguments]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
        done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        return done.stderr

    with Store.open(f"sqlite:///{tmp_path / 'indicia.db'}") as store:
        store.add_tenant("contoso")
    assert "pip install 'indicia[kafka]'" in run("watch", "kafka://broker/topic")
    assert "pip install 'indicia[kafka]'" in run("outputs", "add", "lake", "kafka://broker/topic")
