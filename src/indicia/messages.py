"""The nouns of what goes out: outputs, messages to them, and what receivers say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from indicia.model import Severity


class Sent(StrEnum):
    """Why an output is sent a message."""

    OPENED = "Opened"
    GROWN = "Grown"
    REOPENED = "Reopened"
    CHANGED = "Changed"
    """Somebody set status, classification, determination or assignment of the alert."""
    DETECTED = "Detected"
    TEST = "Test"
    """Somebody asked whether messages arrive."""


UNLESS_SAID = (Sent.OPENED, Sent.REOPENED, Sent.CHANGED)
"""What an output is sent."""
TARGET_LIMIT = 2048
"""Characters of a target, and of an option."""
SECRET_LIMIT = 10_000


class MessageState(StrEnum):
    """What became of a message."""

    WAITING = "Waiting"
    DELIVERED = "Delivered"
    DEAD = "Dead"
    """It was given up, and is kept for a while to be sent again on demand."""


@dataclass(frozen=True, slots=True)
class Output:
    """A receiver of messages, and which of them it is sent."""

    name: str
    kind: str
    """Which of `outputs.KINDS` sends to it."""
    target: str
    """Where to, as it may be shown."""
    sends: tuple[Sent, ...] = UNLESS_SAID
    options: Mapping[str, str] = field(default_factory=dict)
    sealed: str = field(default="", repr=False)
    """The whole target and its secret, which only the key of the home opens."""
    severity: Severity | None = None
    """The least one that is sent; None: any."""
    definition_ids: tuple[int, ...] = ()
    """Of which definitions; none: of all."""
    enabled: bool = True
    id: int = 0
    created_at: datetime | None = None
    created_by: str = ""
    last_modified_at: datetime | None = None
    last_modified_by: str | None = None
    failures: int = 0
    """Attempts that failed since the last one that did not."""
    retry_at: datetime | None = None
    fault: str | None = None
    """What was wrong at the last attempt."""
    delivered_at: datetime | None = None
    """When a message was acknowledged last."""

    @property
    def option_texts(self) -> tuple[str, ...]:
        """Each option as `format=cef`."""
        return tuple(f"{name}={text}" for name, text in sorted(self.options.items()))


@dataclass(frozen=True, slots=True)
class Message:
    """What one output is sent."""

    number: int
    """Grows with each message of an output, and is the order in which they are sent."""
    id: str
    """The same at every attempt, by which a receiver knows what it has got already."""
    sent: Sent
    made_at: datetime
    body: str
    """A JSON object, in ASCII."""
    state: MessageState = MessageState.WAITING
    attempts: int = 0
    """How often the receiver refused it."""
    done_at: datetime | None = None
    fault: str | None = None
    output_id: int = 0
    """Of the output that is sent it."""


class Outcome(StrEnum):
    """What a receiver said of a message."""

    DELIVERED = "Delivered"
    REFUSED = "Refused"
    """This message, which may never be taken."""
    LATER = "Later"
    """Nothing, or that another time is better."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The end of one attempt to send one message."""

    message: Message
    outcome: Outcome
    fault: str = ""
    retry_after: float = 0.0
    """Seconds that the receiver asked to be left alone."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What an output has not been sent yet."""

    output_id: int
    waiting: int
    oldest: datetime | None
    """When the oldest message that waits was made."""
    dead: int
