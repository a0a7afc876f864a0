"""The command line where something is in its way: broken files, full disks, homes that cannot be written."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import shell as shells
from indicia.cli.failure import USAGE
from shell import Shell

pytestmark = pytest.mark.full


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell with a home of one tenant."""
    return shells.make(tmp_path, monkeypatch, capsys).begin()


def test_of_an_import_that_breaks_off_what_came_is_stored_and_the_exit_code_tells(shell: Shell) -> None:
    plain = "".join(f"host-{number * 7919}.example\n" for number in range(5000)).encode()
    shell.write("cut.gz", gzip.compress(plain)[:-8000])
    owner = str(shell.definition())
    dry = shell("indicators", "import", "cut.gz", "--definition", owner, "--dry-run", code=USAGE)
    assert "what came before would be stored" in dry.err
    ran = shell("indicators", "import", "cut.gz", "--definition", owner, "--json", code=USAGE)
    assert "cut.gz: breaks off; what came before is stored" in ran.err
    assert "cut.gz is read as a plain list" in ran.err
    assert 0 < ran.json["added"] == shell.counts().indicators < 5000
    again = shell("indicators", "import", "cut.gz", "--definition", owner, "--json", code=USAGE)
    assert again.json["added"] == 0
    shell.write("whole.gz", gzip.compress(plain))
    shell("indicators", "import", "whole.gz", "--definition", owner, "--format", "list")
    assert shell.counts().indicators == 5000


def test_a_saved_stdout_is_called_so(shell: Shell) -> None:
    assert "its access is on stdout." in shell("init", "--save", "-").err


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\x1bb", "a\nb"])
def test_names_of_tenants_are_short_and_printable(shell: Shell, name: str) -> None:
    assert "name: " in shell("init", "--save", "other.json", "--tenant", name, code=USAGE).err
    assert not (shell.folder / "other.json").exists()
    assert len(shell("init", "--save", "other.json", "--tenant", "ü" * 100).err) > 100


@pytest.mark.parametrize("asked", [("--help",), ("clients", "list"), ("clients", "list", "--json")])
def test_a_full_disk_is_no_fault_of_ours(shell: Shell, asked: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        process = shell.process(*asked, stdout=full)
        _, told = process.communicate()
    assert process.returncode == USAGE
    assert told.decode().count("the output cannot be written: No space left on device") == 1
    assert len(told.splitlines()) == 1


def test_help_and_faults_spell_words_as_the_api_does(shell: Shell) -> None:
    shown = shell("indicators", "add", "--help").out
    assert "[Sha1|Sha256|Md5|IpAddress|DomainName|Url|FileName]" in shown
    assert "[default: Equals]" in shown
    wrong = shell("definitions", "add", "--name", "n", "--severity", "bad", code=USAGE)
    assert "'bad' is not one of Informational, Low, Medium, High" in wrong.err
    shell("definitions", "add", "--name", "n", "--severity", "hIGH")


READ_ONLY_HOME = """
import os, sys
from pathlib import Path
from indicia.cli import failure, root, serve
from indicia.match import kernel
from indicia.store import inspection
from indicia.web import serve as service
home = Path(sys.argv[1])
assert inspection.writable(home)
(home / "indicia.db").chmod(0o444)
home.chmod(0o555)
if os.geteuid() == 0:
    os.setuid(65534)
sys.exit(failure.run(root, ["--home", str(home), "serve"]))
"""


def test_a_home_that_may_not_be_written_is_not_served() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        shutil.copytree(Path(shells.made_home().name) / "home", home)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY_HOME, str(home)], capture_output=True, text=True, timeout=60
        )
        home.chmod(0o755)
    assert done.returncode == USAGE, done.stderr
    assert "cannot be written by you" in done.stderr
