"""Files of indicators: every format, how it is recognised, and what is said of rows that cannot be used."""

from __future__ import annotations

import codecs
import gzip
import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
import zstandard

from indicia import feeds
from indicia.errors import InputError, MalformedFile
from indicia.feeds import FeedFault, FeedRow, make, rows
from indicia.feeds.csv import escape, unescape
from indicia.feeds.lines import LIMIT
from indicia.model import AlertDefinition, Category, DetectionFunction, IndicatorType, Severity

MD5 = "0123456789abcdef0123456789abcdef"
SHA1 = f"{MD5}01234567"
SHA256 = f"{MD5}{MD5}"
SUBDOMAIN = DetectionFunction.SUBDOMAIN_OF


class Got(NamedTuple):
    """What a file gave."""

    rows: list[FeedRow]
    faults: list[FeedFault]

    @property
    def values(self) -> list[tuple[str, str]]:
        return [(str(row.type), row.value) for row in self.rows]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a list is written."""
    return tmp_path / "list"


def got(path: Path, content: bytes | str, format: str | None = None) -> Got:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = list(feeds.read(str(path), format))
    return Got(
        [row for row in found if isinstance(row, FeedRow)],
        [row for row in found if isinstance(row, FeedFault)],
    )


# Recognising


def spoken(path: Path, content: str) -> str:
    """The format that a content is taken for: the only one that, named, gives the same."""
    unnamed = got(path, content)
    same = []
    for name in feeds.FORMATS:
        try:
            if got(path, content, name) == unnamed:
                same.append(name)
        except MalformedFile:
            pass
    return same[0]


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("csv", "type,value\nMd5,0123\n"),
        ("csv", "# made today\n\nvalue;source\nevil.example;a report\n"),
        ("csv", "IndicatorType\tIndicatorValue\tTitle\nIpAddress\t192.0.2.1\tx\n"),
        ("ndjson", '\n{"value": "evil.example"}\n{"value": 1.5}\n'),
        ("list", "evil.example\n192.0.2.1\n\n# a comment\nhxxp://evil[.]example/x\n"),
        ("list", f"APPENDIX: bad files\n{SHA256}\n{SHA1}\n{MD5}\nevil.example\n192.0.2.1\n"),
        ("text", "Yesterday evil.example.com was seen.\nIt served http://192.0.2.1/a.exe\n"),
        ("text", '{"evil": "evil.example.com"}\n'),
        ("text", "name,score\nevil.example.com,5\n"),
    ],
)
def test_a_format_is_recognised_by_its_look(file: Path, format: str, content: str) -> None:
    assert spoken(file, content) == format


def test_a_format_that_is_not_known_is_refused_with_those_that_are(file: Path) -> None:
    with pytest.raises(InputError, match=r"no format 'xml'; known: csv, ndjson, list, text"):
        got(file, "", "xml")


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file") as absent:
        list(feeds.read(str(tmp_path / "absent")))
    assert absent.value.place == str(tmp_path / "absent")
    with pytest.raises(InputError, match="is a folder"):
        list(feeds.read(str(tmp_path)))


@pytest.mark.parametrize("format", [None, "list", "text", "ndjson"])
def test_an_empty_file_holds_nothing(file: Path, format: str | None) -> None:
    assert got(file, b"", format) == Got([], [])


# Bytes to lines

LISTED = [("DomainName", "evil.example"), ("IpAddress", "192.0.2.1")]


@pytest.mark.parametrize(
    "content",
    [
        b"evil.example\n192.0.2.1\n",
        b"evil.example\r\n192.0.2.1",
        codecs.BOM_UTF8 + b"evil.example\n192.0.2.1\n",
        codecs.BOM_UTF16_LE + "evil.example\r\n192.0.2.1\r\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "evil.example\n192.0.2.1".encode("utf-16-be"),
        gzip.compress(b"evil.example\n192.0.2.1\n", mtime=0),
        zstandard.compress(b"evil.example\n") + zstandard.compress(b"192.0.2.1\n"),
        gzip.compress(codecs.BOM_UTF16_LE + "evil.example\n192.0.2.1\n".encode("utf-16-le"), mtime=0),
    ],
    ids=["LF", "CRLF", "BOM", "UTF-16LE", "UTF-16BE", "gz", "zst in frames", "gz of UTF-16"],
)
def test_bytes_are_read_whatever_they_are_wrapped_in(file: Path, content: bytes) -> None:
    read = got(file, content)
    assert (read.values, read.faults) == (LISTED, [])
    assert [row.line for row in read.rows] == [1, 2]


def test_utf16_of_a_spreadsheet_is_csv_by_tabs(file: Path) -> None:
    text = "type\tvalue\tsource\nDomainName\tmüller.example\tBüro ☃\nMd5\t0\tx\n"
    read = got(file, codecs.BOM_UTF16_LE + text.encode("utf-16-le"))
    assert (read.rows[0].value, read.rows[0].source) == ("müller.example", "Büro ☃")


def test_a_line_feed_inside_a_utf16_unit_is_no_line_end(file: Path) -> None:
    read = got(file, codecs.BOM_UTF16_BE + "a\u0a0ab.example\n192.0.2.1\n".encode("utf-16-be"), "list")
    assert [row.line for row in read.rows] == [1, 2]


def test_bytes_outside_the_encoding_cost_their_line_alone(file: Path) -> None:
    read = got(file, b"evil.example\nm\xfcller.example\n192.0.2.1\n")
    assert read.values == LISTED
    assert read.faults == [FeedFault(2, "not valid UTF-8 or UTF-16 at byte 2 of the line")]
    broken = b"a\x00\x00\xd8b\x00"  # half of a surrogate pair
    read = got(file, codecs.BOM_UTF16_LE + "x.example\n".encode("utf-16-le") + broken, "list")
    assert read.faults == [FeedFault(2, "not valid UTF-8 or UTF-16 at byte 2 of the line")]


def test_a_line_beyond_the_limit_is_a_fault_and_the_next_is_read(file: Path) -> None:
    read = got(file, b"evil.example\n" + b"x" * (3 * LIMIT) + b"\n192.0.2.1\n", "list")
    assert read.values == LISTED
    assert read.faults == [FeedFault(2, f"longer than {LIMIT} bytes")]
    wide = codecs.BOM_UTF16_LE + ("x" * (3 * LIMIT) + "\n192.0.2.1\n").encode("utf-16-le")
    read = got(file, wide, "list")
    assert (read.values, [fault.line for fault in read.faults]) == ([("IpAddress", "192.0.2.1")], [1])


@pytest.mark.parametrize("packed", [gzip.compress, zstandard.compress])
def test_a_compressed_file_that_breaks_off_is_told_where(file: Path, packed: object) -> None:
    plain = "".join(f"host-{number * 7919}.example\n" for number in range(20_000)).encode()
    whole = packed(plain)  # type: ignore[operator]
    read = got(file, whole[: len(whole) // 2])
    assert 0 < len(read.rows) < 20_000 or packed is zstandard.compress
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    read = got(file, bytes(damaged))
    assert read.faults
    assert "breaks off here" in read.faults[-1].reason


def test_progress_tells_of_bytes_on_the_disk(file: Path) -> None:
    packed = gzip.compress(b"evil.example\n" * 100_000)
    file.write_bytes(packed)
    heard: list[int] = []
    assert sum(1 for _ in feeds.read(str(file), progress=heard.append)) == 100_000
    assert sum(heard) == len(packed)


def test_standard_input_is_read_and_never_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"evil.example\n")))
    assert [row.line for row in feeds.read("-")] == [1]
    assert feeds.digest("-") == ""


def test_a_digest_is_that_of_the_file_as_it_lies(file: Path) -> None:
    file.write_bytes(b"abc")
    assert feeds.digest(str(file)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# CSV


def test_csv_with_every_column(file: Path) -> None:
    read = got(
        file,
        "Type,Value,Detection Function,Source,Valid-From,expires_at,Enabled,Definition,TITLE,severity,"
        "category,definition_uid,group_by,window_seconds,score\n"
        "domain,evil.example,subdomainof,a report,2026-01-31,2026-02-28T12:00:00+01:00,no,D,T,High,"
        "Malware,u-1,Indicator,3600,99\n",
    )
    assert read == Got(
        [
            FeedRow(
                2,
                IndicatorType.DOMAIN_NAME,
                "evil.example",
                SUBDOMAIN,
                "a report",
                datetime(2026, 1, 31, tzinfo=UTC),
                datetime(2026, 2, 28, 11, tzinfo=UTC),
                False,
                {
                    "definition": "D",
                    "definition_uid": "u-1",
                    "title": "T",
                    "severity": "High",
                    "category": "Malware",
                    "group_by": "Indicator",
                    "window_seconds": "3600",
                },
            )
        ],
        [],
    )


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("md5", "Md5"),
        ("SHA-1", "Sha1"),
        ("sha_256", "Sha256"),
        ("ip", "IpAddress"),
        ("ip-dst", "IpAddress"),
        ("ipv6-addr", "IpAddress"),
        ("Cidr", "IpAddress"),
        ("hostname", "DomainName"),
        ("uri", "Url"),
        ("File", "FileName"),
    ],
)
def test_types_have_many_names(word: str, kind: str) -> None:
    assert rows.type_of(word) == kind


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("Md5", "has no value"),
        ("Md5,,", "has no value"),
        ("Md5,0,Equals,a,b,c", "6 cells under a header of 5"),
        ("JA3,0", "'JA3' is no type; known: Sha1, Sha256, Md5, IpAddress, DomainName, Url, FileName, Cidr"),
        (",what is this", "'what is this' looks like no indicator; name its type"),
        ("Md5,0,Regex", "'Regex' is no detection function; known: Equals, StartWith, EndWith, Contains"),
        ("Md5,0,,soon", "'soon' "),
        ("Md5,0,,2026-01-31T12:00:00", "'2026-01-31T12:00:00' "),
        ("Md5,0,,,maybe", "'maybe' must be true or false"),
        ('Md5,"0"1', "not valid CSV: ',' expected after '\"'"),
        ('Md5,"0', "not valid CSV: unexpected end of data"),
    ],
)
def test_a_bad_row_is_told_with_line_and_reason_and_the_others_are_read(
    file: Path, row: str, reason: str
) -> None:
    read = got(file, f"type,value,function,expires_at,enabled\nMd5,{MD5}\n{row}\nSha1,{SHA1}\n")
    assert read.values == [("Md5", MD5), ("Sha1", SHA1)]
    assert [(fault.line, fault.reason[: len(reason)]) for fault in read.faults] == [(3, reason)]
    assert [row.line for row in read.rows] == [2, 4]


def test_quoted_cells_hold_separators_quotes_and_line_ends(file: Path) -> None:
    read = got(
        file,
        'type,value,source\nUrl,"http://evil.example/?a=1,2","say ""no"""\n'
        'FileName,a.exe,"two\nlines"\nFileName,b.exe,after\n',
    )
    assert [(row.line, row.value, row.source) for row in read.rows] == [
        (2, "http://evil.example/?a=1,2", 'say "no"'),
        (3, "a.exe", "two\nlines"),
        (5, "b.exe", "after"),
    ]


def test_a_stray_quote_costs_one_row_and_not_the_rest(file: Path) -> None:
    many = "".join(f"FileName,f{number}.exe,x\n" for number in range(100))
    read = got(file, f'type,value,source\nFileName,bad.exe,"never closed\n{many}')
    assert [fault.line for fault in read.faults] == [2]
    assert [row.line for row in read.rows] == list(range(3, 103))


def test_a_quote_in_the_middle_of_a_cell_is_itself(file: Path) -> None:
    assert got(file, 'type,value\nFileName,a"b.exe\n').values == [("FileName", 'a"b.exe')]


def test_values_with_a_type_are_kept_as_written_and_others_are_refanged(file: Path) -> None:
    read = got(file, "type,value\nUrl,hxxp://evil[.]example/\n,hxxp://evil[.]example/\n")
    assert read.values == [("Url", "hxxp://evil[.]example/"), ("Url", "http://evil.example/")]


def test_comments_and_empty_lines_are_nothing(file: Path) -> None:
    read = got(file, f"# c\n\ntype,value\n#Md5,1\n  \nMd5,{MD5}\n#\n")
    assert ([row.line for row in read.rows], read.faults) == ([6], [])


@pytest.mark.parametrize(
    ("content", "reason", "line"),
    [
        ("", "holds no header", None),
        ("# only a comment\n", "holds no header", None),
        ("type,name\nMd5,x\n", "names no column `value`; it needs type,value", "1"),
        ("# c\nvalue,type,indicator\n", "names a column twice", "2"),
    ],
)
def test_a_header_that_will_not_do_is_refused(
    file: Path, content: str, reason: str, line: str | None
) -> None:
    with pytest.raises(MalformedFile, match=reason) as refused:
        got(file, content, "csv")
    assert refused.value.place == (f"{file}:{line}" if line else str(file))


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-x.exe", "@x", "'", "'=x", "''=x", "x=1", "evil.example", "'x"]
)
def test_what_an_export_escapes_comes_back(cell: str) -> None:
    assert unescape(escape(cell)) == cell
    assert escape(cell)[:1] not in ("=", "+", "-", "@")


# NDJSON


def test_ndjson_has_the_columns_of_csv_as_keys(file: Path) -> None:
    read = got(
        file,
        '{"type": "DomainName", "value": "evil.example", "function": "SubdomainOf", "enabled": false,'
        ' "window_seconds": 60, "expires_at": null, "seen": {"times": 3}}\n\n'
        '{"value": "hxxp://evil[.]example/x", "source": "a report"}\n',
    )
    assert read.faults == []
    first, second = read.rows
    assert (first.line, first.function, first.enabled) == (1, SUBDOMAIN, False)
    assert first.definition == {"window_seconds": "60"}
    assert second == FeedRow(3, IndicatorType.URL, "http://evil.example/x", None, "a report")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not valid JSON: Expecting property name"),
        ("[1]", "not an object but list"),
        ('{"type": "Md5"}', "has no value"),
        ('{"value": ["a"]}', "value must be a text"),
        ('{"value": 1.5}', "value must be a text"),
        ('{"value": "nothing"}', "'nothing' looks like no indicator"),
        ('{"value": "evil.example", "type": "JA3"}', "'JA3' is no type"),
        ('{"value": "evil.example", "valid_from": "2026"}', "'2026' "),
        ("[" * 100_000, ""),
    ],
)
def test_a_bad_object_is_told_with_line_and_reason(file: Path, line: str, reason: str) -> None:
    read = got(file, f'{{"value": "{MD5}"}}\n{line}\n', "ndjson")
    assert read.values == [("Md5", MD5)]
    assert [(fault.line, fault.reason[: len(reason)]) for fault in read.faults] == [(2, reason)]


# Plain lists


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("evil.example", ("DomainName", "evil.example")),
        ("evil[.]example   # C2 since May", ("DomainName", "evil.example")),
        ("evil(dot)example // C2", ("DomainName", "evil.example")),
        ("hxxps[://]evil[.]example/#top", ("Url", "https://evil.example/#top")),
        ("hXXp://evil{.}example:8080/a b", ("Url", "http://evil.example:8080/a b")),
        ("evil.example/payload", ("Url", "evil.example/payload")),
        ("192.0.2[.]1", ("IpAddress", "192.0.2.1")),
        ("192.0.2.0/24 ; a network", ("IpAddress", "192.0.2.0/24")),
        ("2001:db8::1", ("IpAddress", "2001:db8::1")),
        ("2001[:]db8::1", ("IpAddress", "2001:db8::1")),
        (MD5.upper(), ("Md5", MD5.upper())),
        (f'"{SHA256}",', ("Sha256", SHA256)),
        (r"C:\Users\x\evil.exe", ("FileName", r"C:\Users\x\evil.exe")),
        ("invoice 2026.docm", ("FileName", "invoice 2026.docm")),
        ("192.0.2.1\tCobalt Strike", ("IpAddress", "192.0.2.1")),
        ('"evil[.]example"\t2026-01-31\tC2', ("DomainName", "evil.example")),
        ("0.0.0.0 evil.example", ("DomainName", "evil.example")),
        ("127.0.0.1\tevil.example # ads", ("DomainName", "evil.example")),
        ("::1 evil.example", ("DomainName", "evil.example")),
        ("127.0.0.1", ("IpAddress", "127.0.0.1")),
    ],
)
def test_a_line_of_a_list_is_its_value(file: Path, line: str, value: tuple[str, str]) -> None:
    assert got(file, f"{line}\n", "list") == Got([FeedRow(1, IndicatorType(value[0]), value[1])], [])


@pytest.mark.parametrize(
    "line",
    [
        "",
        " \t ",
        "# evil.example",
        "// evil.example",
        "; evil.example",
        "127.0.0.1 localhost",
        "::1 ip6-localhost",
        "fe80::1%lo0 localhost",
        "255.255.255.255 broadcasthost",
        "0.0.0.0 0.0.0.0",
    ],
)
def test_a_line_of_a_list_may_hold_nothing(file: Path, line: str) -> None:
    assert got(file, f"{line}\n", "list") == Got([], [])


@pytest.mark.parametrize("line", ["Hostnames:", MD5[:-1], f"{MD5}g", "two words", "someone@evil.example"])
def test_a_line_of_a_list_that_is_no_indicator_is_a_fault(file: Path, line: str) -> None:
    read = got(file, f"evil.example\n{line}\n", "list")
    assert read.faults == [FeedFault(2, f"{line!r} looks like no indicator")]


# Free text


def texts(path: Path, text: str) -> list[tuple[str, str]]:
    read = got(path, text, "text")
    assert read.faults == []
    return read.values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("It called hxxp://evil[.]example/a.exe.", [("Url", "http://evil.example/a.exe")]),
        ("(see http://evil.example/a(1).exe)", [("Url", "http://evil.example/a(1).exe")]),
        (
            "[http://evil.example/x], <http://evil.example/y>",
            [("Url", "http://evil.example/x"), ("Url", "http://evil.example/y")],
        ),
        ('"https://evil.example/?q=1"; more', [("Url", "https://evil.example/?q=1")]),
        (
            "C2: beacon[.]example[.]com, 192.0.2[.]7; 2001:db8::7.",
            [("DomainName", "beacon.example.com"), ("IpAddress", "192.0.2.7"), ("IpAddress", "2001:db8::7")],
        ),
        ("from 192.0.2.0/24 on", [("IpAddress", "192.0.2.0/24")]),
        (f"md5={MD5}, sha1:{SHA1} ({SHA256})", [("Md5", MD5), ("Sha1", SHA1), ("Sha256", SHA256)]),
        ("it drops evil.dll, i.e. a library", [("FileName", "evil.dll")]),
        (r"in C:\Temp\evil.exe it was", [("FileName", "evil.exe")]),
        ("Version 1.2.3 of this.that, e.g.", []),
        ("mail from john.info@example.com today", []),
        ("ftp://john@evil.example/x", [("Url", "ftp://john@evil.example/x")]),
        ("nothing at all", []),
    ],
)
def test_values_stand_inside_a_text(file: Path, text: str, values: list[tuple[str, str]]) -> None:
    assert texts(file, text) == values


def test_what_was_defanged_on_purpose_is_taken_whatever_its_end(file: Path) -> None:
    text = "no.example, not.invalid, evil[.]example and a.bad[.]corp (dot) internal, hxxp://x[.]test/a"
    assert texts(file, text) == [
        ("DomainName", "evil.example"),
        ("DomainName", "a.bad.corp.internal"),
        ("Url", "http://x.test/a"),
    ]
    long = "a." * 200_000 + "\n" + "a" * 400_000 + "\n" + "[.]a" * 100_000
    assert len(texts(file, long)) <= 1, "and it takes no time"


def test_what_may_be_no_indicator_has_a_warning(file: Path) -> None:
    read = got(file, "Agent 1.2.3.4 wrote readme.txt; 192[.]0[.]2[.]7, 198.51.100.0/24, evil[.]exe\n", "text")
    warned = {row.value for row in read.rows if row.warning}
    assert warned == {"1.2.3.4", "readme.txt"}
    assert {row.value for row in read.rows} == {*warned, "192.0.2.7", "198.51.100.0/24", "evil.exe"}
    owner = AlertDefinition(uid="u", name="n", title="t", severity=Severity.LOW, category=Category.GENERAL)
    _, warnings = make.indicator(read.rows[0], owner, make.Choice())
    assert warnings == ("1.2.3.4 stands undefanged in a text; it may be a version",)


@pytest.mark.parametrize("above", ["indicators of March", "evil.example.com"])
def test_a_header_below_other_lines_is_refused(file: Path, above: str) -> None:
    content = f"{above}\ntype,value\nDomainName,evil.example\n"
    with pytest.raises(MalformedFile, match=r"line 2 is the header of a CSV: .* --format "):
        got(file, content)
    assert got(file, content.replace(",evil.example\n", ",evil.example.com\n"), "text").rows
    assert got(file, f"# {above}\n{content.partition(chr(10))[2]}").values == [("DomainName", "evil.example")]


def test_which_format_was_found_and_that_a_file_breaks_off_is_heard(file: Path) -> None:
    heard: list[str] = []
    file.write_bytes(gzip.compress(b"evil.example\n" * 9)[:-4])
    found = list(feeds.read(str(file), taken=heard.append, broken=lambda: heard.append("broken")))
    assert heard == ["broken", "list"]
    assert isinstance(found[-1], FeedFault)
    list(feeds.read(str(file), "text", taken=heard.append))
    assert heard == ["broken", "list"]


def test_a_value_of_a_text_comes_once_with_its_first_line(file: Path) -> None:
    read = got(file, "see evil.example.com\n\nEVIL[.]example.com and 192.0.2.1\n", "text")
    assert [(row.line, row.value) for row in read.rows] == [(1, "evil.example.com"), (3, "192.0.2.1")]
