"""Who delivers: takes messages from the outbox, sends them, keeps what receivers said.

One process of those that share a store does it, the one that has the turn `outputs` (`store.turns`): it is
given back however the process ends, so another one goes on, and no clock is asked. Whether the turn is still
ours is asked before anything is sent. Each output with something to send has a thread, so that a slow
receiver keeps no other one waiting. Messages of an output go in their order; after a fault it is tried again
after a pause that doubles, from 1 s to LONGEST_PAUSE, with chance in it, so that many do not come back
together.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from indicia import outputs
from indicia.auth.sealing import Seal
from indicia.errors import IndiciaError, NotFound, StoreError, placed
from indicia.live import targets
from indicia.messages import Delivery, Message, Outcome, Output
from indicia.store import Outbox, Store, Turn

TURN = "outputs"
LOST_SECONDS = 20.0
"""The turn is another one's when it was not asked for so long: who has it may be cut off from the store."""
LOOK_SECONDS = 0.5
"""How often it is looked whether there is something to send."""
TURN_SECONDS = 2.0
"""How often who does not deliver looks whether another one still does."""
TIDY_SECONDS = 600.0
"""How often old messages are removed."""
LONGEST_PAUSE = 300.0
LONGEST_WISH = 3600.0
"""How long a receiver may ask to be left alone."""
THREADS = 16
"""Outputs that are sent to at once."""
END_SECONDS = 5.0
"""How long threads may take to finish what they send."""
LOG = logging.getLogger("indicia.outputs")

Opening = Callable[[Output], outputs.Receiver]


class Courier:
    """Delivers what is in the outboxes of a store."""

    def __init__(self, store: Store, home: Path) -> None:
        self._store = store
        self._seal = Seal(home)
        self._threads: dict[int, threading.Thread] = {}
        self._tidied = float("-inf")

    def run(self, stopped: threading.Event) -> None:
        """Until it is stopped; while another process delivers, this one waits."""
        with closing(self._store.turn(TURN, LOST_SECONDS)) as turn:
            while not stopped.is_set():
                try:
                    self._run(_Going(stopped, turn))
                except StoreError as error:
                    LOG.warning("outputs wait: %s", error)
                except Exception as error:  # a thread that died of it would deliver nothing any more
                    LOG.error("outputs wait: %s", placed(error))
                stopped.wait(TURN_SECONDS)

    def _run(self, going: _Going) -> None:
        if not going.begins():
            return
        while not going.stopped.wait(LOOK_SECONDS) and going.goes_on():
            self.look(going)
        self._end()

    def run_once(self, stopped: threading.Event) -> bool:
        """Send what can be sent now, and end; False where another process delivers. StoreError."""
        with closing(self._store.turn(TURN, LOST_SECONDS)) as turn:
            going = _Going(stopped, turn)
            mine = going.begins()
            if mine:
                self.look(going)
                for thread in self._threads.values():
                    thread.join()
        return mine

    def look(self, going: _Going) -> None:
        """Begin to send what waits and is due."""
        try:
            for tenant in self._store.sending():
                box = tenant.outbox
                for output in box.outputs():
                    if output.enabled and _due(output):
                        self._begin(box, output, going)
            self._tidy()
        except StoreError as error:
            LOG.warning("outputs wait: %s", error)

    def _begin(self, box: Outbox, output: Output, going: _Going) -> None:
        self._threads = {key: one for key, one in self._threads.items() if one.is_alive()}
        if output.id in self._threads or len(self._threads) >= THREADS or not box.waiting(output.id, 1):
            return
        thread = threading.Thread(
            target=self._deliver, args=(box, output, going), name=f"output-{output.id}", daemon=True
        )
        self._threads[output.id] = thread
        thread.start()

    def _deliver(self, box: Outbox, output: Output, going: _Going) -> None:
        try:
            self._send_all(box, output, going)
        except StoreError as error:
            LOG.warning("output %d waits: %s", output.id, error)

    def _send_all(self, box: Outbox, output: Output, going: _Going) -> None:
        """Send what waits for one output until nothing does, a fault comes, or the output is changed."""
        try:
            with _receiver(self._seal, box, output) as receiver:
                while _same(box, output):
                    messages = box.waiting(output.id, receiver.most)
                    # Asked last: what was read is sent only by who has the turn still.
                    if not messages or not going.goes_on():
                        return
                    said = _send(receiver, messages)
                    pause = _pause(output, said)
                    _settle(box, output, said, pause, going.stopped)
                    if pause is not None:
                        LOG.warning("output %d: %s", output.id, said[-1].fault)
                        return
        except IndiciaError as error:
            # Its target cannot be used, or the store cannot: nothing was sent.
            LOG.warning("output %d: %s", output.id, error.message)
            _wait(box, output, error.message, going.stopped)
        except Exception as error:  # a thread that died of it would be begun again at once
            LOG.error("output %d: %s", output.id, placed(error))
            _wait(box, output, f"unexpected: {type(error).__name__}; please report it", going.stopped)

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied < TIDY_SECONDS:
            return
        # While much is old, at each look.
        if not sum(tenant.outbox.drop_old() for tenant in self._store.sending()):
            self._tidied = time.monotonic()

    def _end(self) -> None:
        end = time.monotonic() + END_SECONDS
        for thread in self._threads.values():
            thread.join(max(0.0, end - time.monotonic()))


@dataclass(frozen=True, slots=True)
class _Going:
    """How long somebody delivers: until it is stopped, or another one has the turn."""

    stopped: threading.Event
    turn: Turn

    def begins(self) -> bool:
        """Whether the turn is ours, once who had it before has noted what it sent."""
        return self.turn.take() and not self.stopped.wait(self.turn.patience) and self.turn.holds()

    def goes_on(self) -> bool:
        """Whether more may be sent."""
        return not self.stopped.is_set() and self.turn.holds()


@contextmanager
def delivering(store: Store, home: Path) -> Iterator[None]:
    """Meanwhile, in a thread, deliver."""
    stopped = threading.Event()
    thread = threading.Thread(target=Courier(store, home).run, args=(stopped,), name="courier", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def try_out(seal: Seal, box: Outbox, output: Output, message: Message) -> Delivery:
    """Send one message now, whatever waits; what the receiver said. StoreError, InvalidValue."""
    with _receiver(seal, box, output) as receiver:
        return _send(receiver, [message])[0]


@contextmanager
def _receiver(seal: Seal, box: Outbox, output: Output) -> Iterator[outputs.Receiver]:
    receiver = targets.opened(seal, box.tenant.uid, output)
    try:
        yield receiver
    finally:
        receiver.close()


def _send(receiver: outputs.Receiver, messages: Sequence[Message]) -> list[Delivery]:
    """As the receiver does; a fault that nobody foresaw makes the messages wait."""
    try:
        said = receiver.send(messages)
    except Exception as error:  # a thread that died of it would be begun again at once
        LOG.error("an output failed: %s", placed(error))
        said = [Delivery(messages[0], Outcome.LATER, f"unexpected: {type(error).__name__}; please report it")]
    return said or [Delivery(messages[0], Outcome.LATER, "the receiver said nothing")]


def _wait(box: Outbox, output: Output, fault: str, stopped: threading.Event) -> None:
    """Have the first of what waits for an output wait longer, and say why."""
    if waiting := box.waiting(output.id, 1):
        said = [Delivery(waiting[0], Outcome.LATER, fault)]
        _settle(box, output, said, _pause(output, said), stopped)


def _settle(
    box: Outbox, output: Output, said: Sequence[Delivery], pause: float | None, stopped: threading.Event
) -> None:
    """Keep it; while the store cannot, nothing else is sent, because it would be sent a second time."""
    while True:
        retry_at = None if pause is None else datetime.now(UTC) + timedelta(seconds=pause)
        try:
            box.settle(output.id, said, retry_at)
        except StoreError as error:
            LOG.warning("output %d: what was delivered is not noted yet: %s", output.id, error)
            if stopped.wait(1.0):
                return
        else:
            return


def _pause(output: Output, said: Sequence[Delivery]) -> float | None:
    """Seconds until the next attempt; None where all was delivered."""
    faults = [one for one in said if one.outcome is not Outcome.DELIVERED]
    if not faults:
        return None
    # What was delivered before it shows that the receiver is there.
    failures = 0 if said[0].outcome is Outcome.DELIVERED else output.failures
    pause = min(LONGEST_PAUSE, 2.0 ** min(failures, 20)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    return max(pause, min(LONGEST_WISH, max(one.retry_after for one in faults)))


def _due(output: Output) -> bool:
    if output.retry_at is None:
        return True
    left = (output.retry_at - datetime.now(UTC)).total_seconds()
    # Beyond what is ever waited the clock was set back.
    return not 0 < left <= LONGEST_WISH


def _same(box: Outbox, output: Output) -> bool:
    """Whether nobody has changed or deleted it."""
    try:
        now = box.output(output.name)
    except NotFound:
        return False
    return now.enabled and (now.id, now.last_modified_at) == (output.id, output.last_modified_at)
