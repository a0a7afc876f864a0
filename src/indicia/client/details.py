"""Where the service is and who asks: the file that `indicia init --save` writes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import msgspec

from indicia.errors import InvalidValue, MalformedFile

NEEDED = ("client_id", "client_secret", "authorization_url", "api_url")


@dataclass(frozen=True, kw_only=True)
class Details:
    """The access of one application."""

    client_id: str
    client_secret: str = field(repr=False)
    authorization_url: str
    """The token endpoint (v1)."""
    api_url: str
    """The root of the API, as `https://127.0.0.1:8443/V1.0`."""
    resource: str = "https://graph.windows.net"
    ca_file: str = ""
    """The authority to trust, and no other; empty: those of the system."""

    def __post_init__(self) -> None:
        for name in ("authorization_url", "api_url"):
            parts = urlsplit(getattr(self, name))
            if parts.scheme not in ("https", "http") or not parts.netloc:
                raise InvalidValue("must be a URL such as https://127.0.0.1:8443/V1.0", target=name)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read them. Raises MalformedFile with what is wrong; a relative `ca_file` is beside the file."""
        place = os.fspath(path)
        try:
            given = msgspec.json.decode(Path(path).read_bytes(), type=dict[str, str])
        except OSError as error:
            raise MalformedFile(f"cannot be read: {error.strerror}", place=place) from None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise MalformedFile(
                "is not what `indicia init --save` writes: one JSON object of texts", place=place
            ) from None
        missing = [name for name in NEEDED if not given.get(name)]
        if missing:
            raise MalformedFile(f"lacks {', '.join(missing)}; `indicia init --save` writes it", place=place)
        known = {name: given[name] for name in cls.__dataclass_fields__ if name in given}
        if known.get("ca_file"):
            known["ca_file"] = str(Path(path).absolute().parent / known["ca_file"])
        try:
            return cls(**known)
        except InvalidValue as error:
            raise MalformedFile(error.message, target=error.target, place=place) from None
