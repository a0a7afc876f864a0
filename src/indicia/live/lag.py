"""How far a consumer group is behind: messages of a topic that it has not committed, whoever reads them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from indicia.outputs import brokers

EVERY = 5.0
"""Seconds between two questions."""
SECONDS = 5.0
"""How long an answer may take."""


class Lag:
    """Of one topic and group, asked in a thread of its own."""

    def __init__(
        self, topic: str, group: str, settings: Mapping[str, Any], answered: Callable[[], None]
    ) -> None:
        """`answered` hears in that thread that brokers answer."""
        self.behind: int | None = None
        """Messages; None while it is not known."""
        self._topic = topic
        # Its faults are those of the consumer that reads, which tells them.
        self._settings = {name: one for name, one in settings.items() if name != "error_cb"}
        self._settings |= {"group.id": group, "enable.auto.commit": False}
        self._answered = answered
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="lag", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._ended.set()

    def _run(self) -> None:
        client = brokers.client()
        # A consumer that subscribes to nothing is no member. (An AdminClient of librdkafka 2.16 breaks down
        # where a broker says that it does not coordinate the group.)
        asking = client.Consumer(self._settings)
        while not self._ended.wait(1.0 if self.behind is None else EVERY):
            try:
                self.behind = self._asked(client, asking)
                self._answered()
            except client.KafkaException:
                self.behind = None
        asking.close()

    def _asked(self, client: Any, asking: Any) -> int:
        found = asking.list_topics(self._topic, timeout=SECONDS).topics[self._topic]
        if found.error is not None:  # of a topic that is not there, or that we may not see, nothing is known
            raise client.KafkaException(found.error)
        places = [client.TopicPartition(self._topic, number) for number in found.partitions]
        behind = 0
        for place in asking.committed(places, timeout=SECONDS) if places else ():
            begin, end = asking.get_watermark_offsets(place, timeout=SECONDS)
            # What was deleted before anybody read it is behind nobody.
            behind += max(0, end - max(place.offset, begin))
        return behind
