"""Work on alerts on the command line: update, comment, history, suppress; suppressions; the audit log."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from indicia.cli.failure import USAGE
from shell import Shell, make

LOG = "GET http://www.evil.example/a.js from 192.0.2.5 line {}\n"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A home with one alert of one detection."""
    made = make(tmp_path, monkeypatch, capsys).begin()
    made.definition("mine", "--title", "A bad name")
    made("indicators", "add", "--definition", "1", "--value", "evil.example", "--function", "SubdomainOf")
    see(made, 1)
    return made


def see(shell: Shell, number: int) -> str:
    """Scan an event that is new; what was told."""
    shell.write("a.log", LOG.format(number))
    return shell("scan", "a.log", code=1).err


def test_an_alert_is_worked_on(shell: Shell) -> None:
    done = shell(
        "alerts", "update", "1", "--status", "resolved", "--classification", "TruePositive",
        "--determination", "Malware", "--assign", "ann", "--json",
    ).json  # fmt: skip
    assert (done["status"], done["classification"]) == ("Resolved", "TruePositive")
    assert (done["determination"], done["assigned_to"]) == ("Malware", "ann")
    assert done["resolved_at"] == done["last_modified_at"]
    (listed,) = shell("alerts", "list", "--json").json
    assert listed == done
    comment = shell("alerts", "comment", "1", "Ask\x1b[2J the owner", "--json").json
    assert getpass.getuser() in comment["created_by"]
    assert shell("alerts", "show", "1", "--json").json["comments"] == [comment]
    text = shell("alerts", "show", "1").out
    assert "assigned to" in text
    assert r"Ask\x1b[2J the owner" in text
    told = shell("alerts", "update", "1", "--unassign", "--status", "InProgress").err
    assert told.startswith("Alert 1 is InProgress, TruePositive, Malware.")
    history = shell("alerts", "history", "1", "--json").json
    assert [(step["property"], step["before"], step["after"]) for step in history] == [
        ("Status", "New", "Resolved"),
        ("Classification", "Unknown", "TruePositive"),
        ("Determination", "NotAvailable", "Malware"),
        ("AssignedTo", None, "ann"),
        ("Status", "Resolved", "InProgress"),
        ("AssignedTo", "ann", None),
    ]
    assert "AssignedTo" in shell("alerts", "history", "1").out
    assert "must not be empty" in shell("alerts", "update", "1", "--assign", " ", code=USAGE).err
    assert "characters" in shell("alerts", "comment", "1", "x" * 4001, code=USAGE).err
    for command in (("comment", "9", "x"), ("history", "9"), ("suppress", "9", "--until", "1d")):
        assert "there is no alert 9" in shell("alerts", *command, code=USAGE).err


def test_a_false_positive_is_silenced(shell: Shell) -> None:
    until = ("--until", "2100-01-01")
    (made,) = shell(
        "alerts", "suppress", "1", "--by", "Definition, value", *until, "--reason", "lab", "--json"
    ).json
    assert (made["definition_id"], made["machine"], made["value"]) == (1, None, "evil.example")
    assert (made["ends_at"], made["reason"]) == ("2100-01-01T00:00:00Z", "lab")
    see(shell, 2)
    (alert,) = shell("alerts", "list", "--json").json
    assert (alert["status"], alert["classification"], alert["detection_count"]) == (
        "Resolved",
        "FalsePositive",
        1,
    )
    (listed,) = shell("suppressions", "list", "--json").json
    assert listed["suppressed_count"] == 1
    assert listed["alert_id"] == alert["alert_id"]
    assert "evil.example" in shell("suppressions", "list").out
    changed = shell("suppressions", "set", "1", "--reason", "why", "--until", "90d", "--json").json
    assert (changed["reason"], changed["ends_at"] < listed["ends_at"]) == ("why", True)
    assert "lie ahead" in shell("suppressions", "set", "1", "--until", "2001-01-01", code=USAGE).err
    shell("suppressions", "delete", "1")
    assert shell("suppressions", "list", "--json").json == []
    assert shell("suppressions", "add", "--machine", "a.log", *until).out == "2\n"
    see(shell, 3)
    assert shell("suppressions", "list", "--json").json[0]["suppressed_count"] == 1
    assert "AlertDefinitions(9)" in shell("suppressions", "add", "--definition", "9", *until, code=USAGE).err
    assert "Suppressions(9)" in shell("suppressions", "delete", "9", code=USAGE).err
    assert "silent" not in shell("suppressions", "list").err


def test_a_storm_is_one_alert(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDICIA_ALERTS_PER_HOUR", "1")
    shell.write("b.log", LOG.format(2))
    shell("scan", "b.log", code=1)
    storm = shell("alerts", "list", "--json").json[-1]
    assert (storm["storm"], storm["machine"], storm["detection_count"]) == (True, "*", 1)
    assert "Storm: A bad name" in shell("alerts", "list").out
    shown = shell("alerts", "show", str(storm["number"]))
    assert "hourly limit" in shown.out


def test_the_audit_log_is_listed(shell: Shell) -> None:
    shell("alerts", "update", "1", "--status", "Resolved")
    found = shell("audit", "list", "--json").json
    assert {one["through"] for one in found} == {"CommandLine"}
    assert all(getpass.getuser() in one["by"] for one in found)
    assert [(one["action"], one["set"]) for one in found] == [
        ("Create", "Applications"),
        ("Change", "Applications"),
        ("Create", "Links"),
        ("Create", "AlertDefinitions"),
        ("Create", "IndicatorsOfCompromise"),
        ("Change", "Alerts"),
    ]
    assert found[-1]["before"] == {"Status": "New"}
    some = shell("audit", "list", "--after", str(found[1]["id"]), "--limit", "1", "--json")
    assert some.json == [found[2]]
    assert "--after" in some.err
    assert "AlertDefinitions" in shell("audit", "list").out
    shell.write("list.csv", "type,value\nDomainName,a.example\nDomainName,b.example\n")
    shell("indicators", "import", "list.csv", "--definition", "1")
    newest = shell("audit", "list", "--json").json[-1]
    assert (newest["action"], newest["count"], newest["after"]) == ("Import", 2, {"AlertDefinitionId": 1})
