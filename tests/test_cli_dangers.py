"""What a command must not do to files that it was not meant for, nor to a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indicia.cli.failure import USAGE
from indicia.match.kernel import BUILT
from shell import Shell, make

RAISED = 1
LOG = '{"u":"http://evil.example/","x":1}\n'
LIST = "type,value,function\nDomainName,evil.example,SubdomainOf\n"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell without a home, with a list and a log."""
    made = make(tmp_path, monkeypatch, capsys)
    made.write("a.nd", LOG)
    made.write("low.csv", LIST)
    return made


@pytest.mark.parametrize("save", ["a.nd", "low.csv", "link"])
def test_a_scan_saves_over_nothing_that_it_reads(shell: Shell, save: str) -> None:
    Path("link").symlink_to("a.nd")
    told = shell("scan", "a.nd", "--indicators", "low.csv", "--save", save, "--replace", code=USAGE).err
    assert "save to another file" in told or "is a symbolic link" in told
    assert Path("a.nd").read_text() == LOG
    assert Path("low.csv").read_text() == LIST


@pytest.mark.skipif(not BUILT, reason="the C extension was not built")
def test_an_index_is_neither_overwritten_nor_made_in_place_of_a_device(shell: Shell) -> None:
    shell("index", "build", "--indicators", "low.csv", "--output", "a.idx")
    before = Path("a.idx").read_bytes()
    shell("scan", "a.nd", "--index", "a.idx", "--save", "a.idx", "--replace", code=USAGE)
    assert Path("a.idx").read_bytes() == before
    told = shell("index", "build", "--indicators", "low.csv", "--output", "/dev/stdin", code=USAGE).err
    assert "is no regular file" in told


def test_what_was_saved_into_the_folder_is_no_log_of_it(shell: Shell) -> None:
    Path("logs").mkdir()
    Path("a.nd").rename("logs/a.nd")
    scan = ("scan", "logs", "--indicators", "low.csv", "--save", "logs/found.ndjson")
    shell(*scan, code=RAISED)
    Path("logs/found.ndjson").chmod(0o644)
    assert "1 event in 1 of 1 file" in shell(*scan, "--replace", code=RAISED).err
    assert Path("logs/found.ndjson").stat().st_mode & 0o777 == 0o600


def test_what_is_nested_too_deeply_is_told(shell: Shell) -> None:
    for depth, told in ((100, "1 detection in"), (102, "a.nd:1: nested more than 100 levels deep")):
        shell.write("a.nd", '{"a":' * depth + '"http://evil.example/"' + "}" * depth + "\n")
        ran = shell("scan", "a.nd", "--indicators", "low.csv", code=RAISED if depth == 100 else 0)
        assert told in ran.err


def test_an_endless_number_hides_nothing(shell: Shell) -> None:
    shell.write("a.nd", LOG.replace("1", "9" * 5000))
    shell("scan", "a.nd", "--indicators", "low.csv", code=RAISED)


def test_json_holds_nothing_that_a_terminal_obeys(shell: Shell) -> None:
    matched = "http://evil.example/\x9b31m\u202egnp"
    shell.write("a.nd", json.dumps({"u": matched}, ensure_ascii=False) + "\n")
    ran = shell("scan", "a.nd", "--indicators", "low.csv", "--output", "ndjson", code=RAISED)
    assert "\x9b" not in ran.out
    assert "\u202e" not in ran.out
    assert json.loads(ran.out)["evidence"][0]["matched"].startswith("http://evil.example/")
