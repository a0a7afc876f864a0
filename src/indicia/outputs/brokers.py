"""Kafka's brokers: where they are, how they are spoken to, and their faults in words.

`outputs.kafka` sends to them, `live.kafka` reads from them; what is here holds for both:

    kafka://HOST:9092,HOST2:9092/TOPIC        kafka+tls://HOST:9093/TOPIC

    secret             USER:PASSWORD, for SASL
    mechanism          SCRAM-SHA-512 unless given, SCRAM-SHA-256, or PLAIN, which needs kafka+tls
    trust              a file with the authorities to trust instead of the system's
    certificate, key   files in PEM that are shown to the brokers
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from indicia.errors import InvalidValue
from indicia.librdkafka import client, words
from indicia.outputs.given import TLS_OPTIONS, Given

__all__ = ["MECHANISMS", "OPTIONS", "PORT", "SCHEMES", "Address", "Said", "client", "settings", "words"]

SCHEMES = ("kafka", "kafka+tls")
MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
OPTIONS = ("mechanism", *TLS_OPTIONS)
PORT = 9092
_TOPIC = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}")
_BROKER = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Address:
    """A topic, and some of the brokers that know where it is."""

    brokers: tuple[str, ...]
    """Each as HOST:PORT."""
    topic: str
    tls: bool

    @classmethod
    def of(cls, target: str) -> Address:
        """From a URL without what stands behind its `?`; InvalidValue."""
        scheme, _, rest = target.partition("://")
        hosts, _, topic = rest.partition("/")
        if scheme.lower() not in SCHEMES:
            raise InvalidValue("must be kafka://HOST:9092/TOPIC, or kafka+tls:", target="Target")
        if "@" in hosts:
            raise InvalidValue("must not hold a password; give it as the secret", target="Target")
        if not _TOPIC.fullmatch(topic):
            raise InvalidValue(
                "must end with one topic, as //HOST:9092/alerts: letters, digits and . _ -", target="Target"
            )
        return cls(tuple(map(_broker, hosts.split(","))), topic, scheme.lower() == "kafka+tls")

    @property
    def shown(self) -> str:
        """As a URL."""
        return f"kafka{'+tls' if self.tls else ''}://{','.join(self.brokers)}/{self.topic}"


def _broker(text: str) -> str:
    found = _BROKER.fullmatch(text)
    port = int(found["port"] or PORT) if found else 0
    if found is None or not 0 < port < 65_536:
        raise InvalidValue(
            "must name brokers by host, and a port from 1 to 65535, joined by commas", target="Target"
        )
    return f"{found['host']}:{port}"


def settings(address: Address, given: Given, said: Said) -> dict[str, Any]:
    """What any client of these brokers is made with; `said` hears of faults. InvalidValue, MissingExtra."""
    client()
    made: dict[str, Any] = {
        "bootstrap.servers": ",".join(address.brokers),
        "client.id": "indicia",
        # Faults are told through error_cb, in words.
        "log_level": 0,
        "error_cb": said.hear,
        "socket.timeout.ms": 10_000,
        "socket.connection.setup.timeout.ms": 10_000,
        "reconnect.backoff.ms": 250,
        "reconnect.backoff.max.ms": 5_000,
        "topic.metadata.refresh.interval.ms": 10_000,
    }
    return made | _security(address, given)


def _security(address: Address, given: Given) -> dict[str, Any]:
    mechanism = given.choice("mechanism", MECHANISMS, MECHANISMS[0])
    if not address.tls and any(name in given.options for name in TLS_OPTIONS):
        raise InvalidValue(f"{', '.join(TLS_OPTIONS)} are for kafka+tls:", target="Options")
    made: dict[str, Any] = {}
    if address.tls:
        given.context()  # says which file is wrong, and why
        names = {
            "trust": "ssl.ca.location",
            "certificate": "ssl.certificate.location",
            "key": "ssl.key.location",
        }
        made |= {names[name]: given.options[name] for name in TLS_OPTIONS if name in given.options}
        made["ssl.endpoint.identification.algorithm"] = "https"
    if given.secret:
        user, colon, password = given.secret.partition(":")
        if not (user and colon and password):
            raise InvalidValue("the secret is USER:PASSWORD", target="Secret")
        if mechanism == "PLAIN" and not address.tls:
            raise InvalidValue("PLAIN shows the password to the network; use kafka+tls:", target="Options")
        made |= {"sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": password}
    elif "mechanism" in given.options:
        raise InvalidValue("mechanism needs a secret, USER:PASSWORD", target="Options")
    protocol = "SSL" if address.tls else "PLAINTEXT"
    made["security.protocol"] = f"SASL_{protocol}" if given.secret else protocol
    return made


class Said:
    """What clients say of brokers: the last fault in words, and whether none can be spoken to."""

    def __init__(self, told: Callable[[str], None] = lambda _words: None) -> None:
        """`told` hears each other fault once, until `well`."""
        self.fault = ""
        self.down = False
        """No broker is there, or none lets us in."""
        self._told = told
        self._heard: set[str] = set()

    def hear(self, error: Any) -> None:
        """An error of librdkafka; from any of its threads that serves callbacks."""
        name = error.name()
        if name == "_ALL_BROKERS_DOWN":
            self.down = True
            return
        self.down = self.down or name in ("_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED")
        self.fault = words(error)
        if self.fault not in self._heard:
            self._heard.add(self.fault)
            self._told(self.fault)

    def well(self) -> bool:
        """Brokers answer; whether they did not before."""
        before = self.down or bool(self._heard)
        self.fault, self.down, self._heard = "", False, set()
        return before
