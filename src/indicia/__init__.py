"""Indicia: custom threat intelligence, hosted by you."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from indicia.lookup import Index

__version__ = "0.1.0"
__all__ = ["Index", "__version__"]


def __getattr__(name: str) -> object:
    """Public names are loaded when they are asked for: importing costs nothing (PEP 562)."""
    if name == "Index":
        from indicia.lookup import Index  # noqa: PLC0415

        return Index
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
