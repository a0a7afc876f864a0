"""The first run to the first alert, as README tells it: `indicia init`, `indicia serve`, and then a browser.

Nothing is there before and nothing is reached around: the home is empty, the link is the one that `serve`
prints, and what a script needs is read from the page.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest
import requests
from playwright.sync_api import Page, expect

from browser import CHROMIUM, chromium, no_violation
from service import free_port, wait_until
from visiting import PASSWORD

pytestmark = pytest.mark.full
REPORT = "The beacon is at beacon[.]evil[.]example."
VALUE = "beacon.evil.example"
SENT, SCANNED = "ws-17.corp.example", "ws-18.corp.example"


def event(machine: str) -> str:
    """A look-up of the name that the report warns of."""
    return json.dumps(
        {
            "@timestamp": "2024-03-12T08:53:07Z",
            "host": {"name": machine},
            "dns": {"question": {"name": VALUE}},
        }
    )


def indicia(home: Path, *arguments: str) -> list[str]:
    """The command with a home."""
    return [sys.executable, "-m", "indicia", "--home", str(home), *arguments]


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """`indicia init` and `indicia serve` as processes; the one-time link that the latter prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
    begun = indicia(home, "init", "--port", str(free_port()), "--save", f"{home}.json")
    done = subprocess.run(begun, env=clean, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen(
        indicia(home, "serve"), env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said: Queue[str] = Queue()
    assert process.stdout is not None
    # Read to the end, so that no full pipe holds the service up.
    reader = Thread(target=lambda lines: deque(map(said.put, lines), 0), args=(process.stdout,))
    reader.start()
    try:
        while not (found := re.search(r"is one: (https://\S+/portal/link/\S+)", said.get(timeout=60))):
            pass
        yield found[1]
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


@pytest.fixture
def link(tmp_path: Path) -> Iterator[str]:
    if CHROMIUM is None:
        pytest.skip("Chromium is absent: tests in a browser are skipped")
    with serving(tmp_path / "home") as found:
        yield found


def test_from_the_first_run_to_the_first_alert(link: str, tmp_path: Path) -> None:
    with chromium() as browser:
        context = browser.new_context(ignore_https_errors=True, locale="en-GB", timezone_id="UTC")
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("console", no_violation)
        become_administrator(page, link)
        session, api = enabled(page)
        defined(page)
        pasted(page)
        with session:
            send(session, api)
        alerted(page, SENT)
        scan(page, tmp_path)
        alerted(page, SCANNED)
        page.goto(link)
        expect(page.get_by_text("this link was used before")).to_be_visible()
        context.close()


def become_administrator(page: Page, link: str) -> None:
    """By the link, which asks for no more than a name and a password."""
    page.goto(link)
    expect(page.get_by_text("You become Administrator")).to_be_visible()
    page.get_by_label("Name", exact=True).first.fill("ada")
    page.get_by_label("Password", exact=True).first.fill(PASSWORD)
    page.get_by_label("The password again").fill(PASSWORD)
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def enabled(page: Page) -> tuple[requests.Session, str]:
    """A session with a token got by what the page of threat intel shows, and the API's address.

    It is enabled already, because `init` makes an application, but that one's secret no page shows again.
    """
    page.get_by_role("link", name="Threat intel").first.click()
    expect(page.get_by_text("made by indicia init").first).to_be_visible()
    page.get_by_text("New secret", exact=True).click()
    page.get_by_label("What the secret is for").fill("the first run")
    page.get_by_role("button", name="Make a secret").click()
    secret = page.get_by_role("region", name="Client secret", exact=True).inner_text()
    names = ("client_id", "authorization_url", "resource", "api_url", "ca_file")
    shown = {name: page.locator(f"#value-{name}").inner_text() for name in names}
    session = requests.Session()
    session.trust_env = False
    session.verify = shown["ca_file"]
    form = {"grant_type": "client_credentials", "client_id": shown["client_id"], "client_secret": secret}
    form["resource"] = shown["resource"]
    given = session.post(shown["authorization_url"], data=form, timeout=30)
    assert given.status_code == 200, given.text
    session.headers["Authorization"] = f"Bearer {given.json()['access_token']}"
    return session, shown["api_url"]


def defined(page: Page) -> None:
    """An alert definition, reached as an empty queue says."""
    page.get_by_role("link", name="Alerts", exact=True).first.click()
    expect(page.get_by_text("No alert yet")).to_be_visible()
    page.get_by_role("link", name="Definitions").last.click()
    page.get_by_role("link", name="New definition").last.click()
    page.get_by_label("Title").fill("Paper Lantern: beacon")
    page.get_by_label("Severity").select_option("High")
    page.get_by_label("Name", exact=True).fill("lantern")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_text("Give it indicators next")).to_be_visible()


def pasted(page: Page) -> None:
    """An indicator out of a report."""
    page.get_by_role("link", name="Paste", exact=True).first.click()
    page.get_by_label("Any text").fill(REPORT)
    page.get_by_role("button", name="Understand it").click()
    page.get_by_label("Alert definition").select_option(label="lantern (High)")
    page.get_by_role("button", name="Store them").click()
    expect(page.get_by_text("1 indicator is stored")).to_be_visible()


def send(session: requests.Session, api: str) -> None:
    """An event, until it meets the indicator, which is within a second of its being written."""

    def met() -> bool:
        answer = session.post(f"{api}/Events", data=event(SENT), timeout=30)
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["newDetections"])

    wait_until(10, met)


def scan(page: Page, folder: Path) -> None:
    """A log file, recorded at once."""
    log = folder / "dns.json"
    log.write_text(event(SCANNED) + "\n")
    page.get_by_role("link", name="Scan", exact=True).first.click()
    page.get_by_label("File", exact=True).set_input_files(log)
    page.get_by_label("Record what is found as alerts").check()
    page.get_by_role("button", name="Scan", exact=True).click()
    expect(page.get_by_text("Recorded:")).to_be_visible(timeout=60_000)


def alerted(page: Page, machine: str) -> None:
    """The alert of a machine is in the queue; its page has the evidence marked in the event, and says why."""
    page.get_by_role("link", name="Alerts", exact=True).first.click()
    row = page.get_by_role("row").filter(has_text=machine)
    expect(row).to_contain_text(VALUE)
    row.get_by_role("link", name="Paper Lantern: beacon").click()
    expect(page.get_by_role("heading", name="Paper Lantern: beacon")).to_be_visible()
    shown = page.get_by_role("region", name="The event, with what matched marked")
    expect(shown).to_contain_text(machine)
    expect(shown.locator("mark")).to_have_text(VALUE)
    expect(page.locator("#why .step-yes").first).to_be_visible()
    expect(page.locator("#why .step-no")).to_have_count(0)
