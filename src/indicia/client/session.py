"""One access to the service: its token, its retries, its requests, as steps that any transport can take."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from indicia.client import faults
from indicia.client.details import Details
from indicia.client.wire import Answer, Lost, Request, Steps, Wait
from indicia.errors import AnswerLost, BadAnswer, IndiciaError, InvalidValue, Unreachable

REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Methods that may be done twice (RFC 9110 9.2.2)."""
MATCH = "If-Match"
RENEWAL_SECONDS = 300.0
"""A token is renewed so long before it expires, or when nine tenths of its life are over."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How a request is tried again after 429, 503 or a lost connection. Times are seconds."""

    attempts: int = 5
    """Tries in all; 1: none again."""
    first_wait: float = 0.5
    """The longest wait before the second try; it doubles with each further one."""
    longest_wait: float = 60.0
    """No wait is longer; a service that asks for more (Retry-After) is not waited for."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_wait < 0 or self.longest_wait < 0:
            raise InvalidValue("attempts are 1 or more, waits 0 or more", target="Retries")


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and when (monotonic seconds) to get the next one."""

    text: str
    renew_at: float


class Session:
    """The state of one client. A token that two threads renew at once costs a request and nothing else."""

    def __init__(self, details: Details, retries: Retries) -> None:
        self.details = details
        self.retries = retries
        self._root = details.api_url.rstrip("/")
        self._token: Token | None = None

    def link(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """A URL of the API; every value is percent-encoded."""
        shown = "&".join(f"{name}={quote(text, safe='')}" for name, text in (query or {}).items())
        return f"{self._root}/{path}{'?' if shown else ''}{shown}"

    def call(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Steps[Any]:
        """One call of the API with a token: the JSON of its answer, None where there is none.

        Raises what the service refused with, Unreachable, AnswerLost and BadAnswer.
        """
        self._stay_home(url)
        given = headers or {}
        # Of a PUT that was done, the second one would hear that the entity is no longer as it was.
        once = method == "PUT" and MATCH in given
        again = repeatable or (method in REPEATABLE and not once)
        request = Request(method, url, headers=given, repeatable=again)
        if body is not None:
            request = replace(request, body=msgspec.json.encode(body))
        answer = yield from self._with_token(request)
        if answer.status == 401:
            # Revoked or signed by a key that is gone: refused before anything was done, so one new token.
            self._token = None
            answer = yield from self._with_token(request)
        if not 200 <= answer.status < 300:
            raise faults.refusal(answer)
        return faults.content(answer)

    def _with_token(self, request: Request) -> Steps[Answer]:
        token = yield from self._valid_token()
        headers = {"Accept": "application/json", **request.headers, "Authorization": f"Bearer {token}"}
        if request.body:
            headers["Content-Type"] = "application/json"
        return (yield from self._exchange(replace(request, headers=headers)))

    def _stay_home(self, url: str) -> None:
        """The token goes to the service alone, wherever the link of an answer may lead."""
        there, here = urlsplit(url), urlsplit(self._root)
        if (there.scheme, there.netloc) != (here.scheme, here.netloc):
            raise BadAnswer(f"a link leads from {self._root} to {url[:200]}; it is not followed")

    def _valid_token(self) -> Steps[str]:
        token = self._token
        if token is None or time.monotonic() >= token.renew_at:
            token = self._token = yield from self._new_token()
        return token.text

    def _new_token(self) -> Steps[Token]:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.details.client_id,
            "client_secret": self.details.client_secret,
            "resource": self.details.resource,
        }
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        url, asked_at = self.details.authorization_url, time.monotonic()
        answer = yield from self._exchange(
            Request("POST", url, urlencode(form).encode(), kind, repeatable=True)
        )
        if answer.status != 200:
            raise faults.grant_refusal(answer)
        given = faults.content(answer)
        try:
            text, seconds = str(given["access_token"]), float(given["expires_in"])
        except (KeyError, TypeError, ValueError):
            raise BadAnswer(f"{url} gave no access_token with expires_in") from None
        return Token(text, asked_at + seconds - min(RENEWAL_SECONDS, seconds / 10))

    def _exchange(self, request: Request) -> Steps[Answer]:
        """A request and its answer, tried again where that is safe."""
        doubtful = False
        attempt = 1
        while True:
            outcome = yield request
            if outcome is None:
                raise TypeError("a transport answers every request")
            wait = self._wait(request, outcome, attempt)
            if wait is None:
                break
            doubtful = doubtful or (outcome.sent if isinstance(outcome, Lost) else outcome.status == 504)
            attempt += 1
            yield Wait(wait)
        if isinstance(outcome, Lost):
            raise _lost(request, outcome)
        if doubtful and request.method == "DELETE" and outcome.status == 404:
            # The try whose answer was lost has deleted it.
            return replace(outcome, status=204, body=b"")
        return outcome

    def _wait(self, request: Request, outcome: Answer | Lost, attempt: int) -> float | None:
        """Seconds until the next try; None where there must be none."""
        if attempt >= self.retries.attempts or not _may_repeat(request, outcome):
            return None
        asked = faults.retry_after(outcome) if isinstance(outcome, Answer) else None
        if asked is not None and asked > self.retries.longest_wait:
            return None
        return (asked or 0) + self.backoff(attempt)

    def backoff(self, attempt: int) -> float:
        """Random up to a bound that doubles, so that clients that were refused together come back apart."""
        bound = min(self.retries.longest_wait, self.retries.first_wait * 2 ** (attempt - 1))
        return random.uniform(0, bound)  # noqa: S311 - spreads load, guards nothing


def _may_repeat(request: Request, outcome: Answer | Lost) -> bool:
    """Whether the request was not carried out for certain, or may be carried out twice.

    429 says that it was not. So does 503 with Retry-After; one without may come from something between.
    """
    if isinstance(outcome, Lost):
        return request.repeatable or not outcome.sent
    if outcome.status == 503:
        return request.repeatable or "retry-after" in outcome.headers
    if outcome.status == 504:  # the service does not know either
        return request.repeatable
    return outcome.status == 429


def _lost(request: Request, outcome: Lost) -> IndiciaError:
    where = f"{request.method} {request.url.partition('?')[0]}"
    if not outcome.sent:
        return Unreachable(f"{where}: no connection ({outcome.reason}); is the service running?")
    doubt = "" if request.repeatable else "; it may have been carried out, so it was not sent again"
    return AnswerLost(f"{where}: no answer ({outcome.reason}){doubt}", timed_out=outcome.timed_out)
