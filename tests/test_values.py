"""Canonical forms, what an indicator may be, and what its author is told."""

from __future__ import annotations

import pytest

from indicia import values
from indicia.errors import InvalidValue
from indicia.model import DetectionFunction, IndicatorType

MD5, SHA1, SHA256 = IndicatorType.MD5, IndicatorType.SHA1, IndicatorType.SHA256
IP, NAME = IndicatorType.IP_ADDRESS, IndicatorType.DOMAIN_NAME
URL, FILE = IndicatorType.URL, IndicatorType.FILE_NAME
EQUALS, BELOW = DetectionFunction.EQUALS, DetectionFunction.SUBDOMAIN_OF
START, END = DetectionFunction.START_WITH, DetectionFunction.END_WITH
CONTAINS = DetectionFunction.CONTAINS
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
LONG_LABEL = "a" * 63


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        (MD5, f" {EMPTY_MD5.upper()}\n", EMPTY_MD5),
        (MD5, EMPTY_MD5[1:], None),
        (MD5, "g" * 32, None),
        (SHA1, "A" * 40, "a" * 40),
        (SHA1, "a" * 64, None),
        (SHA256, "0" * 64, "0" * 64),
        (SHA256, "", None),
        (SHA256, "\uff11" * 64, None),  # digits of another script
        # Addresses
        (IP, "192.0.2.1", "192.0.2.1"),
        (IP, " 192.0.2.1\t", "192.0.2.1"),
        (IP, "192.0.2.01", None),
        (IP, "192.0.2.256", None),
        (IP, "192.0.2", None),
        (IP, "192.0.2.1.", None),
        (IP, "192.0.2.1%eth0", None),
        (IP, "2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        (IP, "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),  # RFC 5952 4.2.2: one group is not shortened
        (IP, "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),  # 4.2.3: the first of two equal runs
        (IP, "[2001:db8::1]", "2001:db8::1"),
        (IP, "fe80::1%eth0", "fe80::1"),
        (IP, "[fe80::1%25eth0]", "fe80::1"),
        (IP, "::ffff:192.0.2.1", "192.0.2.1"),
        (IP, "::FFFF:c000:201", "192.0.2.1"),
        (IP, "0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1"),
        (IP, "::192.0.2.1", "::c000:201"),  # compatible, not mapped
        (IP, "::ffff:0:192.0.2.1", "::ffff:0:c000:201"),  # translated, not mapped
        (IP, "64:ff9b::192.0.2.1", "64:ff9b::c000:201"),  # NAT64
        (IP, "::", "::"),
        (IP, "[", None),
        (IP, ":::", None),
        (IP, "12345::", None),
        (IP, "1:" * 600, None),
        (IP, "192.0.2.0/24", None),
        # Names
        (NAME, "Evil.Example.", "evil.example"),
        (NAME, " evil.example ", "evil.example"),
        (NAME, "evil.example..", None),
        (NAME, "evil..example", None),
        (NAME, ".evil.example", None),
        (NAME, "wpad", "wpad"),
        (NAME, "_dmarc.evil.example", "_dmarc.evil.example"),
        (NAME, "-evil-.example", "-evil-.example"),
        (NAME, "bücher.example", "xn--bcher-kva.example"),
        (NAME, "BÜCHER.example", "xn--bcher-kva.example"),
        (NAME, "XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        (NAME, "bu\u0308cher.example", "xn--bcher-kva.example"),  # decomposed
        (NAME, "bücher。example。", "xn--bcher-kva.example"),  # ideographic full stops
        (NAME, "ｅｖｉｌ.example", "evil.example"),  # full width
        (NAME, "ev\u00adil.example", "evil.example"),  # soft hyphen
        (NAME, "faß.example", "xn--fa-hia.example"),  # not transitional: another name than fass
        (NAME, "☃.example", "xn--n3h.example"),  # no IDNA 2008, and in use
        (NAME, "\ud800.example", None),
        (NAME, "a\ue000.example", None),  # private use
        (NAME, "192.0.2.1", None),
        (NAME, "１.2.3.4", None),
        (NAME, "1.2.3.999", None),
        (NAME, "evil.example:80", None),
        (NAME, "evil example", None),
        (NAME, "*.evil.example", None),
        (NAME, "---", None),
        (NAME, "", None),
        (NAME, f"{LONG_LABEL}.example", f"{LONG_LABEL}.example"),
        (NAME, f"{LONG_LABEL}a.example", None),
        (NAME, ".".join([LONG_LABEL] * 3 + ["a" * 61]), ".".join([LONG_LABEL] * 3 + ["a" * 61])),
        (NAME, ".".join([LONG_LABEL] * 3 + ["a" * 62]), None),
        (NAME, "a." * 600, None),
        # URLs
        (URL, "HTTP://Evil.Example", "http://evil.example/"),
        (URL, "http://evil.example:80/a", "http://evil.example/a"),
        (URL, "https://evil.example:443", "https://evil.example/"),
        (URL, "https://evil.example:0443/", "https://evil.example/"),
        (URL, "https://evil.example:/", "https://evil.example/"),
        (URL, "http://evil.example:443/", "http://evil.example:443/"),
        (URL, "ftp://evil.example:21/a", "ftp://evil.example/a"),
        (URL, "gopher://evil.example:70/a", "gopher://evil.example:70/a"),
        (URL, "http://evil.example:65536/", None),
        (URL, "http://evil.example./A?B=c#d", "http://evil.example/A?B=c"),
        (URL, "http://evil.example?q", "http://evil.example/?q"),
        (URL, "http://evil.example#f", "http://evil.example/"),
        (URL, "http://evil.example/%7euser/%c3%bc%2F", "http://evil.example/~user/%C3%BC%2F"),
        (URL, "http://evil.example/ü b\\c", "http://evil.example/%C3%BC%20b/c"),
        (URL, "http://evil.example/100%", "http://evil.example/100%25"),
        (URL, "http://evil.example/\ud800", "http://evil.example/%EF%BF%BD"),
        (URL, "http://evil.example/a/../b/./c", "http://evil.example/a/../b/./c"),
        (URL, "http://evil.example/%2e%2e/b", "http://evil.example/../b"),
        (URL, "http://evil.example/a//b", "http://evil.example/a//b"),
        (URL, "http://User:Pass@evil.example/", "http://User:Pass@evil.example/"),
        (URL, "http://a@b@evil.example/", "http://a@b@evil.example/"),
        (URL, "http://bücher.example/", "http://xn--bcher-kva.example/"),
        (URL, "http://%65vil.example/", "http://evil.example/"),
        (URL, "http://evil.example%2fa/", None),
        (URL, "http://%ff.example/", None),
        (URL, "http:\\\\evil.example\\a", "http://evil.example/a"),
        (URL, "http://[2001:DB8::1]:8080/a", "http://[2001:db8::1]:8080/a"),
        (URL, "http://[::ffff:192.0.2.1]/", "http://192.0.2.1/"),
        (URL, "http://192.0.2.1./", "http://192.0.2.1/"),
        (URL, "evil.example", "evil.example/"),
        (URL, "Evil.Example:443/A", "evil.example:443/A"),
        (URL, "//evil.example/a", "evil.example/a"),
        (URL, "evil.example/a?u=http://x/", "evil.example/a?u=http://x/"),
        (URL, "user@evil.example/", None),
        (URL, "http:/evil.example/", None),
        (URL, "http:///evil.example", None),
        (URL, "/a/b", None),
        (URL, "C:\\x", None),
        (URL, "", None),
        (URL, "http://" + "a" * 1001 + "/", None),
        (URL, "http://evil.example/" + "a" * 8192, None),
        (URL, "http://evil.example/" + "ü" * 4000, None),
        # File names
        (FILE, "Evil.EXE", "evil.exe"),
        (FILE, "C:\\Users\\Public\\Evil.exe", "evil.exe"),
        (FILE, "/tmp/Evil", "evil"),
        (FILE, "C:\\a/Evil.exe", "evil.exe"),
        (FILE, "/a\\Evil.exe", "evil.exe"),
        (FILE, '"C:\\a b\\Evil one.exe" ', "evil one.exe"),
        (FILE, "C:\\a\\evil.exe:Zone.Identifier", "evil.exe"),
        (FILE, "/tmp/a:b", "a:b"),
        (FILE, "Ünï.DOC", "ünï.doc"),
        (FILE, "ОТЧЁТ.docx", "отчёт.docx"),
        (FILE, "ΑΣ", "ασ"),
        (FILE, "ας", "ασ"),
        (FILE, "C:\\a\\", None),
        (FILE, "..", None),
        (FILE, "/a/.", None),
        (FILE, "'..'", None),
        (FILE, "a\x00b", None),
        (FILE, "a\ud800", None),
        (FILE, "", None),
        (FILE, "a" * 255, "a" * 255),
        (FILE, "a" * 256, None),
    ],
)
def test_canonical(kind: IndicatorType, text: str, wanted: str | None) -> None:
    assert values.canonical(kind, text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("evil.example:8443", (NAME, "evil.example")),
        ("evil.example.", (NAME, "evil.example")),
        ("evil.example.:80", (NAME, "evil.example")),
        ("192.0.2.1:80", (IP, "192.0.2.1")),
        ("192.0.2.1.", (IP, "192.0.2.1")),
        ("１９２.0.2.1", (IP, "192.0.2.1")),
        ("[2001:db8::1]:443", (IP, "2001:db8::1")),
        ("2001:db8::1", (IP, "2001:db8::1")),
        ("2001:db8::1:443", (IP, "2001:db8::1:443")),  # nobody can tell
        ("2001:db8:0:0:0:0:0:1:443", (IP, "2001:db8::1")),
        ("evil.example:65536", None),
        ("evil.example:", None),
        ("evil example", None),
        ("\ud800.example", None),
        ("", None),
        ("a" * 1001, None),
    ],
)
def test_host_with_or_without_port(text: str, wanted: tuple[IndicatorType, str] | None) -> None:
    assert values.canonical_host(text) == wanted


@pytest.mark.parametrize(
    ("text", "host", "name"),
    [
        ("http://evil.example/a/B.exe?x=/y", (NAME, "evil.example"), "b.exe"),
        ("http://evil.example/a%2FB%20c.exe", (NAME, "evil.example"), "b c.exe"),
        ("http://192.0.2.1/", (IP, "192.0.2.1"), None),
        ("evil.example", (NAME, "evil.example"), None),
        ("http://evil.example/..", (NAME, "evil.example"), None),
    ],
)
def test_url_gives_host_and_file_name(text: str, host: tuple[IndicatorType, str], name: str | None) -> None:
    parts = values.url_parts(text)
    assert parts is not None
    assert (parts.host, parts.file_name) == (host, name)


@pytest.mark.parametrize(
    ("url", "keys"),
    [
        ("evil.example/a", []),
        ("evil.example/?u=http://x/", []),
        ("http://evil.example/a", ["evil.example/a", "evil.example:80/a"]),
        ("https://evil.example/a", ["evil.example/a", "evil.example:443/a"]),
        ("https://evil.example:8443/a", ["evil.example:8443/a"]),
        ("gopher://evil.example/a", ["evil.example/a"]),
        ("http://u:p@evil.example/@a", ["evil.example/@a", "evil.example:80/@a"]),
        ("http://[2001:db8::1]/", ["[2001:db8::1]/", "[2001:db8::1]:80/"]),
        ("http://[2001:db8::1]:8080/", ["[2001:db8::1]:8080/"]),
    ],
)
def test_keys_of_a_url(url: str, keys: list[str]) -> None:
    assert values.canonical(URL, url) == url
    assert values.url_keys(url) == (url, *keys)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("192.0.2.77/24", "192.0.2.0/24"),
        ("192.0.2.1/32", "192.0.2.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::1/32", "2001:db8::/32"),
        ("fe80::1%eth0/64", "fe80::/64"),
        ("::ffff:192.0.2.1/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:0:0/95", "::fffe:0:0/95"),
        ("::/0", "::/0"),
        ("192.0.2.0/33", None),
        ("192.0.2.0/", None),
        ("192.0.2.0/255.255.255.0", None),
        ("192.0.2.0/-1", None),
        ("192.0.2.0/0024", None),
        ("192.0.2.0/٢", None),
        ("evil.example/24", None),
        ("192.0.2.0", None),
    ],
)
def test_network(text: str, wanted: str | None) -> None:
    assert values.network(text) == wanted


@pytest.mark.parametrize(
    ("kind", "function", "value", "wanted"),
    [
        (IP, EQUALS, "192.0.2.77/24", "192.0.2.0/24"),
        (NAME, BELOW, "Evil.Example.", "evil.example"),
        (FILE, EQUALS, "C:\\x\\Evil.exe", "evil.exe"),
        (MD5, START, "D41D8", "d41d8"),
        (IP, START, "192.0.2.", "192.0.2."),
        (IP, START, "2001:0DB8:", "2001:db8:"),
        (IP, START, "0064:ff9b:", "64:ff9b:"),
        (IP, START, "::ffff:192.0.", "192.0."),
        (IP, END, ":0000:0001", ":0:1"),
        (NAME, START, "Evil", "evil"),
        (NAME, END, ".Evil.Example.", ".evil.example"),
        (NAME, CONTAINS, "evil.", "evil."),
        (NAME, END, "bücher.example", "xn--bcher-kva.example"),
        (URL, START, "HTTP://Evil.Example:80/A b", "http://evil.example/a%20b"),
        (URL, START, "http://evil.", "http://evil."),
        (URL, START, "http://bücher.example", "http://xn--bcher-kva.example/"),
        (URL, START, "Evil.Example/A", "evil.example/a"),
        (URL, START, "/a/b", "/a/b"),
        (URL, CONTAINS, "\\A%7e?", "/a~?"),
        (URL, END, "/Gate.PHP", "/gate.php"),
        (FILE, CONTAINS, "ΑΣ.DOCX", "ασ.docx"),
    ],
)
def test_indicator_value(kind: IndicatorType, function: DetectionFunction, value: str, wanted: str) -> None:
    assert values.indicator_value(kind, function, value) == wanted


@pytest.mark.parametrize(
    ("kind", "function", "value", "target", "words"),
    [
        (NAME, EQUALS, "  ", "Value", "must not be empty"),
        (URL, EQUALS, "http://a/" + "a" * 4096, "Value", "at most 4096"),
        (FILE, EQUALS, "a\x00b", "Value", "control characters"),
        (FILE, CONTAINS, "abcd\ud800", "Value", "surrogates"),
        (URL, BELOW, "http://a/", "DetectionFunction", "DomainName alone"),
        (IP, EQUALS, "192.0.2.0/33", "Value", "in CIDR form"),
        (IP, START, "192.0.2.0/24", "Value", "cannot be part"),
        (IP, EQUALS, "192.0.2[.]1", "Value", "defanging"),
        (NAME, EQUALS, "192.0.2.1", "Value", "IpAddress"),
        (NAME, EQUALS, "*.evil.example", "Value", "SubdomainOf"),
        (NAME, EQUALS, "evil.example/a", "Value", "Type Url"),
        (NAME, EQUALS, "evil example", "Value", "is not a domain name"),
        (NAME, EQUALS, "evil[.]example", "Value", "defanging"),
        (MD5, EQUALS, "A" * 40, "Value", "Sha1"),
        (MD5, EQUALS, "g" * 40, "Value", "32 hexadecimal digits"),
        (MD5, EQUALS, "a" * 31, "Value", "32 hexadecimal digits"),
        (SHA256, EQUALS, "x" * 200, "Value", "..."),
        (URL, EQUALS, "hXXps://evil.example/", "Value", "defanging"),
        (FILE, EQUALS, "C:\\", "Value", "file name"),
        (FILE, CONTAINS, "a/b.exe", "Value", "cannot be part"),
        (URL, CONTAINS, "abc#d", "Value", "cannot be part"),
        (URL, START, "abc#d", "Value", "cannot be part"),
        (NAME, START, "*.evil", "Value", "cannot be part"),
        (NAME, CONTAINS, "\ue0fff\u2fffx", "Value", "cannot be part"),
        (NAME, START, "abc", "Value", "at least 4"),
        (NAME, END, "com.", "Value", "at least 4"),
        (URL, CONTAINS, "%61b", "Value", "at least 4"),
        (IP, START, "0000:", "Value", "at least 4"),
    ],
)
def test_an_indicator_that_is_refused_says_why(
    kind: IndicatorType, function: DetectionFunction, value: str, target: str, words: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        values.indicator_value(kind, function, value)
    assert caught.value.target == target
    assert words in str(caught.value)
    assert len(str(caught.value)) < 250


def test_four_characters_unless_forced() -> None:
    assert values.indicator_value(NAME, START, "abc", force=True) == "abc"
    assert values.indicator_value(NAME, START, "abcd") == "abcd"
    assert values.indicator_value(NAME, EQUALS, "abc") == "abc"


@pytest.mark.parametrize(
    ("kind", "function", "value", "words"),
    [
        (NAME, EQUALS, "duckdns.org", ["public suffix"]),
        (NAME, BELOW, "co.uk", ["public suffix"]),
        (NAME, BELOW, "xn--p1ai", ["public suffix"]),
        (NAME, END, ".com", [".com is a public suffix"[1:]]),
        (NAME, END, "evil.com", ["notevil.com"]),
        (NAME, END, "co.uk", ["public suffix", "notco.uk"]),
        (NAME, END, ".evil.com", []),
        (NAME, START, "duckdns.org", []),
        (NAME, CONTAINS, "xn--bcher-kva", ["a part of such a label"]),
        (NAME, EQUALS, "xn--bcher-kva.example", []),
        (NAME, EQUALS, "evil.com", []),
        (NAME, BELOW, "marzo1.duckdns.org", []),
        (IP, EQUALS, "0.0.0.0/7", ["very wide"]),
        (IP, EQUALS, "2000::/8", ["very wide"]),
        (IP, EQUALS, "8.0.0.0/8", []),
        (IP, EQUALS, "10.0.0.1", ["no public address"]),
        (IP, EQUALS, "10.0.0.0/24", ["no public address"]),
        (IP, EQUALS, "8.8.8.8", []),
        (IP, START, "10.0.", []),
        (IP, START, "10.", ["short"]),
        (MD5, EQUALS, EMPTY_MD5, ["every empty file"]),
        (MD5, EQUALS, "a" * 32, []),
        (FILE, CONTAINS, "exe", ["short"]),
    ],
)
def test_warnings(kind: IndicatorType, function: DetectionFunction, value: str, words: list[str]) -> None:
    found = values.warnings(kind, function, value)
    assert len(found) == len(words), found
    assert all(word in warning for word, warning in zip(words, found, strict=True)), found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("hxxps://evil[.]example/a", "https://evil.example/a"),
        ("hxxp[:]//evil.example", "http://evil.example"),
        ("hXXp[://]evil.example", "http://evil.example"),
        ("h**p://evil.example", "http://evil.example"),
        ("fxp://evil.example", "ftp://evil.example"),
        ("evil(dot)example", "evil.example"),
        ("evil [dot] example", "evil.example"),
        ("evil{.}example", "evil.example"),
        ("evil[.example", "evil.example"),
        ("192.0.2[.]1[:]80", "192.0.2.1:80"),
        ("me[at]evil[.]example", "me@evil.example"),
        ("[2001:db8::1]:80 evil[.]example", "[2001:db8::1]:80 evil.example"),
        ("2001:db8[:]:1", "2001:db8::1"),
        ("http://evil.example/a", "http://evil.example/a"),
        ("nothing to undo.", "nothing to undo."),
    ],
)
def test_refang(text: str, wanted: str) -> None:
    assert values.refang(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (EMPTY_MD5, MD5),
        ("a" * 40, SHA1),
        ("a" * 64, SHA256),
        ("z" * 32 + "", None),
        ("192.0.2.1", IP),
        ("192.0.2.0/24", IP),
        ("2001:db8::/32", IP),
        ("http://evil.example", URL),
        ("evil.example/a", URL),
        ("http://?", None),
        ("evil.exe", FILE),
        ("C:\\a\\evil", FILE),
        ("C:\\", None),
        ("evil.example", NAME),
        ("wpad", None),
        ("evil example.", None),
    ],
)
def test_guess_type(text: str, wanted: IndicatorType | None) -> None:
    assert values.guess_type(text) == wanted
