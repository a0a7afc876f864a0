"""Messages that cannot be read go to a topic of their own, with headers that say why and whence.

    indicia-reason, indicia-topic, indicia-partition, indicia-offset, and indicia-bytes where the value was
    too large to be sent on

Key, headers and value are those of the message; of headers whose names are no UTF-8 none are. One that the
topic does not take is told, with its place, and holds up nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from indicia.outputs import brokers

LARGEST = 16 * 1024 * 1024
"""Bytes of a value that is sent on."""
SECONDS = 15
"""How long it is tried."""
_TOO_LARGE = "MSG_SIZE_TOO_LARGE"


class Dead(NamedTuple):
    """A message that cannot be read."""

    message: Any
    reason: str


class DeadLetters:
    """Sends them; for one thread."""

    def __init__(self, topic: str, settings: Mapping[str, Any], tell: Callable[[str], None]) -> None:
        self.taken = 0
        self.failed = 0
        """That the topic did not take."""
        self._topic, self._tell = topic, tell
        own = {
            "acks": "all",
            "enable.idempotence": True,
            # The size that a topic allows is that of a batch.
            "batch.num.messages": 1,
            "message.max.bytes": 2 * LARGEST,
            "queue.buffering.max.kbytes": 4 * LARGEST // 1024,
            "message.timeout.ms": SECONDS * 1000,
            # After so long a topic that is not there is not only being made.
            "topic.metadata.propagation.max.ms": 2000,
        }
        # The consumer says what is wrong with brokers.
        self._producer = brokers.client().Producer({**settings, **own, "error_cb": lambda _error: None})

    @property
    def waiting(self) -> int:
        """Of which the topic has not said anything yet."""
        return len(self._producer)

    def serve(self) -> None:
        """Hear what became of those that were sent."""
        self._producer.poll(0)

    def wait(self, seconds: float) -> None:
        """Until the topic has said of all of them what became of them, or so long."""
        self._producer.flush(seconds)

    def send(self, dead: Dead) -> None:
        """Begin to send one."""
        value = dead.message.value()
        self._send(dead, value if value is None or len(value) <= LARGEST else b"")

    def _send(self, dead: Dead, value: bytes | None) -> None:
        message, client = dead.message, brokers.client()
        headers = [*_own(message), *_headers(dead, cut=value != message.value())]

        def done(error: Any, _sent: Any) -> None:
            if error is None:
                self.taken += 1
            elif error.name() == _TOO_LARGE and value:
                self._send(dead, b"")
            else:
                self._failed(dead, brokers.words(error))

        try:
            self._put(message.key(), value, headers, done)
        except BufferError:
            self._failed(dead, "too many wait for it")
        except client.KafkaException as error:
            done(error.args[0], None)

    def _put(self, key: Any, value: bytes | None, headers: Any, done: Callable[..., None]) -> None:
        for left in (True, False):
            try:
                self._producer.produce(self._topic, value, key, headers=headers, on_delivery=done)
            except BufferError:
                if not left:
                    raise
                self._producer.flush(5.0)
            else:
                return

    def _failed(self, dead: Dead, why: str) -> None:
        self.failed += 1
        place = f"partition {dead.message.partition()}, offset {dead.message.offset()}"
        self._tell(f"{place} ({dead.reason}): the topic {self._topic} did not take it: {why}")


def _own(message: Any) -> list[tuple[str, Any]]:
    """The headers of a message; none where a name is no UTF-8, which the client cannot give."""
    try:
        return list(message.headers() or ())
    except (SystemError, UnicodeDecodeError):
        return []


def _headers(dead: Dead, *, cut: bool) -> list[tuple[str, bytes]]:
    message = dead.message
    found = {
        "reason": dead.reason,
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
    }
    if cut:
        found["bytes"] = len(message.value())
    return [(f"indicia-{name}", str(value).encode()) for name, value in found.items()]
