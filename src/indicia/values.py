"""Canonical forms of hashes, addresses, networks, domains, URLs and file names: both sides of a match.

The rules are few and fixed, because ids hold canonical values:

- Md5, Sha1, Sha256: lower-case hex of exactly 32, 40, 64 characters.
- IpAddress: IPv4 in dotted decimal without leading zeros; IPv6 by RFC 5952; `::ffff:0:0/96` becomes IPv4;
  a zone is dropped. A network (indicators only) in CIDR form, host bits zero.
- DomainName: lower case, IDNA A-labels (UTS 46), no trailing dot; labels of 1 to 63 letters, digits, `-`
  and `_`, 253 characters at most, the last label not all digits. One label is a name, too (`wpad`).
- Url: scheme and host lower case, default port dropped, empty path `/`, fragment dropped, percent-encoding
  normalised (RFC 3986 6.2.2; what may not stand in a URL is encoded). User name and path keep their case.
  `.` and `..` stay: a log has them only where a client sent them as they are, and then they are the attack
  that an indicator names. Without scheme it begins at the host, has no user name, and keeps its port.
- FileName: without letter case (`without_case`); of a path its last component, by both separators; of a
  path with a backslash less the alternate data stream (`:Zone.Identifier`). `.` and `..` are none.

What is not of a type's shape has no canonical form: None, never an exception, whatever comes in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING
from urllib.parse import unquote

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
_TEXT_LIMIT = 1000
"""Characters that the text of an address or a domain may have before anybody looks at it."""
_DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443}

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
is_ipv4 = re.compile(IPV4).fullmatch
_is_hex = re.compile("[0-9a-f]+").fullmatch
_is_domain = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_-]{1,63}\.)*(?![0-9]+\Z)(?!-+\Z)[a-z0-9_-]{1,63}"
).fullmatch
_url_shape = re.compile(
    r"((?i:https?|ftp|wss?)(?=:[/\\]{2})|[A-Za-z][A-Za-z0-9+.-]{1,30}(?=://)):..([^/?#\\]*)([^#]*)"
).match
_bare_url_shape = re.compile(r"(?://)?([^/?#\\@]+)(?=[/?#]|\Z)([^#]*)").match
_closing_port = re.compile(r":([0-9]{1,9})\Z").search
_percent = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_must_encode = re.compile(r"[^A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%#]|%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_around_name = re.compile(r"[\s\"']+\Z|\A[\s\"']+").sub


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
        case IndicatorType.FILE_NAME:  # pragma: no branch
            return file_name(text)


def _hash(text: str, length: int) -> str | None:
    digits = text.strip().lower()
    return digits if len(digits) == length and _is_hex(digits) else None


def address(text: str) -> str | None:
    """An IP address in canonical form; RFC 5952 for IPv6. A pair of brackets and a zone are dropped."""
    text = text.strip()
    if text[:1] == "[" and text[-1:] == "]":
        text = text[1:-1]
    if is_ipv4(text):
        return text
    return _ipv6(text) if ":" in text and len(text) <= _TEXT_LIMIT else None


@lru_cache(maxsize=16_384)
def _ipv6(text: str) -> str | None:
    try:
        found = IPv6Address(text.split("%", 1)[0])
    except ValueError:
        return None
    return str(found.ipv4_mapped or found)


def domain(text: str) -> str | None:
    """A domain name in canonical form; an address is none."""
    return _domain(text) if len(text) <= _TEXT_LIMIT else None


@lru_cache(maxsize=65_536)
def _domain(text: str) -> str | None:
    name = _ascii_name(text)
    return name if name is not None and _is_domain(name) else None


def _ascii_name(text: str) -> str | None:
    """Lower case, A-labels, no trailing dot: what may be a domain, or an address in other digits."""
    text = text.strip()
    name = text if text.isascii() else _a_labels(text)
    return name.lower().removesuffix(".") if name is not None else None


def _a_labels(name: str) -> str | None:
    """UTS 46 mapping, then A-labels of those that are not ASCII.

    The further rules of IDNA 2008 are left out: names that break them (`☃.example`) are in use.
    """
    try:
        labels = idna.uts46_remap(name, std3_rules=False, transitional=False).split(".")
        return ".".join(
            label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in labels
        )
    except (idna.IDNAError, UnicodeError):
        return None


def canonical_host(text: str) -> tuple[IndicatorType, str] | None:
    """An address or a domain, with or without port.

    `h:80`, `[v6]:80`, `v6`, `1.2.3.4.`, `name.`; a full IPv6 address of eight groups may have a port
    without brackets, one with `::` not: there the port is taken for its last group.
    """
    if len(text) > _TEXT_LIMIT:
        return None
    split = _host_and_port(text)
    return split[0] if split else None


@lru_cache(maxsize=65_536)
def _host_and_port(text: str) -> tuple[tuple[IndicatorType, str], int | None] | None:
    text = text.strip()
    if found := address(text):
        return (IndicatorType.IP_ADDRESS, found), None
    written = _closing_port(text)
    bare, port = (text[: written.start()], int(written[1])) if written else (text, None)
    name = _ascii_name(bare)
    if name is None or (port is not None and port > 65_535):
        return None
    if found := address(bare) or address(name):
        return (IndicatorType.IP_ADDRESS, found), port
    return ((IndicatorType.DOMAIN_NAME, name), port) if _is_domain(name) else None


def url_parts(text: str) -> UrlParts | None:
    """A URL with or without scheme (`http://h/p`, `//h/p`, `h/p`): canonical form, host, file name.

    Backslashes count as slashes, as browsers take them.
    """
    text = text.strip()
    if not text or len(text) > URL_LIMIT:
        return None
    if matched := _url_shape(text):
        scheme, (user, at, host_port), rest = matched[1].lower(), matched[2].rpartition("@"), matched[3]
    elif matched := _bare_url_shape(text):
        scheme, (user, at, host_port), rest = "", ("", "", matched[1]), matched[2]
    else:
        return None
    host_port = host_port.removesuffix(":") if scheme else host_port
    split = _host_and_port(_decoded(host_port)) if len(host_port) <= _TEXT_LIMIT else None
    if split is None:
        return None
    host, port = split
    name = f"[{host[1]}]" if ":" in host[1] else host[1]
    shown_port = f":{port}" if port is not None and port != _DEFAULT_PORTS.get(scheme) else ""
    rest = _normal(rest.replace("\\", "/"))
    rest = rest if rest.startswith("/") else "/" + rest
    url = f"{scheme}://{_normal(user)}{at}{name}{shown_port}{rest}" if scheme else f"{name}{shown_port}{rest}"
    return UrlParts(url, host, _url_file_name(rest)) if len(url) <= URL_LIMIT else None


def _decoded(text: str) -> str:
    """Without percent-encoding; bytes that are not UTF-8 become U+FFFD."""
    return unquote(text) if "%" in text else text


def _normal(text: str) -> str:
    """Percent-encoding as RFC 3986 6.2.2 wants it; what may not stand in a URL is encoded."""
    text = _must_encode.sub(_encoded, text)
    return _percent.sub(_normal_percent, text) if "%" in text else text


def _encoded(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in _SURROGATE.sub("\ufffd", found[0]).encode())


def _normal_percent(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if character in _UNRESERVED else found[0].upper()


def _url_file_name(rest: str) -> str | None:
    last = _decoded(rest.split("?", 1)[0].rpartition("/")[2])
    return file_name(last) if last else None


def url_keys(canonical_url: str) -> tuple[str, ...]:
    """The texts under which a URL meets indicators: itself, then those of the ones that name no scheme.

    Such an indicator may name the port that is the scheme's own, which the canonical form dropped.
    """
    scheme, found, rest = canonical_url.partition("://")
    if not found or "/" in scheme:
        return (canonical_url,)
    authority, _, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    port = _DEFAULT_PORTS.get(scheme)
    if port is None or ":" in host.rpartition("]")[2]:
        return canonical_url, f"{host}/{path}"
    return canonical_url, f"{host}/{path}", f"{host}:{port}/{path}"


def file_name(text: str) -> str | None:
    """The last component of a path, or a bare name, in lower case; None where there is none."""
    last = text[max(text.rfind("/"), text.rfind("\\")) + 1 :]
    if ":" in last and "\\" in text:  # Windows: what follows is the name of a stream
        last = last.partition(":")[0]
    last = without_case(_around_name("", last))
    good = 0 < len(last) <= FILE_NAME_LIMIT and last not in {".", ".."} and not _CONTROL.search(last)
    return last if good else None


def without_case(text: str) -> str:
    """Lower case that does not depend on what stands around a letter, so that a part stays a part.

    `str.lower` writes a closing sigma as another letter than one inside a word.
    """
    return text.lower().replace("ς", "σ")


def network(text: str) -> str | None:
    """A network in CIDR form, host bits zero; an IPv4-mapped one of /96 and longer as IPv4."""
    address_text, _, length = text.strip().partition("/")
    if not (length.isascii() and length.isdigit() and len(length) <= 3):
        return None
    try:
        found: IPv4Network | IPv6Network = ip_network(f"{address_text.split('%')[0]}/{length}", strict=False)
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
    if found is None or (kind is IndicatorType.URL and _is_defanged(found)):
        raise InvalidValue(f"{_shown(text)} is not {_SHAPES[kind]}{_hint(kind, text)}", target="Value")
    return found


def _hint(kind: IndicatorType, text: str) -> str:
    """What the author may have meant."""
    if kind is IndicatorType.DOMAIN_NAME:
        if address(text):
            return "; it is an address: use the Type IpAddress"
        if text.startswith(("*.", ".")):
            return "; for all names below one, use SubdomainOf without `*.`"
        if "/" in text:
            return "; for a URL, use the Type Url"
    elif kind in HASH_LENGTH and (other := HASH_BY_LENGTH.get(len(text))) and _is_hex(text.lower()):
        return f"; its length is that of the Type {other}"
    return "; undo the defanging first" if _is_defanged(text.lower()) or re.search(r"\[[.:]\]", text) else ""


_is_defanged = re.compile(r"hxxps?\[?:").match


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
    IndicatorType.URL: re.compile("[^#]+"),
    IndicatorType.FILE_NAME: re.compile(r"[^/\\]+"),
}


def _pattern(kind: IndicatorType, function: DetectionFunction, text: str, *, force: bool) -> str:
    """A part of a canonical text, in lower case, since patterns are tried without letter case."""
    part = without_case(text)
    match kind:
        case IndicatorType.IP_ADDRESS:
            part = _address_part(part, function)
        case IndicatorType.DOMAIN_NAME:
            part = _domain_part(part, function)
        case IndicatorType.URL:
            part = _url_part(part, function)
        case _:
            pass
    if not _PATTERN_SHAPES[kind].fullmatch(part):
        raise InvalidValue(f"{_shown(text)} cannot be part of {_SHAPES[kind]}", target="Value")
    if min(len(text), len(part)) < PATTERN_MINIMUM and not force:
        raise InvalidValue(
            f"{function} needs at least {PATTERN_MINIMUM} characters: {_shown(part)} would meet nearly"
            " everything",
            target="Value",
        )
    return part


def _address_part(part: str, function: DetectionFunction) -> str:
    """Groups without leading zeros, as RFC 5952 writes them; of an IPv4-mapped address the IPv4 part."""
    if function is DetectionFunction.START_WITH:
        part = re.sub("^0+(?=[0-9a-f]+:)", "", part)
        part = re.sub(r"^::ffff:(?=[0-9]{1,3}\.)", "", part)
    return re.sub("(?<=:)0+(?=[0-9a-f])", "", part)


def _domain_part(part: str, function: DetectionFunction) -> str:
    """A-labels, each label taken as whole; no closing dot where the name ends there."""
    if not part.isascii():
        part = _a_labels(part) or part
    return part.removesuffix(".") if function is DetectionFunction.END_WITH else part


def _url_part(part: str, function: DetectionFunction) -> str:
    """Normal percent-encoding; a beginning that holds the whole host as `url_parts` writes it.

    The host is whole where something follows it, or where it is not ASCII: A-labels have no parts.
    """
    parts = url_parts(part) if function is DetectionFunction.START_WITH and "#" not in part else None
    if parts is not None and (_url_rest(part) or not part.isascii()):
        return parts.url.lower()
    return _normal(part.replace("\\", "/")).lower()


def _url_rest(text: str) -> str:
    """What follows the host of a text that `url_parts` takes."""
    if matched := _url_shape(text):
        return matched[3]
    bare = _bare_url_shape(text)
    return bare[2] if bare else ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def warnings(kind: IndicatorType, function: DetectionFunction, value: str) -> tuple[str, ...]:
    """What an author should know about an indicator that is valid; `value` is canonical."""
    found: list[str] = []
    if kind is IndicatorType.DOMAIN_NAME:
        suffix = value.removeprefix(".") if function is DetectionFunction.END_WITH else value
        if function in _BY_ENDING and is_public_suffix(suffix):
            found.append(f"{suffix} is a public suffix: unrelated people own the names below it")
        if function is DetectionFunction.END_WITH and not value.startswith("."):
            found.append(f"EndWith {value} also meets not{value}; SubdomainOf goes by whole labels")
        if function in PATTERNS and "xn--" in value:
            found.append(
                f"names are compared in their ASCII form, {value}: a part of such a label meets nothing"
            )
    elif kind is IndicatorType.IP_ADDRESS and function is DetectionFunction.EQUALS:
        found.extend(_of_network(value))
    elif function is DetectionFunction.EQUALS and value in _EMPTY_FILE:
        found.append(f"{value} is the hash of every empty file")
    if function in PATTERNS and len(value) < PATTERN_MINIMUM:
        found.append(f"{function} {value} is short and meets much")
    return tuple(found)


def _of_network(value: str) -> Iterator[str]:
    net = ip_network(value)
    if "/" in value and net.prefixlen < _WIDE[net.version]:
        yield f"{value} is a very wide network"
    elif not net.is_global:
        yield f"{value} is no public address: it is somebody else's on every other network"


_WIDE = {4: 8, 6: 16}
_BY_ENDING = frozenset({DetectionFunction.EQUALS, DetectionFunction.SUBDOMAIN_OF, DetectionFunction.END_WITH})
_EMPTY_FILE = frozenset(
    {
        "d41d8cd98f00b204e9800998ecf8427e",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
)


def is_public_suffix(name: str) -> bool:
    """Whether unrelated people own the names below it (publicsuffix.org, private section included)."""
    return _suffixes().publicsuffix(name) == name


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    # Reading the list takes a tenth of a second, and most runs never ask.
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415

    return PublicSuffixList()


_REFANG = (
    (re.compile(r"\bh(?:xx|tt|\*\*)p(s?)(?=\[?:\]?/|\[:)", re.IGNORECASE), r"http\1"),
    (re.compile(r"\bfxp(?=\[?:\]?/|://)", re.IGNORECASE), "ftp"),
    (re.compile(r"\[:(//)?\]|\[(://)\]"), r":\1\2"),
    (re.compile(r"\s?[\[({]\s?(?:\.|dot)\s?[\])}]\s?", re.IGNORECASE), "."),
    (re.compile(r"\[\.|\.\]"), "."),
    (re.compile(r"[\[({]:[\])}]"), ":"),
    (re.compile(r"[\[({](?:@|at)[\])}]", re.IGNORECASE), "@"),
)


def refang(text: str) -> str:
    """Undo what reports do to keep values from being clicked: `hxxp`, `[.]`, `(dot)`, `[:]`, `[://]`."""
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
    if (found := HASH_BY_LENGTH.get(len(text))) and _hash(text, len(text)):
        return found
    if address(text) or ("/" in text and network(text)):
        return IndicatorType.IP_ADDRESS
    if "://" in text or ("/" in text and "." in text.split("/", 1)[0]):
        return IndicatorType.URL if url_parts(text) else None
    if "\\" in text or _LIKE_A_FILE.fullmatch(text):
        return IndicatorType.FILE_NAME if file_name(text) else None
    return IndicatorType.DOMAIN_NAME if "." in text and domain(text) else None
