"""`https:`, `http:` a webhook: each message is one POST of its JSON, signed, acknowledged by any 2xx.

    indicia outputs add hook https://alerts.example/indicia

The headers are those of Standard Webhooks, for which there are libraries in most languages:

    webhook-id         the message's id, the same at every attempt; who keeps it gets nothing twice
    webhook-timestamp  seconds since 1970 at this attempt; refuse what is some minutes old
    webhook-signature  v1, and the Base64 of the HMAC-SHA256 of ID.TIMESTAMP.BODY by the secret

The secret is `whsec_` and the Base64 of the key; `outputs add` makes one and shows it once, or takes yours.

An answer of 400, 409, 411, 413, 415, 422 and the like refuses this message; what refuses any (401, 403, 404,
405, 407, 408, 410, 421, 425, 429, 3xx, 5xx) or no answer within 30 s makes all of them wait, at least for
as long as `Retry-After` says. Private, loopback, link-local and other addresses that are none of the
internet are refused: where the connection really goes, for each connection and each redirect.

    allow        `any`, or networks joined by commas that may be connected to all the same: 192.0.2.0/28,::1
    redirects    how many are followed, 0 to 5; 0 unless given (307 and 308 alone, never from https to http)
    trust        a file with the authorities to trust instead of the system's
    certificate, key   files in PEM that are shown to the receiver
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence

from indicia.errors import InvalidValue, ServiceError
from indicia.messages import Delivery, Message, Outcome
from indicia.outputs.given import TLS_OPTIONS, Given
from indicia.outputs.posting import ANSWER_SECONDS, Answer, Poster
from indicia.outputs.reaching import Allowed, Resolve, resolve

PREFIX = "whsec_"
SECRET_BYTES = (24, 64)
"""The least and the most that Standard Webhooks has."""
_OF_ALL = frozenset({401, 403, 404, 405, 407, 408, 410, 421, 425, 429})
"""What refuses whatever is sent: access, address, or the time are wrong."""


def make_secret() -> str:
    """A new one: 256 bits."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The key of a secret; InvalidValue."""
    try:
        if not secret.startswith(PREFIX):
            raise ValueError
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (ValueError, binascii.Error):
        raise InvalidValue(f"the secret of a webhook is {PREFIX} and Base64", target="Secret") from None
    if not SECRET_BYTES[0] <= len(key) <= SECRET_BYTES[1]:
        raise InvalidValue(
            f"the secret of a webhook has {SECRET_BYTES[0]} to {SECRET_BYTES[1]} bytes", target="Secret"
        )
    return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """What `webhook-signature` says."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def judged(message: Message, answer: Answer) -> Delivery:
    """What an answer means for a message."""
    if 200 <= answer.status < 300:
        return Delivery(message, Outcome.DELIVERED)
    fault = f"the receiver answered {answer.status}"
    if 400 <= answer.status < 500 and answer.status not in _OF_ALL:
        return Delivery(message, Outcome.REFUSED, fault)
    return Delivery(message, Outcome.LATER, fault, answer.retry_after)


class Webhook:
    """Sends to one webhook."""

    most = 1  # each is settled before the next is sent

    def __init__(
        self,
        given: Given,
        *,
        resolving: Resolve = resolve,
        clock: Callable[[], float] = time.time,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        given.only("allow", "redirects", *TLS_OPTIONS)
        url = given.url()
        if url.fragment:
            raise InvalidValue("must have no fragment", target="Target")
        self._url, self._clock, self._key = given.target, clock, key_of(given.secret)
        # Paths and queries of webhooks are often all that keeps others out.
        self.shown = f"{url.scheme}://{url.netloc}/…" if url.path.strip("/") or url.query else given.target
        self._poster = Poster(
            given.context() if url.scheme == "https" else None,
            Allowed.of(given.options.get("allow", "")),
            redirects=given.number("redirects", 0, 0, 5),
            resolving=resolving,
            seconds=seconds,
        )

    def send(self, messages: Sequence[Message]) -> list[Delivery]:
        """One after the other, until one is not taken."""
        said: list[Delivery] = []
        for message in messages:
            said.append(self._one(message))
            if said[-1].outcome is not Outcome.DELIVERED:
                break
        return said

    def _one(self, message: Message) -> Delivery:
        body, now = message.body.encode(), int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._key, message.id, now, body),
        }
        try:
            return judged(message, self._poster.post(self._url, body, headers))
        except ServiceError as error:
            return Delivery(message, Outcome.LATER, error.message)

    def close(self) -> None:
        """End the connection."""
        self._poster.close()
