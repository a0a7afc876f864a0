"""What scans and imports share: the process of a job, and what is said of one."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from indicia.errors import InputError
from indicia.live.imports import Imports
from indicia.live.jobs import Asked, Phase, State, write
from indicia.live.scans import Scans
from indicia.live.work import Work


class Odd(Work[Asked, State]):
    """Work that does as it is told."""

    seconds, too_long = 1, "it took too long"
    what = ""

    def work(self) -> None:
        if self.what == "late":
            while True:
                time.sleep(0.01)
        raise {"fault": RuntimeError, "memory": MemoryError, "disk": OSError}[self.what](
            "from the log of a victim"
        )

    def figures(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("fault", "an unforeseen error (RuntimeError); the service's log has the place, please report it"),
        ("memory", "it needed more memory than it may have; send a part of the file"),
        ("disk", "the disk of the service: from the log of a victim"),
        ("late", "it took too long"),
    ],
)
def test_however_it_ends_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str, said: str
) -> None:
    one = Odd(tmp_path, Asked("a", 1, "x", datetime.now(UTC)), State())
    one.what = what
    before = signal.signal(signal.SIGALRM, one.too_late)
    try:
        if what == "late":
            signal.setitimer(signal.ITIMER_REAL, 0.1)
        with caplog.at_level(logging.ERROR, "indicia.live"):
            one.run()
    finally:
        signal.signal(signal.SIGALRM, before)
    state = msgspec.json.decode((tmp_path / "state.json").read_bytes(), type=State)
    assert (state.phase, state.fault) == (Phase.FAILED, said)
    assert ("test_jobs.py" in caplog.text) is (what == "fault"), "the place in our code, where it is ours"
    assert "log of a" not in caplog.text


@pytest.mark.parametrize(("kind", "word"), [(Scans, "scan"), (Imports, "import")])
def test_each_kind_is_called_by_its_name(tmp_path: Path, kind: Any, word: str) -> None:
    of_home = kind(tmp_path, "none", 1) if kind is Scans else kind(tmp_path, "none")
    folder = tmp_path / of_home.place / "tenant" / ("0" * 16)
    folder.mkdir(parents=True)
    asked = {"name": "a", "size": 1, "by": "x", "made_at": datetime.now(UTC), "record": False}
    more = {"alerts_per_hour": 1, "definition_id": 1, "definition": "", "function": "", "format": ""}
    last = {"source": "", "subdomains": True, "quotas": {}}
    (folder / "asked.json").write_bytes(msgspec.json.encode(asked | more | last))
    write(folder / "state.json", State())
    stopped = of_home.one("tenant", "0" * 16)
    assert stopped.state.phase is Phase.STOPPED
    with pytest.raises(InputError, match=f"the file of this {word} is gone"):
        of_home.again(stopped, "tenant")
    (folder / "upload").touch()
    of_home.tidy()
    assert (folder / "upload").exists() is of_home.goes_on


def test_the_store_s_url_is_not_among_the_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold a password, and everybody on the machine can read arguments."""
    given: list[list[str]] = []

    class Process:
        """Stands in for the process alone; what it is given is looked at."""

        def __init__(self, command: list[str], **_more: object) -> None:
            given.append(command)
            self.stdin = (tmp_path / "given").open("wb")

        def wait(self) -> int:
            return 0

    monkeypatch.setattr("indicia.live.jobs.subprocess.Popen", Process)
    folder = tmp_path / "scans" / "tenant" / ("0" * 16)
    folder.mkdir(parents=True)
    url = "postgresql://indicia:word@127.0.0.1/indicia"
    with (tmp_path / "a.log").open("wb") as file:
        file.write(b"{}\n")
    with (tmp_path / "a.log").open("rb") as content:
        Scans(tmp_path, url, 1).begin("tenant", "a.log", content, "x", 1000, record=False)
    (command,) = given
    assert not [word for word in command if "word@" in word]
    end = time.monotonic() + 5
    while (tmp_path / "given").read_bytes() != url.encode() + b"\n" and time.monotonic() < end:
        time.sleep(0.01)
    assert (tmp_path / "given").read_bytes() == url.encode() + b"\n"


ENDING = """
import sys
from contextlib import nullcontext
from pathlib import Path
from test_jobs import Asked, Odd, State, datetime, UTC
from indicia.live.work import attend

Odd.what = "memory"
asked = Asked("a", 1, "x", datetime.now(UTC))
sys.exit(attend(sys.argv[1:], 1, lambda order: nullcontext(Odd(order.folder, asked, State()))))
"""


def test_its_process_ends_cleanly_while_the_service_goes_on(tmp_path: Path) -> None:
    """Its pipe is still open then, and a thread waits at it."""
    folder = tmp_path / "tenant" / "job"
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", ENDING, str(tmp_path), "contoso", str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parent
    )
    assert process.stdin is not None
    assert process.stderr is not None
    with process.stdin, process.stderr:
        process.stdin.write(b"none\n")
        process.stdin.flush()
        assert (process.wait(20), process.stderr.read()) == (0, b"")
