"""What is understood of a text that somebody pastes."""

from __future__ import annotations

import pytest

from indicia.errors import TooLarge
from indicia.feeds import pasted


def understood(text: str) -> list[tuple[str, str, str, int]]:
    """Type, function, canonical value and line of each."""
    return [
        (row.indicator.type, row.indicator.function, row.indicator.canonical, row.line)
        for row in pasted.read(text).rows
    ]


NAME, BELOW = "DomainName", "SubdomainOf"
LIST = "evil[.]example\n# x\n192.0.2.1\n"
MAIL = "Dear all,\r\nsee hxxp://evil[.]example/a.exe.\r\n"
TABLE_IN_MAIL = "Hello.\nThe list:\n\ntype,value\nDomainName,evil[.]example\n"


@pytest.mark.parametrize(
    ("text", "form", "rows"),
    [
        (LIST, "list", [(NAME, BELOW, "evil.example", 1), ("IpAddress", "Equals", "192.0.2.1", 3)]),
        (
            "type,value,function\nip,192.0.2.1,StartWith\n",
            "csv",
            [("IpAddress", "StartWith", "192.0.2.1", 2)],
        ),
        ("value\ttype\nevil.example\tdomain\n", "csv", [(NAME, BELOW, "evil.example", 2)]),
        ('{"type": "ip", "value": "192.0.2.1"}', "ndjson", [("IpAddress", "Equals", "192.0.2.1", 1)]),
        (MAIL, "text", [("Url", "Equals", "http://evil.example/a.exe", 2)]),
        (TABLE_IN_MAIL, "text", [(NAME, BELOW, "evil.example", 5)]),
        ("nothing at all", "text", []),
        ("co[.]uk is one", "text", [(NAME, "Equals", "co.uk", 1)]),
    ],
)
def test_any_text_is_read(text: str, form: str, rows: list[tuple[str, str, str, int]]) -> None:
    assert pasted.read(text).format == form
    assert understood(text) == rows


def test_what_is_repeated_is_given_once() -> None:
    found = pasted.read("EVIL[.]example and evil[.]example\nand hxxp://evil[.]example\n evil[.]example")
    assert [row.indicator.canonical for row in found.rows] == ["evil.example", "http://evil.example/"]
    assert (found.repeated, found.total) == (2, 2)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a mail to kim@partner.example went", 1, "kim@partner.example is a mail address"),
        ("x\nsee host.internal-zone for it", 2, "host.internal-zone ends in no public top-level domain"),
        ("type,value\nMd5,short\n", 2, "'short' is not an MD5"),
        ("type,value\nColour,red\n", 2, "'Colour' is no type"),
    ],
)
def test_what_is_not_understood_has_its_reason(text: str, line: int, reason: str) -> None:
    found = pasted.read(text)
    assert (found.rows, len(found.faults)) == ([], 1)
    assert found.faults[0].line == line
    assert reason in found.faults[0].reason


def test_an_excerpt_shows_where_it_stood() -> None:
    line = "x " * 500 + "https://evil.example/gate.php " + "y " * 500
    (row,) = pasted.read(line).rows
    assert "https://evil.example/gate.php" in row.excerpt
    assert len(row.excerpt) <= pasted.EXCERPT + 2


def test_much_is_counted() -> None:
    found = pasted.read("\n".join(f"192.0.2.{n % 250}.{n}.example" for n in range(5)) + "\n" + "\n".join(
        f"host-{n}[.]example" for n in range(pasted.MOST + 7)
    ))  # fmt: skip
    assert len(found.rows) == pasted.MOST
    assert found.more >= 7
    mails = pasted.read(" ".join(f"user{n}@partner.example" for n in range(pasted.FAULTS + 9)))
    assert (len(mails.faults), mails.further_faults) == (pasted.FAULTS, 9)


def test_time_and_size_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLarge, match="upload it as a file"):
        pasted.read("x" * (pasted.LIMIT + 1))
    monkeypatch.setattr(pasted, "SECONDS", 0.0)
    found = pasted.read("one[.]example " * 1000 + "\n" + "two[.]example")
    assert found.cut
    assert [row.indicator.canonical for row in found.rows] == ["one.example"]


def test_a_line_is_cut_between_words() -> None:
    words = [f"w{n:05}[.]example" for n in range(2000)]
    found = pasted.read(" ".join(words))
    assert {row.indicator.canonical for row in found.rows} <= {word.replace("[.]", ".") for word in words}
    assert found.total == 2000


def test_a_cell_beyond_all_headers_is_no_header() -> None:
    assert pasted.read("a," + "x" * 200_000 + "\nevil[.]example").total == 1


def test_a_sentence_above_a_list_is_searched() -> None:
    lines = ["From the report: hxxp://bad[.]example/x and 203.0.113.9, kim@partner.example", "nothing in it"]
    reading = pasted.read("\n".join(lines + [f"host{number}.example" for number in range(20)]))
    assert reading.format == "list"
    found = [(one.indicator.value, one.line) for one in reading.rows[:2]]
    assert found == [("http://bad.example/x", 1), ("203.0.113.9", 1)]
    assert reading.total == 22
    last = reading.faults[-1]
    assert (last.line, last.reason) == (2, "'nothing in it' looks like no indicator")
