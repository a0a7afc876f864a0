"""`indicia scan`: its forms, its fields, its exit codes, and what it says of bad input."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shell as shells
from indicia.cli.failure import USAGE
from indicia.cli.outputs import ALERT_COLUMNS, CSV_COLUMNS
from indicia.feeds.csv import escape
from shell import Ran, Shell

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
RAISED = 1
LIST = "type,value,function,title,severity\nDomainName,evil.example,SubdomainOf,A bad name,High\n"
LOG = "192.0.2.5 GET http://www.evil.example/a.js 200\n"
SILENT = (
    '{"@timestamp": "2024-03-12T08:00:00Z", "ecs": {"version": "8.0"}, "event": {"kind": "event"},'
    ' "labels": {"note": "somebody mentioned evil.example here"}}\n'
)
FIELDS = {
    "": "detection_id alert_id event_id raises source line event_time machine indicator definition evidence",
    "indicator": "id type value function",
    "definition": "uid id title severity category",
    "evidence": "path role side matched",
}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell without a home, with a list and the examples."""
    made = shells.make(tmp_path, monkeypatch, capsys)
    made.write("list.csv", LIST)
    made.write("a.log", LOG)
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    return made


def scan(shell: Shell, *paths: str | Path, code: int = RAISED, stdin: bytes | None = None) -> Ran:
    """Scan with the list."""
    return shell("scan", *paths, "--indicators", "list.csv", code=code, stdin=stdin)


def lines(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.out.splitlines()]


def rows(ran: Ran) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(ran.out, newline=""))


def sample(shell: Shell, output: str) -> Ran:
    """The sample telemetry against the sample list."""
    given = ("examples/telemetry", "--indicators", "examples/indicators.csv", "--output", output)
    return shell("scan", *given, code=RAISED)


def test_ndjson_has_exactly_its_fields(shell: Shell) -> None:
    found = lines(sample(shell, "ndjson"))
    assert len(found) > 50
    for one in found:
        assert list(one) == FIELDS[""].split()
        assert list(one["indicator"]) == FIELDS["indicator"].split()
        assert list(one["definition"]) == FIELDS["definition"].split()
        assert one["evidence"]
        for piece in one["evidence"]:
            assert list(piece) == FIELDS["evidence"].split()
        assert len({len(one[name]) for name in ("detection_id", "alert_id", "event_id")} | {32}) == 1
    assert len({one["detection_id"] for one in found}) == len(found), "each detection once"
    assert {one["raises"] for one in found} == {True, False}
    assert {piece["role"] for one in found for piece in one["evidence"]} == {"observed", "mentioned"}
    assert {piece["side"] for one in found for piece in one["evidence"]} == {None, "source", "destination"}
    times = {one["event_time"] for one in found}
    assert None not in times, "each event of the samples has a time, lines of syslog too"
    assert all(time is None or time.endswith("Z") for time in times)


def test_csv_says_the_same_flat(shell: Shell) -> None:
    def flat(one: dict[str, Any], piece: dict[str, Any]) -> list[str]:
        values = [one[name] for name in FIELDS[""].split()[:8]]
        values += [*one["indicator"].values(), *one["definition"].values(), *piece.values()]
        texts = {None: "", True: "true", False: "false"}
        return [texts[one] if one is None or isinstance(one, bool) else escape(str(one)) for one in values]

    wanted = [flat(one, piece) for one in lines(sample(shell, "ndjson")) for piece in one["evidence"]]
    ran = sample(shell, "csv")
    assert ran.out.splitlines()[0] == ",".join(CSV_COLUMNS)
    assert [list(row.values()) for row in rows(ran)] == wanted


def test_the_table_shows_alerts_worst_first(shell: Shell) -> None:
    ran = sample(shell, "table")
    shown = ran.out.splitlines()
    assert shown[0].split() == " ".join(ALERT_COLUMNS).split()
    severities = [line.split()[0] for line in shown[1:]]
    assert severities == sorted(severities, key=["High", "Medium", "Low"].index)
    alerts = {one["alert_id"] for one in lines(sample(shell, "ndjson")) if one["raises"]}
    assert len(severities) == len(alerts)
    assert f"in {len(alerts)} alerts" in ran.err
    as_json = shell(
        "scan", "examples/telemetry", "--indicators", "examples/indicators.csv", "--json", code=RAISED
    )
    assert {one["alert_id"] for one in as_json.json} == alerts


def test_exit_codes(shell: Shell) -> None:
    scan(shell, "a.log", code=RAISED)
    scan(shell, shell.write("clean.log", "192.0.2.5 GET http://good.example/ 200\n"), code=0)
    assert scan(shell, shell.write("silent.json", SILENT), "--output", "ndjson", code=0).out
    scan(shell, "none.log", code=USAGE)
    scan(shell, "a.log", "--schema", "nothing", code=USAGE)
    assert "known: " in scan(shell, "a.log", "--schema", "nothing", code=USAGE).err


def test_malformed_lines_are_told_and_stop_nothing(shell: Shell) -> None:
    path = shell.write("bad.ndjson", '{"host": "a"}\n{"host": \n' + '{"url": "http://evil.example/"}\n')
    ran = scan(shell, path, code=RAISED)
    assert f"indicia: {path}:2: " in ran.err
    assert "1 malformed line" in ran.err
    scan(shell, path, "--strict", code=USAGE)
    clean = shell.write("clean.ndjson", '{"host": "a"}\n{"host": \n')
    assert "1 malformed line" in scan(shell, clean, code=0).err
    scan(shell, clean, "--strict", code=USAGE)


def test_many_malformed_lines_are_counted(shell: Shell) -> None:
    path = shell.write("bad.ndjson", '{"host": "a"}\n' + '{"host": \n' * 30)
    ran = scan(shell, path, code=0)
    assert len([line for line in ran.err.splitlines() if "bad.ndjson:" in line]) == 20
    assert "and 10 more malformed lines" in ran.err
    assert "30 malformed lines" in ran.err


def test_standard_input(shell: Shell) -> None:
    (one,) = lines(scan(shell, "-", "--output", "ndjson", stdin=LOG.encode()))
    assert (one["source"], one["line"]) == ("-", 1)
    assert lines(scan(shell, "-", "--output", "ndjson", stdin=gzip.compress(LOG.encode())))[0]["line"] == 1
    ran = shell("scan", "a.log", "--indicators", "-", "--output", "ndjson", stdin=LIST.encode(), code=RAISED)
    assert len(lines(ran)) == 1


def test_folders_and_globs(shell: Shell) -> None:
    shell.write("logs/one.log", LOG)
    shell.write("logs/deep/two.log", LOG.replace(".5 ", ".6 "))
    shell.write("logs/.hidden.log", LOG.replace(".5 ", ".7 "))

    def sources(*paths: str) -> list[str]:
        return sorted(one["source"] for one in lines(scan(shell, *paths, "--output", "ndjson")))

    assert sources("logs") == ["logs/deep/two.log", "logs/one.log"]
    assert sources("logs/*.log") == ["logs/one.log"]
    assert sources("logs/**/*.log") == ["logs/deep/two.log", "logs/one.log"]
    assert sources("logs", "logs/one.log", "./logs/one.log") == ["logs/deep/two.log", "logs/one.log"]
    assert "there is no such file, folder or glob" in scan(shell, "logs/*.txt", code=USAGE).err
    (shell.folder / "empty").mkdir()
    assert "holds no files" in scan(shell, "empty", code=USAGE).err


def test_a_list_that_cannot_be_used(shell: Shell) -> None:
    for name, content, told in (
        ("a.csv", "type,value\nMd5,xyz\n", "holds no indicator that can be used"),
        ("b.csv", "", "holds no indicator that can be used"),
    ):
        ran = shell("scan", "a.log", "--indicators", shell.write(name, content), code=USAGE)
        assert f"{name}: {told}" in ran.err
    shell.write("c.csv", LIST + "Md5,xyz,,,\n")
    ran = shell("scan", "a.log", "--indicators", "c.csv", code=RAISED)
    assert "c.csv:3: Value: 'xyz' is not" in ran.err
    strict = shell("scan", "a.log", "--indicators", "c.csv", "--strict", code=USAGE)
    assert "1 row cannot be used" in strict.err
    assert "there is no such file" in shell("scan", "a.log", "--indicators", "none", code=USAGE).err


def test_each_indicator_may_be_an_alert_of_its_own(shell: Shell) -> None:
    shell.write("list.csv", LIST + "IpAddress,192.0.2.5,,,\n")

    def alerts(*more: str) -> int:
        ran = scan(shell, "a.log", "--output", "ndjson", *more)
        return len({one["alert_id"] for one in lines(ran)})

    assert alerts() == 1
    assert alerts("--group-by", "indicator") == 2


def test_what_attackers_write_reaches_no_terminal(shell: Shell) -> None:
    event = {
        "@timestamp": "2024-03-12T08:00:00Z",
        "ecs": {"version": "8.0"},
        "host": {"name": "m\x1b[2J\n\u202eevil"},
        "url": {"full": "http://evil.example/\x1b]0;x\x07"},
    }
    shell.write("a.ndjson", json.dumps(event) + "\n" + '{"host": "\x1b[31m\n')
    ran = scan(shell, "a.ndjson")
    for text in (ran.out, ran.err):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\x07" not in text
    assert r"m\x1b[2j\x0a\u202eevil" in ran.out, "the machine, readable"


def test_no_cell_is_a_formula(shell: Shell) -> None:
    shell.write("list.csv", "type,value\nFileName,=cmd.exe\nFileName,@sum.exe\n")
    event = {"ecs": {"version": "8.0"}, "host": {"name": "+host"}, "@timestamp": "2024-03-12T08:00:00Z"}
    files = [{"file": {"name": name, "path": f"/tmp/{name}"}} for name in ("=cmd.exe", "@SUM.exe")]
    shell.write("a.ndjson", "".join(json.dumps(event | one) + "\n" for one in files))
    found = list(rows(scan(shell, "a.ndjson", "--output", "csv")))
    assert {row["indicator_value"] for row in found} == {"'=cmd.exe", "'@sum.exe"}
    assert [cell for row in found for cell in row.values() if cell[:1] in "=+-@\t\r" and cell] == []


def test_a_carriage_return_stays_inside_its_cell(shell: Shell) -> None:
    event = {"process": {"command_line": "curl http://evil.example/a\r\nexit"}, "ecs": {"version": "8.0"}}
    shell.write("a.ndjson", json.dumps(event) + "\n")
    shell.write("list.csv", 'type,value,title\nUrl,http://evil.example/,"two\nlines"\n'.replace("/,", "/a,"))
    ran = scan(shell, "a.ndjson", "--output", "csv")
    assert {row["definition_title"] for row in rows(ran)} == {"two\nlines"}


def test_with_a_store_every_detection_is_kept_once(shell: Shell) -> None:
    shell.init()
    number = shell.definition("mine")
    shell(
        "indicators",
        "add",
        "--definition",
        str(number),
        "--value",
        "evil.example",
        "--function",
        "SubdomainOf",
    )
    dry = shell("scan", "a.log", "--dry-run", code=RAISED)
    assert "Dry run: nothing was stored." in dry.err
    assert shell.counts().detections == 0
    first = shell("scan", "a.log", "--output", "ndjson", code=RAISED)
    assert "Stored: 1 new detection (0 known already), 1 new alert (0 known already)." in first.err
    again = shell("scan", "a.log", "--output", "ndjson", code=RAISED)
    assert lines(again) == lines(first)
    assert "Stored: 0 new detections (1 known already), 0 new alerts (1 known already)." in again.err
    (kept,) = shell("alerts", "list", "--json").json
    assert kept["alert_id"] == lines(first)[0]["alert_id"]
    assert lines(first)[0]["definition"]["id"] == number
    with_list = lines(scan(shell, "a.log", "--output", "ndjson"))[0]
    assert with_list["definition"]["id"] is None
    assert shell.counts().detections == 1, "a list of one's own stores nothing"
    shell("definitions", "set", str(number), "--disabled")
    shell("scan", "a.log", code=0)


def test_one_unreadable_file_is_told_and_costs_the_exit_code(shell: Shell) -> None:
    shell.write("logs/a.log", LOG)
    shell.write("logs/b.gz", gzip.compress(LOG.encode() * 1000)[:40])
    ran = scan(shell, "logs", "--output", "ndjson", code=USAGE)
    assert len(lines(ran)) >= 1
    assert "logs/b.gz: the stream ends here" in ran.err
    assert "in 1 of 2 files" in ran.err
    assert "1 file read in part only" in ran.err


def test_a_malformed_first_element_is_no_damage_and_a_cut_container_is(shell: Shell) -> None:
    shell.write("array.json", '[{"a" 1},\n{"a": "x"}]')
    assert "array.json: not valid JSON" in scan(shell, "array.json", code=0).err
    shell.write("cut.evtx", b"ElfFile\0" + b"\0" * 4088 + b"ElfChnk\0" + b"\x01" * 100)
    assert "cut.evtx: " in scan(shell, "cut.evtx", code=USAGE).err


def test_a_damage_counts_behind_more_malformed_lines_than_are_told(shell: Shell) -> None:
    packed = gzip.compress((LOG + '{"a": \n' * 5000).encode() + random.Random(1).randbytes(1 << 18))
    shell.write("a.gz", packed[:-100_000])
    ran = scan(shell, "a.gz", "--output", "ndjson", code=USAGE)
    assert "1 file read in part only" in ran.err


def test_a_list_that_breaks_off_is_refused(shell: Shell) -> None:
    shell.write(
        "list.csv",
        gzip.compress(LIST.encode() + b"# " + random.Random(1).randbytes(9000).hex().encode())[:-99],
    )
    assert "list.csv: breaks off" in scan(shell, "a.log", code=USAGE).err
