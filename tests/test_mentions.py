"""What stands inside a text, and what of it means the value even there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicia.mentions import mentions
from indicia.model import IndicatorType
from indicia.values import canonical

MD5, SHA1, SHA256 = IndicatorType.MD5, IndicatorType.SHA1, IndicatorType.SHA256
IP, NAME = IndicatorType.IP_ADDRESS, IndicatorType.DOMAIN_NAME
URL, FILE = IndicatorType.URL, IndicatorType.FILE_NAME
M, S, L = "d41d8cd98f00b204e9800998ecf8427e", "a" * 40, "b" * 64


def found(text: str, kind: IndicatorType) -> set[str]:
    return {mention.value for mention in mentions(text) if mention.type is kind}


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        (MD5, f"MD5={M.upper()},SHA1={S}", {M}),
        (SHA1, f"MD5={M},SHA1={S}", {S}),
        (SHA256, f"sha256:{L}.", {L}),
        (MD5, f"dropped {M}.exe", {M}),
        (MD5, f"md5-{M} {M[1:]}0-x", {M, f"{M[1:]}0"}),
        (MD5, f"x{M} {M}y _{M} {M}0", set()),
        (SHA1, S[1:], set()),
        (IP, "192.0.2.1:443, 192.0.2.2. (192.0.2.3) =192.0.2.4/2", {f"192.0.2.{n}" for n in (1, 2, 3, 4)}),
        (IP, "x192.0.2.1 192.0.2.1.5 192.0.2.1x 192.0.2.1.example 192.0.2.256", set()),
        (IP, "[2001:DB8::1]:443 fe80::1%eth0 ::ffff:192.0.2.9.", {"2001:db8::1", "fe80::1", "192.0.2.9"}),
        (IP, "at 2001:db8::2: and 2001:db8::/32", {"2001:db8::2", "2001:db8::"}),
        (IP, "10:20:30 00:11:22:33:44:55 std::string 2001:db8::1x 2001:db8::1_", set()),
        (IP, "1:2:3:4:5:6:7:8:9:1:2:3:4:5:6:7:8:9:0:1:2", set()),
        (NAME, "see evil.example, www.evil.example. *.a.example user@b.example -c.example-",
         {"evil.example", "www.evil.example", "a.example", "b.example", "c.example"}),
        (NAME, "BÜCHER.example", {"xn--bcher-kva.example"}),
        (NAME, "localhost 1.0.0.0 a..b ... .-.-", set()),
        (URL, "(see http://evil.example/a_(b)), or <https://evil.example>.",
         {"http://evil.example/a_(b)", "https://evil.example/"}),
        (URL, "'http://evil.example/a' \"ftp://evil.example/b\"", {"http://evil.example/a", "ftp://evil.example/b"}),
        (URL, "[http://evil.example/a[1]] {http://evil.example/c}.",
         {"http://evil.example/a[1]", "http://evil.example/c"}),
        (URL, "get evil.example/a?b=1 now", {"evil.example/a?b=1"}),
        (URL, "evil.example:8080/a", {"evil.example:8080/a"}),
        (URL, "../evil.example/a C:\\evil.example/a a@evil.example/", set()),
        (URL, "http://? http://-/ :// !!!://x", set()),
        (FILE, "C:\\Users\\Public\\Evil.exe -q /tmp/x.sh", {"evil.exe", "x.sh"}),
        (FILE, '"C:\\Program Files\\Evil One.exe" -q', {"program", "evil", "evil one.exe", "one.exe"}),
        (FILE, "ran evil.exe, then (/tmp/b.bin)", {"evil.exe", "b.bin", "b.bin)"}),
        (FILE, "http://evil.example/a/b.exe?c", {"b.exe", "evil.example"}),
        (FILE, "noext /a/..", set()),
        (FILE, "C:\\папка\\Файл.exe", {"файл.exe"}),
    ],
)  # fmt: skip
def test_found(kind: IndicatorType, text: str, wanted: set[str]) -> None:
    assert found(text, kind) == wanted


def test_strong_is_what_means_the_value_even_in_text() -> None:
    text = f"{M} {S} {L} 1.0.0.0 evil.exe a.example http://b.example/x c.example/y"
    strong = {(mention.type, mention.value) for mention in mentions(text) if mention.strong}
    assert strong == {
        (SHA1, S),
        (SHA256, L),
        (URL, "http://b.example/x"),
        (NAME, "b.example"),
        (URL, "c.example/y"),
    }


def test_the_host_of_a_url_comes_before_the_same_name_as_a_word() -> None:
    """An event keeps the first of equal observables at one path: it must be the one that raises."""
    hosts = [mention for mention in mentions("http://b.example/") if mention.type is NAME]
    assert [mention.strong for mention in hosts] == [True, False]


def test_what_stands_at_two_places_comes_twice() -> None:
    places = [(m.start, m.end) for m in mentions("a.example and a.example") if m.type is NAME]
    assert places == [(0, 9), (14, 23)]


def test_short_and_very_long_texts() -> None:
    assert not list(mentions("::"))
    assert not list(mentions(""))
    assert found(" " * 5_000_000 + "evil.example", NAME) == {"evil.example"}


PIECES = st.lists(
    st.sampled_from(
        [M, S, "192.0.2.1", "2001:db8::1", "evil.example", "http://", "C:\\", "/", " ", ".", "-", "(", ")"]
    )
    | st.text(max_size=3),
    max_size=8,
).map("".join)


@given(PIECES | st.text())
def test_every_mention_is_canonical_and_stands_where_it_says(text: str) -> None:
    for mention in mentions(text):
        assert text[mention.start : mention.end] == mention.text
        assert canonical(mention.type, mention.value) == mention.value


WORDS = {
    "d41d8cd98f00b204e9800998ecf8427e": (MD5, M),
    S.upper(): (SHA1, S),
    L: (SHA256, L),
    "192.0.2.1": (IP, "192.0.2.1"),
    "2001:DB8::1": (IP, "2001:db8::1"),
    "Evil.Example": (NAME, "evil.example"),
    "http://evil.example/A": (URL, "http://evil.example/A"),
    "C:\\x\\Evil.exe": (FILE, "evil.exe"),
}


@given(
    st.sampled_from(sorted(WORDS)),
    st.sampled_from(["", " ", "x ", "a=", "(", '"', "\n"]),
    st.sampled_from(["", " ", " x", ",", '"', ". ", "\r\n", ";"]),
)
def test_a_word_is_found_whatever_blanks_and_punctuation_stand_around_it(
    word: str, before: str, after: str
) -> None:
    kind, value = WORDS[word]
    assert value in found(before + word + after, kind)
