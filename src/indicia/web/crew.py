"""What the worker processes of one service have in common; made before they are forked."""

from __future__ import annotations

from dataclasses import dataclass, field

from indicia.auth.assertions import Assertions
from indicia.auth.attempts import Attempts
from indicia.web.metrics import Board


@dataclass(frozen=True)
class Crew:
    """Memory that they share, and which of them this one is."""

    board: Board = field(default_factory=Board)
    attempts: Attempts = field(default_factory=Attempts)
    sign_ins: Attempts = field(default_factory=Attempts)
    """Of people; `attempts` are those of applications."""
    assertions: Assertions = field(default_factory=Assertions)
    number: int = 0
