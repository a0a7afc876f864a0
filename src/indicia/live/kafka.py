"""`kafka:`, `kafka+tls:` a topic of Apache Kafka, read as a member of a consumer group.

    indicia watch 'kafka://broker:9092,broker2:9092/dns?group=indicia'
    indicia watch 'kafka+tls://broker:9093/dns?secret=/etc/indicia/kafka&trust=/etc/indicia/ca.pem&dead=dns-dead'

A message is one JSON object, or lines: of JSON objects, or of text. Offsets are committed after what was
detected is in the store, never before: whatever is killed when, some messages come again and none is lost,
and events that come again have the same ids, so the effect is that of an undisturbed run. Partitions are
taken over in small steps (cooperative-sticky); before one is given up, what was matched of it is recorded
and committed, and what was fetched beyond is dropped, for its next owner to fetch.

What may stand behind the `?`:

    group        the consumer group, indicia
    start        where a group that has committed nothing begins: earliest, or latest
    source       what the events are of, where they name no machine; kafka:TOPIC
    dead         a topic for messages that cannot be read; without it they are told like malformed lines
    longest      bytes of a message, 4194304; what is longer counts as one that cannot be read
    session      seconds without a sign of life after which others take over the partitions, 45
    secret       a file whose first line is USER:PASSWORD, for SASL
    mechanism, trust, certificate, key   as in outputs/brokers.py
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from indicia.errors import InputError, InvalidValue, StoreError
from indicia.live.deadletters import Dead, DeadLetters
from indicia.live.lag import Lag
from indicia.live.pieces import Piece
from indicia.outputs import brokers
from indicia.outputs.given import Given
from indicia.telemetry.records import Form, of_lines

GROUP = "indicia"
AT_ONCE = 10_000
"""Messages of one look."""
PIECE = 4 * 1024 * 1024
"""Bytes of one piece, about."""
FETCHED = 32 * 1024
"""Kilobytes that wait here; nothing more is fetched then."""
LONGEST = 4 * 1024 * 1024
LARGEST = 1_000_000_000
"""Bytes of a message that is fetched at all, so that a larger one than `longest` can be passed over."""
END_SECONDS = 5.0
"""How long leaving the group may take."""
DEAD_SECONDS = 0.25
"""How long it is waited for dead letters under way before it is said how far it is."""
LOG = logging.getLogger("indicia.live")
_OPTIONS = ("group", "start", "source", "dead", "longest", "session", "secret")
_SPACE = b" \t\r\n"
_decoder = msgspec.json.Decoder(msgspec.Raw)
_check, _check_lines = _decoder.decode, _decoder.decode_lines


class Wanted(NamedTuple):
    """What a URL asks for."""

    address: brokers.Address
    options: Mapping[str, str]
    given: Given

    @classmethod
    def of(cls, url: str) -> Wanted:
        """From a URL; InputError with what is wrong of it."""
        target, _, query = url.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        try:
            address = brokers.Address.of(target)
            secret = _secret(options["secret"]) if "secret" in options else ""
            given = Given(target, options, secret)
            given.only(*_OPTIONS, *brokers.OPTIONS)
            given.number("longest", LONGEST, 1, LARGEST)
            given.number("session", 45, 1, 1800)
            given.choice("start", ("earliest", "latest"), "earliest")
            if options.get("dead") == address.topic:
                raise InvalidValue("dead must be another topic, or what is there would come again for ever")
            for name in ("group", "source", "dead"):
                if not 0 < len(text := options.get(name, "-")) <= 200 or not text.isprintable():
                    raise InvalidValue(f"{name} must be 1 to 200 printable characters")
        except InvalidValue as error:
            # Before an @ there may be a password, which belongs into no log.
            raise InputError(error.message, place="kafka://…" if "@" in url else target) from None
        return cls(address, options, given)


def _secret(file: str) -> str:
    try:
        with Path(file).open(encoding="utf-8") as stream:
            found = stream.readline(10_000).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"secret: {file} cannot be read: {error}") from None
    if not found:
        raise InvalidValue(f"secret: {file} holds none; its first line is USER:PASSWORD")
    return found


class Read(NamedTuple):
    """A message, read."""

    lines: list[bytes]
    form: Form
    faults: list[tuple[int, str]]
    """Lines that are no events, and why; line 0 where the message as a whole is meant."""


def read(value: bytes | None, longest: int) -> Read:
    """The lines of a message that can be events."""
    # Letters may end with a byte that is one of a byte order mark, so that is taken as a whole.
    text = (value or b"")[: longest + 1].strip(_SPACE).removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)
    if unfit := _unfit(value, text, longest):
        return Read([], Form.LINES, [(0, unfit)])
    if not text.startswith(b"{"):
        return Read([line for line in text.split(b"\n") if line.strip()], Form.LINES, [])
    if b"\n" in text:
        # One object over several lines; line feeds stand between its parts, never in a string.
        whole = text.replace(b"\n", b" ").replace(b"\r", b" ")
        if _is_one(whole):
            return Read([whole], Form.JSON, [])
    lines: list[bytes] = []
    faults: list[tuple[int, str]] = []
    for number, line in enumerate(text.split(b"\n"), b"\n" in text):
        found = _faults(line)
        faults += [(number, reason) for reason in found]
        if line.strip() and not found:
            lines.append(line)
    return Read(lines, Form.JSON, faults)


def _unfit(value: bytes | None, text: bytes, longest: int) -> str:
    """Why nothing of a message can be read; empty where something can."""
    if value is None:
        return "a tombstone: it has no value"
    if len(value) > longest:
        return f"{len(value)} bytes, more than {longest}"
    if not text:
        return "it is empty"
    return "it is neither JSON nor text: it holds NUL" if b"\0" in text else ""


def _is_one(text: bytes) -> bool:
    """Whether it is one JSON value and no more."""
    try:
        _check(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _faults(line: bytes) -> list[str]:
    """Why a line is no JSON object; nothing where it is one."""
    found: list[str] = []
    for _ in of_lines([(1, line)], lambda _line, reason: found.append(reason)):
        pass
    return found


class Kafka:
    """One topic; for one thread. `settle` puts what was detected so far into the store.

    `refused` hears of every line that is no event, and why.
    """

    def __init__(
        self, url: str, settle: Callable[[], None], refused: Callable[[str, str | None], None]
    ) -> None:
        wanted = Wanted.of(url)
        address, options = wanted.address, wanted.options
        self.topic, self.name = address.topic, options.get("source", f"kafka:{address.topic}")
        self._longest = int(options.get("longest", LONGEST))
        self._settle, self._refused = settle, refused
        self._said = brokers.Said(self._told)
        self._owned: set[int] = set()
        self._done: dict[int, int] = {}
        """Of partitions the offset after what was matched."""
        self._noted: dict[int, int] = {}
        """That was committed, or is just being so."""
        self._closed = False
        made = _made(wanted, self._said)
        client = brokers.client()
        try:
            self._consumer = client.Consumer(made | _reading(wanted, self._committed))
            self._consumer.subscribe(
                [self.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
            )
            self._dead = DeadLetters(options["dead"], made, self._tell) if "dead" in options else None
        except client.KafkaException as error:
            raise InputError(brokers.words(error.args[0]), place=address.shown) from None
        self.lag = Lag(self.topic, str(options.get("group", GROUP)), made, self._well)

    # What comes

    def pieces(self) -> Iterator[Piece]:
        """What has come since."""
        messages, ends = [], dict[int, int]()
        for message in self._consumer.consume(AT_ONCE, 0):
            if message.error() is not None:
                self._said.hear(message.error())
                continue
            # What was fetched before a partition was given up is its next owner's.
            if (partition := message.partition()) in self._owned:
                messages.append(message)
                ends[partition] = message.offset() + 1
        if self._dead is not None:
            self._dead.serve()
        if messages:
            self._well()
            yield from self._read(messages)
            # All of it was matched.
            self._done |= {number: end for number, end in ends.items() if number in self._owned}

    def _read(self, messages: list[Any]) -> Iterator[Piece]:
        """Sound JSON objects as they are, many at once; everything else is looked at one by one."""
        begin, size = 0, 0
        for at, message in enumerate(messages):
            size += len(message)
            if size >= PIECE or at + 1 == len(messages):
                yield from self._pieces(messages[begin : at + 1])
                begin, size = at + 1, 0

    def _pieces(self, messages: list[Any]) -> Iterator[Piece]:
        values = [message.value() for message in messages]
        if max(map(len, messages)) <= self._longest and (data := _sound(values)) is not None:
            yield self._piece(data, Form.JSON, messages)
            return
        found = [read(value, self._longest) for value in values]
        for message, one in zip(messages, found, strict=True):
            self._refuse(message, one.faults)
        for form in (Form.JSON, Form.LINES):
            lines, owners = list[bytes](), list[Any]()
            for message, one in zip(messages, found, strict=True):
                if one.form is form:
                    lines += one.lines
                    owners += [message] * len(one.lines)
            if lines:
                yield self._piece(b"\n".join(lines) + b"\n", form, owners)

    def _piece(self, data: bytes, form: Form, owners: list[Any]) -> Piece:
        def refused(line: int, reason: str) -> None:
            self._refuse(owners[line - 1], [(0, reason)])

        return Piece(self.name, data, form, places=_Offsets(owners), refused=refused)

    def _refuse(self, message: Any, faults: list[tuple[int, str]]) -> None:
        """Count what is no event of a message, and put the message by."""
        if not faults:
            return
        place = f"partition {message.partition()}, offset {message.offset()}"
        for line, reason in faults:
            words = f"{place}{f', line {line}' if line else ''}: {reason}"
            self._refused(self.name, words if self._dead is None else None)
        if self._dead is not None:
            line, reason = faults[0]
            self._dead.send(Dead(message, f"line {line}: {reason}" if line else reason))

    @property
    def dead(self) -> int:
        """Messages that the dead-letter topic took."""
        return 0 if self._dead is None else self._dead.taken

    # How far it is

    def keep(self) -> None:
        """Commit how far it is; all of that is in the store. Asks, and does not wait for the answer."""
        due = self._due()
        if due and self._dead is not None and not self._said.down:
            # Where some always come, there would never be a moment without one under way.
            self._dead.wait(DEAD_SECONDS)
        # What is asked of brokers that are not there would hold up the end.
        if due and not self._said.down and not self._unsent():
            self._noted |= due
            self._consumer.commit(offsets=self._places(due), asynchronous=True)

    def _unsent(self) -> bool:
        """Whether a dead letter is still under way: what is before it may not be committed yet."""
        return self._dead is not None and self._dead.waiting > 0

    def _due(self) -> dict[int, int]:
        return {number: end for number, end in self._done.items() if self._noted.get(number) != end}

    def _places(self, ends: Mapping[int, int]) -> list[Any]:
        made = brokers.client().TopicPartition
        return [made(self.topic, number, end) for number, end in ends.items()]

    def _committed(self, error: Any, places: list[Any]) -> None:
        if error is not None:
            for place in places:
                # Once more the next time.
                self._noted.pop(place.partition, None)

    # Who reads what

    def _assigned(self, _consumer: Any, places: list[Any]) -> None:
        self._owned |= {place.partition for place in places}
        self._well()

    def _revoked(self, _consumer: Any, places: list[Any]) -> None:
        """Before others have them: what was matched is recorded and committed."""
        if self._closed:
            return
        self._settle()
        if self._dead is not None:
            self._dead.wait(END_SECONDS)
        given = {place.partition for place in places}
        due = {number: end for number, end in self._due().items() if number in given}
        if due and not self._unsent():
            self._commit(due)
        self._forget(given)

    def _commit(self, ends: Mapping[int, int]) -> None:
        try:
            self._consumer.commit(offsets=self._places(ends), asynchronous=False)
        except brokers.client().KafkaException as error:
            # Whoever has them next begins where the last commit was; what comes twice changes nothing.
            LOG.info("%s: %s", self.name, brokers.words(error.args[0]))

    def _lost(self, _consumer: Any, places: list[Any]) -> None:
        """They are others' already."""
        self._forget({place.partition for place in places})

    def _forget(self, numbers: set[int]) -> None:
        self._owned -= numbers
        for number in numbers:
            self._done.pop(number, None)
            self._noted.pop(number, None)

    # The end, and what is said

    def close(self) -> None:
        """Commit what is in the store, and leave the group, as far as brokers let us, within END_SECONDS."""
        if self._closed:
            return
        self.lag.close()
        try:
            self._settle()
            due = self._due()
        except StoreError:
            # It ends because of that; what is not in the store is not committed.
            due = {}
        if self._dead is not None and not self._said.down:
            self._dead.wait(END_SECONDS)
        self._closed = True
        if self._unsent() or self._said.down:
            due = {}
        thread = threading.Thread(target=self._leave, args=(due,), daemon=True)
        thread.start()
        # Brokers that are away cannot be told; they see by themselves that it is gone.
        thread.join(1.0 if self._said.down else END_SECONDS)

    def _leave(self, due: Mapping[int, int]) -> None:
        if due:
            self._commit(due)
        self._consumer.close()

    def _well(self) -> None:
        if self._said.well():
            self._tell("brokers answer again")

    def _told(self, fault: str) -> None:
        self._tell(f"{fault}; it is tried again")

    def _tell(self, words: str) -> None:
        LOG.warning("%s: %s", self.name, words)


class _Offsets:
    """Of each line of a piece the offset of its message."""

    def __init__(self, owners: list[Any]) -> None:
        self._owners = owners

    def __getitem__(self, at: int) -> int:
        return int(self._owners[at].offset())


def _sound(values: list[bytes | None]) -> bytes | None:
    """All of them as lines where each is one JSON object without a line feed; None where one is not."""
    try:
        data = b"\n".join(values) + b"\n"  # type: ignore[arg-type]
    except TypeError:
        return None
    count = len(values)
    # In a JSON text no } is followed by {, so none goes on in the next line.
    if data.count(b"\n") != count or not data.startswith(b"{") or not data.endswith(b"}\n"):
        return None
    if data.count(b"}\n{") != count - 1:
        return None
    try:
        return data if len(_check_lines(data)) == count else None
    except (msgspec.DecodeError, RecursionError):
        return None


def _made(wanted: Wanted, said: brokers.Said) -> dict[str, Any]:
    try:
        return brokers.settings(wanted.address, wanted.given, said)
    except InvalidValue as error:
        raise InputError(error.message, place=wanted.address.shown) from None


def _reading(wanted: Wanted, committed: Callable[..., None]) -> dict[str, Any]:
    session = int(wanted.options.get("session", 45)) * 1000
    return {
        "group.id": wanted.options.get("group", GROUP),
        "auto.offset.reset": wanted.options.get("start", "earliest"),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "on_commit": committed,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session,
        "heartbeat.interval.ms": max(100, session // 15),
        "max.poll.interval.ms": max(600_000, session),
        "queued.max.messages.kbytes": FETCHED,
        "fetch.max.bytes": FETCHED * 512,
        "max.partition.fetch.bytes": LONGEST,
        "fetch.queue.backoff.ms": 20,
        "receive.message.max.bytes": LARGEST + 512,
    }
