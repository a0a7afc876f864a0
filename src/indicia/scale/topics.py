"""What a stream of topics is asked for, and the arithmetic of its offsets; knows neither Spark nor brokers.

Options have the names that Spark's own connector gives them. What begins with `kafka.` is a property of the
client: Java's where librdkafka has one that means the same, else librdkafka's own.

    subscribe, subscribePattern, assign       which topics; one of them
    startingOffsets                           earliest, latest, {"dns": {"0": 23, "1": -2}} (-1 is latest)
    endingOffsets                             of a batch; of a stream `latest`: what is there now and no more
    maxOffsetsPerTrigger                      messages of a batch of a stream, about
    boundFirstBatch                           true: of a new stream's first batch too
    failOnDataLoss                            false: go on where messages were deleted before they were read
    kafkaConsumer.pollTimeoutMs               how long a partition may give nothing

With the trigger availableNow Spark makes one batch of a source in Python, so no bound belongs there.

Offsets are flat: `{"dns/0": 24}` says that 24 is the next to be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from indicia.errors import InputError, InvalidValue

T = TypeVar("T")
Offsets = dict[str, int]
EARLIEST, LATEST = -2, -1
_NAMED = {"earliest": EARLIEST, "latest": LATEST}
FETCHED = 16 * 1024
"""KB that wait in the client of a task."""
_LARGEST = 1_000_000_000
"""Bytes of a message that is still fetched."""

_OWN = (
    "subscribe",
    "subscribePattern",
    "assign",
    "startingOffsets",
    "endingOffsets",
    "maxOffsetsPerTrigger",
    "boundFirstBatch",
    "failOnDataLoss",
    "kafkaConsumer.pollTimeoutMs",
)
_BOTH = (
    *("bootstrap.servers", "client.id", "client.rack", "metadata.max.age.ms"),
    *("security.protocol", "sasl.mechanism", "sasl.username", "sasl.password"),
    *("ssl.ca.location", "ssl.ca.pem", "ssl.certificate.location", "ssl.certificate.pem"),
    *("ssl.key.location", "ssl.key.pem", "ssl.key.password", "ssl.cipher.suites"),
    *("reconnect.backoff.ms", "reconnect.backoff.max.ms"),
)
"""Properties of librdkafka that every client takes under the same name."""
_READING = (
    *("group.id", "isolation.level", "check.crcs"),
    *("fetch.min.bytes", "fetch.max.bytes", "max.partition.fetch.bytes"),
)
"""Those that only who reads takes."""
_RENAMED = {
    "request.timeout.ms": "socket.timeout.ms",
    "ssl.truststore.certificates": "ssl.ca.pem",
    "ssl.keystore.certificate.chain": "ssl.certificate.pem",
    "ssl.keystore.key": "ssl.key.pem",
}
_WAITS = "fetch.max.wait.ms"
_ANSWER = "default.api.timeout.ms"
_PEM = "kafka.ssl.ca.location (a file in PEM)"
_PAIR = "kafka.ssl.certificate.location and kafka.ssl.key.location (files in PEM)"
_JAVA = {
    "sasl.jaas.config": "kafka.sasl.username and kafka.sasl.password",
    "sasl.kerberos.service.name": "kafka.sasl.mechanism SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN",
    "ssl.truststore.location": _PEM,
    "ssl.truststore.password": _PEM,
    "ssl.keystore.location": _PAIR,
    "ssl.keystore.password": _PAIR,
}
"""Properties that only Java's client understands, and what to give instead."""
_SECRET = ("password", "key.pem")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Topics, from where to where, and how brokers are spoken to."""

    names: frozenset[str] = frozenset()
    pattern: str | None = None
    assigned: frozenset[str] = frozenset()
    """Partitions, as keys of Offsets."""
    starting: int | Mapping[str, int] | None = None
    """None: the latest for a stream, the earliest for a batch."""
    ending: int | Mapping[str, int] | None = None
    limit: int | None = None
    bound_first: bool = False
    lossy: bool = False
    wait: float = 120.0
    """Seconds."""
    answer: float = 30.0
    """Seconds in which brokers must answer, with all tries."""
    client: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Properties of any client."""
    reading: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Further ones of who reads."""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Wanted:
        """From options, whatever the case of their names. InvalidValue says which is wrong; no secret."""
        options = _Options(given)
        properties = options.properties()
        client, reading = _clients(dict(properties))
        made = cls(
            *_topics(options),
            starting=options.read("startingOffsets", _places),
            ending=options.read("endingOffsets", _places),
            limit=options.read("maxOffsetsPerTrigger", _count),
            bound_first=options.read("boundFirstBatch", _truth) or False,
            lossy=options.read("failOnDataLoss", _truth) is False,
            wait=(options.read("kafkaConsumer.pollTimeoutMs", _count) or 120_000) / 1000,
            answer=_at("kafka." + _ANSWER, _count, properties.get(_ANSWER, "30000")) / 1000,
            client=client,
            reading=reading,
        )
        options.only()
        return made

    def covers(self, topic: str, partition: int) -> bool:
        """Whether it is one of those that are asked for."""
        if self.assigned:
            return key(topic, partition) in self.assigned
        if self.pattern is not None:
            return re.fullmatch(self.pattern, topic) is not None
        return topic in self.names

    def veil(self, text: str) -> str:
        """The text without any secret of the client."""
        for name, value in self.client.items():
            if name.endswith(_SECRET) and value:
                text = text.replace(str(value), "…")
        return text


class _Options:
    """By name, in lower case, of which all that are read are known."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = {name.lower(): value for name, value in given.items()}
        self._read: set[str] = set()

    def read(self, name: str, made: Callable[[str], T]) -> T | None:
        """What is given under the name; None where nothing is."""
        self._read.add(name.lower())
        value = self._given.get(name.lower())
        return None if value is None else _at(name, made, value.strip())

    def properties(self) -> dict[str, str]:
        """What begins with `kafka.`, without that."""
        found = {name: value for name, value in self._given.items() if name.startswith("kafka.")}
        self._read |= set(found)
        return {name.removeprefix("kafka."): value for name, value in found.items()}

    def only(self) -> None:
        """Raises InvalidValue where there is another."""
        for name in sorted(set(self._given) - self._read):
            raise InvalidValue(f"is no option of this source; known: {', '.join(_OWN)}, kafka.*", target=name)


def _at(name: str, made: Callable[[str], T], value: str) -> T:
    try:
        return made(value)
    except ValueError as error:
        raise InvalidValue(str(error), target=name) from None


def _topics(options: _Options) -> tuple[frozenset[str], str | None, frozenset[str]]:
    names = options.read("subscribe", _names)
    pattern = options.read("subscribePattern", _pattern)
    assigned = options.read("assign", _assigned)
    if sum(one is not None for one in (names, pattern, assigned)) != 1:
        raise InvalidValue("give one of subscribe, subscribePattern and assign")
    return names or frozenset(), pattern, assigned or frozenset()


def _names(text: str) -> frozenset[str]:
    found = frozenset(one.strip() for one in text.split(","))
    if "" in found:
        raise ValueError("must be names of topics, with commas between")
    return found


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return text


def _assigned(text: str) -> frozenset[str]:
    found = _object(text, '{"dns": [0, 1]}')
    numbers = [(topic, one) for topic, some in found.items() for one in _each(some)]
    if not numbers or not all(type(one) is int and one >= 0 for _, one in numbers):
        raise ValueError('must be partitions by topic, as {"dns": [0, 1]}')
    return frozenset(key(topic, one) for topic, one in numbers)


def _each(some: Any) -> list[Any]:
    return some if isinstance(some, list) else [None]


def _places(text: str) -> int | dict[str, int]:
    if text.lower() in _NAMED:
        return _NAMED[text.lower()]
    shape = 'earliest, latest, or {"dns": {"0": 23, "1": -2}}'
    places: dict[str, int] = {}
    for topic, some in _object(text, shape).items():
        if not isinstance(some, dict):
            raise ValueError(f"must be {shape}")
        for number, offset in some.items():
            if not number.isdecimal() or type(offset) is not int or offset < EARLIEST:
                raise ValueError(f"must be {shape}")
            places[key(topic, int(number))] = offset
    return places


def _object(text: str, shape: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"must be {shape}")
    return found


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**63:
        raise ValueError("must be a number from 1 on")
    return int(text)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return text.lower() == "true"


# How brokers are spoken to


def _clients(given: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Properties of any client, and further ones of who reads."""
    if not given.get("bootstrap.servers", "").strip():
        raise InvalidValue("must name brokers, as host:9092,host2:9092", target="kafka.bootstrap.servers")
    given.pop(_ANSWER, None)
    wait = _at("kafka." + _WAITS, _count, given.pop(_WAITS, "100"))
    client: dict[str, Any] = {
        "client.id": "indicia",
        # Faults are told through error_cb, in words.
        "log_level": 0,
        "socket.timeout.ms": 10_000,
        "socket.connection.setup.timeout.ms": 10_000,
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2_000,
    }
    reading: dict[str, Any] = {
        # The client asks for one. Nothing is committed, and nobody becomes a member.
        "group.id": "indicia-spark",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": wait,
        "fetch.queue.backoff.ms": 20,
        "fetch.max.bytes": FETCHED * 1024,
        "max.partition.fetch.bytes": FETCHED * 1024,
        "queued.max.messages.kbytes": FETCHED,
        "receive.message.max.bytes": _LARGEST + 512,
    }
    client |= _stores(given)
    for name, value in given.items():
        if name in _READING:
            reading[name] = value
        elif name in _BOTH or name in _RENAMED:
            client[_RENAMED.get(name, name)] = value
        elif name == "ssl.endpoint.identification.algorithm":
            client[name] = value or "none"  # Java switches it off by an empty one
        else:
            raise InvalidValue(_unknown(name), target=f"kafka.{name}")
    return client, reading


def _stores(given: dict[str, str]) -> dict[str, str]:
    """Of Java's stores those that librdkafka can read, taken out of what is given."""
    made = {}
    if given.pop("ssl.truststore.type", "").upper() == "PEM" and "ssl.truststore.location" in given:
        made["ssl.ca.location"] = given.pop("ssl.truststore.location")
    form = given.pop("ssl.keystore.type", "").upper()
    if form == "PEM" and "ssl.keystore.location" in given:
        made["ssl.key.location"] = made["ssl.certificate.location"] = given.pop("ssl.keystore.location")
    if form == "PKCS12":
        names = "ssl.keystore.location", "ssl.keystore.password"
        made |= {name: given.pop(name) for name in names if name in given}
    return made


def _unknown(name: str) -> str:
    if name in _JAVA:
        return f"is of Java's client; without Spark's connector give {_JAVA[name]}"
    known = ", ".join(sorted([*_BOTH, *_READING, *_RENAMED, _WAITS, _ANSWER]))
    return f"is no property that is passed on without Spark's connector; those are: {known}"


# Offsets


def key(topic: str, partition: int) -> str:
    """Of a partition in Offsets."""
    return f"{topic}/{partition}"


def parted(found: str) -> tuple[str, int]:
    """Topic and partition of a key."""
    topic, _, number = found.rpartition("/")
    return topic, int(number)


def flat(offsets: Mapping[str, Any]) -> Offsets:
    """Offsets of a checkpoint, which may be one of Spark's connector: `{"dns": {"0": 24}}`."""
    found: Offsets = {}
    for name, one in offsets.items():
        found |= {key(name, int(n)): at for n, at in one.items()} if isinstance(one, dict) else {name: one}
    return ordered(found)


def ordered(offsets: Mapping[str, int]) -> Offsets:
    """In the one order of all: Spark compares offsets as texts."""
    return {one: offsets[one] for one in sorted(offsets, key=parted)}


@dataclass(frozen=True, slots=True)
class Piece:
    """Messages of one partition, from `begin` to before `end`."""

    topic: str
    partition: int
    begin: int
    end: int


def bounded(start: Mapping[str, int], ends: Mapping[str, int], limit: int | None) -> Offsets:
    """How far a batch goes from `start`, which has all of `ends`: each partition by its share, at least 1."""
    sizes = {one: max(0, end - start[one]) for one, end in ends.items()}
    total = sum(sizes.values())
    if limit is None or total <= limit:
        return ordered(ends)
    # Where it is behind its start, that is told when the batch is planned.
    return ordered(
        {
            one: start[one] + min(size, max(1, limit * size // total)) if size else ends[one]
            for one, size in sizes.items()
        }
    )


def pieces(
    start: Mapping[str, int],
    end: Mapping[str, int],
    earliest: Mapping[str, int],
    lost: Callable[[str, str], None],
) -> Iterator[Piece]:
    """What a batch reads; a partition that `start` has not begins with its earliest message.

    `lost` hears of a partition that messages of it are gone; where it does not raise, what is left is read.
    """
    for one, until in ordered(end).items():
        if one not in earliest:
            lost(one, "it is not there any more")
            continue
        first = earliest[one]
        begin = start.get(one, first)
        if until < begin:
            lost(one, f"it ends with offset {until}, and was read up to {begin} before: it was made anew")
            begin = first
        elif begin < first and begin < until:
            lost(one, f"messages from offset {begin} to {first - 1} were deleted before they were read")
            begin = first
        if begin < until:
            yield Piece(*parted(one), begin, until)


def loss(place: str, what: str) -> InputError:
    """The error of what is lost."""
    return InputError(f"{what}; failOnDataLoss=false goes on with what is there", place=place)
