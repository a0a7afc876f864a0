"""What an output is given: its target, options and secret, and how these are read."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from indicia.errors import InvalidValue

TLS_OPTIONS = ("trust", "certificate", "key")


@cache
def version() -> str:
    """Of Indicia, as it was installed, for receivers that want to know."""
    return metadata.version("indicia")


@dataclass(frozen=True, slots=True)
class Given:
    """A target as its owner wrote it."""

    target: str
    options: Mapping[str, str] = field(default_factory=dict)
    secret: str = field(default="", repr=False)

    def only(self, *allowed: str) -> None:
        """Raise InvalidValue for any other option."""
        for name in self.options:
            if name not in allowed:
                raise InvalidValue(
                    f"{name[:40]!r} is no option of this target; {', '.join(allowed)} are", target="Options"
                )

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """An option that is a whole number."""
        text = self.options.get(name, str(default))
        if not (text.isascii() and text.isdecimal() and len(text) < 16 and least <= int(text) <= most):
            raise InvalidValue(f"{name} must be a whole number from {least} to {most}", target="Options")
        return int(text)

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """An option that is one of some words; the default may be another one."""
        text = self.options.get(name, default)
        if text not in allowed and text != default:
            raise InvalidValue(f"{name} must be one of {', '.join(allowed)}", target="Options")
        return text

    def url(self) -> SplitResult:
        """The target in its parts, with a host; InvalidValue."""
        try:
            found = urlsplit(self.target)
            if not found.hostname or found.port == 0:
                raise ValueError
        except ValueError:
            raise InvalidValue(
                "must have a host, and a port from 1 to 65535 or none", target="Target"
            ) from None
        if not (self.target.isascii() and self.target.isprintable()) or " " in self.target:
            raise InvalidValue("has other characters than a URL; escape them", target="Target")
        if found.username is not None or found.password is not None:
            raise InvalidValue("must not hold a password; give it as the secret", target="Target")
        return found

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, with the receiver's name checked, by the authorities of `trust` if given."""
        if ("certificate" in self.options) != ("key" in self.options):
            raise InvalidValue("give certificate and key, or neither", target="Options")
        try:
            trust = self.options.get("trust")
            context = ssl.create_default_context(cafile=trust)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if "certificate" in self.options:
                context.load_cert_chain(Path(self.options["certificate"]), Path(self.options["key"]))
        except (OSError, ssl.SSLError, ValueError) as error:
            files = ", ".join(self.options[name] for name in TLS_OPTIONS if name in self.options)
            raise InvalidValue(f"{files} cannot be used: {error}", target="Options") from None
        return context
