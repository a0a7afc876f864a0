"""The written rules: why a place stands on one side only. The first rule that holds explains it.

Each is a predicate over what the difference shows (side, path, type, relation, text), never over a
file, a line or a value of the data set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from indicia.model import IndicatorType
from truth.compare import Difference, Only


@dataclass(frozen=True)
class Rule:
    """A name, whose side it explains, a sentence for the docs, and the predicate."""

    name: str
    only: Only
    sentence: str
    holds: Callable[[Difference], bool]


def explain(difference: Difference) -> Rule | None:
    """The first rule that holds; None: unexplained, which fails the test."""
    return next((rule for rule in RULES if rule.only is difference.only and rule.holds(difference)), None)


def is_tls_fingerprint(difference: Difference) -> bool:
    """An MD5 in a field of JA3 fingerprints."""
    return difference.place.type == IndicatorType.MD5 and field(difference) in {"ja3", "ja3s"}


def is_file_version(difference: Difference) -> bool:
    """An address in a field of version numbers."""
    return difference.place.type == IndicatorType.IP_ADDRESS and field(difference) == "FileVersion"


def is_imphash(difference: Difference) -> bool:
    """An MD5 that the event calls an IMPHASH."""
    is_md5 = difference.place.type == IndicatorType.MD5
    return is_md5 and f"imphash={difference.matched}".lower() in difference.event.lower()


def is_composed(difference: Difference) -> bool:
    """The path names two fields."""
    return "+" in difference.place.path


def is_under_wildcard(difference: Difference) -> bool:
    """The name follows `*.` in the event."""
    is_name = difference.place.type == IndicatorType.DOMAIN_NAME
    return is_name and f"*.{difference.matched}" in difference.event


def is_in_call_stack(difference: Difference) -> bool:
    """The file name has an offset behind it, as frames of a call stack do."""
    is_file = difference.place.type == IndicatorType.FILE_NAME
    return is_file and field(difference) == "CallTrace" and f"{difference.matched}+" in difference.event


def field(difference: Difference) -> str:
    """The last key of the path."""
    return difference.place.path.rpartition(".")[2]


RULES: tuple[Rule, ...] = (
    Rule(
        "fingerprint",
        Only.TRUTH,
        "JA3 and JA3S look like an MD5 and tell how a TLS client or server speaks, not which file it is: "
        "such a field never meets an indicator.",
        is_tls_fingerprint,
    ),
    Rule(
        "imphash",
        Only.TRUTH,
        "IMPHASH is the MD5 of the names that a program imports, which strangers share, and not of the file: "
        "it never meets an indicator.",
        is_imphash,
    ),
    Rule(
        "version",
        Only.TRUTH,
        "A file version of four numbers looks like an address: such a field never meets an indicator.",
        is_file_version,
    ),
    Rule(
        "composed",
        Only.OURS,
        "A URL that stands in two fields (host and path) is put together; it, its host and its file name are "
        "evidence there, too. The truth does so for Zeek alone and lists nothing but the URL.",
        is_composed,
    ),
    Rule(
        "wildcard",
        Only.OURS,
        "`*.example.com` in a certificate is a silent mention of example.com. The truth skips such words.",
        is_under_wildcard,
    ),
    Rule(
        "call stack",
        Only.OURS,
        "A frame of a call stack (`name.exe+1a2b`) is a silent mention of name.exe. The truth takes the "
        "offset for a part of the name.",
        is_in_call_stack,
    ),
)
