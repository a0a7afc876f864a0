"""`file:` a file that grows and is rotated, by renaming (and a new file) or by copying and truncating.

    indicia watch /var/log/app.log      indicia watch file:/var/log/app.log      indicia watch /var/log/zeek

A file is read from its beginning, then as it grows, whole lines at a time; a last line without its end is
read when the file was rotated. Where it stands is kept by offset and a digest of its first bytes, so that
after a restart the rest of a file that was renamed or copied meanwhile is found beside it (`app.log.1`,
`app.log-20240312`; compressed ones are not opened), and those that came after it are read as well. Where
nothing is found, reading begins anew: events that were read already have the same ids and change nothing.

Files of lines are followed: JSON lines, text, Zeek TSV, CSV. JSON over many lines is for `indicia scan`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from io import FileIO
from pathlib import Path

from indicia.live.pieces import Piece
from indicia.telemetry.records import Form, form_of

CHUNK = 4 * 1024 * 1024
"""Bytes that are read at once; a longer line is cut there."""
TICK = 10_000_000
"""Nanoseconds: a file is stamped with the time of the system's last tick, which may be so long ago."""
HEAD = 1024
"""Bytes by which a file is known again."""
GRACE = 1.0
"""Seconds without growth after which a renamed file is left: its writer may not know yet."""
LOOK = 64 * 1024
"""Bytes by which its form is known."""
_HEADED = frozenset({Form.ZEEK, Form.CSV, Form.TSV})
_ROTATED = re.compile(r"(?P<name>.+?)[.-][0-9][0-9T.-]*(\.(gz|zst|bz2|xz))?\Z")
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a file stands."""

    inode: int
    """0 where there was no file yet."""
    offset: int
    lines: int
    head: str
    """Digest of its first `head_size` bytes."""
    head_size: int
    at: int = 0
    """When it was begun with, in nanoseconds since 1970: what is rotated and was written to since is ours."""


class Growing:
    """One path that is followed; for one thread."""

    def __init__(self, path: Path, mark: Mark | None = None) -> None:
        self.path = path
        self.mark = mark
        self._file: FileIO | None = None
        self._resumed = mark is None
        self._grew = time.monotonic()
        self._last: Mark | None = None
        """Of the rotated file that was read last."""

    def pieces(self) -> Iterator[Piece]:
        """What has come since; each is to be kept before the next one is asked for."""
        if not self._resumed:
            yield from self._catch_up()
        while self._resumed and (self._file is not None or self._open(self.path, self.mark)):
            if self._last is not None and self._missed(self._last):
                # Rotated once more before it was opened.
                self.mark = self._last
                yield from self._catch_up()
                continue
            self._last = None
            # Before it is read, because what is behind the mark now may be the middle of something else.
            if not self._emptied():
                yield from self._rest(final=False, current=True)
                if not self._renamed():
                    return
                yield from self._rest(final=True, current=False)
            yield from self._catch_up()

    def begin(self) -> None:
        """Look at what is there now, so that a mark can be noted before anything is read."""
        if self._file is None and self._resumed and not self._open(self.path, self.mark):
            self.mark = Mark(0, 0, 0, "", 0, _moment())

    def close(self) -> None:
        """Let go of the file; the mark stays."""
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, path: Path, mark: Mark | None) -> bool:
        try:
            self._file = FileIO(path)
        except OSError:
            return False
        if mark is None or not mark.inode:
            found = os.fstat(self._file.fileno())
            size = min(HEAD, found.st_size)
            mark = Mark(found.st_ino, 0, 0, _digest(self._file, size), size, _moment())
        self.mark = mark
        return True

    def _catch_up(self) -> Iterator[Piece]:
        """The rest of the file that the mark is of, and those between it and the one there now.

        One that was written to just now may not be whole: it is gone on with at the next look.
        """
        self._close()
        self._resumed, known = True, self.mark
        if known is None or (_is_of(self.path, known) and (known.head_size or not self._since(known))):
            return
        done = False
        while files := self._since(known)[done:]:
            settled = _settled(files[0])
            if not self._open(files[0], None if done else known):
                break
            yield from self._rest(final=settled, current=False)
            known, done = self.mark or known, True
            self._close()
            if not settled:
                self._resumed = False
                return
        self.mark, self._last = None, known

    def _since(self, mark: Mark) -> list[Path]:
        """The rotated file that a mark is of, and later ones; nothing where it is gone."""
        beside = sorted(self._beside(), key=lambda path: path.stat().st_mtime_ns)
        first = next((number for number, path in enumerate(beside) if _is_of(path, mark)), len(beside))
        if first == len(beside) and not mark.offset:
            # Of a file that was empty, or not there yet, nothing is known but since when.
            now = time.time_ns()
            return [path for path in beside if mark.at <= path.stat().st_mtime_ns <= now]
        return beside[first:]

    def _missed(self, last: Mark) -> bool:
        """Whether a file lies between the last one that was read and the one that is open."""
        if self._file is None:
            return False
        ours = os.fstat(self._file.fileno()).st_ino
        return any(path.stat().st_ino != ours for path in self._since(last)[1:])

    def _renamed(self) -> bool:
        """Whether the path names another file, and nobody has written to ours for a while."""
        if self._file is None:
            return False
        there = _inode(self.path)
        other = there not in (0, os.fstat(self._file.fileno()).st_ino)
        return other and time.monotonic() - self._grew >= GRACE

    def _emptied(self) -> bool:
        """Whether the file was emptied since, and perhaps written to again."""
        if self._file is None or self.mark is None:
            return False
        mark, size = self.mark, os.fstat(self._file.fileno()).st_size
        if not mark.head_size:
            # What it held meanwhile may be in a copy.
            return _inode(self.path) == mark.inode and bool(self._since(mark))
        return size < mark.offset or _digest(self._file, mark.head_size) != mark.head

    def _beside(self) -> list[Path]:
        """Earlier ones of the same log."""
        name = self.path.name
        return [
            path
            for path in self.path.parent.glob(f"{glob_of(name)}[.-]*")
            if path.is_file() and not path.name.endswith(_COMPRESSED)
        ]

    def _rest(self, *, final: bool, current: bool) -> Iterator[Piece]:
        """Whole lines up to the end of the open file; with `final` the last one without its end too.

        `current`: it may be emptied and filled anew at any moment. What was read counts only if it was not.
        """
        while self._file is not None and self.mark is not None:
            mark = self.mark
            self._file.seek(mark.offset)
            data = self._file.read(CHUNK)
            cut = data.rfind(b"\n") + 1
            if not cut:
                if not data or not (final or len(data) == CHUNK):
                    return
                cut = len(data)
            data = data[:cut]
            form, header = self._form()
            after = self._after(mark, data)
            if after is None or (current and self._emptied()):
                return
            yield Piece(str(self.path), data, form, header if mark.offset else b"", mark.lines)
            # Past the yield it is kept.
            self._grew = time.monotonic()
            self.mark = after

    def _after(self, mark: Mark, data: bytes) -> Mark | None:
        """The mark behind what was read; None where the file is another one by now."""
        digest, size = mark.head, mark.head_size
        if mark.offset < HEAD and self._file is not None:
            # From what was read, not from what is there by now.
            before = os.pread(self._file.fileno(), mark.offset, 0)
            if len(before) < mark.offset or (before and _digest_of(before[:size]) != digest):
                return None
            size = min(HEAD, mark.offset + len(data))
            digest = _digest_of((before + data)[:size])
        lines = mark.lines + data.count(b"\n")
        return Mark(mark.inode, mark.offset + len(data), lines, digest, size, mark.at)

    def _form(self) -> tuple[Form, bytes]:
        """The form by the beginning of the file, and the lines above that are needed to read others."""
        if self._file is None:
            return Form.LINES, b""
        head = os.pread(self._file.fileno(), LOOK, 0)
        form = form_of(head)
        if form is Form.ZEEK:
            lines = head.splitlines(keepends=True)
            return form, b"".join(line for line in lines if line.startswith(b"#"))
        if form in _HEADED:
            return form, head[: head.find(b"\n") + 1]
        return (form, b"") if form is Form.JSON else (Form.LINES, b"")


def _moment() -> int:
    """Now, in nanoseconds, and not after the time of a file that is written to next."""
    return time.time_ns() - TICK


def glob_of(name: str) -> str:
    """A name as a pattern that matches itself alone."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def is_rotated(path: Path) -> bool:
    """Whether a file in a folder is an earlier part of another one there."""
    found = _ROTATED.match(path.name)
    return found is not None and path.with_name(found["name"]).exists()


def _inode(path: Path) -> int:
    """0 where there is no file."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _settled(path: Path) -> bool:
    """Whether nobody has written to a file for a while."""
    try:
        return not -GRACE < time.time() - path.stat().st_mtime < GRACE
    except OSError:
        return True


def _is_of(path: Path, mark: Mark) -> bool:
    try:
        with FileIO(path) as file:
            found = os.fstat(file.fileno())
            if not mark.head_size:  # of a file that was empty there is nothing else to be known by
                return found.st_ino == mark.inode
            return found.st_size >= mark.offset and _digest(file, mark.head_size) == mark.head
    except OSError:
        return False


def _digest(file: FileIO, size: int) -> str:
    return _digest_of(os.pread(file.fileno(), size, 0)) if size else ""


def _digest_of(head: bytes) -> str:
    return blake2b(head, digest_size=16).hexdigest()
