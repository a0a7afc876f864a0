"""The whole error tree. Every error a user can meet is a leaf of it, with a code and an HTTP status.

    IndiciaError
    ├── InputError                what came in is wrong                          400
    │   ├── InvalidValue          a property or value breaks its rule            400
    │   ├── MalformedFile         a file cannot be read as what it claims        400
    │   └── NotSupported          valid, but Indicia does not do it (yet)        501
    ├── AccessError
    │   ├── Unauthorized          no token, or a token that does not hold        401
    │   ├── Forbidden             the token lacks the role                       403
    │   ├── GrantRefused          the token endpoint says no                     400 or 401
    │   └── KeysUnavailable       the keys of an external issuer cannot be had   503
    ├── NotFound                  no such entity in this tenant                  404
    ├── MethodNotAllowed          the resource has no such operation             405
    ├── PreconditionFailed        If-Match or If-None-Match does not hold        412
    ├── TooSlow                   a body that comes too slowly                   408
    ├── TooLarge                  a body, file or list beyond its limit          413
    ├── WrongMediaType            a body that is not JSON (or not a form)        415
    ├── TooManyRequests           slow down; says for how long                   429
    ├── QuotaExceeded             a tenant's quota is used up                    507
    ├── StoreError                the store cannot be used (says what to do)     503
    │   └── OutcomeUnknown        the server's answer was lost; it may be done       504
    ├── MatchingFailed            events could not be matched                    500
    ├── ServiceError              what the client (SDK) meets beside refusals    502
    │   ├── Unreachable           no connection to the service was made          503
    │   ├── AnswerLost            no answer came; what was asked may be done     504
    │   ├── BadAnswer             the answer is not what the contract says       502
    │   └── UploadStopped         a bulk upload ended early; says where          502
    └── MissingExtra              an optional package is absent                  500

An error says what was wrong (`message`), where (`target`: a property, index or path; `place`: file and
line), and what to do. Web turns it into the OData, OAuth or HTML answer, the CLI into one line.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any, ClassVar


def placed(error: BaseException) -> str:
    """For the log: the kind of a fault that nobody foresaw, and where it was, a line each.

    Without its message: that may hold what somebody sent.
    """
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"


@dataclass(frozen=True)
class Detail:
    """One of several faults of one request: OData's `details` element (OData JSON 4.01, 21.1)."""

    code: str
    message: str
    target: str | None = None


class IndiciaError(Exception):
    """Anything that Indicia itself reports."""

    code: ClassVar[str] = "InternalError"
    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        target: str | None = None,
        place: str | None = None,
        details: tuple[Detail, ...] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.target = target
        """Property, path or bulk index, as `iocs[17].Value`."""
        self.place = place
        """File and line, as `feed.csv:17`."""
        self.details = details
        self.retry_after = retry_after
        """Seconds after which another try makes sense."""

    def __str__(self) -> str:
        where = self.place or self.target
        return f"{where}: {self.message}" if where else self.message


class InputError(IndiciaError):
    """What came in is wrong."""

    code = "BadRequest"
    status = 400


class InvalidValue(InputError):
    """A property or value breaks its rule."""

    code = "InvalidValue"
    status = 400


class MalformedFile(InputError):
    """A file cannot be read as what it claims to be."""

    code = "MalformedFile"
    status = 400


class NotSupported(InputError):
    """Valid by its specification, but not done by Indicia."""

    code = "NotImplemented"
    status = 501


class AccessError(IndiciaError):
    """The caller may not."""

    code = "AccessDenied"
    status = 403


class Unauthorized(AccessError):
    """No token, or a token that does not hold."""

    code = "Unauthorized"
    status = 401


class Forbidden(AccessError):
    """The token lacks the role that the route asks for."""

    code = "Forbidden"
    status = 403


class GrantRefused(AccessError):
    """The token endpoint says no: RFC 6749 5.2 `error` with Azure AD's AADSTS number."""

    code = "invalid_request"
    status = 400

    def __init__(self, error: str, aadsts: int, message: str) -> None:
        super().__init__(message)
        self.error = error
        """RFC 6749 5.2: invalid_request, invalid_client, unsupported_grant_type, …"""
        self.aadsts = aadsts
        """The number that Azure AD gives for the same fault, as 7000215."""

    @property
    def http_status(self) -> int:
        """401 for invalid_client (RFC 6749 5.2), else 400."""
        return 401 if self.error == "invalid_client" else 400


class KeysUnavailable(AccessError):
    """The keys of an external issuer cannot be fetched, so nobody can tell whether its token holds."""

    code = "KeysUnavailable"
    status = 503


class NotFound(IndiciaError):
    """No such entity in this tenant."""

    code = "NotFound"
    status = 404


class MethodNotAllowed(IndiciaError):
    """The resource has no such operation."""

    code = "MethodNotAllowed"
    status = 405


class PreconditionFailed(IndiciaError):
    """What If-Match or If-None-Match asks does not hold, so nothing was done."""

    code = "PreconditionFailed"
    status = 412


class TooSlow(IndiciaError):
    """A body that comes too slowly; the connection ends."""

    code = "RequestTimeout"
    status = 408


class TooLarge(IndiciaError):
    """A body, file or list beyond its limit."""

    code = "RequestEntityTooLarge"
    status = 413


class WrongMediaType(IndiciaError):
    """A body that is not JSON (or, at the token endpoint, not a form)."""

    code = "UnsupportedMediaType"
    status = 415


class TooManyRequests(IndiciaError):
    """Slow down."""

    code = "TooManyRequests"
    status = 429


class QuotaExceeded(IndiciaError):
    """A tenant's quota is used up; the message has the figures (contract: HTTP 507)."""

    code = "QuotaExceeded"
    status = 507


class StoreError(IndiciaError):
    """The store cannot be used; the message says what to do."""

    code = "StoreUnavailable"
    status = 503

    def __init__(self, message: str, *, away: bool = False, **more: Any) -> None:
        super().__init__(message, **more)
        self.away = away
        """Its server is not there, or takes no writes: it is worth waiting for."""


class OutcomeUnknown(StoreError):
    """The answer of the store's server was lost as it was to keep something: it may have been done."""

    code = "OutcomeUnknown"
    status = 504

    def __init__(self, message: str, **more: Any) -> None:
        super().__init__(message, **{"away": True} | more)


class MatchingFailed(IndiciaError):
    """The processes that match could not do it with these events; the service goes on."""

    code = "MatchingFailed"
    status = 500


class ServiceError(IndiciaError):
    """What the client meets beside the refusals of the service."""

    code = "ServiceError"
    status = 502


class Unreachable(ServiceError):
    """No connection to the service was made, so nothing was done."""

    code = "Unreachable"
    status = 503


class AnswerLost(ServiceError):
    """The connection ended without an answer; what was asked may have been done or not."""

    code = "AnswerLost"
    status = 504

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out
        """Whether the client gave up waiting, so that the service may be at work on it still."""


class BadAnswer(ServiceError):
    """The answer is not what the contract says: another program's, or of a newer service."""

    code = "BadAnswer"
    status = 502


class UploadStopped(ServiceError):
    """A bulk upload ended early; `__cause__` says why, `stored` and `after` how far it had come."""

    code = "UploadStopped"
    status = 502

    def __init__(self, cause: IndiciaError, stored: int, after: int | None) -> None:
        super().__init__(
            f"{cause.message}; {stored} entities are stored, go on from Position.of(this error)",
            target=cause.target,
            details=cause.details,
            retry_after=cause.retry_after,
        )
        self.stored = stored
        """Entities that are stored for certain, counted from the first of all."""
        self.after = after
        """The highest Id of the set before the next chunk was sent; None where nobody knows it."""


class MissingExtra(IndiciaError):
    """An optional package is absent; the message has the install line."""

    code = "MissingExtra"
    status = 500
