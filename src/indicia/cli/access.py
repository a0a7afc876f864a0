"""Access of applications, and the files of secrets, which only their owner reads."""

from __future__ import annotations

import os
import secrets as random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from indicia.errors import InputError

if TYPE_CHECKING:
    from indicia.settings import Settings


def details(settings: Settings, tenant_uid: str, client_id: str, secret: str) -> dict[str, str]:
    """As `web.access.details`; the authority is made where no start has made it yet."""
    from indicia.web import access

    access.certified(settings)
    return access.details(settings, tenant_uid, client_id, secret)


class SaveFile:
    """A new file of mode 0600 that appears under its name when all of it is on disk, or not at all.

    Opened before anything else is done, so that a secret is not made and then lost. An existing file is
    refused unless it is empty or `overwrite` is set. `-` is stdout.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self._path = path
        self._overwrite = overwrite or _is_empty(path)
        self._fresh = path.parent / f".{path.name}.{random.token_hex(4)}"

    def __enter__(self) -> Self:
        if str(self._path) == "-":
            return self
        if self._path.is_dir():
            raise InputError("is a folder; name a file", place=str(self._path))
        if os.path.lexists(self._path) and not self._overwrite:
            raise InputError("exists already; name another file, or add --replace", place=str(self._path))
        try:
            self._descriptor = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", place=str(self._path)) from None
        return self

    def write(self, text: str) -> None:
        """All of it; then the file is there."""
        with self.stream() as file:
            file.write(text)

    @contextmanager
    def stream(self) -> Iterator[TextIO]:
        """What all of it is written to; when the block ends well the file is there."""
        if str(self._path) == "-":
            yield sys.stdout
            return
        descriptor, self._descriptor = self._descriptor, -1
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        self._appear()

    def _appear(self) -> None:
        if self._overwrite:
            self._fresh.replace(self._path)
            return
        try:
            os.link(self._fresh, self._path)
        except FileExistsError:
            raise InputError("appeared meanwhile; name another file", place=str(self._path)) from None
        except OSError:
            # A file system without links; then the moment between look and rename has to do.
            self._fresh.replace(self._path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if str(self._path) == "-":
            return
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._fresh.unlink(missing_ok=True)


def _is_empty(path: Path) -> bool:
    """A regular file without content, as mktemp makes it."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size == 0
