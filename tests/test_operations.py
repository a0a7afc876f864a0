"""docs/operations.md: its commands are run, the metrics it watches are there, and what it quotes is said."""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from test_docs import clean

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "operations.md").read_text("utf-8")
BEFORE = """
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
indicia init --save access.json
indicia serve > served &
until grep -q 'listens on' served; do sleep 0.1; done
echo '{"query": "beacon.evil.example"}' > event.json
"""
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def blocks() -> list[str]:
    """What is marked as shell: all of it can be done on a machine with nothing but Indicia."""
    found = re.findall(r"^( *)```sh\n(.*?)^\1```$", TEXT, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in found]


@pytest.mark.full
def test_the_commands_do_what_they_are_said_to(tmp_path: Path) -> None:
    found = blocks()
    assert len(found) >= 10
    script = "\n".join(
        [BEFORE, *(f"printf '\\n== {place}\\n'\n{block}" for place, block in enumerate(found))]
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=clean(tmp_path), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    told = dict(
        zip(range(len(found)), re.split(r"^== \d+\n", done.stdout, flags=re.MULTILINE)[1:], strict=True)
    )
    assert '"status":"ready"' in told[0]
    (restored,) = (place for place, block in enumerate(found) if "store restore" in block)
    assert re.search(r"^tenant default +ok +0 definitions", told[restored], re.MULTILINE)
    assert f"{tmp_path / 'restored'}" in told[restored]
    assert told[len(found) - 1] == "indicia_workers 1\n"


def test_what_is_watched_is_measured() -> None:
    source = (ROOT / "src" / "indicia" / "web" / "metrics.py").read_text("utf-8")
    for name in set(re.findall(r"\bindicia_\w+", TEXT)):
        assert f'"{name}' in source, name


def test_what_a_start_is_quoted_with_is_what_it_says() -> None:
    sources = [path.read_text("utf-8") for path in (ROOT / "src" / "indicia").rglob("*.py")]
    rows = re.findall(r"^\| (`.+?) \|", SECTIONS["It does not start"], re.MULTILINE)
    quoted = [words for row in rows for words in re.findall(r"`(.+?)`", row)]
    assert len(quoted) > 6
    for words in quoted:
        assert any(words in text for text in sources), words


def test_every_trouble_that_is_named_has_its_section() -> None:
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in SECTIONS}
    named = set(re.findall(r"\]\(#([\w-]+)\)", TEXT))
    assert len(named) > 8
    assert named <= anchors
