"""The C half of matching; `BUILT` says whether it is there. Without it the reference does the work."""

from __future__ import annotations

try:
    from indicia.match import _kernel as kernel
except ImportError:
    kernel = None  # type: ignore[assignment]

BUILT = kernel is not None

__all__ = ["BUILT", "kernel"]
