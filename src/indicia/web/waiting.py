"""`Prefer: wait=5` on a write: it is answered when it is in force, at most so many seconds on.

In force means: events that this process matches from now on meet it. Other processes of the same store look
every 200 ms. `Preference-Applied` has `wait=…` where it came to be in force in time; without it the write
holds all the same, and is in force soon.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indicia.live.following import Followings
from indicia.web.gate import Gate

LONGEST = 30
"""Seconds that an answer waits at the most."""
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?([0-9]{1,6})"?\s*(?:$|[,;])', re.IGNORECASE)
_FAILED = 400


class Waiting:
    """ASGI middleware around the API."""

    def __init__(self, app: ASGIApp, gate: Gate, live: Followings) -> None:
        self._app = app
        self._gate = gate
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; hold the beginning of the answer to a write that is to be waited for."""
        if scope["type"] != "http" or scope["method"] not in _WRITES:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        seconds = _seconds(headers.getlist("prefer"))

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < _FAILED:
                self._live.wake()
                if seconds is not None:
                    await self._hold(message, headers.get("authorization"), seconds)
            await send(message)

        await self._app(scope, receive, sending)

    async def _hold(self, message: Message, authorization: str | None, seconds: int) -> None:
        if await run_in_threadpool(self._in_force, authorization, seconds):
            answer = MutableHeaders(raw=message["headers"])
            applied = answer.get("preference-applied")
            answer["Preference-Applied"] = f"{applied}, wait={seconds}" if applied else f"wait={seconds}"

    def _in_force(self, authorization: str | None, seconds: int) -> bool:
        tenant = self._gate.admit(authorization).tenant
        generation = tenant.generation()
        following = self._live.of(tenant)
        self._live.wake()
        return following.wait(generation, seconds)


def _seconds(prefer: Sequence[str]) -> int | None:
    found = _WAIT.search(",".join(prefer)[:8192])
    return min(int(found[1]), LONGEST) if found else None
