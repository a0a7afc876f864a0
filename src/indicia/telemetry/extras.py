"""Packages that are not part of every installation: what reads EVTX, Parquet and Arrow."""

from __future__ import annotations

import importlib
from typing import Any

from indicia.errors import MissingExtra


def extra(module: str, name: str, what: str) -> Any:
    """The module of an extra. Raises MissingExtra with the line that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtra(f"{what} needs the extra {name!r}: pip install 'indicia[{name}]'") from None
