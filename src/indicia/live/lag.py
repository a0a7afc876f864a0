"""How far a consumer group is behind: messages of a topic that it has not committed, whoever reads them."""

from __future__ import annotations

import importlib
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
        self._topic, self._group = topic, group
        # The consumer says what is wrong.
        self._settings = dict(settings) | {"error_cb": lambda _error: None}
        self._answered = answered
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="lag", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._ended.set()

    def _run(self) -> None:
        client = brokers.client()
        admin = importlib.import_module("confluent_kafka.admin")
        asking = admin.AdminClient(self._settings)
        while not self._ended.wait(1.0 if self.behind is None else EVERY):
            try:
                self.behind = self._asked(client, admin, asking)
                self._answered()
            except (client.KafkaException, TimeoutError):
                self.behind = None

    def _asked(self, client: Any, admin: Any, asking: Any) -> int:
        found = asking.list_topics(self._topic, timeout=SECONDS).topics[self._topic]
        places = [client.TopicPartition(self._topic, number) for number in found.partitions]
        ends = self._offsets(asking, places, admin.OffsetSpec.latest())
        begins = self._offsets(asking, places, admin.OffsetSpec.earliest())
        wanted = client.ConsumerGroupTopicPartitions(self._group, places or None)
        answer = asking.list_consumer_group_offsets([wanted])[self._group].result(SECONDS)
        done = {place.partition: place.offset for place in answer.topic_partitions}
        # What was deleted before anybody read it is behind nobody.
        return sum(max(0, end - max(done.get(number, 0), begins[number])) for number, end in ends.items())

    def _offsets(self, asking: Any, places: list[Any], which: Any) -> dict[int, int]:
        asked = asking.list_offsets(dict.fromkeys(places, which), request_timeout=SECONDS)
        return {place.partition: one.result(SECONDS).offset for place, one in asked.items()}
