"""`elastic+https:`, `elastic+http:` Elasticsearch or OpenSearch, by `_bulk`, as documents of ECS.

    indicia outputs add search elastic+https://search.example:9200/indicia-alerts --secret FILE

The path is the index, alias or data stream; below a path of a proxy it is the last part. The secret is
`USER:PASSWORD`, or `ApiKey` and the encoded key. Each message is one document, made by `create` under its id
as `_id`: sent twice it is there once (in a data stream within one of its indexes). Of a request each document
is judged by its own status: 409 is there already, 429 and 5xx wait, other 4xx are refused, and those that
were taken are not sent again. Fields are those of ECS 8.11, and the message as it is below `indicia`, whose
fields need no mapping: `indicia` may be mapped as `flattened`.

    trust        a file with the authorities to trust instead of the system's
    certificate, key   files in PEM that are shown to the receiver
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from indicia.errors import InvalidValue, ServiceError
from indicia.messages import Delivery, Message, Outcome
from indicia.model import IndicatorType
from indicia.outputs.given import TLS_OPTIONS, Given
from indicia.outputs.posting import ANSWER_SECONDS, Poster
from indicia.outputs.reaching import Allowed
from indicia.outputs.told import Told

ECS = "8.11.0"
SEVERITIES = {"High": 73, "Medium": 47, "Low": 21, "Informational": 10}
_FILTER = "filter_path=errors,error,items.*.status,items.*.error.type,items.*.error.reason"
_INDEX = re.compile(r"[a-z0-9.][a-z0-9._-]{0,254}")
_KINDS = {
    IndicatorType.DOMAIN_NAME: "domain-name",
    IndicatorType.URL: "url",
    IndicatorType.FILE_NAME: "file",
    IndicatorType.MD5: "file",
    IndicatorType.SHA1: "file",
    IndicatorType.SHA256: "file",
}


def document(message: Message) -> dict[str, Any]:
    """A message as a document of ECS."""
    told = Told.of(message)
    about = told.about
    made: dict[str, Any] = {
        "@timestamp": about.get("LastSeen") or about.get("EventTime") or told.body["MadeAt"],
        "ecs": {"version": ECS},
        "message": told.summary,
        "event": _event(told),
        "observer": {"vendor": "Indicia", "product": "Indicia", "type": "threat-intelligence"},
        "organization": {"id": told.body["Tenant"]},
        "indicia": told.body,
    }
    if told.noun:
        made["rule"] = {
            "uuid": about["AlertDefinitionUid"],
            "id": str(about["AlertDefinitionId"]),
            "name": about["Title"],
            "category": about["Category"],
            "description": about["UxDescription"],
        }
        made["related"] = _related(told)
        if told.machine:
            made["host"] = _host(told.machine)
    if told.type is not None:
        made["threat"] = {"indicator": _indicator(told.type, told.values[0])}
    return made


def _event(told: Told) -> dict[str, Any]:
    found = {
        "id": told.message.id,
        "kind": "alert" if told.noun else "event",
        "category": ["threat"],
        "type": ["indicator"],
        "action": str(told.message.sent).lower(),
        "module": "indicia",
        "dataset": f"indicia.{(told.noun or 'test').lower()}",
        "severity": SEVERITIES[told.severity],
        "created": told.body["MadeAt"],
        "start": told.about.get("FirstSeen"),
        "end": told.about.get("LastSeen"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _host(machine: str) -> dict[str, Any]:
    return {"name": machine, "ip": [machine]} if _is_address(machine) else {"name": machine}


def _related(told: Told) -> dict[str, Any]:
    """What others look for: addresses, names, hashes."""
    found: dict[str, list[str]] = {"ip": [], "hosts": [], "hash": []}
    if told.machine:
        found["ip" if _is_address(told.machine) else "hosts"].append(told.machine)
    for value in told.values:
        if _is_address(value):
            found["ip"].append(value)
        elif re.fullmatch("[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}", value):
            found["hash"].append(value)
        elif told.type is IndicatorType.DOMAIN_NAME:
            found["hosts"].append(value)
    return {name: values for name, values in found.items() if values}


def _indicator(kind: IndicatorType, value: str) -> dict[str, Any]:
    if kind is IndicatorType.IP_ADDRESS:
        # A network is no address, and would be refused by the field's mapping.
        made = {"type": "ipv6-addr" if ":" in value else "ipv4-addr", "name": value}
        return made | ({"ip": value} if _is_address(value) else {})
    made = {"type": _KINDS[kind], "name": value}
    if kind is IndicatorType.URL:
        return made | {"url": {"full": value}}
    if kind is IndicatorType.DOMAIN_NAME:
        return made | {"url": {"domain": value}}
    if kind is IndicatorType.FILE_NAME:
        return made | {"file": {"name": value}}
    return made | {"file": {"hash": {str(kind).lower(): value}}}


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class Elastic:
    """Sends to one index."""

    most = 200

    def __init__(self, given: Given, *, seconds: float = ANSWER_SECONDS) -> None:
        given.only(*TLS_OPTIONS)
        url = given.url()
        folder, _, index = url.path.rpartition("/")
        if not _INDEX.fullmatch(index) or url.query or url.fragment:
            raise InvalidValue(
                "must end with an index in lower case, as //HOST:9200/indicia-alerts", target="Target"
            )
        self.shown = given.target
        scheme = url.scheme.removeprefix("elastic+")
        self._url = f"{scheme}://{url.netloc}{folder}/{index}/_bulk?{_FILTER}"
        self._headers = {"Content-Type": "application/x-ndjson", **_authorization(given.secret)}
        context = given.context() if scheme == "https" else None
        self._poster = Poster(context, Allowed(everything=True), seconds=seconds)

    def send(self, messages: Sequence[Message]) -> list[Delivery]:
        """All of them in one request; what became of each."""
        body = b"".join(_action(message) for message in messages)
        try:
            answer = self._poster.post(self._url, body, self._headers)
        except ServiceError as error:
            return [Delivery(messages[0], Outcome.LATER, error.message)]
        if answer.status != 200:
            fault = f"the receiver answered {answer.status}{_reason(answer.body)}"
            if answer.status == 413 and len(messages) > 1:
                return self.send(messages[: len(messages) // 2])
            outcome = Outcome.REFUSED if answer.status in (400, 413) else Outcome.LATER
            return [Delivery(messages[0], outcome, fault, answer.retry_after)]
        try:
            items = [next(iter(item.values())) for item in json.loads(answer.body)["items"]]
            said = [_judged(*pair) for pair in zip(messages, items, strict=True)]
        except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
            return [Delivery(messages[0], Outcome.LATER, "the receiver's answer is none of _bulk")]
        return said

    def close(self) -> None:
        """End the connection."""
        self._poster.close()


def _action(message: Message) -> bytes:
    # ASCII: an unpaired surrogate stays an escape, which JSON's readers take.
    action = json.dumps({"create": {"_id": message.id}})
    return f"{action}\n{json.dumps(document(message), separators=(',', ':'))}\n".encode()


def _judged(message: Message, item: Mapping[str, Any]) -> Delivery:
    status = int(item["status"])
    if 200 <= status < 300 or status == 409:
        return Delivery(message, Outcome.DELIVERED)
    error = item.get("error") or {}
    fault = f"the receiver answered {status} for it: {error.get('type')}: {error.get('reason')}"
    later = status in (401, 403, 404, 429) or status >= 500
    return Delivery(message, Outcome.LATER if later else Outcome.REFUSED, fault)


def _reason(body: bytes) -> str:
    try:
        return f": {json.loads(body)['error']['type']}"
    except (ValueError, LookupError, TypeError):
        return ""


def _authorization(secret: str) -> dict[str, str]:
    if not secret:
        return {}
    if secret.startswith("ApiKey ") and secret.isascii() and secret.isprintable():
        return {"Authorization": secret}
    if ":" not in secret:
        raise InvalidValue("the secret is USER:PASSWORD, or `ApiKey` and the encoded key", target="Secret")
    return {"Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}
