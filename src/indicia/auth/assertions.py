"""Client assertions: an application proves by its certificate's key who it is (RFC 7521, 7523).

The certificate is one that was registered for the application; chains prove nothing here. `x5t`,
`x5t#S256` and `x5c` of the header say which one is meant; `kid` and every URL of the header say nothing.
Written for what client libraries send: times with a fraction, base64url with or without padding.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from indicia.auth.memory import mark_of
from indicia.auth.shared import VALUE, Counts, Kept, Shared
from indicia.errors import GrantRefused, InputError

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIMIT = 16 * 1024
"""Characters; one with a chain of three certificates has about 7,000."""
LONGEST_SECONDS = 3600
"""How far ahead an assertion may expire; client libraries write 600 to 1800 seconds."""
CLOCK_SKEW = 300
"""Seconds by which a client's clock may differ from ours, as Azure AD allows."""
USED = 10_000
"""Assertions that are remembered with the address that they came from."""
KEY_BITS = range(2048, 8193)
_PADDINGS: Mapping[str, Callable[[], padding.AsymmetricPadding]] = {
    "RS256": padding.PKCS1v15,
    "PS256": lambda: padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH),
}


class Registered(Protocol):
    """A certificate that was registered for the application."""

    @property
    def sha1(self) -> str:
        """Thumbprint in lower-case hex."""

    @property
    def sha256(self) -> str:
        """The same by SHA-256."""

    @property
    def pem(self) -> str:
        """The certificate."""

    def holds(self, now: datetime) -> bool:
        """Neither revoked nor outside its time."""


Known = TypeVar("Known", bound=Registered)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What is kept of a certificate."""

    sha1: str
    sha256: str
    pem: str
    subject: str
    valid_from: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Assertion:
    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


def read_certificate(content: bytes, place: str) -> ClientCertificate:
    """The first certificate of a file (PEM or DER); InputError where there is none, or of another kind."""
    try:
        if b"-----BEGIN" in content:
            certificate = x509.load_pem_x509_certificate(content)
        else:
            certificate = x509.load_der_x509_certificate(content)
    except ValueError:
        raise InputError("is no certificate; give a file in PEM, as CERTIFICATE", place=place) from None
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size not in KEY_BITS:
        raise InputError("must have an RSA key of 2048 to 8192 bits (RS256, PS256)", place=place)
    return ClientCertificate(
        sha1=certificate.fingerprint(hashes.SHA1()).hex(),  # noqa: S303 - a name (x5t), no proof
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        pem=certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"),
        subject=certificate.subject.rfc4514_string()[:200],
        valid_from=certificate.not_valid_before_utc,
        expires_at=certificate.not_valid_after_utc,
    )


def claimed_client(assertion: str) -> str:
    """The client id that the assertion claims, nothing proved yet; GrantRefused where it is no assertion."""
    claimed = _parse(assertion).claims.get("sub")
    if not isinstance(claimed, str):
        raise _malformed("it has no 'sub'")
    return claimed


class Assertions:
    """Verifies assertions, and remembers from where each came; for several threads and forked processes."""

    def __init__(self, clock: Callable[[], float] = time.time, used: Counts | None = None) -> None:
        self._clock = clock
        self._used = Shared(USED) if used is None else used

    def verify(
        self,
        assertion: str,
        client_id: str,
        audiences: Collection[str],
        certificates: Sequence[Known],
        address: str,
    ) -> Known:
        """The certificate whose key signed the assertion; GrantRefused (invalid_client) where none did.

        Client libraries use one assertion for several requests until it is nearly over, so a second use
        is no fault by itself. From another address it is: there it was stolen.
        """
        parsed = _parse(assertion)
        self._check_claims(parsed.claims, client_id, audiences)
        found = self._signer(parsed, certificates)
        came = Kept(mark_of(address)[:VALUE], self._clock())
        first = self._used.change(mark_of(assertion.rpartition(".")[0]), lambda kept: kept or came)
        if first is None or first.value != came.value:
            raise GrantRefused(
                "invalid_client", 50013, "Assertion is invalid: it was used before from another address."
            )
        return found

    def _check_claims(self, claims: Mapping[str, Any], client_id: str, audiences: Collection[str]) -> None:
        for name in ("iss", "sub"):
            if str(claims.get(name)).lower() != client_id.lower():
                raise GrantRefused(
                    "invalid_client",
                    700021,
                    f"Client assertion application identifier ({name}) does not match '{client_id}'.",
                )
        given = claims.get("aud")
        audience = given[0] if isinstance(given, list) and len(given) == 1 else given
        if not isinstance(audience, str) or audience.rstrip("/") not in audiences:
            raise GrantRefused(
                "invalid_client",
                700023,
                "Client assertion audience claim does not match: 'aud' must be the token endpoint's URL.",
            )
        self._check_times(claims)

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock()
        end, start = _seconds(claims, "exp"), _seconds(claims, "nbf", default=now)
        issued = _seconds(claims, "iat", default=start)
        if now >= end + CLOCK_SKEW or max(start, issued) > now + CLOCK_SKEW:
            raise GrantRefused(
                "invalid_client", 700024, "Client assertion is not within its valid time range (nbf, exp)."
            )
        if end > now + LONGEST_SECONDS + CLOCK_SKEW:
            raise GrantRefused(
                "invalid_client",
                700024,
                f"Client assertion is valid for too long; make it expire within {LONGEST_SECONDS} seconds.",
            )

    def _signer(self, parsed: _Assertion, certificates: Sequence[Known]) -> Known:
        pad = _PADDINGS.get(str(parsed.header.get("alg")))
        if pad is None or "crit" in parsed.header:
            raise _unsigned("the algorithm must be RS256 or PS256, without 'crit'")
        meant = [one for one in certificates if _is_meant(parsed.header, one)]
        if not meant:
            raise _unsigned("the key was not found")
        for one in meant:
            try:
                _public_key(one.pem).verify(parsed.signature, parsed.signed, pad(), hashes.SHA256())
            except InvalidSignature:
                continue
            return one
        raise _unsigned("the signature does not match")


@lru_cache(maxsize=256)
def _public_key(pem: str) -> rsa.RSAPublicKey:
    key = x509.load_pem_x509_certificate(pem.encode("ascii")).public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise _unsigned("the key is no RSA key")
    return key


def _is_meant(header: Mapping[str, Any], one: Registered) -> bool:
    """Whether nothing in the header names another certificate."""
    if "x5t" in header and _hex(header["x5t"]) != one.sha1:
        return False
    if "x5t#S256" in header and _hex(header["x5t#S256"]) != one.sha256:
        return False
    if "x5c" not in header:
        return True
    chain = header["x5c"]
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        return False
    try:
        first = base64.b64decode("".join(chain[0].split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return hashlib.sha256(first).hexdigest() == one.sha256


def _hex(text: object) -> str:
    try:
        return _bytes(text).hex() if isinstance(text, str) else ""
    except (binascii.Error, ValueError):
        return ""


def _bytes(text: str) -> bytes:
    """Base64url with or without padding."""
    bare = text.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), b"-_", validate=True)


def _parse(assertion: str) -> _Assertion:
    parts = assertion.split(".") if len(assertion) <= ASSERTION_LIMIT else []
    if len(parts) != 3:
        raise _malformed(f"it must be three parts with dots between, at most {ASSERTION_LIMIT} characters")
    try:
        header, claims = (json.loads(_bytes(part)) for part in parts[:2])
        signature = _bytes(parts[2])
    except (ValueError, RecursionError):
        raise _malformed("its parts are not base64url of JSON") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _malformed("header and claims must be objects")
    return _Assertion(header, claims, f"{parts[0]}.{parts[1]}".encode("ascii", "replace"), signature)


def _seconds(claims: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _malformed(f"'{name}' must be a number of seconds")
    if abs(value) > 1e12 or (isinstance(value, float) and math.isnan(value)):
        raise _malformed(f"'{name}' is no time")
    return float(value)


def _malformed(why: str) -> GrantRefused:
    return GrantRefused("invalid_client", 50027, f"Client assertion is invalid or malformed: {why}.")


def _unsigned(why: str) -> GrantRefused:
    return GrantRefused(
        "invalid_client",
        700027,
        f"Client assertion contains an invalid signature. [Reason - {why}]",
    )
