"""Zip archives: every member is a source of its own, named `archive.zip!member`.

Read are the methods stored, deflate, bzip2 and zstd, and the check sum of each member is compared at its end.
An encrypted member, and one packed in another way, is told; an archive inside an archive is not opened.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indicia.telemetry import inflate

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
"""The first bytes of an archive, and of an empty one."""
DIRECTORY = 1 << 26
"""Bytes that the list of an archive's members may have."""
MEMBERS = 100_000
_LOCAL = struct.Struct("<4s22xHH")
"""Of the header before a member: signature, and the lengths of its name and its extra field."""
_FORMS = {0: "stored", 8: "deflate", 12: "bzip2", 93: "zstd"}
_ENCRYPTED = 0x41
"""Flags of the classic and of the strong encryption."""


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member lies in its archive, and how it is packed."""

    name: str
    offset: int
    """Of the header before it, in bytes."""
    size: int
    """Bytes of it in the archive."""
    form: str
    check: int
    """CRC-32 of its content."""
    fault: str | None
    """Why it cannot be read."""


class _Bounded(io.FileIO):
    """A file whose directory of members does not fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY:
            raise OSError(f"its list of members has more than {DIRECTORY} bytes")
        return super().read(size) or b""


def is_archive(path: Path) -> bool:
    """Whether the file begins as an archive; one that cannot be read does not."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(4) in MAGICS
    except OSError:
        return False


def members(path: Path) -> list[Member]:
    """The files in an archive, in its order. Raises ValueError that says why it cannot be read."""
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            found = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError, EOFError) as error:
        raise ValueError(f"a zip archive that cannot be read: {error}") from None
    if len(found) > MEMBERS:
        raise ValueError(f"a zip archive of more than {MEMBERS} members: unpack it first")
    return [_member(one) for one in found if not one.is_dir()]


def _member(found: zipfile.ZipInfo) -> Member:
    form, fault = _FORMS.get(found.compress_type, ""), None
    if found.flag_bits & _ENCRYPTED:
        fault = "is encrypted: unpack it first"
    elif not form:
        fault = f"is packed by method {found.compress_type} of zip, which is not read: unpack it first"
    return Member(found.filename, found.header_offset, found.compress_size, form, found.CRC, fault)


def begin(file: io.FileIO, member: Member) -> None:
    """Go to the first byte of a member. Raises OSError where there is none."""
    file.seek(member.offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != MAGICS[0]:
        raise OSError("the archive is damaged where the member should begin")
    _, name, extra = _LOCAL.unpack(header)
    file.seek(name + extra, io.SEEK_CUR)


def unpacked(raw: io.BufferedReader[Any], member: Member) -> Iterator[bytes]:
    """The content of a member that `raw` holds.

    Raises what `inflate.blocks` raises, and OSError where its check sum fails.
    """
    check = 0
    for piece in _stored(raw) if member.form == "stored" else inflate.blocks(raw, member.form):
        check = zlib.crc32(piece, check)
        yield piece
    if check != member.check:
        raise OSError("its check sum does not hold")


def _stored(raw: io.BufferedReader[Any]) -> Iterator[bytes]:
    while piece := raw.read1(inflate.STEP):
        yield piece
