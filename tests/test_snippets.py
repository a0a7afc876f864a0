"""The snippets of the five steps: run as they are against a real service, with the tenant's own values."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indicia.settings import Settings
from indicia.store import Store
from indicia.web import snippets
from indicia.web.access import details
from service import Access, Process, add_access, running

DETAILS = {
    "tenant_id": "5a1c",
    "client_id": "c1",
    "client_secret": "never in a snippet",
    "authorization_url": "https://indicia.example/5a1c/oauth2/token",
    "token_url_v2": "https://indicia.example/5a1c/oauth2/v2.0/token",
    "resource": "https://graph.windows.net",
    "api_url": "https://indicia.example/V1.0",
    "ca_file": "/srv/o'brien $(id) `x` \u2019\\/ca.pem",
}
COMMANDS = {"python": [sys.executable], "powershell": ["pwsh", "-NoProfile", "-File"], "curl": ["sh"]}
LANGUAGES = {one.name: one for one in snippets.LANGUAGES}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service in a folder whose name needs care in every language."""
    home = tmp_path_factory.mktemp("o'brien's $HOME")
    with Store.open(Settings(home=home).database_url):
        pass
    with running(home) as service:
        yield service


def run(service: Process, access: Access, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A snippet, saved and run, with nothing but its secret from outside."""
    known = details(Settings(home=service.home, port=service.port), access.tenant_id, access.client_id, "")
    file = folder / LANGUAGES[name].file
    file.write_text(snippets.filled(LANGUAGES[name], known), "utf-8")
    environment = {key: value for key, value in os.environ.items() if "CA_BUNDLE" not in key}
    environment |= {snippets.SECRET: access.client_secret, "SSL_CERT_FILE": service.authority}
    return subprocess.run(
        [*COMMANDS[name], str(file)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.full
@pytest.mark.parametrize("name", LANGUAGES)
def test_a_snippet_does_the_five_steps(served: Process, tmp_path: Path, name: str) -> None:
    program = COMMANDS[name][0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not there: the snippet is looked at, and not run")
    with Store.open(f"sqlite:///{served.home / 'indicia.db'}") as store:
        access = add_access(store, name)
        done = run(served, access, name, tmp_path)
        assert done.returncode == 0, done.stderr
        assert access.client_secret not in done.stdout + done.stderr
        own = store.tenant(access.tenant_id)
        (made,), (found,) = own.definitions(), own.indicators()
    assert (made.title, made.severity, made.category) == ("The title", "Low", "Trojan")
    assert (found.value, found.definition.id) == ("dead1111eeaabbccddeeaabbccddee11ffffffff", made.id)
    assert found.created_by == access.client_id


@pytest.mark.full
@pytest.mark.parametrize("name", ["python", "curl"])
def test_a_snippet_ends_with_a_fault_where_the_secret_is_wrong(
    served: Process, tmp_path: Path, name: str
) -> None:
    with Store.open(f"sqlite:///{served.home / 'indicia.db'}") as store:
        right = add_access(store, f"wrong {name}")
        wrong = Access(right.tenant_id, right.client_id, "wrong", right.secret_id)
        done = run(served, wrong, name, tmp_path)
        assert done.returncode != 0
        assert not store.tenant(right.tenant_id).definitions()


@pytest.mark.parametrize("language", snippets.LANGUAGES, ids=lambda one: one.name)
def test_every_value_is_a_literal_and_the_secret_is_in_none(language: Any) -> None:
    text = snippets.filled(language, DETAILS)
    assert DETAILS["client_secret"] not in text
    assert snippets.SECRET in text
    for name in ("authorization_url", "client_id", "resource", "api_url", "ca_file"):
        assert language.literal(DETAILS[name]) in text
    assert not re.search(r"@[a-z_]+@", text)


def test_literals_hold_what_would_end_them() -> None:
    hostile = "a'b\"c$(id)`id`\u2019\n"
    assert LANGUAGES["powershell"].literal(hostile) == "'a''b\"c$(id)`id`\u2019\u2019\n'"
    assert eval(LANGUAGES["python"].literal(hostile)) == hostile
    said = subprocess.run(
        ["sh", "-c", f"printf %s {LANGUAGES['curl'].literal(hostile)}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == hostile


def test_the_powershell_snippet_has_its_shape() -> None:
    """Where there is no PowerShell it is at least balanced, and names every step in order."""
    text = snippets.filled(LANGUAGES["powershell"], DETAILS | {"ca_file": ""})
    for left, right in ("{}", "()"):
        assert text.count(left) == text.count(right)
    assert [line[2] for line in text.splitlines() if re.match(r"# \d\.", line)] == list("12345")
    assert re.findall(r"-Method (\w+)", text) == ["Post", "Get", "Post", "Post"]
    keys = set(re.findall(r"^    (\w+) +=", text, re.MULTILINE))
    assert {"Title", "Severity", "Category", "Value", "DetectionFunction", "client_secret"} <= keys
