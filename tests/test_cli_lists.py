"""Indicators on the command line: one by one, and whole lists in and out."""

from __future__ import annotations

import csv
import gzip
import io
import json
import stat
from pathlib import Path

import pytest
import zstandard

import shell as shells
from indicia import feeds
from indicia.cli import imports
from indicia.cli.failure import USAGE
from indicia.feeds.rows import EXPORTED
from shell import Ran, Shell

LIST = "evil.example\nworse.example\n203.0.113.7\n"
CSV = "type,value,function,source\nDomainName,evil.example,SubdomainOf,report 7\nIpAddress,203.0.113.7,,\n"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell with a home of one tenant and one definition."""
    made = shells.make(tmp_path, monkeypatch, capsys).begin()
    made.definition("mine", "--title", "A bad name", "--severity", "High", "--group-by", "Indicator")
    return made


def load(shell: Shell, *arguments: str | Path, stdin: bytes | None = None, code: int = 0) -> Ran:
    """Import into the first definition."""
    return shell("indicators", "import", *arguments, "--definition", "1", stdin=stdin, code=code)


def held(shell: Shell) -> list[tuple[str, str, str, str | None]]:
    """Every indicator as type, value, function, source."""
    found = shell("indicators", "list", "--json").json
    return [(one["type"], one["value"], one["function"], one["source"]) for one in found]


def test_an_indicator_from_its_creation_to_its_end(shell: Shell) -> None:
    ran = shell(
        "indicators", "add", "--definition", "1", "--value", "Evil.Example", "--function", "subdomainof",
        "--valid-from", "2026-01-01", "--expires-at", "2026-02-01T12:00:00+01:00", "--source", "me",
        "--disabled",
    )  # fmt: skip
    assert ran.out == "1\n"
    shown = shell("indicators", "show", "1", "--json").json
    assert {name: value for name, value in shown.items() if not name.startswith(("created", "last"))} == {
        "id": 1,
        "type": "DomainName",
        "value": "Evil.Example",
        "canonical": "evil.example",
        "function": "SubdomainOf",
        "enabled": False,
        "valid_from": "2026-01-01T00:00:00Z",
        "expires_at": "2026-02-01T11:00:00Z",
        "source": "me",
        "definition_id": 1,
    }
    table = shell("indicators", "list", "--definition", "1").out.splitlines()
    assert table[1].split()[:5] == ["1", "DomainName", "Evil.Example", "SubdomainOf", "no"]
    assert "evil.example" in shell("indicators", "show", "1").out
    assert shell("indicators", "delete", "1", "--json").json == {"deleted": 1}
    assert "IndicatorsOfCompromise(1)" in shell("indicators", "show", "1", code=USAGE).err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--value", "what is this"), "--value: looks like no indicator; name its --type"),
        (("--value", "x", "--type", "Sha1"), "Value: 'x' is not"),
        (("--value", "ab", "--type", "FileName", "--function", "Contains"), "at least 4 characters"),
        (("--value", "203.0.113.7", "--expires-at", "soon"), "--expires-at: 'soon' must be a time"),
        (
            ("--value", "203.0.113.7", "--valid-from", "2026-02-01", "--expires-at", "2026-01-01"),
            "ValidFrom: valid_from must be earlier",
        ),
    ],
)
def test_an_indicator_that_cannot_be(shell: Shell, arguments: tuple[str, ...], told: str) -> None:
    ran = shell("indicators", "add", "--definition", "1", *arguments, code=USAGE)
    assert told in ran.err
    assert held(shell) == []


def test_what_its_author_should_know(shell: Shell) -> None:
    ran = shell("indicators", "add", "--definition", "1", "--value", "evil.example", "--function", "EndWith")
    assert "Warning: EndWith evil.example also meets notevil.example" in ran.err
    forced = ("--value", "ab", "--type", "FileName", "--function", "Contains", "--force")
    assert "is short" in shell("indicators", "add", "--definition", "1", *forced).err
    missing = shell("indicators", "add", "--definition", "9", "--value", "evil.example", code=USAGE)
    assert "AlertDefinitions(9)" in missing.err


def test_all_of_a_definition_are_deleted_when_it_is_said(shell: Shell) -> None:
    load(shell, shell.write("a.txt", LIST))
    assert "--yes" in shell("indicators", "delete", "--definition", "1", code=USAGE).err
    assert shell("indicators", "delete", "--definition", "1", "--yes", "--json").json == {"deleted": 3}
    assert (
        "AlertDefinitions(9)" in shell("indicators", "delete", "--definition", "9", "--yes", code=USAGE).err
    )
    assert "IndicatorsOfCompromise(9)" in shell("indicators", "delete", "9", code=USAGE).err


# Import


def test_formats_are_those_of_feeds() -> None:
    assert set(imports.FORMATS) == set(feeds.FORMATS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.encode()),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.csv.zst", zstandard.ZstdCompressor().compress(CSV.encode())),
        ("a", CSV.replace(",", ";").encode("utf-16")),
        (
            "a.ndjson",
            b'{"type":"DomainName","value":"evil.example","function":"SubdomainOf","source":"report 7"}\n'
            b'{"type":"IpAddress","value":"203.0.113.7"}\n',
        ),
    ],
)
def test_a_table_is_imported(shell: Shell, name: str, content: bytes) -> None:
    ran = load(shell, shell.write(name, content))
    assert "2 indicators added to definition 1 (mine), 0 there already" in ran.err
    assert ran.out == ""
    assert held(shell) == [
        ("DomainName", "evil.example", "SubdomainOf", "report 7"),
        ("IpAddress", "203.0.113.7", "Equals", None),
    ]


def test_a_list_and_a_text_are_imported(shell: Shell) -> None:
    load(shell, "-", "--source", "a mail", stdin=b"# seen today\nevil[.]example\nhxxps://worse[.]example/x\n")
    text = "The host 203[.]0[.]113[.]9 sent them to hxxp://worst[.]example/y (i.e. quickly), version 1.2.3.\n"
    load(shell, shell.write("report.txt", text))
    assert held(shell) == [
        ("DomainName", "evil.example", "Equals", "a mail"),
        ("Url", "https://worse.example/x", "Equals", "a mail"),
        ("IpAddress", "203.0.113.9", "Equals", None),
        ("Url", "http://worst.example/y", "Equals", None),
    ]


def test_a_feed_meets_names_below_its_own(shell: Shell) -> None:
    ran = load(shell, shell.write("feed.txt", LIST + "duckdns.org\n"), "--function", "SubdomainOf")
    assert [(value, function) for _, value, function, _ in held(shell)] == [
        ("evil.example", "SubdomainOf"),
        ("worse.example", "SubdomainOf"),
        ("203.0.113.7", "Equals"),
        ("duckdns.org", "Equals"),
    ]
    assert "feed.txt:4: warning: duckdns.org is a public suffix" in ran.err


def test_a_second_import_adds_nothing(shell: Shell) -> None:
    path = shell.write("a.txt", LIST)
    load(shell, path)
    ran = load(shell, path, "--json")
    assert ran.json == {
        "file": str(path),
        "definition_id": 1,
        "dry_run": False,
        "finished": True,
        "rows": 3,
        "skipped": 0,
        "added": 0,
        "known": 3,
        "faults": 0,
        "warnings": 1,
    }
    assert "a.txt:3: warning: 203.0.113.7 is no public address" in ran.err
    assert "imported before" in ran.err
    assert load(shell, "-", "--json", stdin=LIST.encode()).json["added"] == 0
    shell("indicators", "delete", "2")
    assert load(shell, path, "--json").json["added"] == 1, "what was deleted since comes back"
    assert shell.counts().indicators == 3
    shell.definition("other")
    assert shell("indicators", "import", path, "--definition", "2", "--json").json["added"] == 3


def test_a_bad_row_is_told_and_costs_itself(shell: Shell) -> None:
    path = shell.write("a.csv", CSV + "DomainName,not a name,,\nImphash,abc,,\nIpAddress,203.0.113.8,,\n")
    ran = load(shell, path)
    assert f"indicia: {path}:4: Value: 'not a name' is not a domain name\n" in ran.err
    assert f"indicia: {path}:5: 'Imphash' is no type; known: Sha1, Sha256, " in ran.err
    assert "3 indicators added" in ran.err
    assert "2 rows cannot be used" in ran.err


def test_a_list_with_definitions_of_its_own_is_said_to_lose_them(shell: Shell) -> None:
    rows = "type,value,definition\nDomainName,{}.example,mine\nDomainName,{}.example,{}\nSha1,{},theirs\n"
    (shell.folder / "own.csv").write_text(rows.format("a", "b", "mine", "1" * 40).replace(",theirs", ","))
    assert "alert definition of its own" not in load(shell, "own.csv").err
    (shell.folder / "other.csv").write_text(rows.format("c", "d", "theirs", "2" * 40))
    told = load(shell, "other.csv").err
    assert told.count("names an alert definition of its own, which is not made") == 1
    assert "other.csv:3" in told
    assert "AlertDefinitions(1)" in told


def test_many_bad_rows_are_counted(shell: Shell) -> None:
    ran = load(shell, shell.write("a.csv", CSV + "Md5,xyz,,\n" * 30))
    assert len([line for line in ran.err.splitlines() if "'xyz' is not" in line]) == 20
    assert "and 10 more rows that cannot be used" in ran.err


def test_strict_imports_all_or_nothing(shell: Shell) -> None:
    path = shell.write("a.csv", CSV + "Md5,xyz,,\n")
    ran = load(shell, path, "--strict", code=USAGE)
    assert f"{path}:4:" in ran.err
    assert "1 row cannot be used; nothing was imported" in ran.err
    assert held(shell) == []
    load(shell, shell.write("b.csv", CSV), "--strict")
    assert len(held(shell)) == 2


def test_a_dry_run_stores_nothing(shell: Shell) -> None:
    ran = load(shell, shell.write("a.csv", CSV + "Md5,xyz,,\n"), "--dry-run", "--json")
    found = {name: ran.json[name] for name in ("dry_run", "rows", "faults", "added")}
    assert found == {"dry_run": True, "rows": 3, "faults": 1, "added": 0}
    assert "Dry run: 2 rows can be used, 1 row cannot be used" in ran.err
    assert shell.counts().indicators == 0


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.txt", b"", "holds no indicator that can be used"),
        ("prose.txt", b"Nothing happened today.\n", "holds no indicator that can be used"),
        ("bad.csv", b"type,value\nMd5,xyz\n", "holds no indicator that can be used"),
        ("cut.gz", gzip.compress(LIST.encode(), mtime=0)[:-9], "breaks off here"),
    ],
)
def test_a_file_without_indicators_is_a_mistake(shell: Shell, name: str, content: bytes, told: str) -> None:
    ran = load(shell, shell.write(name, content), code=USAGE)
    assert told in ran.err
    assert name in ran.err


def test_files_that_cannot_be_imported(shell: Shell) -> None:
    assert "there is no such file" in load(shell, "none.csv", code=USAGE).err
    assert "is a folder" in load(shell, ".", code=USAGE).err
    path = shell.write("a.csv", "type,number\nMd5,1\n")
    assert "names no column `value`" in load(shell, path, "--format", "csv", code=USAGE).err
    missing = shell("indicators", "import", path, "--definition", "9", code=USAGE)
    assert "AlertDefinitions(9)" in missing.err


def test_a_quota_stops_an_import(shell: Shell) -> None:
    shell.monkeypatch.setenv("INDICIA_QUOTA_INDICATORS", "2")
    ran = load(shell, shell.write("a.txt", LIST), "--json", code=USAGE)
    assert ran.error["code"] == "QuotaExceeded"
    assert shell.counts().indicators == 0


# Export


def nasty(shell: Shell) -> list[tuple[str, str, str, str | None]]:
    """Indicators that are hard on a table."""
    wanted: list[tuple[str, str, str, str | None]] = [
        ("FileName", "=cmd|' /C calc'!A0", "Equals", "+1"),
        ("FileName", "@SUM(1,2).exe", "EndWith", "-x"),
        ("FileName", 'quo"ted, name.exe', "Equals", "two\nlines"),
        ("FileName", "'=x.exe", "Equals", "a\rb"),
        ("FileName", "#hash.exe", "Equals", "semi;colon\ttab"),
        ("DomainName", "xn--mnchen-3ya.example", "SubdomainOf", "München"),
        ("Url", "http://evil.example/a,b?c=%3D", "StartWith", None),
        ("IpAddress", "198.51.100.0/24", "Equals", None),
    ]
    for kind, value, function, source in wanted:
        given = ("--type", kind, "--value", value, "--function", function)
        shell("indicators", "add", "--definition", "1", *given, *(("--source", source) if source else ()))
    return wanted


@pytest.mark.parametrize("output", ["csv", "ndjson"])
def test_what_is_exported_is_imported_again(shell: Shell, output: str) -> None:
    wanted = nasty(shell)
    shell("indicators", "add", "--definition", "1", "--value", "203.0.113.7", "--expires-at", "2030-01-01")
    shell("indicators", "add", "--definition", "1", "--value", "203.0.113.8", "--disabled")
    assert held(shell)[: len(wanted)] == wanted
    before = shell("indicators", "list", "--json").json
    shell("indicators", "export", "--output", output, "--save", "all")
    assert stat.S_IMODE((shell.folder / "all").stat().st_mode) == 0o600
    assert (
        shell("indicators", "export", "--output", output).out == (shell.folder / "all").read_bytes().decode()
    )
    shell.definition("again")
    told = shell("indicators", "import", "all", "--definition", "2", "--json").json
    assert (told["added"], told["faults"]) == (len(before), 0)
    after = shell("indicators", "list", "--definition", "2", "--json").json
    same = ("type", "value", "canonical", "function", "source", "enabled", "valid_from", "expires_at")
    assert [[one[name] for name in same] for one in after] == [[one[name] for name in same] for one in before]


def test_an_export_holds_its_definition_for_a_scan_without_a_store(shell: Shell) -> None:
    shell("indicators", "add", "--definition", "1", "--value", "evil.example", "--function", "SubdomainOf")
    shell("indicators", "export", "--save", "list.csv")
    log = shell.write("a.log", "GET http://www.evil.example/a.js\n")
    (found,) = shell("scan", log, "--indicators", "list.csv", "--output", "ndjson", code=1).out.splitlines()
    uid = shell("definitions", "show", "1", "--json").json["uid"]
    shown = {"uid": uid, "id": None, "title": "A bad name", "severity": "High", "category": "General"}
    assert json.loads(found)["definition"] == shown


def test_no_cell_of_an_export_is_a_formula(shell: Shell) -> None:
    nasty(shell)
    rows = list(csv.reader(io.StringIO(shell("indicators", "export").out, newline="")))
    assert tuple(rows[0]) == EXPORTED
    assert len(rows) == 9
    assert [cell for row in rows for cell in row if cell[:1] in "=+-@\t\r" and cell] == []


def test_an_export_of_one_definition(shell: Shell) -> None:
    load(shell, shell.write("a.txt", LIST))
    shell.definition("other")
    ran = shell("indicators", "export", "--definition", "2", "--save", "two.csv", "--json")
    assert ran.json == {"exported": 0, "saved": "two.csv"}
    assert "exists already" in shell("indicators", "export", "--save", "two.csv", code=USAGE).err
    shown = shell("indicators", "export", "--save", "two.csv", "--replace")
    assert "Exported 3 indicators to two.csv." in shown.err
    assert "AlertDefinitions(9)" in shell("indicators", "export", "--definition", "9", code=USAGE).err
