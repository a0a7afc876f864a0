"""A process that matches and knows nothing else: `python -m indicia.live.matcher CHANNEL MEMORY`.

Events come from attackers, so what parses and matches them holds no key, no secret and no store. It is
started anew (not forked, so that nothing of the service is in its memory) with an empty environment; compiled
indexes come to it as open files, definitions and changes as data, blocks of events in shared memory. Before
it reads any of them it gives up what it can: it may open no file but those of Python itself and no TCP
connection (Landlock, where the kernel has it), gain no privileges, be traced by nobody, write no file and no
core, and use no more memory than MEMORY_LIMIT.

Both ends speak in frames: a kind, a length, and as many bytes. What comes from the service is trusted; what
goes back is read by the service as typed data, never as objects (`matchers`).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import resource
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import msgspec

from indicia.errors import placed
from indicia.live.blocks import Outcome, meet
from indicia.live.view import Layer, View
from indicia.match.index import Index
from indicia.model import AlertDefinition, Category, Detection, Indicator, Severity

FRAME = struct.Struct("<BxxxI")
"""Kind and length of what follows."""
VIEW, BLOCK, OUTCOME, FAULT = 1, 2, 3, 4
FILES = 64
"""Open files that come with one frame, at the most."""
MEMORY_LIMIT = 1 << 30
"""Bytes of memory beside what is shared."""
OPEN_LIMIT = 512
"""Open files."""
KEPT = 32 << 20
"""Bytes that are not given back to the system between two blocks."""
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_EXECUTE, _READ_FILE, _READ_FOLDER = 1 << 0, 1 << 2, 1 << 3
_FILE_RIGHTS = (13, 13, 14, 15, 15, 16)
"""Rights on files that an ABI of Landlock knows (its number is the place), as so many bits."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a matcher is to match one tenant's events with from now on."""

    tenant: str
    forget: tuple[str, ...]
    """Tenants whose views are not needed any more."""
    layers: tuple[tuple[int, int], ...]
    """Of each layer its number, and its place in the view before; -1: the next open file that comes along."""
    definitions: Mapping[int, AlertDefinition] | None
    """None: those of the view before."""
    replaced: Mapping[int, int] | None
    clears: Mapping[int, tuple[int, int]]


def main(arguments: Sequence[str]) -> int:
    """Serve a channel until its other end is closed."""
    channel, memory = map(int, arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a stop is the service's; then the channel is closed
    give_up()
    with socket.socket(fileno=channel) as end, mmap.mmap(memory, 0, prot=mmap.PROT_READ) as blocks:
        os.close(memory)
        matching = _Matching(blocks)
        with suppress(ConnectionError):
            while (frame := receive(end)) is not None:
                kind, data, files = frame
                if kind == VIEW:
                    matching.take(pickle.loads(data), files)  # noqa: S301 - by the service, which is trusted
                else:
                    send(end, *matching.answer(data))
    return 0


class _Matching:
    def __init__(self, blocks: mmap.mmap) -> None:
        self._blocks = blocks
        self._views: dict[str, View] = {}

    def take(self, change: Change, files: Sequence[int]) -> None:
        """Match a tenant's events as it says."""
        before = self._views.get(change.tenant)
        coming = iter(files)
        layers = tuple(
            _layer(number, next(coming)) if place < 0 or before is None else before.layers[place]
            for number, place in change.layers
        )
        definitions, replaced = change.definitions, change.replaced
        if before is not None:
            definitions = before.definitions if definitions is None else definitions
            replaced = before.replaced if replaced is None else replaced
        # Where it stands in the store's history is known by who asks.
        nowhere = cast("Any", None)
        for tenant in change.forget:
            self._views.pop(tenant, None)
        self._views[change.tenant] = View(nowhere, layers, definitions or {}, replaced or {}, change.clears)

    def answer(self, data: bytes) -> tuple[int, bytes]:
        """What came of a block, or that it could not be done and where."""
        try:
            tenant, size, task = pickle.loads(data)  # noqa: S301 - by the service, which is trusted
            outcome = meet(self._blocks[:size], self._views[tenant].engine(), task)
            return OUTCOME, encoded(outcome)
        except Exception as error:  # the service goes on, and says where it was
            return FAULT, placed(error).encode()[:10_000]


def _layer(number: int, file: int) -> Layer:
    try:
        return Layer(number, Index.of_file(file, Path(f"layer {number}")), kept=False)
    finally:
        os.close(file)


_encoder = msgspec.msgpack.Encoder()


def encoded(outcome: Outcome) -> bytes:
    """An outcome as it goes back; of definitions their ids alone."""
    outcome.detections = [replace(one, indicator=_slim(one.indicator)) for one in outcome.detections]
    try:
        return _encoder.encode(outcome)
    except UnicodeEncodeError:  # an unpaired surrogate, which the store can hold
        outcome.detections = [_sound(one) for one in outcome.detections]
        return _encoder.encode(outcome)


def _slim(indicator: Indicator) -> Indicator:
    return replace(indicator, definition=only_id(indicator.definition.id))


def only_id(number: int) -> AlertDefinition:
    """A definition of which nothing is told but its id."""
    return AlertDefinition("", "", "", Severity.LOW, Category.NONE, number)


def _sound(found: Detection) -> Detection:
    indicator = found.indicator
    source = None if indicator.source is None else _without_surrogates(indicator.source)
    return replace(found, indicator=replace(indicator, source=source))


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


# Frames


def send(end: socket.socket, kind: int, data: bytes, files: Sequence[int] = ()) -> None:
    """A frame, and open files with it."""
    head = FRAME.pack(kind, len(data))
    if files:
        socket.send_fds(end, [head], files)
    else:
        end.sendall(head)
    end.sendall(data)


def receive(end: socket.socket, most: int = 1 << 32) -> tuple[int, bytes, list[int]] | None:
    """Kind, content and open files of the next frame; None where the other end is closed.

    Raises ConnectionError where it ends in the middle or is longer than `most` bytes.
    """
    head, files, _, _ = socket.recv_fds(end, FRAME.size, FILES)
    if not head:
        return None
    head += _whole(end, FRAME.size - len(head))
    kind, size = FRAME.unpack(head)
    if size > most:
        raise ConnectionError("a frame is too long")
    return kind, bytes(_whole(end, size)), list(files)


def _whole(end: socket.socket, size: int) -> bytearray:
    found = bytearray(size)
    with memoryview(found) as room:
        done = 0
        while done < size:
            came = end.recv_into(room[done:])
            if not came:
                raise ConnectionError("it ends in the middle of a frame")
            done += came
    return found


# What is given up


def give_up() -> None:
    """Everything that matching does not need, as far as this kernel lets go of it."""
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_LIMIT),
        (resource.RLIMIT_DATA, MEMORY_LIMIT),
    ):
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if hasattr(libc, "mallopt"):  # else each block's memory is asked for anew, which costs a third more
            libc.mallopt(_MMAP_THRESHOLD, KEPT)
            libc.mallopt(_TRIM_THRESHOLD, 2 * KEPT)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _lock(libc)


def _lock(libc: ctypes.CDLL) -> None:
    """Landlock: of files, those of Python can be read; no TCP. Where the kernel has none, nothing happens."""
    abi = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        return
    rights = (1 << _FILE_RIGHTS[min(abi, len(_FILE_RIGHTS) - 1)]) - 1
    network = 3 if abi >= 4 else 0  # to bind and to connect
    attributes = struct.pack("<QQ", rights, network)[: 16 if abi >= 4 else 8]
    rules = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return
    for folder in {*sys.path, *_LIBRARIES}:
        with suppress(OSError):
            place = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY)
            rule = struct.pack("<Qi", _EXECUTE | _READ_FILE | _READ_FOLDER, place)
            libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0)
            os.close(place)
    libc.syscall(_RESTRICT_SELF, rules, 0)
    os.close(rules)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
