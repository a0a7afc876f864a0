"""`syslog+udp:`, `syslog+tcp:`, `syslog+tls:` a syslog server, in RFC 5424 or as CEF.

    indicia outputs add siem 'syslog+tls://siem.example:6514' --option trust=siem-ca.pem --option format=cef

Over TCP and TLS each message has its length before it (octet counting; RFC 6587, RFC 5425). Syslog knows no
acknowledgement: a message counts as delivered when the receiver's system has confirmed every byte of it
(TCP), or when it was sent (UDP, where nothing is certain). After a kill what was sent last may come again;
each carries its message's id. Text of events is escaped by the rules of the format, and control characters
become spaces, so that nobody can forge a second message. Ports without being named: 514, 514, 6514.

    format       rfc5424 (default): structured data `indicia@32473`, where 32473 is the number that RFC 5612
                 has for documentation, because Indicia has none of its own, then one sentence;
                 cef: ArcSight's Common Event Format 0 behind a header of RFC 3164, times in UTC
    facility     number of the facility, 16 (local0) unless given
    framing      `octets` (default), or `lines`: each message ends with a line feed
    longest      bytes of a message, 8192 unless given; of what is longer the last fields are left out
    trust        a file with the authorities to trust instead of the system's
    certificate, key   files in PEM that are shown to the receiver
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address

from indicia.errors import InvalidValue, Unreachable
from indicia.messages import Delivery, Message, Outcome
from indicia.model import IndicatorType
from indicia.outputs.given import TLS_OPTIONS, Given, version
from indicia.outputs.reaching import Allowed, connect
from indicia.outputs.told import Told, one_line

PORTS = {"udp": 514, "tcp": 514, "tls": 6514}
SECONDS = 30.0
"""How long a receiver may take to confirm what was sent."""
SEVERITIES = {"High": 3, "Medium": 4, "Low": 5, "Informational": 6}
"""Of syslog: error, warning, notice, informational."""
CEF_SEVERITIES = {"High": 9, "Medium": 6, "Low": 3, "Informational": 1}
_LOOK = 0.01
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HASHES = (IndicatorType.MD5, IndicatorType.SHA1, IndicatorType.SHA256)
Fields = list[tuple[str, str]]


def rfc5424(message: Message, facility: int, longest: int) -> bytes:
    """One message of RFC 5424; fields that do not fit are left out, then the sentence is cut."""
    told = Told.of(message)
    fields = [
        ("id", message.id),
        ("tenant", str(told.body["Tenant"])),
        ("severity", told.severity),
        *((name, _text(told.about.get(key))) for name, key in _PARAMETERS),
        ("values", ", ".join(told.values)),
        ("evidence", ", ".join(told.about.get("Evidence", ()))),
    ]
    stamp = message.made_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    priority = facility * 8 + SEVERITIES[told.severity]
    head = f"<{priority}>1 {stamp} {_host()} indicia - {message.sent} [indicia@32473"
    given = [f' {name}="{_parameter(text)}"' for name, text in fields if text]
    # The BOM says that the sentence is UTF-8.
    return _fitting(head, given, "] \ufeff" + one_line(told.summary), longest)


_PARAMETERS = (
    ("alertId", "AlertId"),
    ("detectionId", "DetectionId"),
    ("machine", "Machine"),
    ("status", "Status"),
    ("category", "Category"),
    ("definition", "AlertDefinitionUid"),
    ("count", "DetectionCount"),
    ("firstSeen", "FirstSeen"),
    ("lastSeen", "LastSeen"),
    ("eventTime", "EventTime"),
    ("type", "Type"),
)


def cef(message: Message, facility: int, longest: int) -> bytes:
    """One message of CEF 0 behind a header of RFC 3164; extensions that do not fit are left out."""
    told = Told.of(message)
    at = message.made_at.astimezone(UTC)
    stamp = f"{_MONTHS[at.month - 1]} {at.day:2d} {at:%H:%M:%S}"
    priority = facility * 8 + SEVERITIES[told.severity]
    parts = ("Indicia", "Indicia", version(), str(message.sent), told.title)
    names = "|".join(_cef_name(part) for part in parts)
    head = f"<{priority}>{stamp} {_host()} CEF:0|{names}|{CEF_SEVERITIES[told.severity]}|"
    fields = [(name, text) for name, text in _extensions(told) if text]
    given = [f"{' ' if at else ''}{name}={_cef_value(text)}" for at, (name, text) in enumerate(fields)]
    return _fitting(head, given, "", longest)


def _extensions(told: Told) -> Fields:
    about = told.about
    return [
        ("rt", _millis(told.message.made_at)),
        ("externalId", str(about.get("AlertId", ""))),
        ("deviceExternalId", str(told.body["Tenant"])),
        ("act", str(told.message.sent)),
        ("cat", str(about.get("Category", ""))),
        *_host_fields(told.machine),
        ("start", _millis(told.time("FirstSeen") or told.time("EventTime"))),
        ("end", _millis(told.time("LastSeen") or told.time("EventTime"))),
        ("cnt", _text(about.get("DetectionCount"))),
        *_value_fields(told),
        ("cs1Label", "Indicators"),
        ("cs1", ", ".join(told.values)),
        ("cs2Label", "AlertDefinitionUid"),
        ("cs2", str(about.get("AlertDefinitionUid", ""))),
        ("cs3Label", "MessageId"),
        ("cs3", told.message.id),
        *((("cs4Label", "Status"), ("cs4", str(about["Status"]))) if "Status" in about else ()),
        *((("cs5Label", "Evidence"), ("cs5", ", ".join(about["Evidence"]))) if "Evidence" in about else ()),
        ("msg", told.summary),
    ]


def _host_fields(machine: str) -> Fields:
    if not machine:
        return []
    try:
        found = ip_address(machine)
    except ValueError:
        return [("dhost", machine)]
    if found.version == 4:
        return [("dst", machine)]
    return [("c6a3Label", "Destination IPv6 Address"), ("c6a3", machine)]


def _value_fields(told: Told) -> Fields:
    if told.type in _HASHES:
        return [("fileHash", told.values[0])]
    names = {IndicatorType.URL: "request", IndicatorType.FILE_NAME: "fname"}
    return [(names[told.type], told.values[0])] if told.type in names else []


def _fitting(head: str, fields: Iterable[str], tail: str, longest: int) -> bytes:
    """As many of the fields as there is room for, in their order, and of the end what fits still."""
    start, end = _bytes(head), _bytes(tail)
    room = longest - len(start) - min(len(end), longest // 4)
    for field in fields:
        more = _bytes(field)
        if len(more) > room:
            continue
        room -= len(more)
        start += more
    cut = end[: max(0, longest - len(start))]
    return start + (cut if cut == end else cut.decode("utf-8", "ignore").encode())


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _parameter(text: str) -> str:
    """RFC 5424, 6.3.3."""
    return one_line(text).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _cef_name(text: str) -> str:
    return one_line(text).replace("\\", "\\\\").replace("|", "\\|")


def _cef_value(text: str) -> str:
    return one_line(text).replace("\\", "\\\\").replace("=", "\\=")


def _millis(at: datetime | None) -> str:
    return "" if at is None else str(int(at.timestamp() * 1000))


def _host() -> str:
    """The name of the machine, as RFC 5424 lets it be named."""
    name = "".join(one for one in socket.gethostname() if "!" <= one <= "~")
    return name[:255] or "-"


FORMATS: dict[str, Callable[[Message, int, int], bytes]] = {"rfc5424": rfc5424, "cef": cef}


class Syslog:
    """Sends to one syslog server."""

    most = 100

    def __init__(self, given: Given, *, seconds: float = SECONDS) -> None:
        url = given.url()
        self._protocol = url.scheme.removeprefix("syslog+")
        own = TLS_OPTIONS if self._protocol == "tls" else ()
        given.only("format", "facility", "longest", *(() if self._protocol == "udp" else ("framing",)), *own)
        if url.path not in ("", "/") or url.query or url.fragment:
            raise InvalidValue(f"must be {url.scheme}://HOST:PORT and no more", target="Target")
        if given.secret:
            raise InvalidValue("syslog knows no secret; TLS can show a certificate", target="Secret")
        self.shown, self._seconds = given.target, seconds
        self._host, self._port = str(url.hostname), url.port or PORTS[self._protocol]
        self._format = FORMATS[given.choice("format", FORMATS, "rfc5424")]
        self._facility = given.number("facility", 16, 0, 23)
        self._longest = given.number("longest", 8192, 480, 65_000)
        self._lines = given.choice("framing", ("octets", "lines"), "octets") == "lines"
        self._context = given.context() if self._protocol == "tls" else None
        self._socket: socket.socket | None = None

    def send(self, messages: Sequence[Message]) -> list[Delivery]:
        """All of them at once; over TCP none counts before the last one is confirmed."""
        try:
            made = self._connected()
            if self._protocol == "udp":
                return self._by_datagram(made, messages)
            made.sendall(b"".join(self._framed(message) for message in messages))
            self._confirmed(made)
        except Unreachable as error:
            fault = error.message
        except (OSError, ValueError) as error:
            fault = f"{self._host}:{self._port} took nothing: {error}"
        else:
            return [Delivery(message, Outcome.DELIVERED) for message in messages]
        self.close()
        return [Delivery(messages[0], Outcome.LATER, fault)]

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _by_datagram(self, made: socket.socket, messages: Sequence[Message]) -> list[Delivery]:
        said: list[Delivery] = []
        for message in messages:
            try:
                made.send(self._format(message, self._facility, self._longest))
            except OSError as error:
                fault = f"{self._host}:{self._port} took nothing: {error}"
                return [*said, Delivery(message, Outcome.LATER, fault)]
            said.append(Delivery(message, Outcome.DELIVERED))
        return said

    def _framed(self, message: Message) -> bytes:
        text = self._format(message, self._facility, self._longest)
        return text + b"\n" if self._lines else b"%d %s" % (len(text), text)

    def _connected(self) -> socket.socket:
        if self._socket is not None and self._protocol != "udp" and _ended(self._socket):
            self.close()
        if self._socket is None:
            self._socket = self._connect()
        return self._socket

    def _connect(self) -> socket.socket:
        if self._protocol == "udp":
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
            made = socket.socket(found[0][0], socket.SOCK_DGRAM)
            made.settimeout(self._seconds)
            made.connect(found[0][4])
            return made
        # SIEMs stand in the same network: what a webhook may not reach is what this is for.
        made = connect(self._host, self._port, Allowed(everything=True))
        made.settimeout(self._seconds)
        if self._context is None:
            return made
        try:
            return self._context.wrap_socket(made, server_hostname=self._host)
        except BaseException:
            made.close()
            raise

    def _confirmed(self, made: socket.socket) -> None:
        """Wait until the other system has confirmed every byte. Raises OSError."""
        end = time.monotonic() + self._seconds
        while _unconfirmed(made):
            if time.monotonic() > end:
                raise OSError(f"it did not confirm what was sent within {self._seconds:g} s")
            time.sleep(_LOOK)
        if _ended(made):
            raise OSError("it ended the connection")


def _unconfirmed(made: socket.socket) -> int:
    """Bytes that were sent and not confirmed (SIOCOUTQ)."""
    (count,) = struct.unpack("i", fcntl.ioctl(made.fileno(), termios.TIOCOUTQ, b"\0" * 4))
    return int(count)


def _ended(made: socket.socket) -> bool:
    """Whether the other side has hung up; what it says is of no interest."""
    before = made.gettimeout()
    try:
        made.settimeout(0)
        with suppress(BlockingIOError, TimeoutError):
            return made.recv(4096) == b""
    except OSError as error:
        # Of TLS: nothing can be read now.
        return "did not complete" not in str(error)
    finally:
        made.settimeout(before)
    return False
