"""`indicia allow` and `indicia retention`, and what a scan, an import and the API say of lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indicia.allow import AllowAction, AllowKind
from indicia.cli.allow import ACTIONS, KINDS
from indicia.cli.failure import USAGE
from indicia.cli.retention import WHAT
from indicia.store import What
from shell import Shell, make

LOG = "GET http://www.evil.example/a.js from 192.0.2.5 line {}\n"
MISP = {
    "name": "public",
    "type": "hostname",
    "list": ["evil.example", "x y"],
    "matching_attributes": ["domain"],
}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A home with an indicator, and a file of a list that knows it."""
    made = make(tmp_path, monkeypatch, capsys).begin()
    made.definition("mine", "--title", "A bad name")
    made("indicators", "add", "--definition", "1", "--value", "evil.example", "--function", "SubdomainOf")
    made.write("list.json", json.dumps(MISP))
    made.write("a.log", LOG.format(1))
    return made


def test_words_are_those_of_the_code() -> None:
    assert tuple(map(str, AllowKind)) == KINDS
    assert tuple(map(str, AllowAction)) == ACTIONS
    assert tuple(map(str, What)) == WHAT


@pytest.mark.full
def test_a_list_from_its_file_to_its_end(shell: Shell) -> None:
    told = shell("allow", "import", "list.json")
    assert "list.json:2: 'x y' is no name of a host" in told.err
    (made,) = shell("allow", "lists", "--json").json
    assert (made["name"], made["enabled"], made["action"]) == ("public", False, "Annotate")
    assert (made["entries"], made["types"]) == (1, ["DomainName"])
    assert "public" in shell("allow", "lists").out
    assert shell("allow", "check", "www.evil.example", "--json").json["known"] == []
    preview = shell("allow", "preview", "public", "--action", "Suppress", "--json").json
    assert (preview["indicators"]["suppressed"], preview["detections"]["seen"]) == (1, 0)
    assert preview["indicators"]["entries"] == [{"entry": "Hostname evil.example", "count": 1}]
    shell("allow", "enable", "public")
    assert "No allow-list" in shell("allow", "check", "contoso.example").err
    (known,) = shell("allow", "check", "www.evil.example", "--json").json["known"]
    assert known == {"list": "public", "action": "Annotate", "kind": "Hostname", "entry": "evil.example"}
    assert "Hostname" in shell("allow", "check", "evil.example").out
    shown = shell("allow", "show", "public", "--json").json
    assert [one["value"] for one in shown["listed"]] == ["evil.example"]
    assert "evil.example" in shell("allow", "show", "public").out
    changed = shell(
        "allow", "set", "public", "--owner", "soc", "--name", "known", "--action", "suppress", "--json"
    )
    assert (changed.json["owner"], changed.json["action"]) == ("soc", "Suppress")
    told = shell("allow", "preview", "known")
    assert "knows 1 of 1 indicator: 0 annotated, 1 silent" in told.err
    shell("allow", "disable", "known")
    shell("allow", "delete", "known", code=USAGE)
    shell("allow", "delete", "known", "--yes")
    assert shell("allow", "lists", "--json").json == []
    assert "no allow-list" in shell("allow", "show", "known", code=USAGE).err
    audit = [(one["set"], one["action"]) for one in shell("audit", "list", "--json").json]
    assert audit.count(("AllowLists", "Change")) == 3


def test_plain_lists_say_what_they_are_in_options(shell: Shell) -> None:
    shell.write("plain.txt", "# ours\n192.0.2.0/24\n")
    assert "--kind" in shell("allow", "import", "plain.txt", code=USAGE).err
    made = shell(
        "allow", "import", "plain.txt", "--name", "ours", "--kind", "cidr", "--type", "Url", "--json"
    ).json
    assert [one["types"] for one in made["lists"]] == [["Url"]]
    assert "nothing was imported" in shell("allow", "import", "list.json", "--strict", code=USAGE).err
    shell.write("none.csv", "match_type,value,list\n")
    assert "no list" in shell("allow", "import", "none.csv", code=USAGE).err
    shell.write("phone.json", json.dumps(MISP | {"matching_attributes": ["phone-number"]}))
    assert "no type of indicator" in shell("allow", "import", "phone.json").err


def test_a_scan_says_what_the_store_keeps(shell: Shell) -> None:
    shell("allow", "import", "list.json")
    shell("allow", "enable", "public")
    dry = shell("scan", "a.log", "--dry-run", "--output", "ndjson", code=1)
    assert json.loads(dry.out)["raises"] is True
    shell("allow", "set", "public", "--action", "Suppress")
    dry = shell("scan", "a.log", "--dry-run", "--output", "ndjson")
    assert json.loads(dry.out)["raises"] is False
    assert "0 detections in 0 alerts, 1 silent detection" in dry.err
    kept = shell("scan", "a.log")
    assert "1 new detection" in kept.err
    assert shell("alerts", "list", "--json").json == []
    assert shell("allow", "lists", "--json").json[0]["suppressed_count"] == 1
    # Without the tenant's indicators there are no lists of the tenant either.
    shell.write("own.csv", "type,value\nUrl,http://www.evil.example/a.js\n")
    shell("scan", "a.log", "--indicators", "own.csv", code=1)


def test_authors_are_warned(shell: Shell) -> None:
    shell("allow", "import", "list.json")
    shell("allow", "enable", "public")
    told = shell("indicators", "add", "--definition", "1", "--value", "c2.evil.example")
    assert "Warning: c2.evil.example is on an allow-list (public: Hostname evil.example)" in told.err
    shell.write("feed.csv", "type,value\nDomainName,d.evil.example\nDomainName,contoso.example\n")
    told = shell("indicators", "import", "feed.csv", "--definition", "1")
    assert "feed.csv:2: warning: d.evil.example is on an allow-list" in told.err
    assert "2 indicators added" in told.err


def test_retention_is_shown_set_and_run(shell: Shell) -> None:
    shell("scan", "a.log", code=1)
    shown = shell("retention", "show", "--json").json
    assert shown["Detections"] == {"days": 400, "most": None}
    assert "730" in shell("retention", "show").out
    done = shell("retention", "set", "alerts", "--days", "30", "--most", "5000", "--json").json
    assert done == {"what": "Alerts", "days": 30, "most": 5000}
    assert "none" in shell("retention", "set", "Alerts", "--days", "none").out
    assert shell("retention", "show", "--json").json["Alerts"] == {"days": None, "most": 5000}
    shell("retention", "set", "Alerts", code=USAGE)
    assert "neither a number" in shell("retention", "set", "Alerts", "--days", "many", code=USAGE).err
    assert "1000 or more" in shell("retention", "set", "Alerts", "--most", "5", code=USAGE).err
    told = shell("retention", "run", "--dry-run").err
    assert told == ("Dry run: 0 of Detections, 0 of Alerts, 0 of AuditLog, 0 of Receipts would be deleted.\n")
    assert shell("retention", "run", "--json").json["deleted"]["Detections"] == 0
