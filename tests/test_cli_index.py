"""`indicia index`: build, info, verify; what they refuse, and what a scan makes of the file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import shell as shells
from indicia.cli.failure import USAGE
from indicia.match.index import SECTIONS, Index
from indicia.match.kernel import BUILT
from shell import Shell

pytestmark = pytest.mark.skipif(not BUILT, reason="the C extension was not built")

LIST = (
    "type,value,function,definition,severity\nDomainName,evil.example,SubdomainOf,Names,High\n"
    "Md5,00112233445566778899aabbccddeeff,,Files,Low\nIpAddress,192.0.2.0/29,,Names,\n"
)
LOG = "192.0.2.5 GET http://www.evil.example/a.js 200\n"
RAISED = 1


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = shells.make(tmp_path, monkeypatch, capsys)
    made.write("list.csv", LIST)
    made.write("a.log", LOG)
    return made


def build(shell: Shell, *more: str, code: int = 0) -> shells.Ran:
    return shell("index", "build", "--indicators", "list.csv", "--output", "a.idx", *more, code=code)


def test_a_list_becomes_an_index_that_finds_what_the_list_finds(shell: Shell) -> None:
    assert "a.idx: 3 indicators of 2 definitions, generation 1, " in build(shell).err
    asked = ("scan", "a.log", "--output", "ndjson")
    by_index = shell(*asked, "--index", "a.idx", code=RAISED).out
    assert by_index == shell(*asked, "--indicators", "list.csv", code=RAISED).out
    assert len(by_index.splitlines()) == 2


def test_each_build_of_a_list_is_a_generation(shell: Shell) -> None:
    assert [build(shell, "--json").json["generation"] for _ in range(3)] == [1, 2, 3]
    shell.write("a.idx", (shell.folder / "a.idx").read_bytes()[:500])
    ran = build(shell, "--json")
    assert ran.json["generation"] == 1
    assert "its generation is not known, and the new one begins at 1" in ran.err


def test_of_a_tenant_the_generation_is_that_of_the_store(shell: Shell) -> None:
    shell.begin()
    number = str(shell.definition("mine"))
    shell("indicators", "add", "--definition", number, "--value", "www.evil.example")
    shell("indicators", "add", "--definition", number, "--value", "odd.example", "--disabled")
    found = shell("index", "build", "--output", "own.idx", "--json").json
    with shell.tenant() as tenant:
        assert found["generation"] == tenant.generation()
        assert found["tenant"] == tenant.uid
    assert found["indicators"] == 1, "disabled ones stay out"
    stored = shell("scan", "a.log", "--output", "ndjson", "--dry-run", code=RAISED).out
    assert shell("scan", "a.log", "--output", "ndjson", "--index", "own.idx", code=RAISED).out == stored


def test_info_says_what_is_in_it(shell: Shell) -> None:
    build(shell)
    found = shell("index", "info", "a.idx", "--json").json
    size = (shell.folder / "a.idx").stat().st_size
    assert (found["version"], found["generation"], found["indicators"], found["bytes"]) == (1, 1, 3, size)
    assert found["counts"] == {
        "DomainName": {"SubdomainOf": 1}, "Md5": {"Equals": 1}, "IpAddress": {"Equals": 1},
    }  # fmt: skip
    assert {one["name"] for one in found["definitions"]} == {"Names", "Files"}
    assert list(found["sections"]) == list(SECTIONS)
    assert found["sections"]["LITE"]["bytes_per_indicator"] == round(8192 / 3, 2)
    assert (found["loose"], found["parses_every_line"]) == ([], False)
    text = shell("index", "info", "a.idx").out
    for word in ("generation", "SubdomainOf", "RECS", "Names"):
        assert word in text


def test_loose_patterns_are_told_with_what_they_cost(shell: Shell) -> None:
    shell.write("list.csv", LIST + "Url,?&?&,Contains,Names,\n")
    assert "1 indicator can be written in too many ways" in build(shell).err
    assert shell("index", "info", "a.idx", "--json").json["loose"] == [
        {"type": "Url", "function": "Contains", "value": "?&?&"}
    ]
    assert "every line of a scan is parsed" in shell("index", "info", "a.idx").out


def test_verify_names_what_is_damaged(shell: Shell) -> None:
    build(shell)
    assert "a.idx is whole: 3 indicators, generation 1" in shell("index", "verify", "a.idx").err
    assert shell("index", "verify", "a.idx", "--json").json["whole"] is True
    path = shell.folder / "a.idx"
    good = path.read_bytes()
    with Index.open(path) as index:
        start, length, _ = index._places["RECS"]
    path.write_bytes(good[: start + length - 3] + b"\xff" + good[start + length - 2 :])
    ran = shell("index", "verify", "a.idx", "--json", code=USAGE)
    assert ran.error["code"] == "MalformedFile"
    assert ran.error["message"] == "section RECS is damaged; build it again"
    for content, message in ((good[:-1], "bytes and should have"), (b"", "is empty"), (b"x" * 99, "as one")):
        path.write_bytes(content)
        for word in ("verify", "info"):
            assert message in shell("index", word, "a.idx", code=USAGE).err
    assert "cannot be read: No such file" in shell("index", "info", "none.idx", code=USAGE).err


def test_what_is_refused_leaves_everything_as_it_was(shell: Shell) -> None:
    shell.write("mine.txt", "precious")
    refused = ("index", "build", "--indicators", "list.csv", "--output")
    assert "exists and is no index" in shell(*refused, "mine.txt", code=USAGE).err
    assert (shell.folder / "mine.txt").read_text() == "precious"
    assert "cannot be written" in shell(*refused, "no/such/a.idx", code=USAGE).err
    build(shell)
    before = (shell.folder / "a.idx").read_bytes()
    shell.write("list.csv", LIST + "Md5,xyz,,,\n")
    assert "1 row cannot be used" in build(shell, "--strict", code=USAGE).err
    assert (shell.folder / "a.idx").read_bytes() == before
    assert [path.name for path in shell.folder.iterdir() if path.name.startswith(".")] == []
    assert "needs none" in build(shell, "--tenant", "x", code=USAGE).err
    assert "--group-by goes with" in shell(
        "index", "build", "--output", "b.idx", "--group-by", "indicator", code=USAGE
    ).err  # fmt: skip
    assert "Missing option '--output'" in shell("index", "build", code=USAGE).err


def test_one_alert_for_each_indicator_is_in_the_index(shell: Shell) -> None:
    build(shell, "--group-by", "indicator")
    ran = shell("scan", "a.log", "--index", "a.idx", "--output", "ndjson", code=RAISED)
    assert len({json.loads(line)["alert_id"] for line in ran.out.splitlines()}) == 2


def test_nobody_else_reads_what_is_looked_for(shell: Shell) -> None:
    before = os.umask(0)
    try:
        build(shell)
    finally:
        os.umask(before)
    assert (shell.folder / "a.idx").stat().st_mode & 0o777 == 0o600


def test_what_is_saved_is_plain_text(shell: Shell) -> None:
    ran = shell("scan", "a.log", "--indicators", "list.csv", "--save", "x.ndjson.gz", code=USAGE)
    assert "plain text" in ran.err
    assert not (shell.folder / "x.ndjson.gz").exists()
