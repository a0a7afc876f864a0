"""Topics for Spark without its connector: options, the arithmetic of offsets, and a real broker.

With Spark itself they are tested in test_spark_connectors.py.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator

import confluent_kafka
import pytest

import broker as kafka
from broker import PASSWORD, USER, Broker
from indicia.errors import InputError, InvalidValue, MissingExtra
from indicia.scale import brokers, topics
from indicia.scale.brokers import Course
from indicia.scale.topics import Offsets, Piece, Wanted, bounded, pieces
from service import free_port

SERVERS = {"kafka.bootstrap.servers": "kafka.example:9092"}
LEAST = SERVERS | {"subscribe": "dns"}


# Options


def test_options_are_those_of_sparks_connector_in_any_case() -> None:
    given = {
        "SUBSCRIBE": "dns, proxy",
        "startingoffsets": '{"dns": {"0": 23, "1": -2}}',
        "maxOffsetsPerTrigger": "1000",
        "failOnDataLoss": "False",
        "kafkaConsumer.pollTimeoutMs": "1500",
        "kafka.bootstrap.servers": "kafka.example:9092",
    }
    wanted = Wanted.of(given)
    assert wanted.names == {"dns", "proxy"}
    assert wanted.starting == {"dns/0": 23, "dns/1": topics.EARLIEST}
    assert (wanted.limit, wanted.lossy, wanted.wait, wanted.bound_first) == (1000, True, 1.5, False)
    assert Wanted.of(LEAST).starting is None
    assert Wanted.of(LEAST | {"endingOffsets": "latest"}).ending == topics.LATEST
    assert Wanted.of(LEAST).reading["isolation.level"] == "read_committed"
    assert pickle.loads(pickle.dumps(wanted)) == wanted


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"subscribe": "dns"}, "kafka.bootstrap.servers: must name brokers"),
        (SERVERS, "give one of subscribe, subscribePattern and assign"),
        (LEAST | {"assign": '{"dns": [0]}'}, "give one of"),
        (SERVERS | {"subscribe": "dns,"}, "subscribe: must be names"),
        (SERVERS | {"subscribePattern": "("}, "subscribePattern: is no regular expression"),
        (SERVERS | {"assign": '{"dns": 0}'}, "assign: must be partitions by topic"),
        (SERVERS | {"assign": '{"dns": [true]}'}, "assign: must be partitions by topic"),
        (SERVERS | {"assign": "[" * 9}, "assign: must be"),
        (LEAST | {"startingOffsets": "first"}, "startingOffsets: must be earliest, latest, or"),
        (LEAST | {"startingOffsets": '{"dns": {"x": 1}}'}, "startingOffsets: must be"),
        (LEAST | {"startingOffsets": '{"dns": {"0": -3}}'}, "startingOffsets: must be"),
        (LEAST | {"startingOffsets": '{"dns": [1]}'}, "startingOffsets: must be"),
        (LEAST | {"maxOffsetsPerTrigger": "0"}, "maxOffsetsPerTrigger: must be a number from 1 on"),
        (LEAST | {"failOnDataLoss": "maybe"}, "failOnDataLoss: must be true or false"),
        (LEAST | {"minPartitions": "3"}, "minpartitions: is no option of this source; known: subscribe,"),
        (LEAST | {"kafka.fetch.max.wait.ms": "soon"}, "kafka.fetch.max.wait.ms: must be a number"),
        (LEAST | {"kafka.sasl.kerberos.kinit.cmd": "sh"}, "kafka.sasl.kerberos.kinit.cmd: is no property"),
        (LEAST | {"kafka.plugin.library.paths": "x.so"}, "is no property that is passed on"),
        (LEAST | {"kafka.ssl.truststore.location": "t.jks"}, "give kafka.ssl.ca.location"),
        (LEAST | {"kafka.ssl.keystore.location": "k.jks"}, "give kafka.ssl.certificate.location and"),
    ],
)
def test_what_cannot_be_says_where(given: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        Wanted.of(given)
    assert words in str(raised.value)


def test_a_login_module_of_java_is_refused_and_not_shown() -> None:
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    jaas = f'{module} required username="u" password="{PASSWORD}";'
    with pytest.raises(InvalidValue, match=r"give kafka\.sasl\.username and kafka\.sasl\.password") as raised:
        Wanted.of(LEAST | {"kafka.sasl.jaas.config": jaas})
    assert PASSWORD not in str(raised.value)


def test_no_secret_is_shown() -> None:
    wanted = Wanted.of(LEAST | {"kafka.sasl.password": PASSWORD, "kafka.ssl.key.password": "hidden"})
    assert PASSWORD not in repr(wanted)
    assert wanted.veil(f"{PASSWORD} and hidden, for kafka.example") == "… and …, for kafka.example"


def test_properties_of_java_become_those_of_librdkafka() -> None:
    given = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "request.timeout.ms": "2000",
        "fetch.max.wait.ms": "250",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": "ca.pem",
        "ssl.keystore.type": "pem",
        "ssl.keystore.location": "both.pem",
        "ssl.endpoint.identification.algorithm": "",
        "isolation.level": "read_uncommitted",
        "group.id": "lake",
    }
    wanted = Wanted.of(LEAST | {f"kafka.{name}": value for name, value in given.items()})
    made = {
        "socket.timeout.ms": "2000",
        "ssl.ca.location": "ca.pem",
        "ssl.key.location": "both.pem",
        "ssl.certificate.location": "both.pem",
        "ssl.endpoint.identification.algorithm": "none",
        "sasl.mechanism": "SCRAM-SHA-512",
    }
    assert made.items() <= wanted.client.items()
    assert {
        "group.id": "lake",
        "isolation.level": "read_uncommitted",
        "fetch.wait.max.ms": 250,
    }.items() <= wanted.reading.items()
    pkcs = {"kafka.ssl.keystore.type": "PKCS12", "kafka.ssl.keystore.location": "k.p12"}
    assert Wanted.of(LEAST | pkcs).client["ssl.keystore.location"] == "k.p12"


def test_which_partitions_are_covered() -> None:
    assert Wanted.of(LEAST).covers("dns", 7)
    assert not Wanted.of(LEAST).covers("dns2", 0)
    some = Wanted.of(SERVERS | {"subscribePattern": "dns.*"})
    assert [some.covers(name, 0) for name in ("dns", "dns2", "old-dns")] == [True, True, False]
    one = Wanted.of(SERVERS | {"assign": '{"dns": [1]}'})
    assert [one.covers("dns", number) for number in range(3)] == [False, True, False]


# Offsets


def test_offsets_have_one_order() -> None:
    mixed = {"b/2": 1, "b/10": 2, "a/0": 3}
    assert list(topics.ordered(mixed)) == ["a/0", "b/2", "b/10"]
    assert topics.parted("a.b-c/12") == ("a.b-c", 12)


def test_offsets_of_sparks_connector_are_taken_on() -> None:
    assert topics.flat({"dns": {"10": 4, "2": 5}, "a": {"0": 1}}) == {"a/0": 1, "dns/2": 5, "dns/10": 4}
    assert list(topics.flat({"b/2": 1, "b/10": 2, "a/0": 3})) == ["a/0", "b/2", "b/10"]


def test_a_batch_is_bounded_by_shares() -> None:
    start, ends = {"a/0": 0, "a/1": 50, "a/2": 7, "b/0": 3}, {"a/0": 900, "a/1": 150, "a/2": 7, "b/0": 4}
    assert bounded(start, ends, None) == ends
    assert bounded(start, ends, 1001) == ends
    assert bounded(start, ends, 100) == {"a/0": 89, "a/1": 59, "a/2": 7, "b/0": 4}
    # Each that has something goes on, so that none waits for ever.
    assert bounded(start, ends, 1) == {"a/0": 1, "a/1": 51, "a/2": 7, "b/0": 4}
    # One that ends before its start is told of by who plans.
    assert bounded({"a/0": 9, "a/1": 0}, {"a/0": 4, "a/1": 100}, 10) == {"a/0": 4, "a/1": 10}


def planned(start: Offsets, end: Offsets, earliest: Offsets) -> tuple[list[tuple[str, int, int]], list[str]]:
    told: list[str] = []
    found = pieces(start, end, earliest, lambda place, what: told.append(f"{place} {what}"))
    return [(topics.key(one.topic, one.partition), one.begin, one.end) for one in found], told


def test_pieces_are_what_lies_between_and_new_partitions_from_their_beginning() -> None:
    start, end = {"a/0": 5, "a/1": 9}, {"a/0": 8, "a/1": 9, "a/2": 40}
    earliest = {"a/0": 0, "a/1": 9, "a/2": 30}
    assert planned(start, end, earliest) == ([("a/0", 5, 8), ("a/2", 30, 40)], [])


@pytest.mark.parametrize(
    ("start", "end", "earliest", "left", "words"),
    [
        (5, 20, 11, [("a/0", 11, 20)], "offset 5 to 10 were deleted before"),
        (5, 20, 25, [], "offset 5 to 24 were deleted before"),
        (50, 20, 0, [("a/0", 0, 20)], "ends with offset 20, and was read up to 50 before"),
        (5, 20, None, [], "is not there any more"),
    ],
)
def test_what_is_lost_is_told(
    start: int, end: int, earliest: int | None, left: list[tuple[str, int, int]], words: str
) -> None:
    there = {} if earliest is None else {"a/0": earliest}
    found, (told,) = planned({"a/0": start}, {"a/0": end}, there)
    assert found == left
    assert words in told
    assert planned({"a/0": end}, {"a/0": end}, {"a/0": end + 5}) == ([], [])


def test_a_stream_ends_where_it_can() -> None:
    with pytest.raises(InvalidValue, match="endingOffsets: can only be latest for a stream"):
        Course(Wanted.of(LEAST | {"endingOffsets": '{"dns": {"0": 1}}'}))


def test_a_worker_without_the_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(MissingExtra, match=r"pip install 'indicia\[kafka\]'"):
        list(brokers.read(Wanted.of(LEAST), Piece("dns", 0, 0, 1)))


# A real broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with kafka.running(tmp_path_factory.mktemp("kafka")) as made:
        yield made


def asked(broker: Broker, topic: str, **more: str) -> Wanted:
    """For all of a topic, with options whose `_` are dots."""
    own = {name.replace("_", "."): value for name, value in more.items()}
    servers = {"kafka.bootstrap.servers": f"127.0.0.1:{broker.port}", "subscribe": topic}
    return Wanted.of(servers | {"startingOffsets": "earliest"} | own)


def values(wanted: Wanted, parts: list[Piece]) -> list[bytes]:
    """Of the messages, in no order."""
    found = [batch for part in parts for batch in brokers.read(wanted, part)]
    return sorted(value for batch in found for value in batch.column("value").to_pylist())


def numbers(*some: int) -> list[bytes]:
    """Values of messages."""
    return [b"%04d" % one for one in some]


@pytest.mark.full
def test_batches_are_bounded_and_lose_nothing_over_ends(broker: Broker) -> None:
    topic = broker.topic(3)
    broker.put(topic, *numbers(*range(100)))
    wanted = asked(broker, topic, maxOffsetsPerTrigger="30", boundFirstBatch="true")
    course = Course(wanted)
    at, found = course.latest(), []
    assert course.initial() == at == dict.fromkeys(at, 0)
    assert course.pieces(at, at) == []
    for number in range(20):
        then = course.latest()
        assert sum(then.values()) - sum(at.values()) <= 30 + 3
        found += values(wanted, course.pieces(at, then))
        at = then
        if number % 2:  # one that begins anew is told where it was
            course = Course(wanted)
            course.pieces(at, at)
    assert sorted(found) == numbers(*range(100))
    (row, *_), *_ = (one.to_pylist() for one in brokers.read(wanted, Piece(topic, 0, 0, 1)))
    assert list(row) == ["key", "value", "topic", "partition", "offset", "timestamp", "timestampType"]
    assert (row["key"], row["topic"], row["partition"], row["offset"]) == (None, topic, 0, 0)
    assert (row["timestamp"].year > 2000, row["timestampType"]) == (True, 0)


@pytest.mark.full
def test_what_a_sender_made_up_ends_no_stream_and_fills_no_memory(broker: Broker) -> None:
    topic = f"{broker.topic()}-any-time"
    anything = {"message.timestamp.after.max.ms": str(2**63 - 1)}
    (made,) = broker.admin.create_topics([kafka.admin.NewTopic(topic, 1, 1, config=anything)]).values()
    made.result(30)
    producer = confluent_kafka.Producer(broker.settings)
    for time in (2**62, 5):
        producer.produce(topic, b"v", timestamp=time)
    for _ in range(12):
        producer.produce(topic, None, key=b"k" * 900_000)
        producer.flush(30)
    wanted = asked(broker, topic)
    batches = [batch for part in brokers.batch(wanted) for batch in brokers.read(wanted, part)]
    times = batches[0].column("timestamp").cast("int64").to_pylist()
    assert times[:2] == [None, 5000]
    assert [batch.num_rows for batch in batches] == [12, 2]


@pytest.mark.full
def test_a_stream_that_begins_with_the_latest_is_planned_again_without_loss(broker: Broker) -> None:
    topic = broker.topic()
    broker.put(topic, *numbers(1, 2))
    wanted = asked(broker, topic, startingOffsets="latest")
    end = Course(wanted).latest()
    broker.put(topic, *numbers(3))
    again = Course(wanted)
    assert again.pieces(end, end) == []
    assert again.pieces(again.initial(), end) == []
    assert values(wanted, again.pieces(end, again.latest())) == numbers(3)


@pytest.mark.full
def test_a_stream_that_ends_with_the_latest_does_not_follow(broker: Broker) -> None:
    topic = broker.topic()
    broker.put(topic, *numbers(1, 2))
    course = Course(asked(broker, topic, endingOffsets="latest", boundFirstBatch="true"))
    begin = course.latest()
    broker.put(topic, *numbers(3))
    assert (begin, course.latest()) == ({f"{topic}/0": 0}, {f"{topic}/0": 2})


@pytest.mark.full
def test_gaps_of_transactions_hold_up_nothing(broker: Broker) -> None:
    topic = broker.topic()
    own = {"transactional.id": "tests"}
    producer = confluent_kafka.Producer(broker.settings | own)
    producer.init_transactions(30)
    for first, kept in ((0, True), (10, False), (20, True), (30, False)):
        producer.begin_transaction()
        for value in numbers(*range(first, first + 5)):
            producer.produce(topic, value)
        producer.flush(30)
        producer.commit_transaction(30) if kept else producer.abort_transaction(30)
    wanted = asked(broker, topic, kafkaConsumer_pollTimeoutMs="20000")
    there = numbers(*range(5), *range(20, 25))
    (whole,) = brokers.batch(wanted)
    assert whole.end > 20
    assert values(wanted, [whole]) == there
    # Wherever it is cut, in a gap as well.
    parts = [Piece(topic, 0, at, at + 1) for at in range(whole.end)]
    assert values(wanted, parts[:12]) + values(wanted, [Piece(topic, 0, 12, whole.end)]) == there
    producer.begin_transaction()
    producer.produce(topic, b"undecided")
    producer.flush(30)
    assert brokers.batch(wanted) == [whole]
    producer.abort_transaction(30)
    dirty = asked(broker, topic, kafka_isolation_level="read_uncommitted")
    assert len(values(dirty, brokers.batch(dirty))) == 21


@pytest.mark.full
def test_messages_that_were_deleted_end_it_unless_that_is_allowed(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    topic = broker.topic()
    broker.put(topic, *numbers(*range(10)))
    place = confluent_kafka.TopicPartition(topic, 0, 6)
    (done,) = broker.admin.delete_records([place]).values()
    done.result(30)
    strict, easy = asked(broker, topic), asked(broker, topic, failOnDataLoss="false")
    start, end = {f"{topic}/0": 2}, {f"{topic}/0": 10}
    with pytest.raises(InputError, match="offset 2 to 5 were deleted before they were read; failOnDataLoss"):
        Course(strict).pieces(start, end)
    assert values(easy, Course(easy).pieces(start, end)) == numbers(*range(6, 10))
    # And where they vanish between planning and reading.
    part = Piece(topic, 0, 2, 10)
    with pytest.raises(InputError, match="offset 2 is not there, only 6 to 9; failOnDataLoss"):
        values(strict, [part])
    assert values(easy, [part]) == numbers(*range(6, 10))
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


@pytest.mark.full
def test_partitions_and_topics_that_come_later_are_read_from_their_beginning(broker: Broker) -> None:
    topic = broker.topic()
    pattern = {"kafka.bootstrap.servers": f"127.0.0.1:{broker.port}", "subscribePattern": f"{topic}.*"}
    wanted = Wanted.of(pattern | {"maxOffsetsPerTrigger": "100"})  # from the latest
    course = Course(wanted)
    start = course.latest()
    (grown,) = broker.admin.create_partitions([kafka.admin.NewPartitions(topic, 2)]).values()
    grown.result(30)
    (made,) = broker.admin.create_topics([kafka.admin.NewTopic(f"{topic}-b", 1, 1)]).values()
    made.result(30)
    for name, number, value in ((topic, 1, 1), (f"{topic}-b", 0, 2)):
        broker.put(name, *numbers(value), partition=number)
    course.pieces(start, start)
    end = course.latest()
    assert list(end) == [f"{topic}/0", f"{topic}/1", f"{topic}-b/0"]
    assert values(wanted, course.pieces(start, end)) == numbers(1, 2)


@pytest.mark.full
def test_it_speaks_by_tls_to_who_knows_the_password(broker: Broker) -> None:
    topic = broker.topic()
    broker.put(topic, *numbers(1))
    safe = {
        "kafka.bootstrap.servers": f"localhost:{broker.secure_port}",
        "kafka.security.protocol": "SASL_SSL",
        "kafka.sasl.mechanism": "SCRAM-SHA-512",
        "kafka.sasl.username": USER,
        "kafka.sasl.password": PASSWORD,
        "kafka.ssl.ca.location": str(broker.authority),
        "kafka.default.api.timeout.ms": "6000",
    }
    wanted = asked(broker, topic, **safe)
    assert values(wanted, brokers.batch(wanted)) == numbers(1)
    wrong = asked(broker, topic, **safe | {"kafka.sasl.password": "not that one"})
    with pytest.raises(InputError, match="refuses user or password") as raised:
        brokers.batch(wrong)
    assert "not that one" not in str(raised.value)
    with pytest.raises(InputError, match="refuses user or password"):
        values(wrong, [Piece(topic, 0, 0, 1)])
    with pytest.raises(InvalidValue, match=r"ssl\.ca\.location"):
        brokers.batch(asked(broker, topic, **safe | {"kafka.ssl.ca.location": "/absent"}))


@pytest.mark.full
def test_who_is_not_there_is_said_in_time(broker: Broker) -> None:
    nobody = {"kafka.bootstrap.servers": f"127.0.0.1:{free_port()}"}
    short = {"kafka.default.api.timeout.ms": "1000", "kafkaConsumer.pollTimeoutMs": "1000"}
    wanted = asked(broker, "dns", **nobody | short)
    with pytest.raises(InputError, match=r"127.0.0.1:\d+ cannot be reached: Connection refused"):
        Course(wanted).latest()
    with pytest.raises(InputError, match="dns/0: gave nothing for 1 s at offset 0, which is before 5"):
        values(wanted, [Piece("dns", 0, 0, 5)])
    with pytest.raises(InputError, match="absent: there is no such topic"):
        Course(asked(broker, "absent")).initial()
    topic = broker.topic()
    places = json.dumps({topic: {"3": 0}})
    with pytest.raises(InvalidValue, match="startingOffsets: must name each partition"):
        Course(asked(broker, topic, startingOffsets=places)).initial()
    servers = {"kafka.bootstrap.servers": f"127.0.0.1:{broker.port}"}
    one = Wanted.of(servers | {"assign": json.dumps({topic: [4]})})
    with pytest.raises(InputError, match=f"{topic}/4: there is no such partition"):
        brokers.batch(one)


def test_a_batch_has_a_beginning_and_an_end() -> None:
    for option, value in (("startingOffsets", "latest"), ("endingOffsets", "earliest")):
        with pytest.raises(InvalidValue, match=f"{option}: a batch cannot"):
            brokers.batch(Wanted.of(LEAST | {option: value}))
