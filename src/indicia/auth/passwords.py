"""Passwords of people: argon2id, with the parameters of OWASP's cheat sheet (19 MiB, two passes, one lane).

A password has 12 characters or more and is none that the name gives away; nothing else is asked of it
(NIST SP 800-63B, 5.1.1.2). Verifying takes the same time whether the name is known or not. A few run at a
time, so that a flood of sign-ins costs memory for a few and lets the others wait.
"""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from indicia.errors import InvalidValue

SHORTEST = 12
LONGEST = 1024
AT_A_TIME = 4
"""Digests that are made at one time: 76 MiB."""
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_TURNS = threading.BoundedSemaphore(AT_A_TIME)
_NOBODYS = "$argon2id$v=19$m=19456,t=2,p=1$n4uj+dWE/slgXS1RdYHkGw$v5tcxyqC6OhuL0QzI703tAP2W1aSW/Qvg/v/Gt+yAg8"
"""What is verified for a name that is not there; no password is known to have it."""


def check(password: str, name: str = "", target: str = "password") -> None:
    """Raise InvalidValue unless the password may be chosen by somebody of that name."""
    if len(password) < SHORTEST:
        raise InvalidValue(
            f"needs {SHORTEST} characters or more; a few words that do not belong together will do",
            target=target,
        )
    if len(password) > LONGEST:
        raise InvalidValue(f"has at most {LONGEST} characters", target=target)
    if name and password.casefold().replace(name.casefold(), "").strip() == "":
        raise InvalidValue("is your name and nothing else; choose another one", target=target)
    if len(set(password)) < 4:
        raise InvalidValue("is made of too few different characters", target=target)


def digest(password: str) -> str:
    """What is stored: algorithm, parameters, salt and digest in one text (PHC string format)."""
    with _TURNS:
        return _HASHER.hash(_bytes(password))


def holds(password: str, known: str | None) -> bool:
    """Whether it is the password of that digest; None, for nobody's, takes as long and is never."""
    if len(password) > LONGEST:
        password = ""
    with _TURNS:
        try:
            return _HASHER.verify(known or _NOBODYS, _bytes(password)) and known is not None
        except (VerificationError, InvalidHashError):
            return False


def is_old(known: str) -> bool:
    """Whether the digest was made with other parameters than those of today."""
    return _HASHER.check_needs_rehash(known)


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
