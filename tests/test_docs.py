"""What the documents say is so: targets, commands, links, settings, dependencies, figures, examples."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from indicia import errors, settings, telemetry
from indicia.cli import root
from indicia.detect import detect
from indicia.feeds import read
from indicia.feeds.make import OwnList
from indicia.match import ReferenceMatcher
from indicia.telemetry.meanings import MEANINGS
from service import free_port

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DESIGN = ROOT / "docs" / "DESIGN.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def name(path: Path) -> str:
    """A document as failures call it."""
    return path.relative_to(ROOT).as_posix()


def code(text: str) -> Iterator[str]:
    """What stands in backquotes and in blocks of code."""
    yield from re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {
        word for piece in code(path.read_text("utf-8")) for word in re.findall(r"\bmake ([a-z-]+)", piece)
    }
    assert named <= targets


def commands(group: click.Command, context: click.Context, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command and group of the command line, as it is typed."""
    if not isinstance(group, click.Group):
        return
    for word in group.list_commands(context):
        found = group.get_command(context, word)
        assert found is not None
        yield " ".join((*above, word))
        yield from commands(found, click.Context(found, parent=context), (*above, word))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_commands_exist(path: Path) -> None:
    known = set(commands(root, click.Context(root)))
    named = {
        "".join(words)
        for piece in code(path.read_text("utf-8"))
        for words in re.findall(r"^(?:\$ )?indicia ([a-z]+)((?: [a-z]+)?)\b", piece, re.MULTILINE)
    }
    unknown = {
        words for words in named if words not in known and words.split()[0] not in known - groups(known)
    }
    assert unknown == set()


def groups(known: set[str]) -> set[str]:
    """Those that have commands below them; what follows the others is an argument."""
    return {words.split()[0] for words in known if " " in words}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8"))
    lost = [
        link
        for link in links
        if not link.startswith(("https://", "http://", "mailto:", "#"))
        and not (path.parent / link.partition("#")[0]).exists()
    ]
    assert lost == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_files_that_are_named_exist(path: Path) -> None:
    named = re.findall(
        r"`((?:src|tests|docs|examples|bench|scripts)/[\w./-]+\.\w+)`", path.read_text("utf-8")
    )
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_the_tree_of_the_design_is_the_tree() -> None:
    text = re.search(r"^## The tree\n(.*?)^## ", DESIGN.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    drawn = set(re.findall(r"^\| `([\w/.]+)` \|", text[1] if text else "", re.MULTILINE))
    package = ROOT / "src" / "indicia"
    there = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    there |= {path.name for path in package.glob("*.py") if not path.stem.startswith("__")}
    assert drawn == there


def test_settings_of_the_design_are_the_settings() -> None:
    defaults = settings.Settings(home=Path())
    lines = ["| setting | default | what it is |", "|---|---|---|"]
    lines += [f"| `{key}` | `{getattr(defaults, key)}` | {what} |" for key, _, what in settings.TABLE]
    written = re.search(r"<!-- settings -->\n(.*?)<!-- /settings -->", DESIGN.read_text("utf-8"), re.DOTALL)
    assert written
    assert written[1].strip() == "\n".join(lines)


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text("utf-8")
    cells = re.findall(r"^\| ([\w, -]+) \| .{10,} \|$", text, re.MULTILINE)
    told = {word for cell in cells for word in cell.split(", ")} - {"package"}
    project = PROJECT["project"]
    groups_of = [*PROJECT["dependency-groups"].values(), *project["optional-dependencies"].values()]
    listed = [*project["dependencies"], *(line for group in groups_of for line in group)]
    asked = {re.split(r"[\[><=]", line)[0].strip() for line in listed if isinstance(line, str)}
    assert told == asked


def test_every_meaning_of_a_field_is_told() -> None:
    text = (ROOT / "docs" / "mappings.md").read_text("utf-8")
    told = {
        word
        for row in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE)
        for word in re.findall(r"`(.+?)`", row)
    }
    assert set(MEANINGS) <= told


def test_the_mapping_of_the_manual_is_one() -> None:
    text = (ROOT / "docs" / "mappings.md").read_text("utf-8")
    mapping = tomllib.loads(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0])
    for meaning in mapping["fields"].values():
        assert meaning.split()[0] in MEANINGS


def test_the_example_of_the_design() -> None:
    own = OwnList("indicators.csv")
    matcher = ReferenceMatcher(own.indicators(read(str(ROOT / "examples" / "indicators.csv"))))
    (source,) = telemetry.sources([str(ROOT / "examples" / "telemetry" / "zeek" / "dns.log")])
    faults: list[telemetry.Malformed] = []
    (event,) = (e for e in telemetry.events(source, malformed=faults.append) if e.line == 12)
    found = detect(event, matcher)
    (shown,) = (d for d in found if d.indicator.canonical == "cdn-updates.example")
    assert [piece.path for piece in shown.evidence] == ["query", "answers[0]"]
    assert len(found) == 3
    assert len({d.alert_id for d in found}) == 1
    text = DESIGN.read_text("utf-8")
    for fact in (event.facts.event_id, shown.id, shown.alert_id, shown.machine, shown.window):
        assert fact in text


def test_statuses_that_are_promised_are_errors_of_ours() -> None:
    text = (ROOT / "docs" / "clients.md").read_text("utf-8")
    assert "refused with 501" in text
    assert errors.NotSupported.status == 501


def section(document: str, title: str) -> list[str]:
    """The shell blocks of a section."""
    text = (ROOT / document).read_text("utf-8")
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{document} has no section {title!r}"
    return re.findall(r"```sh\n(.*?)```", found[1], re.DOTALL)


@pytest.mark.full
def test_five_minutes_of_the_readme(tmp_path: Path) -> None:
    blocks = section("README.md", "Five minutes to your own first alert")
    assert blocks
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    script = "\n".join(["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT", *blocks])
    kept = "\n".join(line for line in script.splitlines() if not line.startswith(("make setup", ". .venv")))
    done = subprocess.run(
        ["bash", "-c", kept], cwd=tmp_path, env=clean(tmp_path), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "A name that I do not want to see" in done.stdout


def clean(home: Path) -> dict[str, str]:
    """An environment with a home and a port of its own, in which `indicia` and `python` are ours."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("INDICIA_")}
    path = f"{Path(sys.executable).parent}:{kept.get('PATH', '')}"
    return kept | {"PATH": path, "INDICIA_HOME": str(home / "home"), "INDICIA_PORT": str(free_port())}


@pytest.mark.full
def test_the_demo_ends_by_itself(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py"), "--home", str(home)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for told in ("init", "serve", "1. token", "5. indicator", "bulk upload", "scan", "SIGTERM, exit code 0"):
        assert told in done.stdout
    # Raised by what the five steps made, not by the list alone.
    assert "The agent of Paper Lantern, by its SHA-1" in done.stdout
    access = json.loads((home / "details.json").read_text("utf-8"))
    assert (home / "details.json").stat().st_mode & 0o777 == 0o600
    assert access["client_secret"] not in done.stdout + done.stderr


def test_a_demo_that_cannot_says_which_step(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("not a home")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py"), "--home", str(tmp_path)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "step 'init' failed" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "not a home"
