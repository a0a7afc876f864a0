"""Fetching the keys of an external issuer: one GET, bounded in time and size, without redirects."""

from __future__ import annotations

import http.client
import logging
import ssl
import time
import urllib.request
from urllib.error import URLError

from indicia.errors import KeysUnavailable

LOG = logging.getLogger("indicia.web")
TIMEOUT_SECONDS = 5.0
"""For each wait on the network."""
DEADLINE_SECONDS = 10.0
"""For all of it."""
SIZE_LIMIT = 512 * 1024


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The configured URL is the one that is trusted; where it leads is not."""

    def redirect_request(self, *_given: object, **_more: object) -> None:
        """Follow none; the redirect itself then is the fault."""


def fetch(url: str, ca_file: str | None) -> bytes:
    """The body at `url`; KeysUnavailable says why there is none."""
    end = time.monotonic() + DEADLINE_SECONDS
    try:
        context = ssl.create_default_context(cafile=ca_file)
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))
        request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - parse()
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return _body(answer, url, end)
    except (URLError, OSError, http.client.HTTPException, ValueError) as error:
        LOG.warning("the keys at %s cannot be fetched: %s", url, error)
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
