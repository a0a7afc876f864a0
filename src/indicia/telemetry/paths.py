"""Paths of the mapping files, followed in a record: keys joined by `.`, whatever lies between.

`id.orig_h` finds the key `id.orig_h` and the key `orig_h` of the object `id`; a list stands for its first
element; JSON or XML inside a string is opened on the way.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from indicia.telemetry.records import decode

_DATA = re.compile(r"<Data\s+Name\s*=\s*[\"']([^\"'<>]{1,200})[\"']\s*>(.*?)(?:</Data>|\Z)", re.DOTALL)
_LEAF = re.compile(r"<([A-Za-z_][\w.:-]{0,100})(?:\s[^<>]*)?>([^<>]*)</\1>")
_SYSTEM_TIME = re.compile(r"<TimeCreated\s+SystemTime\s*=\s*[\"']([^\"'<>]{1,60})[\"']")


def lookup(record: Mapping[str, Any], path: str) -> Any:
    """What stands at the path, or None."""
    found = record.get(path)
    if found is not None:
        return found
    dot = path.find(".")
    while dot > 0:
        head = record.get(path[:dot])
        if head is not None and (below := head if isinstance(head, dict) else _enter(head)) is not None:
            found = lookup(below, path[dot + 1 :])
            if found is not None:
                return found
        dot = path.find(".", dot + 1)
    return None


def _enter(value: Any) -> Mapping[str, Any] | None:
    for _ in range(3):  # a list in a string in a list
        if isinstance(value, str):
            value = open_json(value) or open_xml(value)
        elif isinstance(value, list):
            value = value[0] if value else None
    return value if isinstance(value, dict) else None


def open_json(text: str) -> Any:
    """The object or list that a string holds, or None."""
    bare = text.strip()
    if bare[:1] + bare[-1:] not in {"{}", "[]"} or len(bare) < 3:
        return None
    try:
        found = decode(bare)
    except ValueError:
        return None
    return found if isinstance(found, dict | list) else None


def open_xml(text: str) -> dict[str, Any] | None:
    """The fields of Windows event XML inside a string, well-formed or cut short; None: it is none.

    `<Data Name="X">` gives X, other elements that hold only text their own name.
    """
    if not text.lstrip().startswith("<"):
        return None
    found: dict[str, Any] = {name: _plain(inner) for name, inner in _LEAF.findall(text) if name != "Data"}
    found |= {name: _plain(inner) for name, inner in _DATA.findall(text)}
    if created := _SYSTEM_TIME.search(text):
        found["TimeCreated"] = created[1]
    return found or None


def _plain(inner: str) -> str:
    return html.unescape(inner).strip()
