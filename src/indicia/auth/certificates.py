"""TLS for a service of one's own: an authority and the service's certificate, made on this machine.

The authority is name-constrained (RFC 5280 4.2.1.10) to the service's names: whoever trusts it trusts it
for them and for nothing else, even if its key is stolen. Files in `<home>/tls`:

    ca.pem  what clients trust      ca.key  mode 0600     server.pem, server.key (0600)  what `serve` shows

Those for the names of the original service are made on request alone, by an authority of their own that may
vouch for those names and nothing else: the same four files in `<home>/tls/original`.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from indicia.errors import InputError

ALWAYS = ("localhost", "127.0.0.1", "::1")
ORIGINAL = ("login.windows.net", "login.microsoftonline.com", "ti.securitycenter.windows.com")
"""Names that stand in scripts of the original service."""
LEAF_DAYS = 397
"""The longest that browsers accept of a certificate."""
AUTHORITY_DAYS = 3650
RENEW_DAYS = 30
"""With less than this left, a certificate is made anew at the next start."""
BACKDATE = timedelta(minutes=5)
"""So that a client whose clock is a little behind accepts a certificate made just now."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Where the two files are that a server needs; clients trust who issued the certificate."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Certificates(Shown):
    """The same, and where clients find the authority of the home that issued it."""

    authority: Path
    replaced: bool = False
    """The authority that was there could not vouch for a name, or was at its end: clients need this one."""


def names_of(host: str) -> tuple[str, ...]:
    """The service's names: loopback always, its host; this machine's name in place of 0.0.0.0 or ::."""
    own = (socket.gethostname().lower(),) if host in ("0.0.0.0", "::", "") else (host.lower(),)  # noqa: S104
    return tuple(dict.fromkeys((*ALWAYS, *own)))


def authority(home: Path) -> Path:
    """Where the home's own authority is, once `ensure` has made it."""
    return home / "tls" / "ca.pem"


def ensure(home: Path, host: str, *, now: datetime | None = None) -> Certificates:
    """The home's certificates for `host`; made where absent, near their end, or without one of its names.

    A further name needs a new authority as well, because the old one may not vouch for it: clients that
    keep a copy of `ca.pem` must then take the new one. Raises InputError where a file cannot be used.
    """
    return _ensure(home / "tls", names_of(host), now or datetime.now(UTC))


def ensure_original(home: Path, *, now: datetime | None = None) -> Certificates:
    """As `ensure`, for the names of the original service, by their own authority."""
    return _ensure(home / "tls" / "original", ORIGINAL, now or datetime.now(UTC))


def given(certificate: str, key: str, *, now: datetime | None = None) -> Shown:
    """A certificate that somebody else issued, and its key, in files of ours to read but not to write.

    Raises InputError where one of them cannot be read, they do not belong together, or it has expired.
    """
    if not (certificate and key):
        raise InputError(
            "needs the other one of tls_certificate and tls_key as well", place=certificate or key
        )
    try:
        read = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
        private = serialization.load_pem_private_key(Path(key).read_bytes(), None)
        belongs = read.public_key() == private.public_key()
        if belongs:  # whether it can be shown, too: it may be too weak, or of a kind that TLS does not have
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"cannot be used: {error}; both must be PEM, the key without a passphrase",
            place=f"{certificate}, {key}",
        ) from None
    if not belongs:
        raise InputError(f"is not the certificate of the key in {key}", place=certificate)
    if read.not_valid_after_utc <= (now or datetime.now(UTC)):
        raise InputError(
            f"expired on {read.not_valid_after_utc:%Y-%m-%d}; put a new one there", place=certificate
        )
    return Shown(Path(certificate), Path(key))


def _ensure(folder: Path, names: tuple[str, ...], now: datetime) -> Certificates:
    own = folder / "ca.pem"
    found = Certificates(folder / "server.pem", folder / "server.key", own)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _covers(own, folder / "ca.key", names, now, constrained=True):
            found = replace(found, replaced=own.exists())
            names = tuple(dict.fromkeys((*names, *_permitted(own))))
            _write_authority(folder, names, now)
            found.certificate.unlink(missing_ok=True)
        if not _covers(found.certificate, found.key, names, now, constrained=False):
            _write_leaf(folder, names, now)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{error}; make the folder usable, or remove it and let `serve` make new certificates",
            place=str(folder),
        ) from None
    return found


def _covers(path: Path, key: Path, names: Sequence[str], now: datetime, *, constrained: bool) -> bool:
    """Whether the certificate is there with its key, lasts, and holds all of `names`."""
    if not path.exists() or not key.exists():
        return False
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    # A crash between the two writes leaves a pair that does not belong together.
    if certificate.public_key() != private.public_key():
        return False
    if certificate.not_valid_after_utc - now < timedelta(days=RENEW_DAYS):
        return False
    held = _permitted(path) if constrained else _alternatives(certificate)
    return set(names) <= set(held)


def _permitted(path: Path) -> tuple[str, ...]:
    """The names that an authority is constrained to; none where there is no authority yet."""
    if not path.exists():
        return ()
    extensions = x509.load_pem_x509_certificate(path.read_bytes()).extensions
    permitted = extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    return tuple(
        str(name.value) if isinstance(name, x509.DNSName) else str(name.value.network_address)
        for name in permitted
    )


def _alternatives(certificate: x509.Certificate) -> tuple[str, ...]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(str(name.value) for name in names)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _constraint(name: str) -> x509.GeneralName:
    address = _address(name)
    return x509.IPAddress(ipaddress.ip_network(address)) if address else x509.DNSName(name)


def _constraints(names: Iterable[str]) -> x509.NameConstraints:
    """The names and no others. A kind of name that is not mentioned would be free, so addresses are."""
    permitted = [_constraint(name) for name in names]
    if any(isinstance(name, x509.IPAddress) for name in permitted):
        return x509.NameConstraints(permitted, None)
    every = [x509.IPAddress(ipaddress.ip_network(network)) for network in ("0.0.0.0/0", "::/0")]
    return x509.NameConstraints(permitted, every)


def _alternative(name: str) -> x509.GeneralName:
    address = _address(name)
    return x509.IPAddress(address) if address else x509.DNSName(name)


def _write_authority(folder: Path, names: Iterable[str], now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    common = f"Indicia authority of {socket.gethostname()[:32]} {os.urandom(4).hex()}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(subject_key, critical=False)
        .add_extension(_constraints(names), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(folder / "ca.key", _pem(key), 0o600)
    _write(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write_leaf(folder: Path, names: Iterable[str], now: datetime) -> None:
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ValueError("ca.key is not an elliptic-curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + timedelta(days=LEAF_DAYS) - BACKDATE, authority.not_valid_after_utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Indicia")])
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer_key, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    _write(folder / "server.key", _pem(key), 0o600)
    _write(folder / "server.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never for a moment with a wider mode."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.replace(path)
