"""`indicia doctor`: what works on this machine, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indicia.cli.session import Session, json_option, pass_session
from indicia.cli.show import result, say, table

if TYPE_CHECKING:
    from indicia.settings import Settings
    from indicia.store import Store
    from indicia.store.inspection import Inspected

FAULT_FOUND = 1
LEAST_DISK = 256 * 1024 * 1024
"""Free bytes below which imports are bound to fail."""
LITTLE_DISK = 2 * 1024 * 1024 * 1024
"""Free bytes that three million indicators and their log fit into."""
SOON = timedelta(days=30)


class State(StrEnum):
    """How a thing is."""

    OK = "ok"
    MISSING = "missing"
    """Not there; what needs it cannot be done yet."""
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    what: str
    state: State
    text: str


@click.command()
@json_option
@pass_session
def command(session: Session, json_asked: bool) -> int:
    """Say what works on this machine and what is missing; nothing is changed.

    Exit code 1 where something is at fault. What is only missing is none: to scan with a list of your own
    no home is needed.
    """
    # Several checks stumble over the same unreadable settings; one finding tells it.
    findings = list({one.text: one for one in reversed(_all(session))}.values())[::-1]
    found = {
        "ok": not any(one.state is State.FAULT for one in findings),
        "checks": [asdict(one) for one in findings],
        "settings": _settings(session),
    }
    result(found, json_asked=json_asked, text=lambda: _show(findings, session))
    return 0 if found["ok"] else FAULT_FOUND


def _all(session: Session) -> list[Finding]:
    return [finding for check in CHECKS for finding in _guarded(check, session)]


def _guarded(check: Callable[[Session], Iterator[Finding]], session: Session) -> Iterator[Finding]:
    """One check; what it stumbles over is a finding too."""
    from indicia.errors import IndiciaError

    try:
        yield from check(session)
    except (IndiciaError, OSError, ValueError) as error:
        yield Finding(check.__name__.strip("_").replace("_", " "), State.FAULT, str(error))


def _show(findings: list[Finding], session: Session) -> None:
    table(("check", "state", "finding"), ((one.what, one.state, one.text) for one in findings))
    click.echo()
    shown = _settings(session)
    if shown:
        rows = ((one["setting"], str(one["value"]), str(one["default"]), one["what"]) for one in shown)
        table(("setting", "value", "default", "what it is"), rows)
    faults = sum(one.state is State.FAULT for one in findings)
    say(f"At fault: {faults}." if faults else "Nothing is at fault.")


def _settings(session: Session) -> list[dict[str, Any]]:
    """Every setting with its default; none where they cannot be read."""
    from indicia import settings
    from indicia.errors import InputError

    try:
        held = session.settings
    except InputError:
        return []
    defaults = settings.Settings(home=session.home)
    # That of the database may hold a password; the check of the store names it without.
    values = {name: getattr(held, name) for name, _, _ in settings.TABLE}
    values["database"] = "postgresql://…" if held.database else ""
    return [
        {"setting": name, "value": values[name], "default": getattr(defaults, name), "what": what}
        for name, _, what in settings.TABLE
    ]


def _python(_session: Session) -> Iterator[Finding]:
    text = f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"
    yield Finding("python", State.OK, text)


def _packages(_session: Session) -> Iterator[Finding]:
    from importlib import metadata

    wanted = [line.split(";")[0] for line in metadata.requires("indicia") or () if "extra ==" not in line]
    held, absent = [], []
    for line in wanted:
        name = re.split(r"[^A-Za-z0-9._-]", line)[0]
        try:
            held.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            absent.append(name)
    if absent:
        yield Finding("packages", State.FAULT, f"{', '.join(absent)} missing; install Indicia again")
    else:
        yield Finding("packages", State.OK, ", ".join(held))


def _kernel(_session: Session) -> Iterator[Finding]:
    from indicia.match.kernel import BUILT, kernel

    if BUILT:
        yield Finding("kernel", State.OK, f"the C extension matches; path {kernel.PATH}")
        return
    text = (
        "THE C EXTENSION WAS NOT BUILT: scans are right, but far slower, there are no indexes, and"
        " `indicia serve` wants --allow-slow; install a C compiler (gcc), then Indicia again"
    )
    yield Finding("kernel", State.FAULT, text)


def _sqlite(_session: Session) -> Iterator[Finding]:
    from indicia.store import inspection

    if inspection.sqlite_suffices():
        yield Finding("sqlite", State.OK, inspection.sqlite_version())
        return
    needed = ".".join(str(part) for part in inspection.SQLITE_MINIMUM)
    text = f"{inspection.sqlite_version()} is too old; {needed} is needed: use a newer Python"
    yield Finding("sqlite", State.FAULT, text)


def _schemas(_session: Session) -> Iterator[Finding]:
    from indicia import telemetry

    yield Finding("schemas", State.OK, f"{len(telemetry.schemas())} schemas of telemetry are known")


def _home(session: Session) -> Iterator[Finding]:
    from indicia.store import inspection

    home = session.home
    if not home.is_dir():
        # Where others have made the store already, init would make one more tenant.
        makes = (
            "`indicia serve` makes it" if session.settings.database else "`indicia init --save FILE` makes it"
        )
        yield Finding("home", State.MISSING, f"{home} is not there; {makes}")
        return
    if home.stat().st_mode & 0o077:
        yield Finding("home", State.WARNING, f"{home} can be entered by others; chmod 700 {home}")
    else:
        yield Finding("home", State.OK, f"{home}, mode {home.stat().st_mode & 0o777:04o}")
    if not os.access(home, os.W_OK | os.X_OK):
        yield Finding("home", State.FAULT, f"{home} cannot be written by you; check its owner and mode")
    elif not session.settings.database and not inspection.keeps_a_log(home):
        text = f"SQLite cannot keep its log (WAL) in {home}, as in most network folders; use a local disk"
        yield Finding("home", State.FAULT, text)


def _settings_file(session: Session) -> Iterator[Finding]:
    _ = session.settings
    path = session.home / "config.toml"
    yield Finding("settings", State.OK, f"read from {path}" if path.exists() else "defaults and environment")


def _store(session: Session) -> Iterator[Finding]:
    from indicia.errors import InputError

    try:
        on_server = bool(session.settings.database)
    except InputError:  # another check tells it
        on_server = False
    yield from _server(session) if on_server else _file(session)


def _server(session: Session) -> Iterator[Finding]:
    from indicia.store import inspection

    name, found = inspection.inspect_server(session.settings.database)
    server = f"{name}, PostgreSQL {found.journal}"
    said = f"{server}, tables {found.version}" + (", row-level security holds" if found.walled else "")
    if found.version is None:
        yield Finding(
            "store", State.MISSING, f"{server}, no tables yet; `indicia init --save FILE` makes them"
        )
    else:
        yield from _version(session, found, said)


def _file(session: Session) -> Iterator[Finding]:
    from indicia.store import inspection

    path = session.home / "indicia.db"
    if not path.exists():
        yield Finding("store", State.MISSING, f"{path} is not there; `indicia init --save FILE` makes it")
        return
    for part in path.parent.glob("indicia.db*"):
        if part.stat().st_mode & 0o077:
            yield Finding("store", State.FAULT, f"{part} can be read by others; chmod 600 {part}")
    found = inspection.inspect(path)
    size = f"{path.stat().st_size / 1e6:,.1f} MB, journal {found.journal}, tables {found.version}"
    yield from _version(session, found, size)


def _version(session: Session, found: Inspected, said: str) -> Iterator[Finding]:
    """Whether this Indicia knows tables of that version, and what is in them."""
    from indicia.store import migrate

    if found.version == migrate.HEAD:
        yield Finding("store", State.OK, said)
        yield from _tenants(session)
    elif found.version is None or found.version in migrate.VERSIONS:
        who = "who owns them, by `indicia store migrate`," if found.walled else "its next use"
        yield Finding("store", State.WARNING, f"{said}; {who} brings the tables to {migrate.HEAD}")
    elif migrate.reaches_back(found.since):
        yield Finding(
            "store", State.WARNING, f"{said}: made by a newer Indicia, which this one may go on with"
        )
        yield from _tenants(session)
    else:
        yield Finding(
            "store", State.FAULT, f"{said}: made by a newer Indicia, this one knows up to {migrate.HEAD}"
        )


def _tenants(session: Session) -> Iterator[Finding]:
    with session.store(look=True) as store:
        names = [tenant.name for tenant in store.tenants()]
        if not names:
            yield Finding("tenants", State.MISSING, "none yet; `indicia init --save FILE` makes one")
        for name in names[:20]:
            own = store.tenant(name).counts()
            text = f"{own.definitions:,} definitions, {own.indicators:,} indicators, {own.alerts:,} alerts"
            yield Finding(f"tenant {name}", State.OK, text)
        yield from _sealing(store, session.home)


def _certificates(session: Session) -> Iterator[Finding]:
    settings = session.settings
    if not settings.tls:
        yield Finding("certificates", State.WARNING, "TLS is off by the setting `tls`")
        return
    if settings.tls_certificate or settings.tls_key:
        yield _given(settings)
        return
    folder = settings.home / "tls"
    if not (folder / "server.pem").exists():
        text = "not there yet; `indicia init` and `indicia serve` make them"
        yield Finding("certificates", State.MISSING, text)
        return
    for key in ("ca.key", "server.key"):
        if (folder / key).exists() and (folder / key).stat().st_mode & 0o077:
            text = f"{folder / key} can be read by others; chmod 600 {folder / key}"
            yield Finding("certificates", State.FAULT, text)
    yield _certificate(folder / "ca.pem", "authority", ())
    yield _certificate(folder / "server.pem", "server", _names(settings))


def _given(settings: Settings) -> Finding:
    """A certificate that others issued; InputError with what is wrong with it."""
    from cryptography import x509

    from indicia.auth import certificates

    shown = certificates.given(settings.tls_certificate, settings.tls_key)
    until = x509.load_pem_x509_certificate(shown.certificate.read_bytes()).not_valid_after_utc
    soon = until - datetime.now(UTC) < SOON
    text = f"{shown.certificate}, by others, valid until {until:%Y-%m-%d}"
    text += "; put its successor there" if soon else ""
    return Finding("certificate of the server", State.WARNING if soon else State.OK, text)


def _sealing(store: Store, home: Path) -> Iterator[Finding]:
    """Whether the key of this home is the one that outputs of the store were sealed with."""
    from indicia.auth.sealing import Seal
    from indicia.errors import StoreError
    from indicia.live import targets

    sending = store.sending()
    try:
        for tenant in sending:
            targets.must_open(Seal(home), tenant.uid, tenant.outbox.outputs())
    except StoreError as error:
        yield Finding("outputs", State.FAULT, error.message)
    else:
        if sending:
            yield Finding("outputs", State.OK, "the key of this home opens what the store has sealed")


def _names(settings: Settings) -> tuple[str, ...]:
    from indicia.auth import certificates

    return certificates.names_of(settings.host)


def _certificate(path: Path, what: str, names: tuple[str, ...]) -> Finding:
    """Whether it can be read, lasts, and holds the names."""
    from cryptography import x509

    check = f"certificate of the {what}"
    try:
        read = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        return Finding(check, State.FAULT, f"{path}: {error}; remove {path.parent} and run `indicia serve`")
    until = read.not_valid_after_utc
    left = until - datetime.now(UTC)
    text = f"valid until {until:%Y-%m-%d}"
    if left <= timedelta():
        return Finding(check, State.FAULT, f"expired on {until:%Y-%m-%d}; `indicia serve` makes a new one")
    if left < SOON:
        return Finding(check, State.WARNING, f"{text}; the next `indicia serve` makes a new one")
    if names:
        held = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        lost = set(names) - {str(name.value) for name in held}
        if lost:
            what_to_do = "the next `indicia serve` makes new ones, which clients must be given"
            return Finding(check, State.WARNING, f"lacks {', '.join(sorted(lost))}; {what_to_do}")
        text = f"{text}, for {', '.join(names)}"
    return Finding(check, State.OK, text)


def _service(session: Session) -> Iterator[Finding]:
    import socket

    settings = session.settings
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    try:
        with socket.create_connection((host, settings.port), timeout=2):
            yield Finding("service", State.OK, f"something listens on {settings.base_url}")
    except OSError:
        yield Finding(
            "service", State.MISSING, f"nothing listens on {settings.base_url}; `indicia serve` does"
        )


def _disk(session: Session) -> Iterator[Finding]:
    there = next(path for path in (session.home, *session.home.parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / 1e9:,.1f} GB free at {there}"
    if free < LEAST_DISK:
        yield Finding("disk", State.FAULT, f"{text}; make room")
    else:
        yield Finding("disk", State.WARNING if free < LITTLE_DISK else State.OK, text)


def _extras(_session: Session) -> Iterator[Finding]:
    """Which optional parts are there, so that one need not find out by using them."""
    from importlib import metadata

    there: dict[str, bool] = {}
    for line in metadata.requires("indicia") or ():
        told = re.match(r"([A-Za-z0-9._-]+).*extra == .(\w+)", line)
        if told:
            there[told[2]] = there.get(told[2], True) and _installed(told[1])
    held, absent = ([name for name in sorted(there) if there[name] is state] for state in (True, False))
    text = f"{', '.join(held) or 'none'} installed"
    if absent:
        text += f"; {', '.join(absent)} not: pip install 'indicia[{absent[0]}]', where it is wanted"
    yield Finding("extras", State.OK, text)


def _installed(name: str) -> bool:
    from importlib import metadata

    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _optional(_session: Session) -> Iterator[Finding]:
    from importlib.util import find_spec

    if find_spec("requests"):
        yield Finding("requests", State.OK, "the examples can run")
    else:
        yield Finding("requests", State.MISSING, "only the examples need it; pip install requests")


CHECKS: tuple[Callable[[Session], Iterator[Finding]], ...] = (
    _python,
    _packages,
    _extras,
    _kernel,
    _sqlite,
    _schemas,
    _settings_file,
    _home,
    _store,
    _certificates,
    _service,
    _disk,
    _optional,
)
