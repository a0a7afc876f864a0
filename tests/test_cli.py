"""The command line: every noun, what it prints, its exit codes, and how it refuses."""

from __future__ import annotations

import json
import os
import re
import resource
import sqlite3
import stat
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import shell as shells
from indicia.auth import certificates
from indicia.cli import COMMANDS, doctor
from indicia.cli.failure import USAGE
from indicia.cli.lazy import CLOSED
from indicia.cli.show import safe
from indicia.model import AlertStatus, Category, Severity
from indicia.settings import TABLE
from indicia.store import migrate
from service import free_port, local
from shell import Shell

GROUPS = ("definitions", "indicators", "alerts", "clients")
LOG = "2024-03-12 192.0.2.5 GET http://www.evil.example/a.js 200\n"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell whose home is not there yet."""
    return shells.make(tmp_path, monkeypatch, capsys)


@pytest.fixture
def shell(bare: Shell) -> Shell:
    """A shell with a home of one tenant."""
    return bare.begin()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The command itself


def test_help_names_every_command(bare: Shell) -> None:
    shown = bare("--help").out
    assert [name for name in COMMANDS if f"\n  {name} " not in shown] == []
    assert bare("--version").out.startswith("indicia, version ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(bare: Shell, name: str) -> None:
    assert bare(name, "--help").out.startswith(f"Usage: indicia {name}")


@pytest.mark.parametrize("name", ["", *GROUPS])
def test_a_group_alone_shows_its_help_and_is_wrong_usage(bare: Shell, name: str) -> None:
    ran = bare(*([name] if name else []), code=USAGE)
    assert ran.out == ""
    assert "\nCommands:\n" in ran.err


def test_help_is_quick(bare: Shell) -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = bare.process("--help")
        process.communicate()
        assert process.returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Of the processor, and the best of five, because the machine has other things to do.
    assert min(seconds() for _ in range(5)) < 0.25


WRONG = (
    ("frob",),
    ("definition",),
    ("definitions", "frob"),
    ("definitions", "show"),
    ("definitions", "show", "x"),
    ("definitions", "list", "--limit", "0"),
    ("definitions", "add"),
    ("definitions", "add", "--name", "n", "--severity", "Awful"),
    ("definitions", "set", "1"),
    ("definitions", "delete", "1", "2"),
    ("indicators", "add", "--definition", "1"),
    ("indicators", "add", "--definition", "1", "--value", "x", "--type", "Imphash"),
    ("indicators", "delete"),
    ("indicators", "delete", "1", "--definition", "1"),
    ("indicators", "import", "x.csv"),
    ("indicators", "import", "-", "--definition", "1", "--strict"),
    ("indicators", "import", "x.csv", "--definition", "1", "--format", "xml"),
    ("indicators", "export", "--output", "xml"),
    ("alerts", "update", "1", "--status", "Gone"),
    ("alerts", "update", "1"),
    ("alerts", "update", "1", "--assign", "a", "--unassign"),
    ("alerts", "comment", "1"),
    ("alerts", "suppress", "1"),
    ("alerts", "suppress", "1", "--until", "soon"),
    ("alerts", "suppress", "1", "--until", "30d", "--by", "colour"),
    ("suppressions", "add", "--until", "30d"),
    ("suppressions", "set", "1"),
    ("alerts", "list", "--status", "Gone"),
    ("clients", "add"),
    ("clients", "add", "--name", "n", "--role", "King"),
    ("clients", "secret", "x", "--days", "0"),
    ("init",),
    ("init", "--save", "x", "--port", "0"),
    ("serve", "--no-tls", "--host", "192.0.2.1"),
    ("scan",),
    ("scan", "x", "--output", "xml"),
    ("scan", "x", "--group-by", "Indicator"),
    ("scan", "-", "--indicators", "-"),
    ("completion", "tcsh"),
    ("doctor", "x"),
    ("--frob",),
)


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_usage(bare: Shell, arguments: tuple[str, ...]) -> None:
    ran = bare(*arguments, code=USAGE)
    assert ran.out == ""
    assert ran.err.startswith("indicia: ")
    assert len(ran.err.splitlines()) == 1
    assert "--help" in ran.err


def test_an_unknown_command_is_answered_with_its_like(bare: Shell) -> None:
    assert "did you mean index or indicators?" in bare("ind", code=USAGE).err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("definitions", "show", "7", "--json"), "NotFound"),
        (("definitions", "show", "seven", "--json"), "Usage"),
        (("definitions", "add", "--name", "x" * 101, "--json"), "InvalidValue"),
        (("indicators", "import", "none.csv", "--definition", "1", "--json"), "NotFound"),
        (("scan", "nothing-there", "--json"), "BadRequest"),
        (("alerts", "list", "--tenant", "nobody", "--json"), "NotFound"),
        (("clients", "secret", "nobody", "--json"), "NotFound"),
    ],
)
def test_errors_as_json(shell: Shell, arguments: tuple[str, ...], code: str) -> None:
    ran = shell(*arguments, code=USAGE)
    assert ran.out == ""
    assert ran.error["code"] == code
    assert ran.error["message"]


def test_an_error_names_the_property(shell: Shell) -> None:
    ran = shell("definitions", "add", "--name", "n", "--title", "x" * 121, code=USAGE)
    assert ran.err == "indicia: Title: has 121 characters; at most 120 are allowed\n"
    assert shell("definitions", "add", "--name", "n", "--title", "x" * 121, "--json", code=USAGE).error == {
        "code": "InvalidValue",
        "message": "has 121 characters; at most 120 are allowed",
        "target": "Title",
    }


def test_no_home_says_what_to_do(bare: Shell) -> None:
    for name in GROUPS:
        assert "indicia init" in bare(name, "list", code=USAGE).err
    assert "indicia init" in bare("scan", bare.write("a.log", LOG), code=USAGE).err
    assert "indicia init" in bare("serve", code=USAGE).err
    assert not bare.home.exists(), "looking makes nothing"


def test_a_home_that_is_none(bare: Shell) -> None:
    file = bare.write("file", "text")
    assert "is a file" in bare("--home", file, "doctor", code=USAGE).err
    assert "cannot be made a home" in bare("--home", file / "x", "init", "--save", "a", code=USAGE).err
    assert not (bare.folder / "a").exists(), "an access file without an access"
    bare.write("other/indicia.db", "not a database, but a text that is longer than a header of one")
    assert "not an Indicia store" in bare("--home", "other", "definitions", "list", code=USAGE).err


def test_settings_that_cannot_be(shell: Shell) -> None:
    (shell.home / "config.toml").write_text("port = 'x'\n")
    ran = shell("definitions", "list", code=USAGE)
    assert "config.toml: port" in ran.err
    (shell.home / "config.toml").write_text("nothing = 1\n")
    assert "unknown setting 'nothing'" in shell("definitions", "list", code=USAGE).err


def test_two_tenants_need_a_name(shell: Shell) -> None:
    shell.init("--tenant", "contoso")
    for name in GROUPS:
        assert "--tenant: default, contoso" in shell(name, "list", code=USAGE).err
    shell("definitions", "add", "--name", "theirs", "--tenant", "contoso")
    assert shell("definitions", "list", "--tenant", "default", "--json").json == []
    (theirs,) = shell("definitions", "list", "--tenant", "contoso", "--json").json
    assert theirs["name"] == "theirs"
    ran = shell("definitions", "show", str(theirs["id"]), "--tenant", "default", code=USAGE)
    assert f"there is no AlertDefinitions({theirs['id']})" in ran.err


def test_a_reader_that_goes_away(shell: Shell) -> None:
    shell.definition()
    shell.write("names.txt", "".join(f"host-{number}.example\n" for number in range(5000)))
    shell("indicators", "import", "names.txt", "--definition", "1")
    process = shell.process("indicators", "export")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == CLOSED


def test_a_fault_of_ours_is_one_line(shell: Shell) -> None:
    shell.monkeypatch.setattr("indicia.cli.nouns.definition", lambda _noun: 1 / 0)
    ran = shell("definitions", "add", "--name", "x", code=USAGE)
    assert "unexpected ZeroDivisionError" in ran.err
    with pytest.raises(ZeroDivisionError):
        shell("--debug", "definitions", "add", "--name", "x")


@pytest.mark.parametrize(
    ("words", "number", "found"),
    [
        ("indicia ind", 1, "plain,indicators"),
        ("indicia indicators ", 2, "plain,import"),
        ("indicia alerts list --status r", 4, "plain,resolved"),
        ("indicia scan --out", 2, "plain,--output"),
        ("indicia scan a --fail-on h", 4, "plain,high"),
        ("indicia index ", 2, "plain,verify"),
        ("indicia explain --as ", 3, "plain,event"),
    ],
)
def test_completion(bare: Shell, words: str, number: int, found: str) -> None:
    asked = {"_INDICIA_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    process = bare.process(env=os.environ | asked)
    out, _ = process.communicate(timeout=30)
    assert found in out.decode().splitlines()


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_completion_scripts(bare: Shell, kind: str) -> None:
    ran = bare("completion", kind)
    assert "_INDICIA_COMPLETE" in ran.out
    if kind == "bash":
        subprocess.run(["bash", "-n"], input=ran.out, text=True, check=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\r\tc\x07", r"a\x0ab\x0d\x09c\x07"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\x9b2J", r"\x9b2J"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("Zürich 東京", "Zürich 東京"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert safe(text) == shown


# init, serve


def test_init_saves_what_a_script_needs(bare: Shell) -> None:
    ran = bare("init", "--port", "9443", "--save", "access.json")
    path = bare.folder / "access.json"
    assert mode(path) == 0o600
    assert mode(bare.home) == 0o700
    assert mode(bare.home / "indicia.db") == 0o600
    access = json.loads(path.read_text())
    base = "https://127.0.0.1:9443"
    login = f"{base}/{access['tenant_id']}/oauth2"
    assert {name: access[name] for name in access if name not in ("client_id", "client_secret")} == {
        "tenant_id": access["tenant_id"],
        "authorization_url": f"{login}/token",
        "token_url_v2": f"{login}/v2.0/token",
        "resource": "https://graph.windows.net",
        "api_url": f"{base}/V1.0",
        "ca_file": str(bare.home / "tls" / "ca.pem"),
    }
    assert Path(access["ca_file"]).exists()
    assert access["client_secret"] not in ran.out + ran.err
    assert "port = 9443" in (bare.home / "config.toml").read_text(), "host and port are remembered"


def test_init_replaces_nothing_unasked(shell: Shell) -> None:
    before = (shell.folder / "access-0.json").read_text()
    ran = shell("init", "--save", "access-0.json", code=USAGE)
    assert "exists already" in ran.err
    assert (shell.folder / "access-0.json").read_text() == before
    with shell.tenant() as tenant:
        assert len(tenant.applications()) == 1
    shell("init", "--save", "access-0.json", "--replace")
    assert (shell.folder / "access-0.json").read_text() != before
    assert "is a folder" in shell("init", "--save", ".", code=USAGE).err
    assert "cannot be written" in shell("init", "--save", "no/where", code=USAGE).err
    shell.write("empty", "")
    shell("init", "--save", "empty")
    assert sorted(path.name for path in shell.folder.glob(".*")) == []


def test_a_further_init_is_a_further_tenant(shell: Shell) -> None:
    first, second = json.loads((shell.folder / "access-0.json").read_text()), shell.init()
    assert first["tenant_id"] != second["tenant_id"]
    assert (
        "there is a tenant 'default' already"
        in shell("init", "--tenant", "default", "--save", "x", code=USAGE).err
    )
    ran = shell("init", "--save", "y.json", "--json")
    shown = ran.json
    assert shown["tenant"] == "default-3"
    assert "It is apart from the 2 tenants there were" in ran.err
    assert "client_secret" not in shown
    assert "client_secret" in shell("init", "--save", "-").json


@pytest.mark.full
def test_serve_says_when_it_is_ready_and_stops_at_sigterm(shell: Shell) -> None:
    process = shell.process("serve", "--port", str(free_port()))
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith(b"Indicia listens on https://127.0.0.1:")
    finally:
        process.terminate()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"")
    assert re.fullmatch(rb"default has no administrator\. .*: https://[\d.:]+/portal/link/[\w-]{43}\n", err)


# definitions


def test_a_definition_from_its_creation_to_its_end(shell: Shell) -> None:
    number = shell.definition(
        "mine", "--title", "A title", "--severity", "high", "--category", "malware",
        "--internal-description", "for us", "--ux-description", "for all", "--recommended-action", "act",
        "--group-by", "Indicator", "--window-seconds", "3600", "--disabled",
    )  # fmt: skip
    shown = shell("definitions", "show", str(number), "--json").json
    stamps = {"uid", "created_at", "created_by", "last_modified_at", "last_modified_by"}
    assert {name: value for name, value in shown.items() if name not in stamps} == {
        "id": number,
        "name": "mine",
        "title": "A title",
        "severity": "High",
        "category": "Malware",
        "internal_description": "for us",
        "ux_description": "for all",
        "recommended_action": "act",
        "enabled": False,
        "group_by": "Indicator",
        "window_seconds": 3600,
    }
    changed = shell("definitions", "set", str(number), "--enabled", "--title", "Another", "--json").json
    assert (changed["enabled"], changed["title"], changed["uid"]) == (True, "Another", shown["uid"])
    assert changed["last_modified_by"].endswith("(command line)")
    listed = shell("definitions", "list").out.splitlines()
    assert listed[0].split()[:3] == ["id", "name", "title"]
    assert listed[1].split()[:4] == [str(number), "mine", "Another", "High"]
    assert "window seconds" in shell("definitions", "show", str(number)).out
    assert "--yes" in shell("definitions", "delete", str(number), code=USAGE).err
    assert shell("definitions", "delete", str(number), "--yes", "--json").json == {"deleted": number}
    assert "there is no AlertDefinitions(1)" in shell("definitions", "delete", "1", "--yes", code=USAGE).err


def test_a_definition_needs_a_name_alone(shell: Shell) -> None:
    made = shell("definitions", "add", "--name", "n", "--json").json
    assert (made["title"], made["severity"], made["category"]) == ("n", Severity.MEDIUM, Category.GENERAL)


def test_lists_come_in_pages(shell: Shell) -> None:
    for name in "abc":
        shell.definition(name)
    first = shell("definitions", "list", "--limit", "2", "--json")
    assert [one["name"] for one in first.json] == ["a", "b"]
    assert "--after 2" in first.err
    last = shell("definitions", "list", "--limit", "2", "--after", "2", "--json")
    assert [one["name"] for one in last.json] == ["c"]
    assert last.err == ""


# alerts


@pytest.fixture
def alerted(shell: Shell) -> Shell:
    """One alert of two detections."""
    shell.definition("mine", "--title", "A bad name", "--severity", "High")
    shell("indicators", "add", "--definition", "1", "--value", "evil.example", "--function", "SubdomainOf")
    shell.write("a.log", LOG + LOG.replace("192.0.2.5", "192.0.2.6"))
    shell("scan", "a.log", code=1)
    return shell


def test_alerts_are_read_and_worked_on(alerted: Shell) -> None:
    (listed,) = alerted("alerts", "list", "--json").json
    assert (listed["number"], listed["status"], listed["detection_count"]) == (1, "New", 2)
    assert "A bad name" in alerted("alerts", "list").out
    for name in ("1", listed["alert_id"], listed["alert_id"].upper()):
        shown = alerted("alerts", "show", name, "--json").json
        assert {key: shown[key] for key in listed} == listed
        assert [one["line"] for one in shown["detections"]] == [1, 2]
        assert {one["alert_id"] for one in shown["detections"]} == {listed["alert_id"]}
    text = alerted("alerts", "show", "1")
    assert "http://www.evil.example/a.js" in text.out
    some = alerted("alerts", "show", "1", "--limit", "1")
    assert "1 of 2 detections are shown" in some.err
    assert alerted("alerts", "list", "--definition", "1", "--json").json == [listed]
    assert "AlertDefinitions(9)" in alerted("alerts", "list", "--definition", "9", code=USAGE).err


def test_a_resolved_alert_is_reopened(alerted: Shell) -> None:
    assert (
        alerted("alerts", "update", "1", "--status", "resolved", "--json").json["status"]
        == AlertStatus.RESOLVED
    )
    assert alerted("alerts", "list", "--status", "New", "--json").json == []
    assert len(alerted("alerts", "list", "--status", "Resolved", "--json").json) == 1
    again = alerted("scan", "a.log", code=1)
    assert "0 new detections (2 known already)" in again.err
    alerted.write("a.log", LOG.replace("192.0.2.5", "192.0.2.7"))
    assert "1 reopened" in alerted("scan", "a.log", code=1).err
    (after,) = alerted("alerts", "list", "--json").json
    assert (after["status"], after["reopened_count"], after["detection_count"]) == ("New", 1, 3)
    assert "there is no alert 9" in alerted("alerts", "update", "9", "--status", "New", code=USAGE).err
    assert "there is no alert xyz" in alerted("alerts", "show", "xyz", code=USAGE).err


# clients


def test_secrets_hold_at_the_token_endpoint_until_they_are_revoked(shell: Shell) -> None:
    added = shell("clients", "add", "--name", "siem", "--days", "3", "--json").json
    client, first = added["client_id"], added["client_secret"]
    ran = shell("clients", "secret", client, "--description", "the second one")
    second = ran.out.strip()
    assert "shown this once" in ran.err
    assert second not in ran.err
    with local(shell.home) as service:

        def status(secret: str) -> int:
            form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
            form |= {"resource": "https://graph.windows.net"}
            return service.form(f"/{added['tenant_id']}/oauth2/token", form).status

        assert [status(first), status(second), status("wrong")] == [200, 200, 401]
        shell("clients", "revoke", client, "--secret", str(added["secret"]["id"]), "--yes")
        assert [status(first), status(second)] == [401, 200]
        shell("clients", "revoke", client, "--yes")
        assert 200 not in (status(first), status(second))
    assert "was revoked" in shell("clients", "secret", client, code=USAGE).err


def test_clients_are_listed_without_their_secrets(shell: Shell) -> None:
    added = shell("clients", "add", "--name", "reader", "--role", "ti.read", "--days", "3", "--json").json
    shell("clients", "revoke", added["client_id"], "--secret", str(added["secret"]["id"]), "--yes")
    shell("clients", "secret", added["client_id"], "--description", "another")
    ran = shell("clients", "list", "--json")
    found = {one["name"]: one for one in ran.json}
    assert found["reader"]["roles"] == ["Ti.Read"]
    assert [kept["description"] for kept in found["reader"]["secrets"]] == ["", "another"]
    assert [bool(kept["revoked_at"]) for kept in found["reader"]["secrets"]] == [True, False]
    assert shell("clients", "show", added["client_id"].upper(), "--json").json == found["reader"]
    shown = shell("clients", "show", added["client_id"]).out
    assert [words in shown for words in ("reader", "Ti.Read", "revoked", "another", "never")] == [
        True
    ] * 4 + [False]
    assert added["client_secret"] not in shown
    assert "clients list" in shell("clients", "show", "nobody", code=USAGE).err
    table = shell("clients", "list").out
    assert added["client_secret"] not in ran.out + table
    states = [line.split()[-1] for line in table.splitlines() if " reader " in line]
    assert states == ["revoked", "valid"]
    made, until = (datetime.fromisoformat(added["secret"][name]) for name in ("created_at", "expires_at"))
    assert timedelta(days=3) - timedelta(seconds=5) < until - made <= timedelta(days=3)


def test_a_saved_secret_is_not_shown(shell: Shell) -> None:
    first = json.loads((shell.folder / "access-0.json").read_text())
    ran = shell("clients", "secret", first["client_id"], "--save", "new.json", "--json")
    path = shell.folder / "new.json"
    saved = json.loads(path.read_text())
    assert mode(path) == 0o600
    assert saved["client_secret"] not in ran.out + ran.err
    assert ran.json["saved"] == "new.json"
    same = saved.keys() - {"client_secret"}
    assert {name: saved[name] for name in same} == {name: first[name] for name in same}
    shell("clients", "secret", first["client_id"], "--save", "new.json", code=USAGE)
    with shell.tenant() as tenant:
        assert len(tenant.applications()[0].secrets) == 2, "a secret was made that nobody saw"
    assert "has no application" in shell("clients", "revoke", "x", "--yes", code=USAGE).err
    assert (
        "no secret 99"
        in shell("clients", "revoke", first["client_id"], "--secret", "99", "--yes", code=USAGE).err
    )


# doctor


def states(ran: shells.Ran) -> dict[str, str]:
    return {one["what"]: one["state"] for one in ran.json["checks"]}


def test_doctor_of_a_machine_without_a_home(bare: Shell) -> None:
    ran = bare("doctor", "--json")
    assert ran.json["ok"] is True
    found = states(ran)
    assert {name: found[name] for name in ("python", "packages", "sqlite", "home", "store")} == {
        "python": "ok",
        "packages": "ok",
        "sqlite": "ok",
        "home": "missing",
        "store": "missing",
    }
    assert not bare.home.exists()


def test_doctor_of_a_home(shell: Shell) -> None:
    ran = shell("doctor", "--json")
    found = states(ran)
    wanted = ("home", "store", "tenant default", "certificate of the authority", "certificate of the server")
    assert {found[name] for name in wanted} == {"ok"}
    assert [one["setting"] for one in ran.json["settings"]] == [name for name, _, _ in TABLE]
    text = shell("doctor").out
    assert all(name in text for name, _, _ in TABLE)
    assert f"journal wal, tables {migrate.HEAD}" in text


def test_doctor_sees_what_others_could_read(shell: Shell) -> None:
    (shell.home / "indicia.db").chmod(0o644)
    (shell.home / "tls" / "server.key").chmod(0o644)
    shell.home.chmod(0o755)
    ran = shell("doctor", code=doctor.FAULT_FOUND)
    for told in ("chmod 600", "server.key can be read by others", "can be entered by others"):
        assert told in ran.out


def test_doctor_sees_a_store_that_is_none(shell: Shell) -> None:
    (shell.home / "config.toml").write_text("port = -\n")
    (shell.home / "indicia.db").write_text("not a database, but a text that is longer than a header of one")
    ran = shell("doctor", "--json", code=doctor.FAULT_FOUND)
    faults = [one["text"] for one in ran.json["checks"] if one["state"] == "fault"]
    assert ran.json["ok"] is False
    assert ran.json["settings"] == []
    assert len([text for text in faults if "config.toml" in text]) == 1, "one fault is told once"
    assert any("cannot be read as a store" in text for text in faults)


def test_doctor_sees_certificates_at_their_end(shell: Shell) -> None:
    (shell.home / "tls" / "server.pem").write_text("rubbish")
    ran = shell("doctor", "--json", code=doctor.FAULT_FOUND)
    assert states(ran)["certificate of the server"] == "fault"
    for name in ("server.pem", "ca.pem", "server.key", "ca.key"):
        (shell.home / "tls" / name).unlink()
    assert states(shell("doctor", "--json"))["certificates"] == "missing"
    past = datetime.now(UTC) - timedelta(days=certificates.LEAF_DAYS - 5)
    certificates.ensure(shell.home, "127.0.0.1", now=past)
    assert states(shell("doctor", "--json"))["certificate of the server"] == "warning"
    shell("doctor", "--json")
    shell.monkeypatch.setenv("INDICIA_HOST", "ti.example")
    assert states(shell("doctor", "--json"))["certificate of the server"] == "warning"


def test_doctor_leaves_an_old_store_alone(shell: Shell) -> None:
    for version, since, state, code in (
        ("9999", "9998", "fault", 1),
        ("9999", migrate.SINCE, "warning", 0),
        (migrate.VERSIONS[0], migrate.SINCE, "warning", 0),
    ):
        with closing(sqlite3.connect(shell.home / "indicia.db", isolation_level=None)) as raw:
            raw.execute("UPDATE alembic_version SET version_num = ?", (version,))
            raw.execute("UPDATE compatible SET since = ?", (since,))
            assert states(shell("doctor", "--json", code=code))["store"] == state
            assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == (version,)
