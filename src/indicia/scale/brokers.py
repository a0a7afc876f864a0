"""Brokers as Spark's jobs ask them: where topics begin and end, and the messages between as Arrow.

What `Course` decides is decided where a stream is planned; `read` runs on workers, one partition a task. It
has no group: where it begins and ends it is told, and nothing is committed but by Spark's checkpoint.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from indicia import librdkafka
from indicia.errors import InputError, InvalidValue
from indicia.scale import topics
from indicia.scale.topics import EARLIEST, LATEST, Offsets, Piece, Wanted, key, ordered, parted
from indicia.telemetry.columns import arrow

LOG = logging.getLogger(__name__)
ROWS, BYTES = 10_000, 8 * 1024 * 1024
"""Of a batch of Arrow, at the most; a message that is larger makes one alone."""
DDL = (
    "key binary, value binary, topic string, partition int, offset bigint, timestamp timestamp, "
    "timestampType int"
)
"""The columns, which are those of Spark's own connector."""
_TRIES, _PAUSE = 3, 1.0
_FATAL = ("_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED", "TOPIC_AUTHORIZATION_FAILED", "_FATAL")
"""Names of errors that no waiting mends."""
_GONE = ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC")
_IGNORED = ("_ALL_BROKERS_DOWN", "GROUP_AUTHORIZATION_FAILED")


class _Said:
    """The last fault of a client, in words."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self.fault = ""
        self.fatal = False
        """Whether it is one that no waiting mends."""

    def hear(self, error: Any) -> None:
        """From the client, in any of its calls."""
        if error.name() not in _IGNORED and not self.fatal:
            self.fault = self._wanted.veil(librdkafka.words(error))
            self.fatal = error.name() in _FATAL

    def words(self, error: Any = None) -> str:
        """What is known."""
        last = "" if error is None else self._wanted.veil(librdkafka.words(error))
        return self.fault or last or "brokers do not answer"


class Cluster:
    """Where topics begin and end.

    All that asks is answered within `wanted.answer` seconds, or raises InputError.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._said = _Said(wanted)
        self._client: Any = None

    def partitions(self) -> list[str]:
        """Those that are asked for and there, as keys. InputError where a topic that was named is not."""
        until = time.monotonic() + self._wanted.answer
        while True:
            found, unready = self._listed(until)
            if not unready:
                return found
            if time.monotonic() + _PAUSE > until:
                raise InputError(f"has no leader for {self._wanted.answer:.0f} s", place=unready)
            time.sleep(_PAUSE)

    def _listed(self, until: float) -> tuple[list[str], str]:
        """Partitions, and a topic that is not ready."""
        there = self._asked(lambda left: self._admin().list_topics(timeout=left), until).topics
        found: list[str] = []
        for topic, about in there.items():
            covered = [number for number in about.partitions if self._wanted.covers(topic, number)]
            if about.error is not None and self._wanted.covers(topic, 0):
                return [], topic
            found += [key(topic, number) for number in covered]
        for name in self._wanted.names - set(there):
            raise InputError("there is no such topic, or no right to see it", place=name)
        for one in self._wanted.assigned - set(found):
            raise InputError("there is no such partition, or no right to see it", place=one)
        return found, ""

    def earliest(self, partitions: list[str]) -> Offsets:
        """The offsets of the first messages that are there."""
        return self._offsets(partitions, EARLIEST)

    def latest(self, partitions: list[str]) -> Offsets:
        """The offsets that come next; before them all is decided, where only what is committed is read."""
        return self._offsets(partitions, LATEST)

    def _offsets(self, partitions: list[str], which: int) -> Offsets:
        if not partitions:
            return {}
        client, admin = librdkafka.client(), _admins()
        spec = admin.OffsetSpec.earliest() if which == EARLIEST else admin.OffsetSpec.latest()
        places = {client.TopicPartition(*parted(one)): spec for one in partitions}
        level = self._wanted.reading["isolation.level"].upper()

        def ask(left: float) -> Offsets:
            asked = self._admin().list_offsets(
                places, isolation_level=client.IsolationLevel[level], request_timeout=max(0.1, left)
            )
            return ordered(
                {key(one.topic, one.partition): given.result(left + 1).offset for one, given in asked.items()}
            )

        found: Offsets = self._asked(ask, time.monotonic() + self._wanted.answer)
        return found

    def _asked(self, ask: Any, until: float) -> Any:
        """What brokers answer, with some tries."""
        error = None
        while (left := until - time.monotonic()) > 0:
            try:
                return ask(min(left, self._wanted.answer / _TRIES))
            except librdkafka.client().KafkaException as raised:
                error = raised.args[0]
            except TimeoutError:
                pass
            self._admin().poll(0)
            if self._said.fatal or (error is not None and error.name() in _FATAL):
                break
            time.sleep(max(0.0, min(_PAUSE, until - time.monotonic())))
        servers = str(self._wanted.client["bootstrap.servers"])
        raise InputError(self._said.words(error), place=servers)

    def _admin(self) -> Any:
        if self._client is None:
            made = dict(self._wanted.client) | {"error_cb": self._said.hear}
            self._client = _built(_admins().AdminClient, made, self._wanted)
        return self._client


def _admins() -> Any:
    librdkafka.client()
    return importlib.import_module("confluent_kafka.admin")


def _built(kind: Any, settings: dict[str, Any], wanted: Wanted) -> Any:
    """A client. InvalidValue where librdkafka does not take its properties."""
    try:
        return kind(settings)
    except librdkafka.client().KafkaException as error:
        raise InvalidValue(wanted.veil(librdkafka.words(error.args[0])), target="kafka.*") from None


class Course:
    """How far a stream goes, batch by batch, or what one batch reads.

    Spark asks in an order of its own. A new stream is asked for `latest` before `initial`; one that goes on
    is told where it was, by pieces of nothing. With the trigger availableNow a new one is asked for `latest`
    once, and that must be all there is; nobody says which it is (`Wanted.bound_first` says: not that one).
    """

    def __init__(self, wanted: Wanted) -> None:
        if wanted.ending not in (None, LATEST):
            raise InvalidValue("can only be latest for a stream", target="endingOffsets")
        self._wanted = wanted
        self._cluster = Cluster(wanted)
        self._position: Offsets | None = None
        self._begun: Offsets | None = None
        self._begun_late = False
        """Whether that was decided behind the end of the first batch."""
        self._until: Offsets | None = None

    def initial(self) -> Offsets:
        """Where a new stream begins."""
        if self._begun is None:
            self._begun_late = True
            self._begun = self._beginning()
        return self._begun

    def _beginning(self) -> Offsets:
        starting = LATEST if self._wanted.starting is None else self._wanted.starting
        return _resolved(self._cluster, starting, "startingOffsets")

    def latest(self) -> Offsets:
        """Where the next batch ends."""
        ends = self._ends()
        if self._position is None:
            if not self._wanted.bound_first:
                return ends
            # A first batch without messages writes down where the stream began, whatever comes of the next.
            self._position = self._begun = self._beginning()
            return self._position
        new = [one for one in ends if one not in self._position] if self._wanted.limit else []
        start = self._position | (self._cluster.earliest(new) if new else {})
        return topics.bounded(start, ends, self._wanted.limit)

    def _ends(self) -> Offsets:
        if self._until is None:
            before = self._position or {}
            ends = self._looked(before)
            if self._wanted.ending is None:
                return ends
            self._until = ends
        return self._until

    def _looked(self, before: Offsets) -> Offsets:
        """Where topics end. A new leader may not know yet how far it was read, so it is asked again."""
        for left in reversed(range(_TRIES)):
            there = self._there(before)
            ends = self._cluster.latest(there)
            if left == 0 or all(end >= before.get(one, 0) for one, end in ends.items()):
                return ends
            time.sleep(_PAUSE)
        raise AssertionError("unreachable")

    def _there(self, before: Offsets) -> list[str]:
        there = self._cluster.partitions()
        for one in before.keys() - set(there):
            self._lost(one, "it is not there any more")
        return there

    def pieces(self, start: Offsets, end: Offsets) -> list[Piece]:
        """What a batch reads."""
        self._position = ordered(end)
        if start == end:
            return []
        if start == self._begun and self._begun_late:
            # What was the latest offset then is another one now.
            start = {one: min(offset, end.get(one, offset)) for one, offset in start.items()}
        there = set(self._cluster.partitions())
        earliest = self._cluster.earliest([one for one in end if one in there])
        return list(topics.pieces(start, end, earliest, self._lost))

    def _lost(self, place: str, what: str) -> None:
        _lose(self._wanted, place, what)


def batch(wanted: Wanted) -> list[Piece]:
    """What a batch reads that is no stream's: from the earliest to the latest, unless asked otherwise."""
    starting = EARLIEST if wanted.starting is None else wanted.starting
    ending = LATEST if wanted.ending is None else wanted.ending
    if starting == LATEST:
        raise InvalidValue("a batch cannot begin with latest", target="startingOffsets")
    if ending == EARLIEST:
        raise InvalidValue("a batch cannot end with earliest", target="endingOffsets")
    cluster = Cluster(wanted)
    start = _resolved(cluster, starting, "startingOffsets")
    end = _resolved(cluster, ending, "endingOffsets")
    earliest = cluster.earliest(list(end))
    return list(topics.pieces(start, end, earliest, lambda place, what: _lose(wanted, place, what)))


def _resolved(cluster: Cluster, places: int | Mapping[str, int], option: str) -> Offsets:
    """Offsets of what is asked for."""
    there = cluster.partitions()
    if isinstance(places, int):
        return cluster.earliest(there) if places == EARLIEST else cluster.latest(there)
    if missing := sorted(set(there) ^ set(places)):
        raise InvalidValue(
            f"must name each partition that is read and no other: {', '.join(missing)}", target=option
        )
    early = cluster.earliest([one for one, offset in places.items() if offset == EARLIEST])
    late = cluster.latest([one for one, offset in places.items() if offset == LATEST])
    return ordered(dict(places) | early | late)


def _lose(wanted: Wanted, place: str, what: str) -> None:
    if not wanted.lossy:
        raise topics.loss(place, what)
    LOG.warning("%s: %s; going on, as failOnDataLoss=false asks", place, what)


# On workers


@cache
def _schema() -> Any:
    pa = arrow()
    kinds = {"key": pa.binary(), "value": pa.binary(), "topic": pa.string(), "partition": pa.int32()}
    kinds |= {"offset": pa.int64(), "timestamp": pa.timestamp("us", tz="UTC"), "timestampType": pa.int32()}
    return pa.schema(kinds)


def _micros(time: int) -> int | None:
    """Of a message's milliseconds, which are whatever its sender said; None where no timestamp holds them."""
    micros = time * 1000
    return micros if -(2**63) <= micros < 2**63 else None


def read(wanted: Wanted, piece: Piece) -> Iterator[Any]:
    """The messages of a piece as RecordBatches.

    Raises InputError where brokers give nothing for `wanted.wait` seconds, or where messages are gone and
    that is not allowed; MissingExtra where the worker has no client.
    """
    reader = _Reader(wanted, piece)
    try:
        yield from reader.batches()
    finally:
        reader.close()


class _Reader:
    """One partition, from an offset to another."""

    def __init__(self, wanted: Wanted, piece: Piece) -> None:
        self._wanted, self._piece = wanted, piece
        self._at = piece.begin
        self._place = key(piece.topic, piece.partition)
        self._said = _Said(wanted)
        self._deadline = 0.0
        self._kafka = librdkafka.client()
        made = dict(wanted.client) | dict(wanted.reading) | {"error_cb": self._said.hear}
        self._consumer = _built(self._kafka.Consumer, made, wanted)
        self._assign()

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def _assign(self) -> None:
        topic, number = self._piece.topic, self._piece.partition
        self._consumer.assign([self._kafka.TopicPartition(topic, number, self._at)])
        self._alive()

    def _alive(self) -> None:
        self._deadline = time.monotonic() + self._wanted.wait

    def batches(self) -> Iterator[Any]:
        """All that is there."""
        waiting: list[Any] = []
        size = 0
        while self._at < self._piece.end:
            for message in self._heard():
                waiting.append(message)
                size += len(message) + len(message.key() or b"")
                if len(waiting) == ROWS or size >= BYTES:
                    yield self._batch(waiting)
                    waiting, size = [], 0
        if waiting:
            yield self._batch(waiting)

    def _heard(self) -> Iterator[Any]:
        """Messages that have come. Offsets have gaps, so what says that there are no more is their end."""
        left = self._deadline - time.monotonic()
        if self._said.fatal or left <= 0:
            seconds, end = self._wanted.wait, self._piece.end
            silent = f"gave nothing for {seconds:.0f} s at offset {self._at}, which is before {end}: "
            raise InputError(("" if self._said.fatal else silent) + self._said.words(), place=self._place)
        most = min(1000, self._piece.end - self._at)
        for message in self._consumer.consume(most, 0) or self._consumer.consume(1, min(left, 0.5)):
            if (error := message.error()) is not None:
                self._fault(error, message)
            elif message.offset() >= self._piece.end:
                self._at = self._piece.end
            elif message.offset() >= self._at:
                self._at = message.offset() + 1
                self._alive()
                yield message

    def _fault(self, error: Any, message: Any) -> None:
        name = error.name()
        if name == "_PARTITION_EOF":
            # After gaps at the end (transactions, what was compacted) no message comes that says so.
            self._at = max(self._at, min(message.offset(), self._piece.end))
        elif name == "_AUTO_OFFSET_RESET":
            self._lost()
        elif name in _GONE:
            _lose(self._wanted, self._place, "it is not there any more")
            self._at = self._piece.end
        else:
            self._said.hear(error)

    def _lost(self) -> None:
        """The offset is not there: messages were deleted, or the topic was made anew."""
        there = self._kafka.TopicPartition(self._piece.topic, self._piece.partition)
        try:
            low, high = self._consumer.get_watermark_offsets(there, timeout=self._wanted.answer)
        except self._kafka.KafkaException as error:
            raise InputError(self._said.words(error.args[0]), place=self._place) from None
        _lose(self._wanted, self._place, f"offset {self._at} is not there, only {low} to {high - 1}")
        end = self._piece.end
        self._at = min(end, low) if low > self._at else end
        self._assign()

    def _batch(self, messages: list[Any]) -> Any:
        pa, piece, count = arrow(), self._piece, len(messages)
        times = [message.timestamp() for message in messages]
        columns = [
            pa.array([message.key() for message in messages], pa.binary()),
            pa.array([message.value() for message in messages], pa.binary()),
            pa.repeat(pa.scalar(piece.topic), count),
            pa.repeat(pa.scalar(piece.partition, pa.int32()), count),
            pa.array([message.offset() for message in messages], pa.int64()),
            pa.array([_micros(time) for _, time in times], pa.int64()).cast(pa.timestamp("us", tz="UTC")),
            # Of Java's client, where 0 is what librdkafka calls 1.
            pa.array([kind - 1 for kind, _ in times], pa.int32()),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=_schema())
