"""What is asked of an external issuer: one GET or POST, bounded in time and size, without redirects."""

from __future__ import annotations

import http.client
import logging
import ssl
import time
import urllib.request
from collections.abc import Mapping
from urllib.error import HTTPError, URLError

from indicia.errors import KeysUnavailable, Unauthorized

LOG = logging.getLogger("indicia.web")
TIMEOUT_SECONDS = 5.0
"""For each wait on the network."""
DEADLINE_SECONDS = 10.0
"""For all of it."""
SIZE_LIMIT = 512 * 1024
_REFUSED = (400, 401, 403)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The configured URL is the one that is trusted; where it leads is not."""

    def redirect_request(self, *_given: object, **_more: object) -> None:
        """Follow none; the redirect itself then is the fault."""


def fetch(url: str, ca_file: str | None) -> bytes:
    """The body at `url`; KeysUnavailable says why there is none."""
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - parse()
    return _answer(request, ca_file, "the keys at %s cannot be fetched: %s")


def post(url: str, body: bytes, headers: Mapping[str, str], ca_file: str | None) -> bytes:
    """The answer of `url` to a form; KeysUnavailable, Unauthorized where it is a refusal."""
    request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310 - parse()
    return _answer(request, ca_file, "the token endpoint %s cannot be asked: %s")


def _answer(request: urllib.request.Request, ca_file: str | None, said: str) -> bytes:
    end, url = time.monotonic() + DEADLINE_SECONDS, request.full_url
    try:
        context = ssl.create_default_context(cafile=ca_file)
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return _body(answer, url, end)
    except HTTPError as error:
        with error:
            LOG.warning(said, url, error)
            if request.data is not None and error.code in _REFUSED:
                raise Unauthorized(f"the provider refuses the sign-on ({error.code}); try again") from None
        raise KeysUnavailable(f"{url}: {error}") from None
    except (URLError, OSError, http.client.HTTPException, ValueError) as error:
        LOG.warning(said, url, error)
        raise KeysUnavailable(f"{url}: {error}") from None


def _body(answer: http.client.HTTPResponse, url: str, end: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := answer.read1(65_536):
        size += len(part)
        if size > SIZE_LIMIT or time.monotonic() > end:
            raise KeysUnavailable(f"{url}: the answer is too large or too slow")
        parts.append(part)
    return b"".join(parts)
