"""What a scan keeps beside the store: the file of --save, and the journal by which it can go on."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from indicia import __version__
from indicia.cli.show import counted, say, stamp
from indicia.errors import InputError
from indicia.journal import Journal

if TYPE_CHECKING:
    from indicia.cli.matching import Against
    from indicia.cli.scan import Options
    from indicia.cli.session import Session


@dataclass(frozen=True)
class Kept:
    """Where a scan's detections go, if not to stdout alone, and how far it is."""

    journal: Journal | None = None
    """None: nothing is kept by which the scan could go on."""
    file: io.TextIOWrapper | None = None
    since: datetime | None = None
    until: datetime | None = None

    def place(self) -> int:
        """Everything that was written is on the disk; bytes of the file."""
        if self.file is None:
            return 0
        self.file.flush()
        os.fsync(self.file.fileno())
        return os.lseek(self.file.fileno(), 0, os.SEEK_CUR)


@contextmanager
def kept(session: Session, options: Options, against: Against) -> Iterator[Kept]:
    """What was asked for, open. Raises InputError where a file is in the way or cannot be gone on with."""
    if options.save is not None:
        _look(options.save, options)
    journal = _journal(session, options, against)
    fixed = journal.fixed if journal is not None else _moments(options)
    span = (_moment(fixed["since"]), _moment(fixed["until"]))
    try:
        if options.save is None:
            yield Kept(journal, None, *span)
            return
        with _opened(options.save, journal) as file:
            yield Kept(journal, file, *span)
    finally:
        if journal is not None:
            journal.close()


def journal_of(save: Path) -> Path:
    """Beside the file that is saved to."""
    return save.with_name(f"{save.name}.journal")


def _look(save: Path, options: Options) -> None:
    """Nothing of somebody's is overwritten unasked."""
    if save.is_symlink():
        raise InputError("is a symbolic link; name the file itself", place=str(save))
    if save.is_dir():
        raise InputError("is a folder; name a file", place=str(save))
    if save.exists() and not save.is_file():
        raise InputError("is no regular file, so a scan cannot go on with it", place=str(save))
    there = save.exists() and save.stat().st_size > 0
    begun = journal_of(save).exists()
    if options.resume and there and not begun:
        raise InputError(
            "the scan that wrote it has ended, so there is nothing to go on with", place=str(save)
        )
    if there and not options.resume and not options.overwrite:
        more = ", or go on with the scan that was interrupted by --resume" if begun else ""
        raise InputError(f"exists already; name another file, add --replace{more}", place=str(save))


def _journal(session: Session, options: Options, against: Against) -> Journal | None:
    stored = against.tenant is not None and not options.dry_run
    if "-" in options.paths or not (stored or options.save) or options.indicators == "-":
        return None
    asked = _asked(options, against, stored=stored)
    path = journal_of(options.save) if options.save else _in_home(session, asked)
    if options.resume:
        found = Journal.resume(path, asked, _moments(options))
        if found is not None:
            say(f"Going on: {counted(len(found.pieces), 'piece')} of files and "
                f"{counted(len(found.found), 'detection')} are kept.")  # fmt: skip
            return found
        say("There is nothing to go on with: the scan begins anew.")
    try:
        return Journal.begin(path, asked, _moments(options), now=options.save is not None)
    except InputError as error:
        if options.save:
            raise
        say(f"This scan could not go on after an interrupt: {error}.")
        return None


def _asked(options: Options, against: Against, *, stored: bool) -> dict[str, object]:
    """What must be the same for a scan to go on."""
    return {
        "version": __version__,
        "indicators": against.mark,
        "tenant": against.uid,
        "stored": stored,
        "paths": [str(Path(path).absolute()) for path in options.paths],
        "schema": options.schema,
        "output": options.output,
        "since": options.since.text if options.since else None,
        "until": options.until.text if options.until else None,
        "limit": options.limit,
        "group_by": options.group_by,
    }


def _in_home(session: Session, asked: dict[str, object]) -> Path:
    """A name for what was asked; for which version and generation the journal itself says."""
    plain = {name: value for name, value in asked.items() if name not in {"version", "indicators"}}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return session.home / "scans" / f"{digest[:32]}.journal"


def _moments(options: Options) -> dict[str, str | None]:
    return {
        "since": stamp(options.since.moment) if options.since else None,
        "until": stamp(options.until.moment) if options.until else None,
    }


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@contextmanager
def _opened(save: Path, journal: Journal | None) -> Iterator[io.TextIOWrapper]:
    """The file, cut back to what the journal says that counts."""
    place = journal.place if journal is not None else 0
    try:
        descriptor = os.open(save, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.fchmod(descriptor, 0o600)  # one that is replaced may have been open to others
        if os.fstat(descriptor).st_size < place:
            os.close(descriptor)
            raise InputError(
                "is shorter than the interrupted scan left it; scan anew with --replace", place=str(save)
            )
        os.ftruncate(descriptor, place)
        os.lseek(descriptor, place, os.SEEK_SET)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", place=str(save)) from None
    # What cannot be UTF-8 is escaped, as on stdout.
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
