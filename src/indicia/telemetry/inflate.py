"""Compressed bytes as they were before: gzip, zstd, bzip2, xz, each known by its first bytes.

Several members or frames behind one another are one stream. What lies before a damage is given, but for at
the most STEP bytes. Memory stays bounded whatever the bytes expand to, and so does time: what expands beyond
FREE bytes and RATIO times its own size is a bomb, and the stream ends there. From a regular file a thread
decompresses some blocks ahead, so that a second core has work.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any, Protocol, cast

import zstandard

STEP = 1 << 17
"""Bytes that one call of a library gives at the most."""
BLOCK = 1 << 20
"""Bytes that the thread hands over at once, about."""
AHEAD = 4
"""Blocks that the thread is ahead."""
FREE = 1 << 32
"""Bytes that anything may expand to."""
RATIO = 2000
"""Beyond FREE: bytes that one compressed byte may expand to. Deflate cannot reach it, and no log does."""
_INPUT = 1 << 16
_FEW = 1 << 14
_WINDOW = 1 << 27
"""The largest window of a zstd frame, in bytes: what `zstd --long` writes."""
_XZ_MEMORY = 1 << 28
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""Bytes 2 to 4 of a zstd frame that holds no data (pzstd begins with one)."""
_XZ = b"\xfd7zXZ\0"
_BZIP2 = (b"1AY&SY", b"\x17rE8P\x90")
"""Behind `BZh` and a digit: the first block, or the end of an empty stream."""
_FAULTS = (OSError, EOFError, ValueError, MemoryError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


def form_of(head: bytes) -> str | None:
    """The form of compressed bytes by their first ten; None: they are not compressed."""
    if head.startswith(_GZIP):
        return "gzip"
    if head.startswith(_ZSTD) or (head[1:4] == _SKIPPABLE and 0x50 <= head[0] <= 0x5F):
        return "zstd"
    if head.startswith(_XZ):
        return "xz"
    if head.startswith(b"BZh") and head[3:4].isdigit() and head[4:10] in _BZIP2:
        return "bzip2"
    return None


class Codec(Protocol):
    """What bz2 and lzma give for one member, and `_Deflate` in their manner."""

    @property
    def eof(self) -> bool:
        """Whether the member has ended."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether nothing comes without more of it."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What was given behind its end."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """At most `max_length` bytes."""
        ...


class _Deflate:
    """zlib in the manner of bz2."""

    def __init__(self, bits: int) -> None:
        self._of = zlib.decompressobj(bits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._of.eof

    @property
    def unused_data(self) -> bytes:
        return self._of.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        out = self._of.decompress(self._of.unconsumed_tail + data, max_length)
        self.needs_input = len(out) < max_length and not self._of.unconsumed_tail
        return out


_CODECS: dict[str, Callable[[], Codec]] = {
    "gzip": lambda: _Deflate(31),
    "deflate": lambda: _Deflate(-15),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY),
}
_PADDED = frozenset({"gzip", "xz"})
"""May have zeros behind a member: tapes, and xz by its specification."""


def blocks(raw: io.BufferedReader[Any], form: str) -> Iterator[bytes]:
    """What the bytes of that form hold, in pieces of at most STEP bytes.

    Raises what the libraries raise where the data is damaged, OSError where it ends in the middle.
    """
    return _zstd(raw) if form == "zstd" else _members(raw, _CODECS[form], padded=form in _PADDED)


def _members(raw: io.BufferedReader[Any], make: Callable[[], Codec], *, padded: bool) -> Iterator[bytes]:
    data = b""
    while data := _next_member(raw, data, padded=padded):
        member = make()
        while True:
            if out := member.decompress(data, STEP):
                yield out
            if member.eof:
                break
            data = b""
            if member.needs_input and not (data := raw.read1(_INPUT)):
                raise OSError("it ends in the middle")
        data = member.unused_data


def _next_member(raw: io.BufferedReader[Any], data: bytes, *, padded: bool) -> bytes:
    """The first bytes of the next member; none: there is none."""
    while True:
        data = data.lstrip(b"\0") if padded else data
        if data or not (data := raw.read1(_INPUT)):
            return data


def _zstd(raw: io.BufferedReader[Any]) -> Iterator[bytes]:
    frames = _Frames(raw)
    made = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    reader = made.stream_reader(cast("IO[bytes]", frames), read_size=_INPUT, read_across_frames=True)
    while out := reader.read1(STEP):  # what lies before a fault comes before it
        yield out
    if frames.inside:
        raise OSError("it ends in the middle")


class Pushed:
    """Compressed bytes that come in pieces, and what they hold, in pieces of at most STEP bytes, about."""

    def __init__(self, form: str, *, window: int = _WINDOW) -> None:
        """`form` is gzip or zstd; `window`: bytes that one zstd frame may look back."""
        self._data, self._at = b"", 0
        """What was put, and how much of it was taken."""
        self._back = b""
        """What was taken and comes once more."""
        self._take = self._of_frames if form == "zstd" else self._of_members
        self._member: _Deflate | None = None
        self._course = _Course()
        made = zstandard.ZstdDecompressor(max_window_size=window)
        self._frames = made.decompressobj(write_size=STEP, read_across_frames=True)

    def put(self, data: bytes) -> None:
        """More of them."""
        self._data, self._at = self._data[self._at :] + data, 0

    def take(self) -> bytes:
        """What comes next; nothing where more is needed. Raises what the libraries raise, as `blocks`."""
        return self._take()

    def end(self) -> None:
        """Nothing follows. Raises OSError where the last member is not whole."""
        if self._member is not None or self._course.inside:
            raise OSError("it ends in the middle")

    def _of_members(self) -> bytes:
        while True:
            member = self._member or self._next_member()
            data = b""
            if member is None or (member.needs_input and not (data := self._some())):
                return b""
            out = member.decompress(data, STEP)
            if member.eof:
                self._back, self._member = member.unused_data, None
            if out:
                return out

    def _next_member(self) -> _Deflate | None:
        while data := self._some():
            if data := data.lstrip(b"\0"):
                self._back, self._member = data, _Deflate(31)
                break
        return self._member

    def _some(self) -> bytes:
        """A few bytes, because what is behind the end of a member is copied at each end."""
        data, self._back = self._back, b""
        if not data:
            data = self._data[self._at : self._at + _FEW]
            self._at += len(data)
        return data

    def _of_frames(self) -> bytes:
        # A block at a time, because what some bytes expand to is bounded by nothing else.
        while self._at < len(self._data):
            begin, self._at = self._at, self._course.border(self._data, self._at)
            if out := self._frames.decompress(self._data[begin : self._at]):
                return out
        return b""


class _Frames:
    """Compressed bytes as zstandard reads them; knows whether the last frame was whole."""

    def __init__(self, raw: io.BufferedReader[Any]) -> None:
        self._raw = raw
        self._course = _Course()

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._course.inside

    def read(self, size: int = _INPUT) -> bytes:
        """What the library asks for."""
        data = self._raw.read1(size)
        at = 0
        while at < len(data):
            at = self._course.border(data, at)
        return data


class _Course:
    """Follows the frames of zstd and their blocks, because the library does not tell where they end
    (RFC 8878, 3.1).
    """

    def __init__(self) -> None:
        self._begun = b""
        """Of a header that is not whole yet."""
        self._needs = 4
        self._skip = 0
        self._next: Callable[[bytes], None] = self._magic
        self._checksum = 0

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._skip or self._begun) or self._next != self._magic

    def border(self, data: bytes, at: int = 0) -> int:
        """How far data[at:] goes on to the end of a block, of a header, or of the data."""
        if self._skip:
            step = min(self._skip, len(data) - at)
            self._skip -= step
        else:
            step = min(self._needs - len(self._begun), len(data) - at)
            self._begun += data[at : at + step]
            if len(self._begun) == self._needs:
                header, self._begun = self._begun, b""
                self._next(header)
        return at + step

    def _then(self, needs: int, then: Callable[[bytes], None], skip: int = 0) -> None:
        self._needs, self._next, self._skip = needs, then, skip

    def _magic(self, header: bytes) -> None:
        if header == _ZSTD:
            self._then(1, self._descriptor)
        elif header[1:] == _SKIPPABLE:
            self._then(4, lambda size: self._then(4, self._magic, int.from_bytes(size, "little")))
        else:
            self._skip = 1 << 62  # the library says what is wrong

    def _descriptor(self, header: bytes) -> None:
        flags = header[0]
        single = flags >> 5 & 1
        content = (single, 2, 4, 8)[flags >> 6]
        self._checksum = 4 * (flags >> 2 & 1)
        self._then(3, self._block, (0, 1, 2, 4)[flags & 3] + content + (not single))

    def _block(self, header: bytes) -> None:
        number = int.from_bytes(header, "little")
        size = 1 if number >> 1 & 3 == 1 else number >> 3  # of a repeated byte one is there
        if number & 1:
            self._then(4, self._magic, size + self._checksum)
        else:
            self._then(3, self._block, size)


class Inflated(io.RawIOBase):
    """A stream of what `found` gives; what it raises becomes an OSError that names the form.

    `taken` tells how many compressed bytes were read so far. With `ahead` a thread does the work.
    """

    def __init__(
        self,
        raw: IO[bytes],
        found: Iterator[bytes],
        form: str,
        *,
        taken: Callable[[], int],
        ahead: bool,
    ) -> None:
        self._raw = raw
        self._form = form
        self._ready: deque[memoryview] = deque()
        self._damage: OSError | None = None
        self._ended = False
        self.heard: Callable[[], None] = lambda: None
        """Called whenever something was read."""
        gathered = _gathered(_guarded(found, taken))
        self._ahead = _Ahead(gathered) if ahead else None
        self._found = iter(self._ahead) if self._ahead is not None else gathered

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As much as is ready, and nothing at the end. Raises OSError behind what came before a damage."""
        while not self._ready and not self._ended:
            try:
                self._ready.extend(memoryview(piece) for piece in next(self._found))
            except StopIteration:
                self._ended = True
            except _FAULTS as error:
                self._damage = OSError(f"damaged {self._form} data: {error}")
                self._ended = True
            self.heard()
        if not self._ready and self._damage is not None:
            raise self._damage
        given = 0
        while self._ready and given < len(buffer):
            piece = self._ready[0]
            size = min(len(piece), len(buffer) - given)
            buffer[given : given + size] = piece[:size]
            given += size
            if size == len(piece):
                self._ready.popleft()
            else:
                self._ready[0] = piece[size:]
        return given

    def close(self) -> None:
        """Close what is read from, too."""
        if self._ahead is not None:
            self._ahead.close()
        self._raw.close()
        super().close()


def _guarded(found: Iterator[bytes], taken: Callable[[], int]) -> Iterator[bytes]:
    """No more than FREE bytes, or RATIO times what was taken."""
    size = 0
    for piece in found:
        size += len(piece)
        if size > FREE and size > RATIO * taken():
            raise OSError(f"it expands to more than {RATIO} times its size, as no log does")
        yield piece


def _gathered(found: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Pieces together, about BLOCK bytes of them; those before a fault come before it."""
    fault: Exception | None = None
    together, size = list[bytes](), 0
    try:
        for piece in found:
            together.append(piece)
            size += len(piece)
            if size >= BLOCK:
                yield together
                together, size = [], 0
    except _FAULTS as error:
        fault = error
    if together:
        yield together
    if fault is not None:
        raise fault


class _Ahead:
    """An iterator that a thread runs, AHEAD items before they are asked for."""

    def __init__(self, found: Iterator[list[bytes]]) -> None:
        self._queue: Queue[list[bytes] | Exception | None] = Queue(AHEAD)
        self._stopped = False
        self._thread = Thread(target=self._run, args=(found,), daemon=True)
        self._thread.start()

    def _run(self, found: Iterator[list[bytes]]) -> None:
        try:
            for item in found:
                if self._stopped:
                    return
                self._queue.put(item)
            self._queue.put(None)
        except Exception as error:
            self._queue.put(error)

    def __iter__(self) -> Iterator[list[bytes]]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def close(self) -> None:
        """Stop the thread; it ends with the block it is at."""
        self._stopped = True
        while self._thread.is_alive():
            with suppress(Empty):
                self._queue.get(timeout=0.01)
            self._thread.join(0.001)
