"""Reading a request's body within its limit, before anything is parsed."""

from __future__ import annotations

from starlette.requests import Request

from indicia.errors import InputError, TooLarge, WrongMediaType


async def body(request: Request, limit: int) -> bytes:
    """The whole body. Raises TooLarge as soon as it is known to be longer than `limit` bytes."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > limit):
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def must_be_json(request: Request) -> None:
    """Raise WrongMediaType unless the body is said to be JSON; a request may leave it unsaid."""
    kind = media_type(request)
    if kind not in ("", "application/json", "text/json"):
        raise WrongMediaType(
            f"the body must be application/json, not {kind[:80]}; set the header Content-Type",
            target="Content-Type",
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise WrongMediaType("compressed bodies are not supported", target="Content-Encoding")
    charset = _charset(request)
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise InputError(f"the body must be UTF-8, not {charset[:40]}", target="Content-Type")


def media_type(request: Request) -> str:
    """The type without its parameters, in lower case; empty where none is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _charset(request: Request) -> str:
    for part in request.headers.get("content-type", "").lower().split(";")[1:]:
        name, _, value = part.strip().partition("=")
        if name == "charset":
            return value.strip().strip('"')
    return ""


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes; upload in smaller parts")
