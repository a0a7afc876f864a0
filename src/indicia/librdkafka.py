"""The package that speaks to Kafka, and its errors in words; for all who read and write topics."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from indicia.errors import MissingExtra

_SPELT = re.compile(
    r"(?:\w+://)?(?P<broker>[^/ ]+)/(?:bootstrap|\d+): (?P<what>.*?)(?: \(after [^()]*\))?\Z", re.S
)
_WORDS: Mapping[str, str] = {
    "_RESOLVE": "{broker} has no address: {what}",
    "_TRANSPORT": "{broker} cannot be reached: {what}",
    "_AUTHENTICATION": "{broker} refuses user or password: {what}",
    "_SSL": "TLS with {broker} failed: {what}",
    "_TIMED_OUT": "{broker} did not answer in time: {what}",
}
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def client() -> Any:
    """The package that speaks to brokers. Raises MissingExtra."""
    try:
        return importlib.import_module("confluent_kafka")
    except ImportError:
        raise MissingExtra("Kafka needs the extra 'kafka': pip install 'indicia[kafka]'") from None


def words(error: Any) -> str:
    """An error of librdkafka in a sentence, on one line."""
    name, text = error.name(), str(error.str())
    found = _SPELT.match(text)
    broker, what = (found["broker"], found["what"]) if found else ("a broker", text)
    what = re.sub(r"error:[0-9A-Fa-f]+:", "", what).strip(" :")
    if name == "_TRANSPORT" and (refused := re.search(r"failed: (.*)", what)):
        what = refused[1]
    if name == "_RESOLVE" and (unknown := re.search(r": (.*)", what)):
        what = unknown[1]
    form = _WORDS.get(name, "{broker} says: {what}" if found else "{what}")
    return _HARMFUL.sub(" ", form.format(broker=broker, what=what))[:500]
