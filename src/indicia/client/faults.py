"""Refusals of the service as the leaves of the error tree that they were raised as there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Any

import msgspec

from indicia import errors
from indicia.client.wire import Answer
from indicia.errors import Detail, IndiciaError

_SHOWN = 300
"""Characters that are quoted of an answer that is not understood."""
_BY_STATUS: dict[int, type[IndiciaError]] = {
    400: errors.InputError,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    412: errors.PreconditionFailed,
    413: errors.TooLarge,
    415: errors.WrongMediaType,
    429: errors.TooManyRequests,
    501: errors.NotSupported,
    503: errors.StoreError,
    507: errors.QuotaExceeded,
}
"""For a code that this version does not know."""


def refusal(answer: Answer) -> IndiciaError:
    """The error of an answer of the API, with target and details."""
    body = _object(answer)
    fault = body.get("error") if body else None
    if not isinstance(fault, dict) or not isinstance(fault.get("message"), str):
        return _strange(answer)
    return leaf(fault, answer.status, retry_after(answer))


def leaf(fault: Mapping[str, Any], status: int, retry_after: int | None = None) -> IndiciaError:
    """An error object of OData as the leaf that it names."""
    kind = _LEAVES.get(str(fault.get("code"))) or _BY_STATUS.get(status, errors.BadAnswer)
    details = tuple(_details(fault.get("details")))
    target = _text(fault.get("target"))
    return kind(str(fault.get("message")), target=target, details=details, retry_after=retry_after)


def grant_refusal(answer: Answer) -> IndiciaError:
    """The error of an answer of the token endpoint (RFC 6749 5.2)."""
    body = _object(answer)
    if not body or not isinstance(body.get("error"), str):
        return _strange(answer)
    message = str(body.get("error_description") or body["error"]).splitlines()[0]
    if answer.status == 429:
        return errors.TooManyRequests(message, retry_after=retry_after(answer))
    if answer.status >= 500:
        return errors.StoreError(message, retry_after=retry_after(answer))
    found = re.match(r"AADSTS(\d+): (.*)", message)
    return errors.GrantRefused(body["error"], int(found[1]) if found else 0, found[2] if found else message)


def retry_after(answer: Answer) -> int | None:
    """Retry-After in whole seconds (RFC 9110 10.2.3), from a number or a date; None where there is none."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return int(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0, ceil((moment - datetime.now(UTC)).total_seconds()))


def content(answer: Answer) -> Any:
    """The JSON of an answer; None where there is no body. Raises BadAnswer."""
    if not answer.body:
        return None
    try:
        return msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _strange(answer) from None


def _strange(answer: Answer) -> IndiciaError:
    shown = answer.body[:_SHOWN].decode("utf-8", "replace")
    return errors.BadAnswer(
        f"{answer.status} from {answer.url} is not an answer of Indicia ({shown!r}); is api_url right?"
    )


def _object(answer: Answer) -> dict[str, Any] | None:
    try:
        body = content(answer)
    except errors.BadAnswer:
        return None
    return body if isinstance(body, dict) else None


def _details(raw: Any) -> Iterator[Detail]:
    for item in raw if isinstance(raw, list) else ():
        if isinstance(item, dict):
            yield Detail(str(item.get("code")), str(item.get("message")), _text(item.get("target")))


def _text(raw: Any) -> str | None:
    return raw if isinstance(raw, str) else None


def _leaves(kind: type[IndiciaError]) -> Iterator[type[IndiciaError]]:
    below = kind.__subclasses__()
    for one in below:
        yield from _leaves(one)
    if kind not in (errors.GrantRefused, errors.AnswerLost, errors.UploadStopped):
        yield kind


_LEAVES = {kind.code: kind for kind in _leaves(IndiciaError)}
