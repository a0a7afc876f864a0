"""The first administrator, and a lost one: by whoever has the host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import shell as shells
from indicia.cli.failure import USAGE
from indicia.store import Role
from service import Local, local
from shell import Shell
from visiting import PASSWORD, Visiting, add_person

LINK = re.compile(r"https://127\.0\.0\.1:8443(/portal/link/[\w-]{43})")
FRESH = "a lamp on a long pier"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell with a home that `init` has not made yet."""
    return shells.make(tmp_path, monkeypatch, capsys)


def opened(service: Local, text: str, name: str, password: str = PASSWORD) -> int:
    """The status of using the link that stands in a text."""
    found = LINK.search(text)
    assert found, text
    who = Visiting(service)
    who.get(found[1])
    return who.post(found[1], {"name": name, "password": password, "again": password}).status


def test_the_first_administrator(shell: Shell) -> None:
    said = shell("init", "--save", "access.json").err
    assert "Whoever opens this first administers it" in said
    with local(shell.home) as service:
        assert opened(service, said, "first") == 303
        assert opened(service, said, "second") == 403
    (told,) = shell("admin", "list", "--json").json
    assert (told["name"], told["role"]) == ("first", "Administrator")
    assert "first" in shell("admin", "list").out


def test_a_lost_administrator(shell: Shell) -> None:
    shell("init", "--save", "access.json")
    with shell.tenant() as tenant:
        uid = tenant.uid
    with local(shell.home) as service:
        lost = add_person(service.store, uid, "Kim Abara", Role.READER)
        service.store.tenant(uid).members.disable(lost)
        ran = shell("admin", "reset", "--name", "kim abara ")
        assert ran.out.strip().startswith("https://127.0.0.1:8443/portal/link/")
        assert opened(service, ran.out, "", FRESH) == 303
        member = service.store.tenant(uid).members.one(lost)
        assert (member.role, member.disabled_at) == (Role.ADMINISTRATOR, None)
        assert Visiting(service).sign_in("Kim Abara", FRESH).status == 303
        fresh = shell("admin", "reset", "--json").json["link"]
        assert opened(service, fresh, "another") == 303
        names = {one.name: one.role for one in service.store.tenant(uid).members.all()}
        assert names == {"Kim Abara": Role.ADMINISTRATOR, "another": Role.ADMINISTRATOR}
        by = {one.by for one in service.store.tenant(uid).audit_log() if one.set_name == "Links"}
        assert any(name.endswith("(command line)") for name in by)
    assert "has no member 'nobody'" in shell("admin", "reset", "--name", "nobody", code=USAGE).err
