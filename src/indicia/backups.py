"""Backups: a folder with a whole store, and the files of the home without which it is of little use.

    FOLDER/indicia.db        the store, as a file of SQLite whatever database it is on
           home/tls/…        the home's authority and certificates
           home/outputs.key  what the secrets of outputs are sealed with
           manifest.json     what is in it, with the SHA-256 of each file; written last
           unfinished        until then; what lies beside no such file is nothing that a backup left

It is made while others read and write, and holds what the store held at one moment. `config.toml` is not in
it, nor what can be made again (`indexes/`), nor jobs of the portal and files that people brought for them.
Who has a backup can sign tokens as the service does and show its certificate: it is mode 0700, and belongs
where keys belong.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from indicia import __version__
from indicia.errors import InputError
from indicia.store import Store
from indicia.store.copying import Content, Tell

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 1 << 20
"""Bytes; one has some four thousand."""
UNFINISHED = "unfinished"
STORE = "indicia.db"
LOCK = "copying.lock"
HOME = "home"
_FILES = ("outputs.key", "tls/*", "tls/original/*")
"""Of the home, as patterns."""
_FORM = 1


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself."""

    form: int
    indicia: str
    made_at: datetime
    contents: dict[str, Content]
    """By table."""
    files: dict[str, str]
    """SHA-256 by path below the folder."""


def make(store: Store, home: Path, folder: Path, tell: Tell) -> Manifest:
    """Back a store and its home up into a folder that is new, empty, or what a broken off backup left.

    Raises InputError for a folder with anything else, StoreError where the store cannot be read.
    """
    try:
        _emptied(folder)
        contents = store.copy_to(f"sqlite:///{folder.absolute() / STORE}", tell, as_is=True)
        (folder / LOCK).unlink(missing_ok=True)
        for path in _of(home):
            _copy(path, folder / HOME / path.relative_to(home))
        files = {str(path.relative_to(folder)): _sha256(path) for path in _all(folder)}
        made = Manifest(_FORM, __version__, datetime.now(UTC), contents, files)
        _write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(made)))
        (folder / UNFINISHED).unlink()
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror}", place=str(error.filename or folder)
        ) from None
    return made


def restore(folder: Path, home: Path, url: str, tell: Tell) -> Manifest:
    """Bring a backup back into an empty database and a home that has no other keys.

    All files are checked before anything is written, and whatever breaks it off, the same command goes on.
    Raises InputError for what is no whole backup, and for a home with other files of the same names,
    StoreError for a database that is not empty.
    """
    found = read(folder)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in found.files:
            target = home / Path(name).relative_to(HOME) if name != STORE else None
            if target is not None and target.exists() and _sha256(target) != found.files[name]:
                raise InputError("is there already, and another one; name an empty home", place=str(target))
        for left in home.glob(".restore-*"):
            shutil.rmtree(left)
        # Of a copy, because a store of an older version is brought up to date where it lies.
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=home) as own:
            shutil.copyfile(folder / STORE, Path(own) / STORE)
            with Store.open(f"sqlite:///{Path(own) / STORE}", create=False) as store:
                # While the database is no store yet: what is broken off here goes on, too.
                store.copy_to(url, tell, ready=partial(_bring, found, folder, home))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", place=str(error.filename or home)) from None
    return found


def read(folder: Path) -> Manifest:
    """What a backup holds, once all of its files were read and are what they were; InputError."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            content = file.read(MANIFEST_LIMIT + 1)
        if len(content) > MANIFEST_LIMIT:
            raise InputError("is larger than a manifest can be", place=str(folder / MANIFEST))
        found = msgspec.json.decode(content, type=Manifest)
    except OSError:
        raise InputError("is no whole backup: it has no manifest.json", place=str(folder)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"is no manifest of a backup: {error}", place=str(folder / MANIFEST)) from None
    if found.form != _FORM:
        raise InputError(f"is of form {found.form}; this Indicia reads {_FORM}", place=str(folder / MANIFEST))
    allowed = {str(path.relative_to(folder)) for path in _all(folder)}
    for name, digest in found.files.items():
        if name not in allowed:
            raise InputError("is missing from the backup, or has no place in one", place=str(folder / name))
        if _sha256(folder / name) != digest:
            raise InputError("is damaged: it is not what was backed up", place=str(folder / name))
    if STORE not in found.files:
        raise InputError("names no store", place=str(folder / MANIFEST))
    return found


def _emptied(folder: Path) -> None:
    """Make the folder, or remove what a backup left there that was broken off. InputError, OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Else whoever made it first, in a place where all may write, would be given the keys.
    if folder.stat().st_uid != os.geteuid():
        raise InputError("belongs to another user; name a folder that is not there", place=str(folder))
    there = {path.name for path in folder.iterdir()}
    ours = {UNFINISHED, STORE, f"{STORE}-wal", f"{STORE}-shm", LOCK, HOME}
    if strange := there - (ours if UNFINISHED in there else set()):
        raise InputError(
            f"holds {min(strange)!r} already; name a folder that is not there", place=str(folder)
        )
    folder.chmod(0o700)
    (folder / UNFINISHED).touch(0o600)
    for name in there - {UNFINISHED}:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _bring(found: Manifest, folder: Path, home: Path) -> None:
    """The files of the home, from a backup."""
    for name in found.files:
        if name != STORE:
            _copy(folder / name, home / Path(name).relative_to(HOME))


def _of(home: Path) -> Iterator[Path]:
    """The files of a home that are backed up."""
    for pattern in _FILES:
        yield from (path for path in sorted(home.glob(pattern)) if path.is_file() and not path.is_symlink())


def _all(folder: Path) -> Iterator[Path]:
    """The files of a backup; what else lies there is none of it."""
    if (folder / STORE).is_file():
        yield folder / STORE
    yield from _of(folder / HOME)


def _copy(path: Path, target: Path) -> None:
    """With the mode of the file, a key for its owner alone; whole or not at all."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # On its way through a store of objects or another disk a backup may have lost its modes.
    _write(target, path.read_bytes(), path.stat().st_mode & (0o600 if path.suffix == ".key" else 0o755))


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    fresh = path.with_name(f".{path.name}.new")
    number = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    with os.fdopen(number, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(number)
    fresh.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
