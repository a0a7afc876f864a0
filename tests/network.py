"""The network between a service and its database, which a test breaks: by TCP, in front of a server's socket.

    with network.to(server) as net:
        Store.open(net.url("indicia"))
        net.swallow()     packets of all connections, and of new ones, are lost: no answer, no RST, no FIN
        net.hold("down")  a box in between takes all, and keeps what the server answers ("up": hears)
        net.forget()      that box knows nothing any more of the connections that there are; new ones are fine
        net.hold_after(*WRITTEN)  as `hold("down")`, from the moment that somebody committed a write
        net.reset(); net.refuse(); net.delay = 0.1
        net.mend()        all is well; what was kept goes on its way

Packets are lost in the kernel: a filter on the sockets of this side takes none, so the other side's kernel
sends them again, as with a cable that is cut. That needs no rights.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from postgres import Server

_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)
"""A program of the kernel's packet filter: of each packet keep 0 bytes."""
_WAYS = ("up", "down")
_PIECE = 65536
WRITTEN = (b"pg_advisory_xact_lock", b"COMMIT\0")
"""What a writer sends first, and last; without its end COMMIT is in the name of an isolation level, too."""


@dataclass(eq=False)
class Link:
    """One connection that a client made, and its other half to the server."""

    client: socket.socket
    server: socket.socket
    open: dict[str, threading.Event] = field(
        default_factory=lambda: {way: threading.Event() for way in _WAYS}
    )
    """Which ways are."""
    forgotten: bool = False
    seen: int = 0
    """How many of the marks of `hold_after` its client has sent."""

    def close(self) -> None:
        """End both halves."""
        for half in (self.client, self.server):
            with suppress(OSError):
                half.shutdown(socket.SHUT_RDWR)
            half.close()
        for one in self.open.values():
            one.set()


class Network:
    """All connections to one server."""

    def __init__(self, server: Server) -> None:
        self.delay = 0.0
        """Seconds that each piece takes, either way."""
        self._place = f"{server.folder}/.s.PGSQL.5432"
        self._listening = _listening(0)
        self.port = int(self._listening.getsockname()[1])
        self._links: set[Link] = set()
        self._held: set[str] = set()
        self._marks: tuple[bytes, ...] = ()
        self._lost = self._over = False
        self._guard = threading.RLock()
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def url(self, database: str, more: str = "") -> str:
        """Of a database, by this network."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}?sslmode=disable{more}"

    # What breaks

    def swallow(self) -> None:
        """Packets are lost, those of the handshake, too."""
        with self._guard:
            self._lost = True
            for one in (self._listening, *(link.client for link in self._links)):
                _take_nothing(one)
            self.hold(*_WAYS)

    def hold(self, *ways: str) -> None:
        """What comes is taken, and kept."""
        with self._guard:
            self._held.update(ways)
            for link in self._links:
                for way in ways:
                    link.open[way].clear()

    def hold_after(self, *marks: bytes) -> None:
        """Once a client has sent these, one after the other, that gets to the server, and no answer back."""
        with self._guard:
            for link in self._links:
                link.seen = 0
            self._marks = marks

    def forget(self) -> None:
        """The connections that there are stay silent, even when all is well again."""
        with self._guard:
            for link in self._links:
                link.forgotten = True
                for one in link.open.values():
                    one.clear()

    def reset(self) -> None:
        """End every connection by RST."""
        with self._guard:
            for link in self._links:
                link.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                link.close()

    def refuse(self) -> None:
        """Nobody listens any more, and the connections that there are end."""
        with self._guard:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)  # else who accepts keeps it open
            self._listening.close()
            self.reset()

    def mend(self) -> None:
        """All is well."""
        with self._guard:
            self._held.clear()
            self._marks, self.delay = (), 0.0
            if self._lost:
                self._lost = False
                for one in (self._listening, *(link.client for link in self._links)):
                    with suppress(OSError):
                        one.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
            if self._listening.fileno() < 0:
                self._listening = _listening(self.port)
                threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()
            for link in self._links:
                for way in () if link.forgotten else _WAYS:
                    link.open[way].set()

    def close(self) -> None:
        """End everything."""
        with self._guard:
            self._over = True
            self.refuse()

    # How it works

    def _accept(self, listening: socket.socket) -> None:
        while not self._over:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._place)
            except OSError:  # it is not there
                client.close()
                continue
            self._join(Link(client, server))

    def _join(self, link: Link) -> None:
        with self._guard:
            self._links.add(link)
            for way in _WAYS:
                if way not in self._held:
                    link.open[way].set()
        for way in _WAYS:
            threading.Thread(target=self._carry, args=(link, way), daemon=True).start()

    def _carry(self, link: Link, way: str) -> None:
        ends = (link.client, link.server) if way == "up" else (link.server, link.client)
        try:
            while piece := ends[0].recv(_PIECE):
                if way == "up":
                    self._heard(link, piece)
                link.open[way].wait()
                time.sleep(self.delay)
                ends[1].sendall(piece)
            link.open[way].wait()  # the end, too, is something that is said
        except OSError:
            pass
        finally:
            with self._guard:
                self._links.discard(link)
                link.close()

    def _heard(self, link: Link, piece: bytes) -> None:
        marks = self._marks
        while link.seen < len(marks) and marks[link.seen] in piece:
            link.seen += 1
        if marks and link.seen == len(marks):
            link.open["down"].clear()


def _listening(port: int) -> socket.socket:
    made = socket.create_server(("127.0.0.1", port), backlog=200)
    made.settimeout(None)
    return made


def _take_nothing(one: socket.socket) -> None:
    program = ctypes.create_string_buffer(_NOTHING)
    with suppress(OSError):  # it has ended
        told = struct.pack("HL", 1, ctypes.addressof(program))
        one.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, told)


@contextmanager
def to(server: Server) -> Iterator[Network]:
    """One that is well."""
    made = Network(server)
    try:
        yield made
    finally:
        made.close()
