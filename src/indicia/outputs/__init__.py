"""Alerts out: one file for each kind of receiver, whose docstring is its manual.

A receiver is named by a URL, whose scheme says of which kind it is. It is given messages in their order and
says of each what became of it; it knows no store and no other receiver. Who takes messages from the outbox,
tries again and gives up is `live.courier`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

from indicia.errors import InvalidValue
from indicia.messages import Delivery, Message
from indicia.outputs.given import Given

KINDS: dict[str, str] = {
    "file": "indicia.outputs.file:File",
    "webhook": "indicia.outputs.webhook:Webhook",
    "syslog": "indicia.outputs.syslog:Syslog",
    "elastic": "indicia.outputs.elastic:Elastic",
    "kafka": "indicia.outputs.kafka:Kafka",
}
SCHEMES: dict[str, str] = {
    "file": "file",
    "https": "webhook",
    "http": "webhook",
    "syslog+udp": "syslog",
    "syslog+tcp": "syslog",
    "syslog+tls": "syslog",
    "elastic+https": "elastic",
    "elastic+http": "elastic",
    "kafka": "kafka",
    "kafka+tls": "kafka",
}
"""Of which kind the scheme of a target is."""


class Receiver(Protocol):
    """What sends to one target. Making one opens nothing; one thread at a time uses it."""

    shown: str
    """The target without what is secret of it."""
    most: int
    """Messages that it takes at once: so many may be sent a second time after a kill."""

    def send(self, messages: Sequence[Message]) -> list[Delivery]:
        """Send them in their order; what became of each that was tried. Raises nothing that is foreseen."""

    def close(self) -> None:
        """End what is open; `send` opens it again."""


def kind_of(target: str) -> str:
    """By the scheme of a target; InvalidValue."""
    scheme = target.partition(":")[0].lower()
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}:" for name in SCHEMES)
        raise InvalidValue(f"must be a URL that begins with one of {known}", target="Target")
    return SCHEMES[scheme]


def opened(kind: str, given: Given) -> Receiver:
    """The receiver of a target with its options and secret; InvalidValue with what is wrong of them."""
    module, _, name = KINDS[kind].partition(":")
    made: Receiver = getattr(import_module(module), name)(given)
    return made
