"""The whole road once, against a real service: what `make demo` runs.

    python examples/demo.py [--home FOLDER]

A tenant is made in a new home (.demo of the checkout), the service starts with TLS on a free port of
loopback, the five steps of the published example run over HTTPS, a list of indicators is uploaded in bulk,
the sample telemetry is scanned, and the alerts are shown. Then the service is stopped. Exit code 0; 1 where
a step failed, with the step and the end of the log. The home stays until the next run.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import requests

import five_steps

EXAMPLES = Path(__file__).resolve().parent
ROOT = EXAMPLES.parent
TELEMETRY = EXAMPLES / "telemetry"
LIST = EXAMPLES / "indicators.csv"
START_SECONDS = 30
STOP_SECONDS = 30
SCAN_SECONDS = 120
LOG_LINES = 15
RAISED = 1
"""Exit code of a scan that raised something."""

DEFINITION = five_steps.ALERT_DEFINITION | {
    "Name": "Five steps",
    "Title": "The agent of Paper Lantern, by its SHA-1",
    "Severity": "High",
    "Category": "Malware",
}
INDICATOR = five_steps.INDICATOR | {"Value": "1d2d0f39cd73c6e3c1616214816a6591db1d9550"}


class DemoFailed(Exception):
    """A step did not do what it should; the message says why."""


class Steps:
    """Numbers the steps, takes their time, and remembers which one runs."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.count = 0
        self.current = ""

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """One step; what it appends to the list is shown behind its time."""
        self.count += 1
        self.current = name
        words: list[str] = []
        began = time.monotonic()
        yield words
        seconds = time.monotonic() - began
        print(f"{self.count:>3}  {bold(f'{name:<18}')} {seconds:6.2f} s   {' '.join(words)}", flush=True)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began


def bold(text: str) -> str:
    """As it is where nobody looks at a terminal."""
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def indicia(home: Path, *arguments: str) -> list[str]:
    """The command line of the command line."""
    return [sys.executable, "-m", "indicia", "--home", str(home), *arguments]


def run(home: Path, *arguments: str) -> None:
    """Run the command to its end, in silence."""
    command = indicia(home, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, env=environment())
    if done.returncode:
        raise DemoFailed(f"indicia {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")


def environment() -> dict[str, str]:
    """The environment, less settings that are meant for another home."""
    return {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}


def fresh(home: Path) -> None:
    """An empty home; a folder that is something else is left alone."""
    if home.exists() and any(home.iterdir()) and not (home / "indicia.db").exists():
        raise DemoFailed(f"{home} is no home of Indicia; name another --home")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700, parents=True)


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def service(home: Path) -> Iterator[subprocess.Popen[str]]:
    """The service from its ready line on; whatever happens, it does not outlive this block."""
    with (home / "serve.log").open("w") as log:
        process = subprocess.Popen(
            indicia(home, "serve"), stdout=subprocess.PIPE, stderr=log, text=True, env=environment()
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def ready(process: subprocess.Popen[str]) -> str:
    """The line that says that the service can be reached."""
    with selectors.DefaultSelector() as selector:
        if process.stdout:
            selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(START_SECONDS):
            raise DemoFailed(f"the service was not ready after {START_SECONDS} s")
    line = process.stdout.readline().strip() if process.stdout else ""
    if not line:
        raise DemoFailed(f"the service ended with {process.wait()}")
    return line


def bulk_upload(api: requests.Session, url: str, file: Path) -> tuple[int, int]:
    """The definitions and the indicators of a CSV file in two atomic calls; how many of each."""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    wanted = list({row["definition"]: alert_definition(row) for row in rows}.values())
    made = posted(api, f"{url}/AlertDefinitions/Actions.BulkUpload", {"alertDefinitions": wanted})
    ids = {definition["Name"]: definition["Id"] for definition in made}
    iocs = [indicator(row, ids[row["definition"]]) for row in rows]
    made = posted(api, f"{url}/IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": iocs})
    return len(ids), len(made)


def posted(api: requests.Session, url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What a bulk upload made."""
    return list(five_steps.content(api.post(url, json=body, timeout=five_steps.SECONDS))["value"])


def alert_definition(row: dict[str, str]) -> dict[str, Any]:
    """The definition that a row of the list belongs to."""
    return {
        "Name": row["definition"],
        "Title": row["title"],
        "Severity": row["severity"],
        "Category": row["category"],
        "InternalDescription": "",
        "UxDescription": "",
        "Enabled": True,
    }


def indicator(row: dict[str, str], definition_id: int) -> dict[str, Any]:
    """A row of the list as the API takes it."""
    return {
        "Type": row["type"],
        "Value": row["value"],
        "DetectionFunction": row["function"],
        "Enabled": True,
        "Source": row["source"],
        "AlertDefinition@odata.bind": f"AlertDefinitions({definition_id})",
    }


def demo(home: Path, steps: Steps) -> None:
    """Every step, in order."""
    details_file = home / "details.json"
    with steps.step("init") as words:
        fresh(home)
        run(home, "init", "--tenant", "demo", "--port", str(free_port()), "--save", str(details_file))
        details = json.loads(details_file.read_text("utf-8"))
        words.append(f"tenant {details['tenant_id']}, details saved")
    with service(home) as process:
        with steps.step("serve") as words:
            words.append(ready(process))
        five_steps_and_list(details, steps)
        with steps.step("scan") as words:
            scan(home)
            words.append(f"{count_files()} files of {shown(TELEMETRY)}")
        with steps.step("stop") as words:
            process.terminate()
            code = process.wait(STOP_SECONDS)
            if code:
                raise DemoFailed(f"the service ended with {code}")
            words.append("SIGTERM, exit code 0")


def five_steps_and_list(details: dict[str, str], steps: Steps) -> None:
    """The published five, and the list in bulk."""
    url = details["api_url"]
    with steps.step("1. token") as words:
        access_token = five_steps.token(details)
        words.append(f"{details['authorization_url']}")
    with five_steps.session(details, access_token) as api:
        with steps.step("2-3. list") as words:
            words.append(f"{len(five_steps.definitions(api, url))} alert definitions")
        with steps.step("4. definition") as words:
            definition_id = five_steps.create_definition(api, url, DEFINITION)
            words.append(f"AlertDefinitions({definition_id}), {DEFINITION['Title']}")
        with steps.step("5. indicator") as words:
            made = five_steps.create_indicator(api, url, INDICATOR, definition_id)
            words.append(f"IndicatorsOfCompromise({made['Id']}), {made['Type']} {made['Value']}")
        with steps.step("bulk upload") as words:
            definitions, indicators = bulk_upload(api, url, LIST)
            words.append(f"{definitions} alert definitions, {indicators} indicators of {shown(LIST)}")


def scan(home: Path) -> None:
    """Let the command print its own table of alerts, between two empty lines."""
    print(flush=True)
    command = indicia(home, "scan", shown(TELEMETRY))
    done = subprocess.run(command, timeout=SCAN_SECONDS, env=environment())
    print(flush=True)
    if done.returncode != RAISED:
        raise DemoFailed(f"indicia scan ended with {done.returncode}, not {RAISED} (something raised)")


def count_files() -> int:
    """Files of the sample telemetry."""
    return sum(path.is_file() for path in TELEMETRY.rglob("*"))


def shown(path: Path) -> str:
    """A path as short as it can be said."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def stopped(number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM ends the demo as Ctrl+C does: by way of every `finally`."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description="The whole road of Indicia once, against a real service.")
    parser.add_argument("--home", type=Path, default=ROOT / ".demo", help="folder to work in, made anew")
    home: Path = parser.parse_args().home.resolve()
    signal.signal(signal.SIGTERM, stopped)
    steps = Steps()
    print(bold("Indicia: indicators meet telemetry and become alerts"), flush=True)
    try:
        demo(home, steps)
    except KeyboardInterrupt:
        print(f"\nstopped in step '{steps.current}'", file=sys.stderr)
        return 130
    except (DemoFailed, OSError, subprocess.SubprocessError, ValueError, LookupError) as error:
        print(f"\nstep '{steps.current}' failed: {error}", file=sys.stderr)
        log = home / "serve.log"
        if log.exists() and (lines := log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]):
            print(f"end of {shown(log)}:", *lines, sep="\n    ", file=sys.stderr)
        return 1
    command = f"{shown(Path(sys.executable).parent / 'indicia')} --home {shown(home)}"
    print(f"\n{steps.seconds:.1f} s in all. The store stays in {shown(home)}; look around:")
    print(f"  {command} alerts list\n  {command} indicators list")
    return 0


if __name__ == "__main__":
    sys.exit(main())
