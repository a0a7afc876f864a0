"""The API under load: rates beside an empty route of the same stack, writes into a full store, a long walk.

    .venv/bin/python bench/api.py [--size 1000000] [--seconds 5] [--clients 8]

One service process with TLS on loopback and a store of `size` indicators; raw clients here, each with one
connection. Rates are requests for a second of the service's CPU, in turns, the median of five, because the
clients share the machine with it; latencies are wall-clock time. Goals of the project: GET by id a third of
the empty route's rate, a page of 100 rows that a filter selects a tenth, the walk over 1,000,000 in 60 s.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from indicia.model import Indicator, IndicatorType  # noqa: E402
from indicia.store import Store, TenantStore  # noqa: E402
from service import Process, add_access, free_port  # noqa: E402
from service import indicator as body_of  # noqa: E402
from stored import definition, indicator  # noqa: E402

SERVE = """
import sys
from pathlib import Path
from starlette.responses import Response
from starlette.routing import Route
from indicia.settings import Settings
from indicia.store import Store
from indicia.web import app, serve

async def empty(_request):
    return Response(b"{}", media_type="application/json")

create = app.create

def with_an_empty_route(*given):
    made = create(*given)
    made.router.routes.insert(0, Route("/empty", empty))
    return made

app.create = with_an_empty_route
settings = Settings(home=Path(sys.argv[1]), port=int(sys.argv[2]))
with Store.open(settings.database_url) as store:
    serve.run(settings, store, lambda line: print(line, flush=True))
"""
TICKS = os.sysconf("SC_CLK_TCK")
TURNS = 5


class Raw:
    """One connection; a request is bytes, and its answer is read whole."""

    def __init__(self, process: Process, token: str) -> None:
        context = ssl.create_default_context(cafile=process.authority)
        plain = socket.create_connection(("127.0.0.1", process.port), timeout=120)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self._host, self._token = f"127.0.0.1:{process.port}", token

    def request(self, method: str, target: str, body: bytes = b"") -> bytes:
        """The request for a target of the service."""
        head = f"{method} {target} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._token}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    def call(self, request: bytes) -> bytes:
        """The body of the answer, which must be one of success."""
        self._socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._received()
        head, _, rest = data.partition(b"\r\n\r\n")
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            raise SystemExit(f"{head!r} {rest!r}")
        found = re.search(rb"content-length: (\d+)", head)
        missing = int(found[1]) - len(rest) if found else 0
        parts = [rest]
        while missing > 0:
            parts.append(self._received())
            missing -= len(parts[-1])
        return b"".join(parts)

    def _received(self) -> bytes:
        data = self._socket.recv(1 << 20)
        if not data:
            raise SystemExit("the service closed the connection")
        return data


def main() -> int:
    """Print the figures; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=1_000_000, help="indicators stored (default 1,000,000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of each measurement")
    parser.add_argument("--clients", type=int, default=8, help="connections that write (default 8)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with Store.open(f"sqlite:///{home / 'indicia.db'}") as store:
            access = add_access(store, "bench")
            owner, some = fill(store.tenant(access.tenant_id), given.size)
        with served(home) as process:
            token = process.token(access)
            print(f"{given.size:,} indicators stored; memory {memory(process)} MiB")
            fine = rates(process, token, some, given.seconds)
            posts(process, token, owner, given.clients, given.seconds)
            bulk(process, token, owner)
            fine &= walk(process, token)
            print(f"memory {memory(process)} MiB, at its highest {memory(process, 'VmHWM')} MiB")
    print(f"on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    return 0 if fine else 1


def fill(tenant: TenantStore, size: int) -> tuple[int, int]:
    """One definition with so many indicators; its id, and the id of one in the middle."""
    (owner,) = tenant.add_definitions([definition()], "bench")

    def rows() -> Iterator[Indicator]:
        for number in range(size):
            value = f"host-{number}.example"
            source = f"list {number % 1000}"
            yield indicator(
                owner, type=IndicatorType.DOMAIN_NAME, value=value, canonical=value, source=source
            )

    for _ in tenant.import_indicators(owner.id, rows(), "bench", key="bench"):
        pass
    return owner.id, tenant.indicators(after=size // 2, limit=1)[0].id


@contextmanager
def served(home: Path) -> Iterator[Process]:
    """The service with an empty route beside its own."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(home), str(port)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield Process(home, port, process)
    finally:
        process.terminate()
        process.wait(60)


def rates(process: Process, token: str, number: int, seconds: float) -> bool:
    """The rates of reading, and whether the goals are met."""
    raw = Raw(process, token)
    start = "startswith(Value,'host-')%20and%20Enabled%20eq%20true"
    targets = {
        "an empty route": "/empty",
        "GET by id": f"/v1.0/IndicatorsOfCompromise({number})",
        "a filtered page of 100": f"/v1.0/IndicatorsOfCompromise?$filter={start}&$top=100",
        "one value among all": f"/v1.0/IndicatorsOfCompromise?$filter=Value%20eq%20'host-{number}.example'",
    }
    requests = {name: raw.request("GET", target) for name, target in targets.items()}
    found: dict[str, list[float]] = {name: [] for name in requests}
    for _ in range(TURNS):
        for name, request in requests.items():
            found[name].append(rate(process, raw, request, seconds / TURNS))
    empty = median(found["an empty route"])
    goals = {"GET by id": 1 / 3, "a filtered page of 100": 1 / 10}
    fine = True
    for name, values in found.items():
        share, goal = median(values) / empty, goals.get(name, 0.0)
        fine &= share >= goal
        words = f"{share:6.2f} of the empty route" + (f", goal {goal:.2f}" if goal else "")
        print(f"{name:26} {median(values):9,.0f} requests a CPU second {words}")
    return fine


def rate(process: Process, raw: Raw, request: bytes, seconds: float) -> float:
    """Requests for each second of the service's CPU."""
    raw.call(request)
    before, count, end = cpu(process), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        raw.call(request)
        count += 1
    return count / max(cpu(process) - before, 1 / TICKS)


def posts(process: Process, token: str, owner: int, clients: int, seconds: float) -> None:
    """How long one POST takes while several clients post."""
    body = json.dumps(body_of(owner)).encode()
    took: list[float] = []

    def work() -> None:
        raw = Raw(process, token)
        request = raw.request("POST", "/v1.0/IndicatorsOfCompromise", body)
        end = time.monotonic() + seconds
        while (start := time.monotonic()) < end:
            raw.call(request)
            took.append(time.monotonic() - start)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cuts = quantiles(took, n=100)
    print(
        f"POST by {clients} clients: {len(took) / seconds:,.0f} /s, p50 {cuts[49] * 1000:.1f} ms, "
        f"p99 {cuts[98] * 1000:.1f} ms, longest {max(took) * 1000:.0f} ms"
    )


def bulk(process: Process, token: str, owner: int) -> None:
    """A bulk upload of 5,000, new and again as an upsert."""
    raw = Raw(process, token)
    rows = [body_of(owner, Type="DomainName", Value=f"bulk-{number}.example") for number in range(5000)]
    for words, upsert in (("new", False), ("again, upsert", True)):
        body = json.dumps({"iocs": rows, "upsert": upsert}).encode()
        start = time.monotonic()
        raw.call(raw.request("POST", "/v1.0/IndicatorsOfCompromise/Actions.BulkUpload", body))
        print(f"5,000 in one call ({words}): {time.monotonic() - start:.2f} s")


def walk(process: Process, token: str) -> bool:
    """Every page of the set by its next links."""
    raw = Raw(process, token)
    target, seen, start = "/v1.0/IndicatorsOfCompromise", 0, time.monotonic()
    while target:
        page = raw.call(raw.request("GET", target))
        seen += page.count(b'"Id":')
        found = re.search(rb'"@odata.nextLink":"https://[^/]+([^"]+)"', page[-2000:])
        target = found[1].decode() if found else ""
    took = time.monotonic() - start
    print(f"a walk over {seen:,} by nextLink: {took:.1f} s, goal 60 s for 1,000,000")
    return took <= 60 * max(seen / 1_000_000, 1 / 100)


def cpu(process: Process) -> float:
    """Seconds of CPU that the service has used."""
    fields = Path(f"/proc/{process.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(process: Process, what: str = "VmRSS") -> int:
    """MiB of the service."""
    found = re.search(rf"{what}:\s+(\d+)", Path(f"/proc/{process.process.pid}/status").read_text("ascii"))
    return int(found[1]) // 1024 if found else 0


if __name__ == "__main__":
    sys.exit(main())
