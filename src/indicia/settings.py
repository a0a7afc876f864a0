"""Settings, read at the edge (cli, web.app) and passed down as one frozen value.

Order: defaults, then `config.toml` in the home, then `INDICIA_*` variables, then flags. TABLE is the one
literal list of them: it feeds reading, `indicia doctor` and the docs. No single values are `[[issuers]]` and
`[[sign_on]]` in `config.toml`: tables that `auth.external` and `auth.sign_on` understand.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from indicia.errors import InputError

TABLE: tuple[tuple[str, type, str], ...] = (
    ("database", str, "URL of the store, `postgresql://USER@HOST/DATABASE`; empty: SQLite in the home"),
    ("host", str, "address that `serve` listens on and that URLs name"),
    ("port", int, "port that `serve` listens on and that URLs name"),
    ("tls", bool, "serve HTTPS with the home's own CA"),
    ("tls_certificate", str, "file of a certificate to show in place of the home's own, its chain behind it"),
    ("tls_key", str, "file of its key"),
    ("workers", int, "processes that `serve` answers with"),
    ("matchers", int, "processes in which each worker has events matched; 0: in itself, beside its keys"),
    ("log", str, "log of `serve` on stderr: `text`, what goes wrong; `json`, each request, too"),
    ("original_hosts", bool, "also show a certificate for the original service's names"),
    ("max_body_bytes", int, "largest request body that the service reads, in bytes"),
    ("max_event_bytes", int, "largest batch of events, also after decompression, in bytes"),
    ("token_seconds", int, "how long an access token holds, in seconds"),
    ("public_url", str, "URL of the service as clients and browsers reach it; empty: `host` and `port`"),
    (
        "proxies",
        str,
        "addresses and networks, with commas, whose `X-Forwarded-For` is believed",
    ),
    ("session_idle_seconds", int, "how long somebody who does nothing stays signed in to the portal"),
    ("session_seconds", int, "how long anybody stays signed in to the portal"),
    ("quota_definitions", int, "alert definitions a tenant may have"),
    ("quota_indicators", int, "indicators a tenant may have"),
    ("quota_patterns", int, "indicators a tenant may have with StartWith, EndWith or Contains"),
    ("alerts_per_hour", int, "alerts that one definition may open within an hour before it is a storm"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be configured; secrets are not settings and have no default."""

    home: Path
    database: str = ""
    host: str = "127.0.0.1"
    port: int = 8443
    tls: bool = True
    tls_certificate: str = ""
    tls_key: str = ""
    workers: int = 1
    matchers: int = 1
    log: str = "text"
    original_hosts: bool = False
    max_body_bytes: int = 64 * 1024 * 1024
    max_event_bytes: int = 1024 * 1024 * 1024
    token_seconds: int = 3599
    public_url: str = ""
    proxies: str = ""
    session_idle_seconds: int = 3600
    session_seconds: int = 12 * 3600
    quota_definitions: int = 10_000
    quota_indicators: int = 10_000_000
    quota_patterns: int = 1_000_000
    alerts_per_hour: int = 1000
    issuers: tuple[Mapping[str, Any], ...] = ()
    """External issuers of tokens, as `config.toml` has them."""
    sign_on: tuple[Mapping[str, Any], ...] = ()
    """Providers at which people sign on, as `config.toml` has them."""

    @property
    def base_url(self) -> str:
        """Scheme, host and port at which this service listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def portal_url(self) -> str:
        """Scheme, host and port as clients and browsers reach them, by whichever host of several."""
        return self.public_url.rstrip("/") or self.base_url

    @property
    def session_idle(self) -> timedelta:
        """`session_idle_seconds` as a span."""
        return timedelta(seconds=self.session_idle_seconds)

    @property
    def session_length(self) -> timedelta:
        """`session_seconds` as a span."""
        return timedelta(seconds=self.session_seconds)

    @property
    def database_url(self) -> str:
        """URL of the store; that of a server may hold a password: it goes into no message and no argument."""
        return self.database or f"sqlite:///{self.home / 'indicia.db'}"


_LISTS = ("issuers", "sign_on")
"""What is a list of tables."""


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """INDICIA_HOME, else `indicia` in the XDG data folder (XDG Base Directory Specification 0.8)."""
    if environ.get("INDICIA_HOME"):
        return Path(environ["INDICIA_HOME"])
    data = environ.get("XDG_DATA_HOME") or ""
    base = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"
    return base / "indicia"


def read(home: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Defaults, the home's `config.toml`, then `INDICIA_*`.

    Raises InputError with the file or variable and what it must be.
    """
    settings = Settings(home=home)
    path = home / "config.toml"
    if path.exists():
        try:
            given = tomllib.loads(path.read_text("utf-8"))
            issuers, sign_on = (_tables(name, given.pop(name, []), str(path)) for name in _LISTS)
            settings = replace(settings, issuers=issuers, sign_on=sign_on)
            settings = _apply(settings, given, str(path))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"not valid TOML: {error}", place=str(path)) from None
    in_environment = {name: environ[_variable(name)] for name, _, _ in TABLE if _variable(name) in environ}
    return _apply(settings, in_environment, "environment")


def remember(settings: Settings) -> None:
    """Write what differs from the defaults into the home's `config.toml`; its lists of tables stay."""
    defaults = Settings(home=settings.home)
    lines = [
        f"{field.name} = {_toml(getattr(settings, field.name))}\n"
        for field in fields(Settings)
        if field.name not in ("home", *_LISTS)
        and getattr(settings, field.name) != getattr(defaults, field.name)
    ]
    for listed in _LISTS:
        for table in getattr(settings, listed):
            pairs = (f"{_key(name)} = {_toml(value)}\n" for name, value in table.items())
            lines += [f"\n[[{listed}]]\n", *pairs]
    (settings.home / "config.toml").write_text("".join(lines), "utf-8")


def _variable(name: str) -> str:
    return f"INDICIA_{name.upper()}"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(_toml(one) for one in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(name)} = {_toml(one)}' for name, one in value.items())} }}"
    return str(value) if isinstance(value, int | float) else _key(str(value))


def _key(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _tables(name: str, given: object, place: str) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(given, list) or not all(isinstance(table, dict) for table in given):
        raise InputError(f"must be tables: [[{name}]]", place=f"{place}: {name}")
    return tuple(given)


def _apply(settings: Settings, given: Mapping[str, Any], place: str) -> Settings:
    known = {name: kind for name, kind, _ in TABLE}
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise InputError(f"unknown setting {name!r}; known: {', '.join(known)}", place=place)
        changes[name] = _parse(known[name], value, f"{place}: {name}")
    return replace(settings, **changes)


def _parse(kind: type, value: Any, place: str) -> Any:
    if kind is bool and isinstance(value, str) and value.lower() in {"true", "false", "1", "0"}:
        return value.lower() in {"true", "1"}
    if kind is int and isinstance(value, str) and value.isdecimal():
        return int(value)
    if type(value) is not kind:
        raise InputError(f"must be of type {kind.__name__}, not {value!r}", place=place)
    return value
