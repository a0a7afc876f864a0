"""`indicia outputs` on the command line."""

from __future__ import annotations

import json
import signal
from contextlib import closing
from pathlib import Path

import pytest

from indicia.cli.failure import USAGE
from indicia.store.turns import FileTurn
from receivers import web
from service import wait_until
from shell import Shell, make

LOG = "GET http://www.evil.example/a.js from 192.0.2.5 line {}\n"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A home with one indicator."""
    made = make(tmp_path, monkeypatch, capsys).begin()
    made.definition("mine", "--title", "A bad name")
    made("indicators", "add", "--definition", "1", "--value", "evil.example", "--function", "SubdomainOf")
    return made


def see(shell: Shell, number: int) -> None:
    """Scan an event that is new, from a machine of its own."""
    shell.write(f"{number}.log", LOG.format(number))
    shell("scan", f"{number}.log", code=1)


def test_a_file_is_told_of_alerts(shell: Shell) -> None:
    path = shell.folder / "alerts.ndjson"
    told = shell("outputs", "add", "lines", f"file://{path}", "--send", "opened", "--send", "Changed").err
    assert told == "lines is told of alerts from now on: Opened, Changed.\n"
    see(shell, 1)
    (listed,) = shell("outputs", "list", "--json").json
    assert (listed["waiting"], listed["dead"], listed["sends"]) == (1, 0, ["Opened", "Changed"])
    assert listed["oldest_waiting"] is not None
    assert shell("outputs", "run", "--once", "--json").json == {"waiting": 0}
    shell("alerts", "update", "1", "--status", "resolved")
    shell("outputs", "run", "--once")
    bodies = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["Sent"], one["Alert"]["Status"]) for one in bodies] == [
        ("Opened", "New"),
        ("Changed", "Resolved"),
    ]
    assert shell("outputs", "replay", "lines", "--since", "1h", "--json").json == {"replayed": 2}
    assert "lines" in shell("outputs", "list").out
    with closing(FileTurn(shell.home / "outputs.lock")) as turn:
        assert turn.take()
        assert "another process delivers" in shell("outputs", "run", "--once", code=USAGE).err


def test_a_webhook_and_its_secret(shell: Shell) -> None:
    with web() as server:
        made = shell("outputs", "add", "hook", server.url, "--option", "allow=127.0.0.1", "--json").json
        assert made["secret"].startswith("whsec_")
        assert made["target"] == server.url.replace("hook", "…")
        for command in ("list", "show hook", "show hook --json"):
            assert made["secret"] not in shell("outputs", *command.split()).out
        assert "took the message" in shell("outputs", "test", "hook").err
        assert json.loads(server.requests[0].body)["Sent"] == "Test"
        server.answer = lambda _: (422, {}, b"")
        assert "hook: the receiver answered 422" in shell("outputs", "test", "hook", code=USAGE).err
        shell.write("secret", made["secret"] + "\n")
        set_ = shell(
            "outputs", "set", "hook", "--secret", "secret", "--option", "allow=", "--severity", "High",
            "--definition", "1", "--disable", "--json",
        ).json  # fmt: skip
        assert (set_["options"], set_["severity"], set_["definition_ids"]) == ({}, "High", [1])
        assert not set_["enabled"]
        assert "no address of the internet" in shell("outputs", "test", "hook", code=USAGE).err
        again = shell("outputs", "set", "hook", "--severity", "any", "--definition", "0", "--json").json
        assert (again["severity"], again["definition_ids"]) == (None, [])
    assert "hook is gone" in shell("outputs", "delete", "hook", "--yes").err
    assert shell("outputs", "list", "--json").json == []


def test_dead_messages_are_listed(shell: Shell) -> None:
    with web(lambda _: (400, {}, b"")) as server:
        shell("outputs", "add", "hook", server.url, "--option", "allow=127.0.0.1")
        see(shell, 1)
        for _ in range(5):
            shell("outputs", "run", "--once")
            shell("outputs", "set", "hook", "--enable")
        (dead,) = shell("outputs", "dead", "hook", "--json").json
        assert (dead["attempts"], dead["fault"]) == (5, "the receiver answered 400")
        assert dead["body"]["Alert"]["Title"] == "A bad name"
        assert dead["id"] in shell("outputs", "dead", "hook").out
        server.answer = lambda _: (204, {}, b"")
        assert "1 message will be sent" in shell("outputs", "replay", "hook", "--message", dead["id"]).err
        assert shell("outputs", "run", "--once", "--json").json == {"waiting": 0}


def test_what_is_refused(shell: Shell) -> None:
    (shell.folder / "bytes").write_bytes(b"\xff" * 32)
    for arguments, words in (
        (("add", "x", "ftp://host"), "Target: must be a URL"),
        (("add", "x", "file:///a", "--option", "size"), "takes NAME=VALUE"),
        (("add", "x", "file:///a", "--option", "size=1"), "no option of this target"),
        (("add", "x", "file:///a", "--definition", "9"), "AlertDefinitions(9)"),
        (("add", "x", "https://host", "--secret", "nowhere"), "nowhere: cannot be read: No such file"),
        (("add", "x", "https://host", "--secret", "bytes"), "bytes: is no text"),
        (("show", "x"), "there is no output 'x'"),
        (("set", "x"), "say what to change"),
        (("replay", "x", "--message", "a", "--since", "1h"), "either --message or --since"),
    ):
        assert words in shell("outputs", *arguments, code=USAGE).err, arguments
    shell("outputs", "add", "x", "file:///a")
    assert "is a file" in shell("outputs", "set", "x", "--target", "syslog+udp://host", code=USAGE).err
    (shell.home / "outputs.key").unlink()
    assert "outputs.key is not there" in shell("outputs", "test", "x", code=USAGE).err


@pytest.mark.full
def test_who_delivers_goes_on_until_it_is_asked_to_end(shell: Shell) -> None:
    path = shell.folder / "alerts.ndjson"
    shell("outputs", "add", "lines", f"file://{path}")
    process = shell.process("outputs", "run")
    try:
        see(shell, 1)
        wait_until(20, path.exists)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, b"0 messages wait." in told) == (0, True)
