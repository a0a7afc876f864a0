"""Tenants are listed, and one is deleted with all that is its own, while others are not touched."""

from __future__ import annotations

from pathlib import Path

import pytest

import shell as shells
from furnished import furnish
from indicia.cli.failure import USAGE
from indicia.errors import NotFound
from indicia.live import compiled
from indicia.store import Role, Store, leaving
from service import Access, add_access, local
from shell import Shell
from stored import everything, sound, url
from visiting import HOUR, PASSWORD, Visiting, add_person

pytestmark = pytest.mark.full


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell with a home of two tenants, `default` and `default-2`."""
    made = shells.make(tmp_path, monkeypatch, capsys)
    made("init", "--save", "one.json")
    made("init", "--save", "two.json")
    return made


@pytest.fixture
def path(database: str, tmp_path: Path) -> Path:
    """A store with the tenants contoso, which goes, and fabrikam; Kim is in both, the others in one."""
    path = tmp_path / "indicia.db"
    with Store.open(url(path)) as store:
        for name in ("contoso", "fabrikam"):
            access = add_access(store, name)
            furnish(store.tenant(access.tenant_id))
            add_person(store, access.tenant_id, f"only {name}")
        kim = add_person(store, "contoso", "Kim Abara")
        token = "a" * 64
        store.tenant("fabrikam").members.invite(token, Role.READER, "", HOUR)
        store.people.join(token, kim, store.tenant("fabrikam").actor)
    sound(path)
    return path


def test_what_is_deleted_is_gone_and_the_rest_is_as_it_was(path: Path) -> None:
    with Store.open(url(path)) as store:
        contoso, fabrikam = (store.tenant(name).tenant for name in ("contoso", "fabrikam"))
        before = everything(path, fabrikam.id)
        told: list[tuple[str, int, int]] = []
        store.remove_tenant("contoso", lambda *what: told.append(what))
        assert [one.name for one in store.tenants()] == ["fabrikam"]
        gone = {table: (done, total) for table, done, total in told}
        assert gone["detections"][0] == gone["detections"][1] > 0
        assert not any(everything(path, contoso.id).values())
        assert everything(path, fabrikam.id) == before
        assert store.people.by_name("only contoso") is None
        assert store.people.by_name("only fabrikam") is not None
        found = store.people.by_name("Kim Abara")
        assert found is not None
        assert [tenant.name for tenant, _ in store.people.memberships(found[0].uid)] == ["fabrikam"]
        with pytest.raises(NotFound):
            store.remove_tenant("contoso")
    sound(path)


def test_what_was_broken_off_lets_nobody_in_and_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "SLICE", 3)

    def enough(table: str, gone: int, total: int) -> None:
        if table == "detections" and 0 < gone < total:
            raise KeyboardInterrupt

    with Store.open(url(path)) as store:
        contoso = store.tenant("contoso")
        application = contoso.applications()[0]
        with pytest.raises(KeyboardInterrupt):
            store.remove_tenant("contoso", enough)
        assert store.application(application.client_id) is None
        assert store.people.by_name("only contoso") is None
        assert (list(contoso.matchable()), contoso.counts().definitions) == ([], 0)
        assert [one.enabled for one in contoso.outbox.outputs()] in ([False], [])
        store.remove_tenant("contoso")
        assert [one.name for one in store.tenants()] == ["fabrikam"]
    sound(path)


def test_a_running_service_lets_nobody_in(tmp_path: Path) -> None:
    with local(tmp_path) as service:
        accesses: list[Access] = [add_access(service.store, name) for name in ("contoso", "fabrikam")]
        clients = [service.client(access) for access in accesses]
        people = [Visiting(service) for _ in accesses]
        for access, client, person in zip(accesses, clients, people, strict=True):
            furnish(service.store.tenant(access.tenant_id))
            add_person(service.store, access.tenant_id, access.tenant_id[:8])
            person.sign_in(access.tenant_id[:8], PASSWORD)
            assert client("GET", "AlertDefinitions").status == 200
            assert person.get("/portal/alerts").status == 200
        service.store.remove_tenant("contoso")
        assert [client("GET", "AlertDefinitions").status for client in clients] == [401, 200]
        assert [person.get("/portal/alerts").status for person in people] == [303, 200]


def test_bases_of_those_that_are_gone_are_removed(tmp_path: Path) -> None:
    with Store.open(url(tmp_path / "indicia.db")) as store:
        own, other = (store.tenant(store.add_tenant(name).uid) for name in ("contoso", "fabrikam"))
        for one in (own, other):
            furnish(one)
            assert compiled.make(one, tmp_path / "indexes")
        (tmp_path / "indexes" / f"{own.uid}.idx").touch()  # of `indicia scan`
        (tmp_path / "indexes" / "lost+found").mkdir()
        (tmp_path / "indexes" / "shipped.idx").touch()
        compiled.forget(tmp_path / "indexes", [other.uid])
        left = {path.name for path in (tmp_path / "indexes").iterdir() if not path.name.startswith(other.uid)}
        assert left == {"lost+found", "shipped.idx"}
        assert compiled.newest(tmp_path / "indexes", own.uid) is None
        assert compiled.newest(tmp_path / "indexes", other.uid) is not None


def test_the_commands(shell: Shell) -> None:
    assert [one["name"] for one in shell("tenants", "list", "--json").json] == ["default", "default-2"]
    assert "default-2" in shell("tenants", "list").out
    assert "Add --yes" in shell("tenants", "delete", "default", code=USAGE).err
    told = shell("tenants", "delete", "default", "--yes", "--json").json["deleted"]
    assert (told["name"], told["indicators"]) == ("default", 0)
    assert "there is no tenant 'default'" in shell("tenants", "delete", "default", "--yes", code=USAGE).err
    # The one that is left needs no name any more.
    assert shell("definitions", "list", "--json").json == []
