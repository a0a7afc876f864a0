"""`kafka:`, `kafka+tls:` a topic of Apache Kafka, each message one record of its JSON.

    indicia outputs add lake kafka+tls://broker.example:9093/alerts --secret FILE --option trust=ca.pem

The key is the id of the alert, so all that is sent about one alert is in one partition, in its order. The
headers `indicia-message` and `indicia-sent` say which message it is, the same at every attempt, and why it is
sent. It counts as delivered when all replicas in sync have it (acks=all), by the delivery report of each;
within one connection nothing is written twice (idempotent producer). After a kill, or when a report was lost,
the last ones may come again under the same id. A message that the topic refuses (too large, not valid there)
is refused; everything else waits.

Which addresses are connected to is said by the brokers, so Kafka may be anywhere, as syslog and search may:
it stands in one's own network.

    mechanism, trust, certificate, key, and the secret USER:PASSWORD: as in brokers.py
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from indicia.errors import InvalidValue, MissingExtra
from indicia.messages import Delivery, Message, Outcome
from indicia.outputs import brokers
from indicia.outputs.given import Given

SECONDS = 20.0
"""How long brokers have to confirm."""
_LOOK = 0.1
_REFUSED = frozenset({"MSG_SIZE_TOO_LARGE", "INVALID_RECORD", "_INVALID_ARG"})
"""What says something of one message; all else is said of the topic or its brokers."""


def key_of(message: Message) -> str:
    """The id of the alert that a message is about; of one about none, its own."""
    body = json.loads(message.body)
    about = body.get("Alert") or body.get("Detection") or {}
    return str(about.get("AlertId") or message.id)


class Kafka:
    """Sends to one topic."""

    most = 200

    def __init__(self, given: Given, *, seconds: float = SECONDS) -> None:
        given.only(*brokers.OPTIONS)
        self._address = brokers.Address.of(given.target)
        self.shown = self._address.shown
        self._said = brokers.Said()
        self._seconds = seconds
        try:
            made = brokers.settings(self._address, given, self._said)
        except MissingExtra as error:
            raise InvalidValue(error.message, target="Target") from None
        self._settings = made | {
            "acks": "all",
            "enable.idempotence": True,
            # The size that a topic allows is that of a batch: one large message would refuse others.
            "batch.num.messages": 1,
            "message.timeout.ms": int(seconds * 1000),
            # After so long a topic that is not there is not only being made.
            "topic.metadata.propagation.max.ms": int(seconds * 250),
        }
        self._producer: Any = None

    def send(self, messages: Sequence[Message]) -> list[Delivery]:
        """All of them; what became of each, by its delivery report."""
        said: dict[str, Delivery] = {}
        try:
            if self._producer is None:
                self._producer = brokers.client().Producer(self._settings)
        except brokers.client().KafkaException as error:
            return [Delivery(messages[0], Outcome.LATER, brokers.words(error.args[0]))]
        for message in messages:
            self._begin(message, said)
        self._wait()
        if any(one.outcome is Outcome.LATER for one in said.values()):
            # What the producer knows of its brokers may be what is wrong.
            self.close()
        return [said[message.id] for message in messages if message.id in said]

    def close(self) -> None:
        """End the connections."""
        if self._producer is not None:
            self._end()
            self._producer = None
            self._said.well()

    def _begin(self, message: Message, said: dict[str, Delivery]) -> None:
        def done(error: Any, _sent: Any) -> None:
            said[message.id] = self._judged(message, error)

        headers = [("indicia-message", message.id.encode()), ("indicia-sent", str(message.sent).encode())]
        body = message.body.encode()
        try:
            self._producer.produce(
                self._address.topic, body, key_of(message), headers=headers, on_delivery=done
            )
        except brokers.client().KafkaException as error:
            done(error.args[0], None)
        except BufferError:
            said[message.id] = Delivery(message, Outcome.LATER, "too many messages wait for the brokers")

    def _wait(self) -> None:
        """Until all are reported, no broker lets us in, or it took too long."""
        end = time.monotonic() + self._seconds
        while self._producer.flush(_LOOK):
            if self._said.down or time.monotonic() > end:
                self._end()
                return

    def _end(self) -> None:
        """Send no more of what is not confirmed; what is under way may be there all the same."""
        with suppress(brokers.client().KafkaException):
            self._producer.purge()
        self._producer.flush(1.0)

    def _judged(self, message: Message, error: Any) -> Delivery:
        if error is None:
            return Delivery(message, Outcome.DELIVERED)
        name, fault = error.name(), brokers.words(error)
        if name in _REFUSED:
            return Delivery(message, Outcome.REFUSED, f"the topic refuses it: {fault}")
        if name in ("_PURGE_QUEUE", "_PURGE_INFLIGHT", "_MSG_TIMED_OUT"):
            fault = self._said.fault or f"no broker confirmed it within {self._seconds:g} s"
        return Delivery(message, Outcome.LATER, fault)
