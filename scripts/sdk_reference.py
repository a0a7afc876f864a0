"""Write the reference part of docs/sdk.md from the docstrings and signatures of the client.

python scripts/sdk_reference.py          (a test says when it has to run again)
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from indicia.client import (
    Alert,
    AlertComment,
    AlertDefinition,
    Client,
    Condition,
    Details,
    Detection,
    Field,
    Indicator,
    Order,
    Position,
    Result,
    Retries,
)
from indicia.client.fields import Fields, Many, Text

PAGE = Path(__file__).resolve().parent.parent / "docs" / "sdk.md"
BEGIN, END = "<!-- reference -->\n", "<!-- /reference -->"


def reference() -> str:
    """The reference as Markdown."""
    return "\n".join(_lines()) + "\n"


def page(before: str) -> str:
    """The document with its reference written anew."""
    head, _, rest = before.partition(BEGIN)
    return f"{head}{BEGIN}{reference()}{END}{rest.partition(END)[2]}"


def _lines() -> Iterator[str]:
    yield from ("", "## Client and AsyncClient", "", _told(Client), "")
    yield f"- `Client{_signature(Client.__init__)}`"
    for name, method in vars(Client).items():
        if not name.startswith("_"):
            found = method.__func__ if isinstance(method, classmethod) else method
            yield f"- `{name}{_signature(found)}`  "
            yield f"  {_told(found)}"
    for entity in (AlertDefinition, Indicator, Alert, AlertComment, Detection):
        yield from _entity(entity)
    yield from ("", "## Conditions", "")
    kind: Any
    for kind in (Condition, Field, Text, Many, Order):
        yield from (f"**{kind.__name__}** {_told(kind)}", "")
        for name, method in vars(kind).items():
            if inspect.isfunction(method) and not name.startswith("_") and name not in ("text", "literal"):
                yield f"- `.{name}{_signature(method)}`: {_told(method)}"
        yield ""
    yield "## Values"
    for kind in (Details, Retries, Position, Result):
        yield from ("", f"**{kind.__name__}** {_told(kind)}", "")
        yield from (f"- `{_attribute(item)}`" for item in fields(kind))


def _entity(kind: type[Fields]) -> Iterator[str]:
    table = {field.attribute: name for name, field in kind.table().items()}
    yield from ("", f"## {kind.__name__}", "", _told(kind), "", "| attribute | field |", "|---|---|")
    for item in fields(kind):  # type: ignore[arg-type]
        name = table.get(item.name)
        yield f"| `{_attribute(item).replace('|', chr(92) + '|')}` | {f'`{name}`' if name else ''} |"


def _attribute(item: Any) -> str:
    default = item.default
    if default is MISSING:
        return f"{item.name}: {item.type}"
    shown = f"{type(default).__name__}.{default.name}" if isinstance(default, StrEnum) else repr(default)
    return f"{item.name}: {item.type} = {shown}"


def _signature(function: Any) -> str:
    """Without the first parameter; of steps what they result in."""
    text = str(inspect.signature(function)).replace("'", "")
    text = re.sub(r"^\((self|cls|session: Session|client)(, )?(/, )?", "(", text)
    text = re.sub(r"-> Steps\[(.*)\]$", r"-> \1", text)
    return re.sub(r"-> Listing\[(.*)\]$", r"-> Iterator[\1]", text)


def _told(thing: Any) -> str:
    """A docstring as one paragraph, its examples left out."""
    parts = (inspect.getdoc(thing) or "").split("\n\n")
    return " ".join(" ".join(part.split()) for part in parts if not part.startswith("    "))


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
