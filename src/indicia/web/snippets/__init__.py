"""The five steps of the published example for one application, ready to run: Python, PowerShell, curl.

The texts lie beside this file. A value stands in them as `@name@`, and is put in as a literal of the
language, whatever characters it has. The client secret is never in one: it is read from the environment.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from importlib import resources
from typing import NamedTuple

SECRET = "INDICIA_CLIENT_SECRET"  # noqa: S105 - the name of a variable
"""The variable of the environment that holds the client secret."""
_VALUE = re.compile(r"@([a-z_]+)@")
_QUOTES = re.compile("(['\u2018\u2019\u201a\u201b])")
"""What PowerShell takes for the end of a text in single quotes, unless it stands twice."""


class Language(NamedTuple):
    """How a snippet is shown and saved."""

    name: str
    title: str
    file: str
    """What it is called where it is saved."""
    literal: Callable[[str], str]


def _powershell(text: str) -> str:
    doubled = _QUOTES.sub(r"\1\1", text)
    return f"'{doubled}'"


LANGUAGES: tuple[Language, ...] = (
    Language("python", "Python", "five_steps.py", repr),
    Language("powershell", "PowerShell", "five_steps.ps1", _powershell),
    Language("curl", "curl", "five_steps.sh", shlex.quote),
)


def filled(language: Language, details: Mapping[str, str]) -> str:
    """The snippet of a language with the values of `web.access.details`, but for the secret."""
    text = resources.files(__package__).joinpath(f"{language.name}.txt").read_text("utf-8")
    known = {name: value for name, value in details.items() if name != "client_secret"}
    return _VALUE.sub(lambda found: language.literal(known[found[1]]), text)
