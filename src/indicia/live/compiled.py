"""The base of a live index: everything that is matched, compiled into a file that all processes share.

    FOLDER/<tenant>.<generation>.<highest indicator id>.live

The name says where the file stands in the store's history; the newest one counts. A base is made by a process
of its own (`python -m indicia.live.compiled TENANT FOLDER`, given the store's URL on standard input), so that
matching goes on meanwhile at its usual speed, and by one at a time: who comes second leaves it to the first.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from indicia.errors import IndiciaError, InputError, StoreError
from indicia.match import compiler
from indicia.match.index import Index
from indicia.store import Position, Store, TenantStore

SUFFIX = ".live"
KEPT = 2
"""Bases that stay: a process may still open the one before."""
NICENESS = 5
_DONE, _BUSY = 0, 3
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def newest(folder: Path, tenant: str) -> tuple[Position, Path] | None:
    """The newest base of a tenant and where it stands."""
    found = _bases(folder, tenant)
    return found[-1] if found else None


def opened(folder: Path, tenant: str) -> tuple[Position, Index] | None:
    """The newest base that can be opened; one that cannot is removed."""
    for position, path in reversed(_bases(folder, tenant)):
        try:
            index = Index.open(path)
        except InputError:
            path.unlink(missing_ok=True)
            continue
        if index.tenant == tenant:
            return position, index
        index.close()
    return None


def forget(folder: Path, tenants: Collection[str]) -> None:
    """Remove the files of tenants that are not among these: they were deleted.

    What else somebody put there, as a file system's own folder, stays.
    """
    for path in folder.glob("*.*"):
        tenant = path.name.partition(".")[0]
        if _UID.fullmatch(tenant) and tenant not in tenants and path.is_file():
            path.unlink(missing_ok=True)


def _bases(folder: Path, tenant: str) -> list[tuple[Position, Path]]:
    found = []
    for path in folder.glob(f"{tenant}.*{SUFFIX}"):
        generation, _, last = path.name.removeprefix(f"{tenant}.").removesuffix(SUFFIX).partition(".")
        if generation.isdecimal() and last.isdecimal():
            found.append((Position(int(generation), int(last)), path))
    return sorted(found, key=lambda one: (one[0].generation, one[0].indicators_to))


def make(tenant: TenantStore, folder: Path) -> bool:
    """Compile what the store holds now; False where another process is at it.

    Raises StoreError, also where the file cannot be written.
    """
    try:
        return _make(tenant, folder)
    except (OSError, InputError) as error:
        words = error.message if isinstance(error, InputError) else error.strerror
        raise StoreError(f"{folder}: no index can be written: {words}") from None


def _make(tenant: TenantStore, folder: Path) -> bool:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(folder / f"{tenant.uid}.lock") as alone:
        if not alone:
            return False
        before = newest(folder, tenant.uid)
        with tenant.standing() as standing:
            position = standing.position
            path = folder / f"{tenant.uid}.{position.generation}.{position.indicators_to}{SUFFIX}"
            if before is not None and before[0] == position:
                return True
            compiler.write(standing.indicators, path, tenant=tenant.uid, generation=position.generation)
        for _, old in _bases(folder, tenant.uid)[:-KEPT]:
            old.unlink(missing_ok=True)
        if before is not None:
            tenant.drop_changes(before[0].generation)
        return True


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether no other process holds the lock; it is given back at the end, however that comes."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def make_apart(url: str, tenant: TenantStore, folder: Path) -> bool:
    """As `make`, in a process of its own. Raises StoreError with what that process said."""
    command = [sys.executable, "-m", "indicia.live.compiled", tenant.uid, str(folder)]
    # The URL may hold a password, and everybody on the machine can read arguments.
    done = subprocess.run(  # noqa: S603 - our own
        command, input=url, capture_output=True, text=True, check=False
    )
    if done.returncode not in (_DONE, _BUSY):
        raise StoreError(f"no index could be made: {done.stderr.strip()[-500:] or done.returncode}")
    return done.returncode == _DONE


def main(arguments: list[str]) -> int:
    """Make a base: tenant and folder are given, and the store's URL on standard input."""
    tenant, folder = arguments
    url = sys.stdin.read().strip()
    with suppress(OSError):
        os.nice(NICENESS)
    try:
        with Store.open(url, create=False) as store:
            return _DONE if make(store.tenant(tenant), Path(folder)) else _BUSY
    except IndiciaError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
