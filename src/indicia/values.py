"""Canonical forms of hashes, addresses, networks, domains, URLs and file names: both sides of a match.

The rules are few and fixed, because ids hold canonical values:

- Md5, Sha1, Sha256: lower-case hex of exactly 32, 40, 64 characters.
- IpAddress: IPv4 in dotted decimal without leading zeros; IPv6 by RFC 5952; `::ffff:0:0/96` becomes IPv4;
  a zone is dropped. A network (indicators only) in CIDR form, host bits zero.
- DomainName: lower case, IDNA A-labels (UTS 46), no trailing dot; labels of 1 to 63 letters, digits, `-`
  and `_`, 253 characters at most, the last label not all digits.
- Url: scheme and host lower case, default port dropped, empty path `/`, fragment dropped, percent-encoding
  normalised (RFC 3986 6.2.2; what may not stand in a URL is encoded); without scheme it begins at the host.
- FileName: lower case; of a path its last component, by both separators.

What is not of a type's shape has no canonical form: None, never an exception, whatever comes in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING

import idna

from indicia.errors import InvalidValue
from indicia.model import PATTERN_MINIMUM, VALUE_LIMIT, DetectionFunction, IndicatorType

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

HASH_BY_LENGTH = {32: IndicatorType.MD5, 40: IndicatorType.SHA1, 64: IndicatorType.SHA256}
HASH_LENGTH = {kind: length for length, kind in HASH_BY_LENGTH.items()}
PATTERNS = frozenset({DetectionFunction.START_WITH, DetectionFunction.END_WITH, DetectionFunction.CONTAINS})
URL_LIMIT = 8192
FILE_NAME_LIMIT = 255
_DEFAULT_PORTS = {"http": "80", "https": "443", "ftp": "21", "ws": "80", "wss": "443"}

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_is_ipv4 = re.compile(IPV4).fullmatch
_is_hex = re.compile("[0-9a-f]+").fullmatch
_is_domain = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*"
    r"(?![0-9]+\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
).fullmatch
_url_shape = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]{0,30}):)?//([^/?#\\]*)([^#]*)").match
_HOST_PORT = re.compile(r"(.*?)(?::([0-9]{1,5}))?", re.DOTALL)
_percent = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_must_encode = re.compile(r"[^A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%#]|%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class UrlParts:
    """A URL's own canonical form and what else it holds."""

    url: str
    host: tuple[IndicatorType, str]
    file_name: str | None


def canonical(kind: IndicatorType, text: str) -> str | None:
    """The canonical form of an observed value, or None where the text is not of the type's shape."""
    match kind:
        case IndicatorType.MD5 | IndicatorType.SHA1 | IndicatorType.SHA256:
            return _hash(text, HASH_LENGTH[kind])
        case IndicatorType.IP_ADDRESS:
            return address(text)
        case IndicatorType.DOMAIN_NAME:
            return domain(text)
        case IndicatorType.URL:
            parts = url_parts(text)
            return parts.url if parts else None
        case IndicatorType.FILE_NAME:
            return file_name(text)


def _hash(text: str, length: int) -> str | None:
    digits = text.strip().lower()
    return digits if len(digits) == length and _is_hex(digits) else None


@lru_cache(maxsize=65_536)
def address(text: str) -> str | None:
    """An IP address in canonical form; RFC 5952 for IPv6. Brackets and a zone are dropped."""
    text = text.strip()
    if _is_ipv4(text):
        return text
    if ":" not in text or len(text) > 100:
        return None
    try:
        found = IPv6Address(text.removeprefix("[").removesuffix("]").split("%", 1)[0])
    except ValueError:
        return None
    return str(found.ipv4_mapped or found)


@lru_cache(maxsize=65_536)
def domain(text: str) -> str | None:
    """A domain name in canonical form. One label is a name too (`wpad`); an address is none."""
    name = text.strip()
    if not name.isascii():
        mapped = _a_labels(name)
        if mapped is None:
            return None
        name = mapped
    name = name.lower().removesuffix(".")
    return name if _is_domain(name) and not _is_ipv4(name) else None


def _a_labels(name: str) -> str | None:
    """UTS 46 mapping, then A-labels of those that are not ASCII."""
    if len(name) > 1000:
        return None
    try:
        labels = idna.uts46_remap(name, std3_rules=False, transitional=False).split(".")
        return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels)
    except (idna.IDNAError, UnicodeError, ValueError, IndexError):
        return None


def canonical_host(text: str) -> tuple[IndicatorType, str] | None:
    """An address or a domain, with or without port: `h:80`, `[v6]:80`, `v6`, `1.2.3.4`, `name.`"""
    text = text.strip()
    if found := address(text):
        return IndicatorType.IP_ADDRESS, found
    matched = _HOST_PORT.fullmatch(text)
    bare = matched[1] if matched else text
    if found := address(bare):
        return IndicatorType.IP_ADDRESS, found
    name = domain(bare)
    return (IndicatorType.DOMAIN_NAME, name) if name else None


def url_parts(text: str) -> UrlParts | None:
    """A URL with or without scheme (`http://h/p`, `//h/p`, `h/p`): canonical form, host, file name."""
    text = text.strip()
    if not text or len(text) > URL_LIMIT:
        return None
    matched = _url_shape(text) or _url_shape("//" + text)
    if matched is None:
        return None
    scheme = (matched[1] or "").lower()
    user, at, host_port = matched[2].rpartition("@")
    split = _HOST_PORT.fullmatch(host_port)
    host = canonical_host(host_port)
    if host is None or split is None:
        return None
    name = f"[{host[1]}]" if ":" in host[1] else host[1]
    port = split[2] if not address(host_port) else None
    shown_port = f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else ""
    rest = _rest_of_url(matched[3])
    prefix = f"{scheme}://" if scheme else ""
    return UrlParts(f"{prefix}{user}{at}{name}{shown_port}{rest}", host, _url_file_name(rest))


def _rest_of_url(rest: str) -> str:
    """Path and query with normal percent-encoding; the path at least `/`."""
    rest = _must_encode.sub(lambda found: _encoded(found[0]), rest.replace("\\", "/"))
    rest = _percent.sub(_normal_percent, rest)
    return rest if rest.startswith("/") else "/" + rest


def _encoded(characters: str) -> str:
    return "".join(f"%{byte:02X}" for byte in characters.encode("utf-8", "replace"))


def _normal_percent(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if character in _UNRESERVED else found[0].upper()


def _url_file_name(rest: str) -> str | None:
    last = rest.split("?", 1)[0].rpartition("/")[2]
    if "%" in last:
        data = re.sub(rb"%([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), last.encode())
        last = data.decode("utf-8", "replace")
    return file_name(last) if last else None


def url_without_scheme(canonical_url: str) -> str:
    """The key under which a URL meets an indicator that names no scheme."""
    return canonical_url.partition("://")[2] or canonical_url


def file_name(text: str) -> str | None:
    """The last component of a path, or a bare name, in lower case; None where there is none."""
    last = text.replace("/", "\\").rpartition("\\")[2].strip().strip("\"'").lower()
    return last if 0 < len(last) <= FILE_NAME_LIMIT and not _CONTROL.search(last) else None


def network(text: str) -> str | None:
    """A network in CIDR form, host bits zero; an IPv4-mapped one of /96 and longer as IPv4."""
    try:
        found: IPv4Network | IPv6Network = ip_network(text.strip(), strict=False)
    except ValueError:
        return None
    if isinstance(found, IPv6Network) and found.prefixlen >= 96 and found.network_address.ipv4_mapped:
        found = IPv4Network((found.network_address.ipv4_mapped, found.prefixlen - 96))
    return str(found)


def indicator_value(
    kind: IndicatorType, function: DetectionFunction, value: str, *, force: bool = False
) -> str:
    """The canonical form of an indicator's value.

    A CIDR value goes with IpAddress and Equals, SubdomainOf with DomainName; StartWith, EndWith and
    Contains need four characters unless forced. Raises InvalidValue with target `Value` or
    `DetectionFunction` and the rule that was broken.
    """
    text = value.strip()
    if not text:
        raise InvalidValue("must not be empty", target="Value")
    if len(text) > VALUE_LIMIT:
        raise InvalidValue(f"has {len(text)} characters; at most {VALUE_LIMIT} are allowed", target="Value")
    if _CONTROL.search(text):
        raise InvalidValue("must not hold control characters or unpaired surrogates", target="Value")
    if function is DetectionFunction.SUBDOMAIN_OF and kind is not IndicatorType.DOMAIN_NAME:
        raise InvalidValue(
            f"SubdomainOf goes with DomainName alone, not with {kind}", target="DetectionFunction"
        )
    if function in PATTERNS:
        return _pattern(kind, function, text, force=force)
    found = canonical(kind, text)
    if found is None and kind is IndicatorType.IP_ADDRESS and "/" in text:
        found = network(text)
    if found is None:
        raise InvalidValue(f"{_shown(text)} is not {_SHAPES[kind]}", target="Value")
    return found


_SHAPES = {
    IndicatorType.MD5: "an MD5: 32 hexadecimal digits",
    IndicatorType.SHA1: "a SHA-1: 40 hexadecimal digits",
    IndicatorType.SHA256: "a SHA-256: 64 hexadecimal digits",
    IndicatorType.IP_ADDRESS: "an IPv4 or IPv6 address, or (with Equals) a network in CIDR form",
    IndicatorType.DOMAIN_NAME: "a domain name",
    IndicatorType.URL: "a URL of at least a host",
    IndicatorType.FILE_NAME: f"a file name of 1 to {FILE_NAME_LIMIT} characters",
}
_PATTERN_SHAPES = {
    IndicatorType.MD5: re.compile("[0-9a-f]{1,32}"),
    IndicatorType.SHA1: re.compile("[0-9a-f]{1,40}"),
    IndicatorType.SHA256: re.compile("[0-9a-f]{1,64}"),
    IndicatorType.IP_ADDRESS: re.compile("[0-9a-f:.]{1,39}"),
    IndicatorType.DOMAIN_NAME: re.compile("[a-z0-9_.-]{1,253}"),
}


def _pattern(kind: IndicatorType, function: DetectionFunction, text: str, *, force: bool) -> str:
    """A part of a canonical text: without letter case; a domain's part in A-labels."""
    if len(text) < PATTERN_MINIMUM and not force:
        raise InvalidValue(
            f"{function} needs at least {PATTERN_MINIMUM} characters: {_shown(text)} would meet nearly everything",
            target="Value",
        )
    part = text.lower()
    if kind is IndicatorType.DOMAIN_NAME and not part.isascii():
        part = _a_labels(part) or part
    shape = _PATTERN_SHAPES.get(kind)
    if shape is not None and not shape.fullmatch(part):
        raise InvalidValue(f"{_shown(text)} cannot be part of {_SHAPES[kind]}", target="Value")
    return part


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def warnings(kind: IndicatorType, function: DetectionFunction, value: str) -> tuple[str, ...]:
    """What an author should know about an indicator that is valid; `value` is canonical."""
    found = []
    if kind is IndicatorType.DOMAIN_NAME:
        if is_public_suffix(value) and function in {DetectionFunction.EQUALS, DetectionFunction.SUBDOMAIN_OF}:
            found.append(f"{value} is a public suffix: unrelated people own the names below it")
        if function is DetectionFunction.END_WITH and not value.startswith("."):
            found.append(f"EndWith {value} also meets not{value}; SubdomainOf goes by whole labels")
    if (
        kind is IndicatorType.IP_ADDRESS
        and "/" in value
        and int(value.rpartition("/")[2]) < _WIDE[":" in value]
    ):
        found.append(f"{value} is a very wide network")
    if function in PATTERNS and len(value) < PATTERN_MINIMUM:
        found.append(f"{function} {value} is short and meets much")
    return tuple(found)


_WIDE = {False: 8, True: 16}


def is_public_suffix(name: str) -> bool:
    """Whether unrelated people own the names below it (publicsuffix.org, private section included)."""
    return _suffixes().publicsuffix(name) == name


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    # Reading the list takes a tenth of a second, and most runs never ask.
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415

    return PublicSuffixList()


_REFANG = (
    (re.compile(r"\bh(?:xx|tt|\*\*|XX)p(s?)(?=\[?:\]?/|\[:|://)", re.IGNORECASE), r"http\1"),
    (re.compile(r"\bfxp(?=\[?:\]?/|://)", re.IGNORECASE), "ftp"),
    (re.compile(r"\[:(//)?\]|\[(://)\]"), r":\1\2"),
    (re.compile(r"\s?[\[({]\s?(?:\.|dot)\s?[\])}]\s?", re.IGNORECASE), "."),
    (re.compile(r"\[\.|\.\]"), "."),
    (re.compile(r"[\[({]:[\])}]"), ":"),
    (re.compile(r"[\[({](?:@|at)[\])}]", re.IGNORECASE), "@"),
)


def refang(text: str) -> str:
    """Undo what reports do to keep values from being clicked: `hxxp`, `[.]`, `(dot)`, `[:]`, `[://]`."""
    if "]:" not in text or "::" not in text:
        for pattern, instead in _REFANG:
            text = pattern.sub(instead, text)
    return text


_LIKE_A_FILE = re.compile(
    r"(?i)[^\\/]*\.(?:exe|dll|sys|bat|cmd|ps1|psm1|vbs|vbe|js|jse|wsf|hta|lnk|scr|msi|docx?|docm|xlsx?|xlsm|pptx?"
    r"|pdf|rtf|zip|rar|7z|iso|img|jar|class|elf|sh|py|tmp|dat|bin|ini|txt|log|html?|php|apk|dmg|pkg)"
)


def guess_type(text: str) -> IndicatorType | None:
    """The type of a pasted value, or None where it looks like none."""
    text = text.strip()
    if found := HASH_BY_LENGTH.get(len(text)):
        if _hash(text, len(text)):
            return found
    if address(text) or ("/" in text and network(text)):
        return IndicatorType.IP_ADDRESS
    if "://" in text or ("/" in text and "." in text.split("/", 1)[0]):
        return IndicatorType.URL if url_parts(text) else None
    if "\\" in text or _LIKE_A_FILE.fullmatch(text):
        return IndicatorType.FILE_NAME if file_name(text) else None
    return IndicatorType.DOMAIN_NAME if "." in text and domain(text) else None
