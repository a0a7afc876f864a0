"""The command line as tests use it: in this process, with its streams and its exit code."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from indicia.cli import failure, root
from indicia.store import Counts, Store, TenantStore


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error that --json writes as the last line of stderr."""
        return json.loads(self.err.splitlines()[-1])["error"]


@dataclass(frozen=True)
class Shell:
    """Runs commands with a home of its own; paths are below `folder`, which is the current one."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    @property
    def home(self) -> Path:
        """The home that INDICIA_HOME names."""
        return self.folder / "home"

    def __call__(self, *arguments: str | Path, stdin: bytes | None = None, code: int = 0) -> Ran:
        """Run a command in this process, as `indicia ARGUMENTS…`; its code must be the expected one."""
        self.capsys.readouterr()
        with self.monkeypatch.context() as patch:
            if stdin is not None:
                patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            ended = failure.run(root, [str(argument) for argument in arguments])
        ran = Ran(ended, *self.capsys.readouterr())
        assert "Traceback" not in ran.err
        assert ran.code == code, f"exit code {ran.code}: {ran.err}"
        return ran

    def process(self, *arguments: str | Path, **more: Any) -> subprocess.Popen[bytes]:
        """Start a command as a process of its own."""
        command = [sys.executable, "-m", "indicia", *map(str, arguments)]
        pipes: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": False,
        }
        return subprocess.Popen(command, cwd=self.folder, **(pipes | more))

    def write(self, name: str, content: str | bytes) -> Path:
        """A file of the current folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def begin(self) -> Shell:
        """A home of one tenant, as `init --save access-0.json` makes it."""
        template = made_home()
        shutil.copytree(template.name, self.folder, dirs_exist_ok=True)
        access = self.folder / "access-0.json"
        access.write_text(access.read_text().replace(template.name, str(self.folder)))
        return self

    def init(self, *arguments: str) -> dict[str, str]:
        """A further tenant; its access."""
        name = f"access-{len(list(self.folder.glob('access-*')))}.json"
        self("init", "--save", name, *arguments)
        access: dict[str, str] = json.loads((self.folder / name).read_text())
        return access

    def definition(self, name: str = "mine", *arguments: str) -> int:
        """A new alert definition; its id."""
        return int(self("definitions", "add", "--name", name, *arguments).out)

    @contextmanager
    def tenant(self, name: str = "default") -> Iterator[TenantStore]:
        """The store of a tenant, as another process sees it."""
        with Store.open(f"sqlite:///{self.home / 'indicia.db'}") as store:
            yield store.tenant(name)

    def counts(self) -> Counts:
        """What the first tenant has."""
        with self.tenant() as tenant:
            return tenant.counts()


@cache
def made_home() -> tempfile.TemporaryDirectory[str]:
    """A folder with a home: migrations and keys take a third of a second, so it is made once and copied."""
    folder = tempfile.TemporaryDirectory()
    home, access = Path(folder.name, "home"), Path(folder.name, "access-0.json")
    assert failure.run(root, ["--home", str(home), "init", "--save", str(access)]) == 0
    return folder


def make(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell in an empty folder, with no setting of the environment but its home."""
    for name in os.environ:
        if name.startswith("INDICIA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("INDICIA_HOME", str(folder / "home"))
    monkeypatch.chdir(folder)
    return Shell(folder, monkeypatch, capsys)
