"""Regular expressions of allow-lists: what Python's own find, in time that only the text decides."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicia.errors import InvalidValue
from indicia.patterns import LENGTH, TEXT, Pattern

ATOMS = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a]", r"\d", r"\.", "1", "[a-c1]", r"[\d.]", "^", "$", r"\W", "é"]
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds(
            "({}){}".format, inner, st.sampled_from(["?", "*", "+", "{2}", "{1,3}", "{2,}", "*?", "{0}"])
        ),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS, st.lists(st.text("abcé1.A\n", max_size=8), min_size=1, max_size=4))
def test_it_finds_what_python_finds(written: str, texts: list[str]) -> None:
    ours, theirs = Pattern(written), re.compile(written.replace("$", r"\Z"))
    ignoring = Pattern(f"/{written}/i"), re.compile(written.replace("$", r"\Z"), re.IGNORECASE)
    for text in texts:
        assert ours.found_in(text) == bool(theirs.search(text)), (written, text)
        assert ignoring[0].found_in(text) == bool(ignoring[1].search(text)), (written, text)


@pytest.mark.parametrize(
    ("written", "meets", "misses"),
    [
        (r"/^(security|noc|soc|abuse)\@.*\..*$/i", "NOC@contoso.example", "noc@localhost"),
        (r"/((?:\+|00)44)?01632960([0-9]{3})/g", "004401632960123", "0163296012"),
        (r"^cdn-[0-9]+\.contoso\.example$", "cdn-12.contoso.example", "xcdn-12.contoso.example"),
        ("[]a]", "]", "b"),
        ("[a-]", "-", "b"),
        (r"a/b", "a/b", "ab"),
        ("^$", "", "a"),
    ],
)
def test_expressions_of_real_lists(written: str, meets: str, misses: str) -> None:
    assert Pattern(written).found_in(meets)
    assert not Pattern(written).found_in(misses)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (r"(a)\1", "not known"),
        ("(?=a)", "look-around"),
        ("(?P<x>a)", "look-around"),
        (r"\bword", "not known"),
        ("(a", "closing bracket"),
        ("a)", "nothing is open"),
        ("*a", "nothing to repeat"),
        ("a**", "repeated again"),
        ("^*", "border"),
        ("a{3,2}", "ends before"),
        ("a{,3}", "repetition"),
        ("a{999}", "repetition"),
        ("a{1", "repetition"),
        ("[b-a]", "ends before"),
        (r"[\D]", "negated class"),
        ("[a", "missing"),
        ("\\", "missing"),
        ("a" * (LENGTH + 1), "characters"),
        ("((a{200}){200})", "states"),
        ("(" * 60 + ")" * 60, "brackets inside"),
    ],
)
def test_what_is_refused_says_why(written: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        Pattern(written)


def test_no_text_takes_long() -> None:
    begin = time.process_time()
    for written in ("(a+)+b", "(a|a)*b", "(.*)(.*)(.*)(.*)b", "(a?){50}a{50}b"):
        assert not Pattern(written).found_in("a" * TEXT)
    # Python's own would take longer than the universe has existed for the first one.
    assert time.process_time() - begin < 5
    assert not Pattern("a").found_in("a" * (TEXT + 1)), "longer texts are not looked into"
