"""Where bytes come from: files, folders, globs, standard input; compressed, damaged, unreadable, strange."""

from __future__ import annotations

import gzip
import io
import os
import random
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from indicia import telemetry
from indicia.errors import InputError
from indicia.telemetry import Source, sources

LINES = b"".join(b'{"a":%d}\n' % number for number in range(20_000))
# What does not compress: a truncated frame then still holds whole blocks.
_RANDOM = random.Random(7)
NOISE = b"".join(_RANDOM.randbytes(100).hex().encode() + b"\n" for _ in range(6_000))


def names(paths: list[str], below: Path) -> list[str]:
    return [Path(source.name).relative_to(below).as_posix() for source in sources(paths)]


def lines(path: Path) -> tuple[int, list[telemetry.Malformed]]:
    """How many events a file gives, and what was malformed."""
    faults: list[telemetry.Malformed] = []
    (source,) = sources([str(path)])
    return sum(1 for _ in telemetry.events(source, malformed=faults.append)), faults


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.log", "a.log", "sub/c.log", "sub/deep/d.json", ".hidden", ".git/config", "a/e.log"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    return tmp_path


def test_a_file(folder: Path) -> None:
    (source,) = sources([str(folder / "a.log")])
    assert (source.name, source.stem, source.size) == (str(folder / "a.log"), "a", 6)
    with source.open() as stream:
        assert stream.read() == b"a.log\n"


def test_a_folder_gives_all_below_it_but_what_is_hidden(folder: Path) -> None:
    assert names([str(folder)], folder) == ["a/e.log", "a.log", "b.log", "sub/c.log", "sub/deep/d.json"]


def test_globs(folder: Path) -> None:
    assert names([f"{folder}/*.log"], folder) == ["a.log", "b.log"]
    assert names([f"{folder}/**/*.log"], folder) == ["a.log", "a/e.log", "b.log", "sub/c.log"]
    assert names([f"{folder}/s?b"], folder) == ["sub/c.log", "sub/deep/d.json"]
    assert names([f"{folder}/[ab].log"], folder) == ["a.log", "b.log"]


def test_a_file_that_two_paths_name_comes_once(folder: Path) -> None:
    (folder / "link.log").symlink_to(folder / "a.log")
    given = [str(folder / "a.log"), f"{folder}/*.log", f"{folder}/sub/../a.log", "-", "-"]
    assert [source.name for source in sources(given)] == [str(folder / "a.log"), str(folder / "b.log"), "-"]


@pytest.mark.parametrize("path", ["missing.json", "missing/*.json", "a.log/x", "x" * 300, "nul\0byte", ""])
def test_what_is_not_there_is_named(folder: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "sub" / "deep")
    if path == "":
        assert [source.name for source in sources([path])] == [
            "d.json"
        ]  # as everywhere: the folder one is in
        return
    given = f"../../{path}"
    with pytest.raises(InputError) as caught:
        sources([given])
    assert caught.value.place == given


def test_a_folder_without_files(tmp_path: Path) -> None:
    (tmp_path / ".only-hidden").touch()
    with pytest.raises(InputError, match="holds no files"):
        sources([str(tmp_path)])


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """As somebody whom permissions bind; tests may run as root."""
    if os.geteuid() != 0:
        yield
        return
    telemetry.schemas()  # read once, while the package may be
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("unprivileged")
def test_what_may_not_be_read_is_named() -> None:
    folder = Path("/tmp") / f"indicia-{os.getpid()}-{os.urandom(4).hex()}"
    (folder / "locked").mkdir(parents=True)
    (folder / "secret.log").write_text("x\n")
    (folder / "secret.log").chmod(0)
    (folder / "locked" / "x.log").touch()
    (folder / "locked").chmod(0)
    try:
        (secret,) = sources([str(folder / "secret.log")])
        with pytest.raises(InputError, match="cannot be read") as caught:
            secret.open()
        assert caught.value.place == str(folder / "secret.log")
        with pytest.raises(InputError, match="cannot be read"):
            next(telemetry.events(secret, malformed=print))
        for given, others in ((folder, [secret.name]), (folder / "locked", [])):
            locked, *found = sources([str(given)])
            assert [source.name for source in found] == others
            with pytest.raises(InputError, match="cannot be read: Permission denied") as caught:
                next(telemetry.events(locked, malformed=print))
            assert caught.value.place == locked.name == str(folder / "locked")
        with pytest.raises(InputError, match="cannot be read"):
            sources([str(folder / "locked" / "x.log")])
        (folder / "locked").chmod(0o444)  # its names can be read, and nothing else
        assert [source.name for source in sources([str(folder)])] == [
            str(folder / "locked" / "x.log"),
            secret.name,
        ]
    finally:
        (folder / "locked").chmod(0o700)
        (folder / "locked" / "x.log").unlink()
        (folder / "locked").rmdir()
        (folder / "secret.log").unlink()
        folder.rmdir()


def test_links_that_lead_in_circles(folder: Path) -> None:
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    (folder / "dangling").symlink_to(folder / "nothing")
    (folder / "also.log").symlink_to(folder / "sub" / "c.log")
    found = ["a/e.log", "a.log", "also.log", "b.log", "sub/deep/d.json"]
    assert names([str(folder)], folder) == found
    assert sorted(names([f"{folder}/**/d.json"], folder)) == ["sub/deep/d.json"]
    for lost in ("self", "dangling"):
        with pytest.raises(InputError, match="there is no such file"):
            sources([str(folder / lost)])


def test_a_folder_behind_a_link_is_read_where_it_is_named(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "sub")
    assert names([str(folder / "link")], folder) == ["link/c.log", "link/deep/d.json"]


def test_of_a_folder_pipes_and_sockets_are_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert "pipe" not in names([str(folder)], folder)
        assert "socket" not in names([str(folder)], folder)
        (source,) = sources([str(folder / "socket")])
        with pytest.raises(InputError, match="cannot be read") as caught:
            source.open()
        assert caught.value.place == str(folder / "socket")


def test_a_pipe_that_is_named_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(LINES),))
    (source,) = sources([str(pipe)])
    assert source.size is None
    writer.start()
    assert sum(1 for _ in telemetry.events(source, malformed=lambda what: pytest.fail(str(what)))) == 20_000
    writer.join()


def test_a_folder_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Source("x", tmp_path).open()


@pytest.mark.parametrize(
    "name",
    [
        "with blank.log",
        "[brackets].log",
        "*.log",
        "ünï.log",
        "new\nline.log",
        "-",
        "tab\t.log",
        "~.log",
        "a.b.c",
    ],
)
def test_names_of_odd_characters(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("here\n")
    (source,) = sources([str(path)])
    assert source.name == str(path)
    assert [source.name for source in sources([str(tmp_path)])] == [str(path)]
    with source.open() as stream:
        assert stream.read() == b"here\n"


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.log"))
    path.write_text("here\n")
    (source,) = sources([str(tmp_path)])
    (event,) = telemetry.events(source, malformed=lambda what: pytest.fail(str(what)))
    assert event.source == str(path)


@pytest.mark.parametrize(
    ("name", "stem"), [("a/conn.log", "conn"), ("conn.12:00.log.zst", "conn"), ("-", "-"), (".x", "")]
)
def test_the_stem_of_a_name(name: str, stem: str) -> None:
    assert Source(name).stem == stem


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (b'{"a":1}\n', gzip.compress(b'{"a":1}\n'), zstandard.compress(b'{"a":1}\n')):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        (source,) = sources(["-"])
        assert source.size is None
        (event,) = telemetry.events(source, malformed=lambda what: pytest.fail(str(what)))
        assert (event.source, event.line) == ("-", 1)
        assert not sys.stdin.buffer.closed


# Compressed


def zst(data: bytes) -> bytes:
    return zstandard.compress(data)


@pytest.mark.parametrize("name", ["a.gz", "a.zst", "a.log"])
@pytest.mark.parametrize("compress", [gzip.compress, zst])
def test_compression_is_known_by_its_bytes(tmp_path: Path, compress: object, name: str) -> None:
    assert callable(compress)
    path = tmp_path / name
    path.write_bytes(
        compress(LINES[:9]) + compress(LINES[9:100_000]) + compress(b"") + compress(LINES[100_000:])
    )
    assert lines(path) == (20_000, [])


def test_what_archivers_put_around(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(LINES) + b"\0" * 2000)
    assert lines(path) == (20_000, [])
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    path.write_bytes(skippable + zst(LINES) + skippable)
    assert lines(path) == (20_000, [])
    path.write_bytes(zst(b""))
    assert lines(path) == (0, [])


def streamed(data: bytes) -> bytes:
    """A zstd frame that does not say how long it is, with a checksum and a large window."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True, write_checksum=1)
    out = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return out.compress(data) + out.flush()


def test_a_frame_with_a_large_window(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(streamed(LINES))
    assert lines(path) == (20_000, [])


@pytest.mark.parametrize("compress", [gzip.compress, zst, streamed])
@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_before_a_truncation_everything_is_read(tmp_path: Path, compress: object, kept: float) -> None:
    assert callable(compress)
    data = compress(NOISE)
    path = tmp_path / "x"
    path.write_bytes(data[: int(len(data) * kept)])
    count, faults = lines(path)
    assert 6_000 * kept * 0.7 < count < 6_000
    (fault,) = faults
    assert (fault.source, fault.line) == (str(path), 0)
    assert fault.reason.startswith("the stream ends here: damaged ")
    assert fault.reason.endswith("it ends in the middle")


# A zstd frame without checksum cannot tell that its bytes were changed.
@pytest.mark.parametrize("compress", [gzip.compress, streamed])
def test_before_a_damage_everything_is_read(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    data = bytearray(compress(NOISE))
    for place in range(len(data) // 2, len(data) // 2 + 2000):
        data[place] ^= 0xFF
    path = tmp_path / "x"
    path.write_bytes(compress(NOISE) + data)
    count, faults = lines(path)
    assert count > 6_000
    assert [fault.line for fault in faults] == [0]
    assert "damaged" in faults[0].reason


@pytest.mark.parametrize("compress", [gzip.compress, zst])
def test_garbage_behind_a_member_is_told(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    path = tmp_path / "x"
    path.write_bytes(compress(LINES) + b"garbage")
    count, faults = lines(path)
    assert count == 20_000
    assert [fault.line for fault in faults] == [0]


@pytest.mark.parametrize(
    "head", [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08\0garbage", b"\x28\xb5\x2f\xfdgarbage!"]
)
def test_what_only_begins_as_compressed(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(head)
    count, faults = lines(path)
    assert count == 0
    assert len(faults) == 1


@pytest.mark.full
def test_progress_counts_bytes_of_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(zst(NOISE) * 12)  # more than a thread decompresses ahead
    heard: list[int] = []
    (source,) = sources([str(path)])
    list(telemetry.events(source, malformed=lambda what: pytest.fail(str(what)), progress=heard.append))
    assert sum(heard) == source.size
    assert len(heard) > 1
