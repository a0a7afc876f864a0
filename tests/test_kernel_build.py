"""The C extension is built where the tests run, and without it everything still works, and says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from indicia.match.kernel import BUILT

ROOT = Path(__file__).resolve().parent.parent


def test_the_extension_was_built() -> None:
    """Without it half of the tests of matching are skipped; who wants that sets INDICIA_NO_EXTENSION=1."""
    assert BUILT or os.environ.get("INDICIA_NO_EXTENSION") == "1", "match/_kernel.c was not built: make setup"


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of an Indicia that was installed where the compiler fails."""
    folder = tmp_path_factory.mktemp("no-compiler")
    copy, site = folder / "indicia", folder / "site"
    copy.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(
        ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__")
    )
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "--quiet",
    ]
    ran = subprocess.run(
        [*install, "--target", str(site), str(copy)],
        env=os.environ | {"CC": "false", "CXX": "false"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert not list(site.rglob("_kernel*.so"))
    return os.environ | {"PYTHONPATH": str(site), "INDICIA_HOME": str(folder / "home")}


def indicia(
    environment: dict[str, str], *arguments: str, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "indicia", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=100)


@pytest.mark.full
def test_without_a_compiler_scans_are_right(slow: dict[str, str], tmp_path: Path) -> None:
    rows = "Type,Value,DetectionFunction\nDomainName,evil.example,SubdomainOf\n"
    (tmp_path / "list.csv").write_text(rows, "utf-8")
    (tmp_path / "events.json").write_text('{"query":"a.evil.example"}\n{"query":"good.example"}\n', "utf-8")
    arguments = ("scan", "--output", "ndjson", "--indicators", "list.csv", "events.json")
    ours, theirs = (
        indicia(dict(os.environ), *arguments, folder=tmp_path),
        indicia(slow, *arguments, folder=tmp_path),
    )
    assert theirs.returncode == ours.returncode == 1  # something raised
    assert theirs.stdout == ours.stdout
    assert "a.evil.example" in theirs.stdout


@pytest.mark.full
def test_without_a_compiler_the_doctor_says_so(slow: dict[str, str]) -> None:
    ran = indicia(slow, "doctor", "--json")
    assert ran.returncode == 1
    (finding,) = (one for one in json.loads(ran.stdout)["checks"] if one["what"] == "kernel")
    assert finding["state"] == "fault"
    assert "NOT BUILT" in finding["text"]


@pytest.mark.full
def test_without_a_compiler_serve_wants_a_word(slow: dict[str, str], tmp_path: Path) -> None:
    refused = indicia(slow, "serve")
    assert refused.returncode == 2
    assert "--allow-slow" in refused.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    assert indicia(slow, "init", "--save", str(tmp_path / "secret")).returncode == 0
    command = [sys.executable, "-m", "indicia", "serve", "--allow-slow", "--no-tls", "--port", port]
    with subprocess.Popen(command, env=slow, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        line = service.stdout.readline()
        service.send_signal(signal.SIGTERM)
        assert port in line
        assert service.wait(60) == 0
