"""A whole store into another database, and back: exact, resumable, refused where it is not whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import postgres
import shell as shells
from furnished import AHEAD, furnish
from indicia.errors import StoreError
from indicia.messages import Output
from indicia.model import Actor
from indicia.store import Position, Receipt, Store, TenantStore, copying
from shell import Shell
from stored import add, detection, everything, indicator, opened
from visiting import add_person

pytestmark = pytest.mark.full


class Stopped(Exception):
    """The copy was broken off."""


@pytest.fixture
def databases() -> Iterator[Callable[[str, Path], str]]:
    """URLs of empty databases of a kind."""
    made: list[str] = []

    def url(kind: str, path: Path) -> str:
        if kind == "sqlite":
            return f"sqlite:///{path}"
        made.append(postgres.server().make())
        return postgres.server().url(made[-1])

    yield url
    for name in made:
        postgres.server().drop(name)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with something in nearly every table, of two tenants."""
    path = tmp_path_factory.mktemp("full") / "full.db"
    with opened(path) as tenant:
        furnish(tenant)
        owner = add(tenant, 40, name="Chalk")
        first = tenant.indicators(limit=1)[0]
        tenant.record([detection(first, tenant.tenant.uid, 1, machine="a\0b\1c\u20ac")])
        tenant.delete_definition(owner.id or 0)
        tenant.keep_receipt("a key", Receipt("0" * 64, "{}"))
    with Store.open(f"sqlite:///{path}") as store:
        add(store.tenant(store.add_tenant("fabrikam").uid), 7)
        store.add_signing_key("one", "a private key")
        contoso = store.tenant("contoso").tenant
        person = add_person(store, contoso.uid, "Kim Abara")
        store.people.sign_in(person, contoso, "0" * 64, AHEAD, Actor())
    return path


@pytest.fixture
def source(full: Path, tmp_path: Path) -> Iterator[Store]:
    """A copy of it, for a test of its own."""
    with Store.open(f"sqlite:///{shutil.copy(full, tmp_path / 'source.db')}") as store:
        yield store


@pytest.mark.parametrize("way", ["sqlite sqlite", "sqlite postgresql", "sqlite postgresql sqlite"])
def test_a_copy_is_what_was_copied(
    source: Store, tmp_path: Path, databases: Callable[[str, Path], str], way: str
) -> None:
    urls = [databases(kind, tmp_path / f"{number}.db") for number, kind in enumerate(way.split()[1:])]
    found = source.copy_to(urls[0], as_is=True)
    for one, other in pairwise(urls):
        with Store.open(one) as store:
            assert store.copy_to(other, as_is=True) == found
    assert sum(content.rows for content in found.values()) > 300
    assert {name for name, content in found.items() if not content.rows} == EMPTY
    if way.endswith("sqlite"):
        assert everything(tmp_path / f"{len(urls) - 1}.db") == everything(tmp_path / "source.db")
    with Store.open(urls[-1]) as copied:
        for tenant in source.tenants():
            mine, theirs = source.tenant(tenant.uid), copied.tenant(tenant.uid)
            assert seen(mine) == seen(theirs)
        # Ids that were used and are gone are not used again.
        mine, theirs = source.tenant("contoso"), copied.tenant("contoso")
        assert add(theirs, 1).id == add(mine, 1).id


EMPTY = {"marks", "purges", "retention", "certificates", "imports", "refresh_tokens"}
"""Tables of which nothing is copied here."""


def seen(tenant: TenantStore) -> list[object]:
    """What a tenant has, as whoever asks is told."""
    return [
        tenant.counts(),
        tenant.generation(),
        tenant.definitions(limit=1000),
        tenant.indicators(limit=10_000),
        tenant.alerts(),
        [tenant.detections(alert.id) for alert in tenant.alerts()],
    ]


def test_a_copy_that_is_used_is_another_store(
    source: Store, tmp_path: Path, databases: Callable[[str, Path], str]
) -> None:
    target = databases("postgresql", tmp_path)
    before = source.tenant("contoso").generation()
    source.copy_to(target)
    with Store.open(target) as copied:
        tenant = copied.tenant("contoso")
        assert tenant.generation() > 10**12
        assert tenant.news(Position(before + 1000, 10**6), 1000) is None, (
            "an index of the source is none of it"
        )
        assert tenant.counts() == source.tenant("contoso").counts()
        again = databases("sqlite", tmp_path / "again.db")
        copied.copy_to(again)
    with Store.open(again) as third:
        assert third.tenant("contoso").generation() > tenant.tenant.id + 10**12


def test_what_was_broken_off_goes_on(
    source: Store, tmp_path: Path, databases: Callable[[str, Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "BATCH", 5)
    target = databases("postgresql", tmp_path)
    whole = source.copy_to(databases("sqlite", tmp_path / "whole.db"), as_is=True)
    told: list[tuple[str, int, int]] = []

    def stop_at(number: int) -> Callable[[str, int, int], None]:
        def tell(*step: object) -> None:
            told.append(step)  # type: ignore[arg-type]  # what `copy_to` tells
            if len(told) == number:
                raise Stopped

        return tell

    for number in (20, 45, 70, 95):
        told.clear()
        with pytest.raises(Stopped):
            source.copy_to(target, stop_at(number), as_is=True)
        with pytest.raises(
            StoreError, match="has not ended; give the same `indicia store` command once more"
        ):
            Store.open(target)
    first: dict[str, int] = {}
    for name, done, _ in told:
        first.setdefault(name, done)
    assert sum(first.values()) > 50, "it went on behind what was there"
    assert source.copy_to(target, as_is=True) == whole
    with Store.open(target) as copied:
        assert seen(copied.tenant("contoso")) == seen(source.tenant("contoso"))


def test_what_is_told_of_a_table_names_all_of_its_rows(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "BATCH", 2)
    told: list[tuple[str, int, int]] = []
    kept = source.copy_to(f"sqlite:///{tmp_path}/copy.db", lambda *step: told.append(step))
    assert {"indicators", "indicators compared"} <= {name for name, _, _ in told}
    for name, done, total in told:
        assert done <= total == kept[name.removesuffix(" compared")].rows


def test_a_source_that_was_written_to_meanwhile_is_noticed(
    source: Store, tmp_path: Path, databases: Callable[[str, Path], str]
) -> None:
    target = databases("postgresql", tmp_path)

    def stop(name: str, done: int, total: int) -> None:
        if name == "detections" and done == total > 0:
            raise Stopped

    with pytest.raises(Stopped):
        source.copy_to(target, stop)
    tenant = source.tenant("contoso")
    definition = tenant.definitions(limit=1)[0]
    tenant.delete_definition(definition.id or 0)
    with pytest.raises(StoreError, match=r"was written to since the copy was begun: .*counters.* differ"):
        source.copy_to(target)
    with pytest.raises(StoreError, match="has not ended"):
        Store.open(target)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_two_copies_at_once_the_second_is_refused(
    source: Store, tmp_path: Path, databases: Callable[[str, Path], str], kind: str
) -> None:
    target = databases(kind, tmp_path / "target.db")
    refused: list[str] = []

    def second(*_step: object) -> None:
        if not refused:
            with pytest.raises(StoreError) as told:
                source.copy_to(target)
            refused.append(told.value.message)

    source.copy_to(target, second)
    assert "is under way; wait until it has ended" in refused[0]
    with Store.open(target) as copied:
        assert copied.tenant("contoso").counts() == source.tenant("contoso").counts()


def test_a_store_is_not_written_over(
    source: Store, tmp_path: Path, databases: Callable[[str, Path], str]
) -> None:
    target = databases("postgresql", tmp_path)
    Store.open(target).close()
    with pytest.raises(StoreError, match="is not empty"):
        source.copy_to(target)
    with pytest.raises(StoreError, match="is not empty"):
        source.copy_to(f"sqlite:///{tmp_path / 'source.db'}")


# Backups


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that has keys, an output with a target that is sealed, and alerts."""
    folder = tmp_path_factory.mktemp("home") / "home"
    run = [sys.executable, "-m", "indicia", "--home", str(folder)]
    for words in (["init", "--save", f"{folder}.json"], ["outputs", "add", "siem2", "https://198.51.100.7/"]):
        subprocess.run([*run, *words], check=True, capture_output=True)
    with Store.open(f"sqlite:///{folder}/indicia.db") as store:
        furnish(store.tenant(store.tenants()[0].uid))
    return folder


@pytest.fixture
def shell(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """A shell with a copy of it."""
    made = shells.make(tmp_path, monkeypatch, capsys)
    shutil.copytree(home, made.home)
    return made


def test_a_backup_brings_everything_back(shell: Shell) -> None:
    said = shell("store", "backup", "kept").err
    assert "kept holds" in said
    kept = shell.folder / "kept"
    assert kept.stat().st_mode & 0o777 == 0o700
    assert (kept / "home" / "tls" / "ca.key").stat().st_mode & 0o777 == 0o600
    with shell.tenant() as tenant:
        before, count = seen(tenant), tenant.counts().indicators
    lost = shell.home.rename(shell.folder / "lost")
    told = shell("store", "restore", "kept", "--json").json
    assert told["indicators"]["rows"] == count
    with shell.tenant() as tenant:
        after = seen(tenant)
    assert after[2:] == before[2:]
    for path in (lost / "tls").glob("*.*"):
        assert (shell.home / "tls" / path.name).read_bytes() == path.read_bytes()
    assert not list(shell.home.glob(".restore-*"))
    assert "not empty" in shell("store", "restore", "kept", code=2).err
    shell("alerts", "list", "--json")


def test_a_backup_is_of_one_moment(shell: Shell) -> None:
    """Somebody writes all the time; counters and rows agree in what was kept."""
    stopped = threading.Event()

    def write() -> None:
        with shell.tenant() as tenant:
            owner, number = add(tenant, 1), 1
            while not stopped.is_set():
                number += 3
                tenant.add_indicators([indicator(owner, number + step) for step in range(3)], by="tests")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        told = [shell("store", "backup", f"kept-{number}", "--json").json for number in range(3)]
    finally:
        stopped.set()
        writer.join()
    assert told[0]["indicators"]["rows"] < told[-1]["indicators"]["rows"]
    for number, one in enumerate(told):
        with Store.open(f"sqlite:///{shell.folder}/kept-{number}/indicia.db") as store:
            (tenant,) = store.tenants()
            assert store.tenant(tenant.uid).counts().indicators == one["indicators"]["rows"]


def test_a_backup_that_is_damaged_changes_nothing(shell: Shell) -> None:
    shell("store", "backup", "kept")
    kept, fresh = shell.folder / "kept", ("--home", "fresh", "store", "restore", "bad")

    def bad() -> Path:
        shutil.rmtree(shell.folder / "bad", ignore_errors=True)
        return Path(shutil.copytree(kept, shell.folder / "bad"))

    content = (bad() / "indicia.db").read_bytes()
    (shell.folder / "bad" / "indicia.db").write_bytes(content[:5000] + b"x" + content[5001:])
    assert "is damaged: it is not what was backed up" in shell(*fresh, code=2).err
    (bad() / "manifest.json").unlink()
    assert "is no whole backup" in shell(*fresh, code=2).err
    (bad() / "home" / "tls" / "ca.pem").unlink()
    assert "is missing from the backup" in shell(*fresh, code=2).err
    for name in ("../word", "home/../../word", "/etc/hostname", "home/config.toml"):
        path = bad() / "manifest.json"
        told = json.loads(path.read_text())
        told["files"][name] = "0" * 64
        path.write_text(json.dumps(told))
        assert "has no place in one" in shell(*fresh, code=2).err
    for text in (" " * 2_000_000, "[]", "{}", '{"form": 2}', "\xff"):
        (bad() / "manifest.json").write_text(text, "latin-1")
        assert "manifest" in shell(*fresh, code=2).err
    assert not (shell.folder / "fresh").exists()


def test_a_home_with_other_keys_is_left_alone(shell: Shell) -> None:
    shell("store", "backup", "kept")
    shell("--home", "other", "init", "--save", "other.json")
    (shell.folder / "other" / "indicia.db").unlink()
    before = (shell.folder / "other" / "tls" / "ca.pem").read_bytes()
    said = shell("--home", "other", "store", "restore", "kept", code=2).err
    assert "is there already, and another one" in said
    assert (shell.folder / "other" / "tls" / "ca.pem").read_bytes() == before
    assert not (shell.folder / "other" / "indicia.db").exists()


def test_a_folder_with_other_things_is_left_alone(shell: Shell) -> None:
    (shell.folder / "full").mkdir()
    (shell.folder / "full" / "letter").write_text("dear")
    assert "holds 'letter' already" in shell("store", "backup", "full", code=2).err
    shell("store", "backup", "kept")
    assert "holds 'home' already" in shell("store", "backup", "kept", code=2).err
    # Names as a backup has them make none of it: here is a disk with homes, there a store in use.
    (shell.folder / "disk" / "home").mkdir(parents=True)
    (shell.folder / "disk" / "home" / "letter").write_text("dear")
    assert "holds 'home' already" in shell("store", "backup", "disk", code=2).err
    assert (shell.folder / "disk" / "home" / "letter").exists()
    (shell.folder / "alone").mkdir()
    shell("store", "copy", "home/indicia.db", "alone/indicia.db")
    before = (shell.folder / "alone" / "indicia.db").stat().st_ino
    said = shell("--home", "alone", "store", "backup", "alone", code=2).err
    assert "already; name a folder that is not there" in said
    assert (shell.folder / "alone" / "indicia.db").stat().st_ino == before


def test_a_backup_that_was_broken_off_is_begun_anew(shell: Shell) -> None:
    shell("store", "backup", "kept")
    (shell.folder / "kept" / "manifest.json").unlink()
    (shell.folder / "kept" / "unfinished").touch()
    assert "is no whole backup" in shell("--home", "new", "store", "restore", "kept", code=2).err
    shell("store", "backup", "kept")
    assert {path.name for path in (shell.folder / "kept").iterdir()} == {
        "home",
        "indicia.db",
        "manifest.json",
    }


def test_a_restore_that_was_broken_off_goes_on(shell: Shell) -> None:
    shell("store", "backup", "kept")
    (shell.folder / "kept" / "home" / "outputs.key").chmod(0o666)
    # A file stands where a folder is to come: the store is there by then, and the keys are not.
    (shell.folder / "fresh").mkdir()
    (shell.folder / "fresh" / "tls").touch()
    again = ("--home", "fresh", "store", "restore", "kept")
    assert "cannot be written" in shell(*again, code=2).err
    assert "has not ended" in shell("--home", "fresh", "alerts", "list", code=2).err
    (shell.folder / "fresh" / "tls").unlink()
    shell(*again)
    for name in ("outputs.key", "tls/ca.key"):
        found = shell.folder / "fresh" / name
        assert found.read_bytes() == (shell.home / name).read_bytes()
        assert found.stat().st_mode & 0o777 == 0o600
    shell("--home", "fresh", "alerts", "list")


def test_a_secret_of_an_output_can_be_used_after_a_restore(shell: Shell) -> None:
    shell("store", "backup", "kept")
    shell.home.rename(shell.folder / "lost")
    shell("store", "restore", "kept")
    assert (shell.home / "outputs.key").read_bytes() == (shell.folder / "lost" / "outputs.key").read_bytes()
    with shell.tenant() as tenant:
        found: list[Output] = list(tenant.outbox.outputs())
    assert "siem2" in {one.name for one in found}


def test_a_store_moves_to_a_server(
    shell: Shell, databases: Callable[[str, Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = databases("postgresql", shell.folder)
    assert "Copied and compared" in shell("store", "copy", "home/indicia.db", target).err
    with shell.tenant() as tenant:
        before = seen(tenant)
    monkeypatch.setenv("INDICIA_DATABASE", target)
    assert shell("indicators", "list", "--json").json
    with Store.open(target) as store:
        assert seen(store.tenant(store.tenants()[0].uid))[2:] == before[2:]
    kept = shell("store", "backup", "kept", "--json").json
    monkeypatch.delenv("INDICIA_DATABASE")
    shell.home.rename(shell.folder / "lost")
    assert shell("store", "restore", "kept", "--json").json == kept
    with shell.tenant() as tenant:
        assert seen(tenant)[2:] == before[2:]
