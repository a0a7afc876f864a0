"""GET /api/alerts: detections as SIEM tools of the original product pull them, a JSON array of flat objects.

    sinceTimeUtc, untilTimeUtc   bounds of LastProcessedTimeUtc; the first counts in, the second does not
    ago                          a duration such as PT10M: since so long ago
    limit                        at most so many, the oldest first

Without parameters the last two hours. No two detections have the same LastProcessedTimeUtc, and a later one
has a later one, also when the clock was set back; so what was recorded under a clock that was ahead is given
unless untilTimeUtc ends before it. What the original knew and Indicia does not is null. Status,
Classification, Determination, AssignedTo and ResolvedTime are those of the alert at the pull. Each detection
comes once: who asks next from the last LastProcessedTimeUtc on leaves out the FullId that are there already.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indicia.auth.roles import ALERT_READERS
from indicia.errors import InvalidValue, NotSupported
from indicia.model import Alert, Detection, IndicatorType
from indicia.odata import literals, parse
from indicia.odata.entities import DETECTION
from indicia.odata.format import encode
from indicia.odata.tree import Query
from indicia.web import refusals
from indicia.web.gate import Gate

LIMIT = 10_000
"""Detections of one answer."""
DEFAULT = timedelta(hours=2)
_KNOWN = ("sinceTimeUtc", "untilTimeUtc", "ago", "limit", "machinegroups")
_UNKNOWN = """
Actor CreatorIocName CreatorIocValue FilePath UserName ThreatCategory ThreatFamily ThreatName
LinkToWDATP RemediationAction RemediationIsSuccess WasExecutingWhileDetected UserDomain LogOnUsers
MachineDomain InternalIPv4List InternalIPv6List DeviceID MachineGroup DeviceCreatedMachineTags
ReportID LinkToMTP CloudCreatedMachineTags CommandLine IncidentLinkToWDATP IncidentLinkToMTP
ExternalId
"""
"""What the original knew and Indicia does not."""
_BY_TYPE = {
    IndicatorType.SHA1: "Sha1",
    IndicatorType.SHA256: "Sha256",
    IndicatorType.MD5: "Md5",
    IndicatorType.IP_ADDRESS: "IpAddress",
    IndicatorType.URL: "Url",
    IndicatorType.FILE_NAME: "FileName",
}
_WORKED_ON = {
    "Status": "status",
    "Classification": "classification",
    "Determination": "determination",
    "AssignedTo": "assigned_to",
    "ResolvedTime": "resolved_at",
}
"""What is said of the alert as it stands now (extension; the original's answer had none of it)."""
_HASHES = ("Sha1", "Sha256", "Md5")


class Pull:
    """The detections of the caller's tenant."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def route(self) -> Route:
        """Where they are pulled."""
        return Route("/api/alerts", self._serve)

    async def _serve(self, request: Request) -> Response:
        given = dict(request.query_params.multi_items())
        if len(given) < len(request.query_params.multi_items()):
            raise InvalidValue("a parameter is given twice")
        authorization = request.headers.get("authorization")
        return await run_in_threadpool(self._answer, authorization, given)

    def _answer(self, authorization: str | None, given: Mapping[str, str]) -> Response:
        caller = self._gate.admit(authorization)
        caller.require(ALERT_READERS)
        query = _query(given, datetime.now(UTC))
        found: list[Detection] = caller.tenant.select(DETECTION, query).found
        alerts = caller.tenant.alerts_by_id({one.alert_id for one in found})
        flat = [_flat(one, alerts.get(one.alert_id)) for one in found]
        return Response(encode(flat), 200, refusals.NO_STORE, media_type="application/json")


def _query(given: Mapping[str, str], now: datetime) -> Query:
    """What the parameters ask of the set Detections. Raises InvalidValue with the parameter as target."""
    for name in given:
        if name not in _KNOWN:
            raise InvalidValue(
                f"there is no parameter {name[:80]!r}; there are {', '.join(_KNOWN)}", target=name[:80]
            )
    if "machinegroups" in given:
        raise NotSupported("machines have no groups here; leave the parameter out", target="machinegroups")
    if "ago" in given and "sinceTimeUtc" in given:
        raise InvalidValue("say ago or sinceTimeUtc, not both", target="ago")
    since = _ago(given["ago"], now) if "ago" in given else now - DEFAULT
    if "sinceTimeUtc" in given:
        since = _time("sinceTimeUtc", given["sinceTimeUtc"])
    within = parse.context(DETECTION)
    bounds = f"RecordedAt ge {_spelt(since)}"
    if "untilTimeUtc" in given:
        bounds += f" and RecordedAt lt {_spelt(_time('untilTimeUtc', given['untilTimeUtc']))}"
    where = parse.predicate(f"Raises eq true and {bounds}", within)
    return Query(where, parse.order("RecordedAt", within), limit=_limit(given.get("limit", str(LIMIT))))


def _ago(text: str, now: datetime) -> datetime:
    try:
        length = timedelta(microseconds=literals.duration(text))
        if length < timedelta():
            raise ValueError("not a negative one")
        return now - length
    except (ValueError, OverflowError) as error:
        raise InvalidValue(f"must be a duration such as PT10M ({error})", target="ago") from None


def _time(name: str, text: str) -> datetime:
    """A time; one without a zone is UTC, as the parameter's name says."""
    zoned = text if text[-1:] in ("Z", "z") or text[-6:-5] in ("+", "-") else f"{text}Z"
    try:
        return literals.time(zoned)
    except ValueError as error:
        raise InvalidValue(str(error), target=name) from None


def _limit(text: str) -> int:
    value = literals.integer(text)
    if value is None or not 1 <= value <= LIMIT:
        raise InvalidValue(f"must be from 1 to {LIMIT}, not {text[:40]!r}", target="limit")
    return value


def _spelt(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _flat(found: Detection, alert: Alert | None) -> dict[str, Any]:
    """One detection under the names of the original, and what people made of its alert."""
    indicator, definition = found.indicator, found.definition
    values: dict[str, Any] = dict.fromkeys((*_UNKNOWN.split(), *_BY_TYPE.values()))
    kind = _BY_TYPE.get(indicator.type)
    if kind is not None:
        values[kind] = indicator.value
    return values | {
        "AlertTime": found.event_time,
        "ComputerDnsName": found.machine,
        "MachineName": found.machine,
        "AlertTitle": definition.title,
        "Category": definition.category,
        "Severity": definition.severity,
        "Description": definition.ux_description,
        "AlertId": found.alert_id,
        "AlertPart": 0,
        "FullId": found.id,
        "IoaDefinitionId": definition.uid,
        "IocName": indicator.type,
        "IocValue": indicator.value,
        "IocUniqueId": str(indicator.id),
        "FileHash": indicator.value if kind in _HASHES else None,
        "LastProcessedTimeUtc": found.recorded_at,
        "Source": "CustomerTI",
        **{name: getattr(alert, attribute, None) for name, attribute in _WORKED_ON.items()},
    }
