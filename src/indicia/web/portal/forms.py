"""What a form sends, read within limits: fields into memory, files into a spool on disk."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from indicia.errors import InputError, TooLarge, WrongMediaType
from indicia.live.contents import FREE
from indicia.web import intake

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
FIELDS = 10_000
"""Fields of a form: boxes of a list can be ticked by the hundred."""
FILES = 20
TYPED = 8 * 1024 * 1024
"""Bytes of a form without files: what people write and paste. A MiB takes a core half a second."""
_LOOK = 4 * 1024 * 1024
"""Bytes between two looks at how much room there is for the spool."""
_TURN = threading.Lock()
"""One is read at a time, so that many together cost no more memory than one."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A file that a form has sent; it is gone when the request is answered."""

    name: str
    """As the browser calls it: what somebody wrote, never a path to be opened."""
    content: BinaryIO
    size: int


@dataclass(slots=True)
class Form:
    """The fields and files of a request; an empty one for a GET."""

    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Sequence[tuple[str, Sent]] = ()

    def one(self, name: str, default: str = "") -> str:
        """The first value of a field, as it was written; `default` where there is none."""
        values = self.fields.get(name)
        return values[0] if values else default

    def many(self, name: str) -> list[str]:
        """Every value of a field, as of boxes that are ticked."""
        return list(self.fields.get(name, ()))

    def has(self, name: str) -> bool:
        """Whether the field was sent: of a box, whether it is ticked."""
        return name in self.fields

    def file(self, name: str) -> Sent | None:
        """The file of a field; None where none was chosen."""
        return next((sent for given, sent in self.files if given == name and sent.name), None)

    def close(self) -> None:
        """Give the spool back."""
        for _, sent in self.files:
            sent.content.close()


async def read(request: Request, limit: int, more: int = 0) -> Form:
    """The form of a request. TooLarge beyond `limit` bytes; InputError, WrongMediaType.

    One with files may have `more` bytes beside, one without has TYPED at the most.
    """
    kind = intake.media_type(request)
    if kind == MULTIPART:
        return await _multipart(request, limit, more)
    body = await intake.body(request, min(limit, TYPED))
    if not body:
        return Form()
    if kind != URLENCODED:
        raise WrongMediaType(f"a form is {URLENCODED} or {MULTIPART}, not {kind[:80] or 'of no type'}")
    return await run_in_threadpool(_typed, body)


def _typed(body: bytes) -> Form:
    try:
        with _TURN:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=FIELDS)
    except ValueError:
        raise InputError(f"the form is not UTF-8, or has more than {FIELDS} fields") from None
    return Form(_grouped(pairs))


async def _multipart(request: Request, limit: int, more: int) -> Form:
    # As Starlette reads it, so that no header can say one thing here and another one there.
    _, said = parse_options_header(request.headers["content-type"])
    if said.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        # Python knows some of which a few KiB take seconds, as punycode.
        raise InputError("a form is UTF-8", target="Content-Type")
    whole = _bounded(request, limit + more)
    parser = MultiPartParser(request.headers, whole, max_files=FILES, max_fields=FIELDS, max_part_size=limit)
    try:
        parsed = await parser.parse()
    except MultiPartException as error:
        raise InputError(f"the form cannot be read: {error.message}") from None
    pairs = [(name, value) for name, value in parsed.multi_items() if isinstance(value, str)]
    files = [
        (name, Sent(value.filename or "", value.file, value.size or 0))
        for name, value in parsed.multi_items()
        if isinstance(value, UploadFile)
    ]
    return Form(_grouped(pairs), files)


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes; TooLarge as soon as it is known to be longer."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > limit):
        raise too_large(limit)
    size, looked = 0, 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large(limit)
        if size - looked > _LOOK:
            looked = size
            if shutil.disk_usage(tempfile.gettempdir()).free < FREE:
                raise InputError("there is too little room on the disk of the service for what is sent to it")
        yield part


def too_large(limit: int) -> TooLarge:
    """What is said of a form beyond its limit."""
    return TooLarge(f"what was sent is larger than {limit // 1024:,} KiB; send it in smaller parts")


def _grouped(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields
