"""What docs/sdk.md and the examples of the SDK say is so: the reference, every snippet, every script."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from indicia.client import AlertDefinition, Category, Client, Indicator, IndicatorType, Severity
from indicia.settings import Settings
from indicia.store import Store
from service import Process, add_access, running

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "sdk.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(tmp_path_factory.mktemp("home")) as service:
        yield service


@pytest.fixture
def folder(process: Process, tmp_path: Path) -> Path:
    """A folder with the details.json of a new tenant."""
    with Store.open(Settings(home=process.home).database_url) as store:
        access = add_access(store, tmp_path.name)
    details = {
        "tenant_id": access.tenant_id,
        "client_id": access.client_id,
        "client_secret": access.client_secret,
        "authorization_url": f"{process.url}/{access.tenant_id}/oauth2/token",
        "api_url": f"{process.url}/V1.0",
        "ca_file": process.authority,
    }
    (tmp_path / "details.json").write_text(json.dumps(details))
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in that folder."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_reference_is_that_of_the_code() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "sdk_reference.py"))
    text = PAGE.read_text("utf-8")
    assert script["page"](text) == text, "run scripts/sdk_reference.py"


@pytest.mark.full
def test_the_snippet_of_the_readme_runs(folder: Path) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert run(folder, str(ROOT / "examples" / "sdk_five_steps.py"), "details.json").returncode == 0
    done = run(folder, "-W", "error", "-c", snippet)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("evil.example 2")


@pytest.mark.full
def test_the_snippets_run_one_after_the_other(folder: Path) -> None:
    assert len(SNIPPETS) == 7
    shown = []
    for snippet in SNIPPETS:
        done = run(folder, "-W", "error", "-c", snippet)
        assert done.returncode == 0, f"{snippet}\n{done.stderr}"
        shown.append(done.stdout)
    assert "evil.example" in shown[1]
    assert "0 with a quote in it" in shown[1]
    assert "Paper Lantern" in shown[2]
    assert shown[3] == ""
    assert "5000 stored\n6000 stored" in shown[4]
    assert re.fullmatch(r"0 was there\n1 iocs\[1\]\.Value: .+\n2 new\n", shown[5])
    assert shown[6].startswith("InvalidValue Title ")


@pytest.mark.full
def test_the_five_steps(folder: Path) -> None:
    script = str(ROOT / "examples" / "sdk_five_steps.py")
    for number in (1, 2):
        done = run(folder, script, "details.json")
        assert done.returncode == 0, done.stderr
        assert "made indicator" in done.stdout
        assert done.stdout.count("there is definition") == number - 1
    (folder / "details.json").write_text("{}")
    done = run(folder, script, "details.json")
    assert done.returncode == 1
    assert done.stderr.startswith("MalformedFile: details.json: lacks client_id")


@pytest.mark.full
def test_tables_hold_what_is_stored(folder: Path) -> None:
    with Client.from_file(folder / "details.json") as client:
        owner = client.add_definition(
            AlertDefinition(name="n", title="t", severity=Severity.LOW, category=Category.TROJAN)
        )
        made = [
            client.add_indicator(Indicator(type=IndicatorType.URL, value=value, definition_id=owner.id))
            for value in ("https://evil.example/a", "https://evil.example/ü")
        ]
    done = run(folder, str(ROOT / "examples" / "tables.py"), "details.json", str(folder))
    assert done.returncode == 0, done.stderr
    assert "indicators: 2 rows" in done.stdout
    found = parquet.read_table(folder / "indicators.parquet")
    assert found.column("value").to_pylist() == [one.value for one in made]
    assert found.column("definition_id").to_pylist() == [owner.id] * 2
    assert found.column("created_at").to_pylist() == [one.created_at for one in made]
    assert found.schema.field("type").type == pyarrow.string()
    assert found.schema.field("expires_at").type == pyarrow.timestamp("us", tz="UTC")
    titles = parquet.read_table(folder / "definitions.parquet").column("title").to_pylist()
    assert titles == ["t"]
