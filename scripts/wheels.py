"""Makes what is released: the sdist, and from it a wheel for each platform that Indicia runs on.

    .venv/bin/python scripts/wheels.py dist [manylinux_2_17_aarch64 …]      (`make dist` makes all)

Any Linux machine of 64 bits makes all of them. What another machine or another C library needs is compiled by
Zig's C compiler (the package ziglang), which has the headers of both C libraries and links to a glibc as old
as it is told. What this machine runs itself is compiled by its own compiler where it has one, because gcc's
kernel is the faster one on x86_64 (docs/operations.md). The limited API of CPython 3.11 leaves nothing else
to know about the target: an extension takes all it needs of Python from the process that loads it.

A wheel stays only if its kernel is for that machine, asks for no other library and no newer glibc.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).resolve().parent.parent
KERNEL = "indicia/match/_kernel.abi3.so"


@dataclass(frozen=True)
class Target:
    """A platform by its tag in a wheel's name, and what its kernel is made for."""

    tag: str
    zig: str
    """How Zig calls it; the numbers are those of the oldest glibc."""
    machine: str
    """As `uname -m` and the header of an ELF file say it."""
    libc: str
    needs: frozenset[str]
    """What its kernel may ask for: the C library alone. musl's loader takes any `libc.*` for itself; glibc's
    on aarch64 has what guards the stack, where this Python was built with that."""

    @property
    def here(self) -> bool:
        """Whether the Python that runs this could load it."""
        own = "glibc" if platform.libc_ver()[0] == "glibc" else "musl"
        return (self.machine, self.libc) == (platform.machine(), own)


TARGETS = (
    Target("manylinux_2_17_x86_64", "x86_64-linux-gnu.2.17", "x86_64", "glibc", frozenset({"libc.so.6"})),
    Target(
        "manylinux_2_17_aarch64",
        "aarch64-linux-gnu.2.17",
        "aarch64",
        "glibc",
        frozenset({"libc.so.6", "ld-linux-aarch64.so.1"}),
    ),
    Target("musllinux_1_2_x86_64", "x86_64-linux-musl", "x86_64", "musl", frozenset({"libc.so"})),
    Target("musllinux_1_2_aarch64", "aarch64-linux-musl", "aarch64", "musl", frozenset({"libc.so"})),
)
ELF = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}
NEWEST = (2, 17)
"""The glibc of manylinux_2_17, which aarch64 began with."""


class Unfit(Exception):
    """A wheel that is not what its name says."""


def main() -> int:
    """Make them, and say what each is."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("folder", type=Path, help="where they are put")
    tags = [target.tag for target in TARGETS]
    arguments.add_argument("tags", nargs="*", metavar="TAG", help=f"only these  [{', '.join(tags)}]")
    given = arguments.parse_args()
    if unknown := set(given.tags) - set(tags):
        arguments.error(f"no such platform: {', '.join(sorted(unknown))}; there are {', '.join(tags)}")
    if sys.maxsize < 2**32 or sys.byteorder != "little":
        arguments.error("the headers of this Python are not those of a little-endian machine of 64 bits")
    given.folder.mkdir(parents=True, exist_ok=True)
    try:
        sdist = made_sdist(given.folder)
        print(sdist)
        for target in TARGETS:
            if not given.tags or target.tag in given.tags:
                wheel = made_wheel(target, sdist, given.folder)
                print(f"{wheel}  ({checked(target, wheel)})", flush=True)
    except (subprocess.CalledProcessError, Unfit) as failed:
        print(f"wheels: {failed}", file=sys.stderr)
        return 1
    return 0


def made_sdist(folder: Path) -> Path:
    """The sdist of this checkout."""
    return built("--sdist", ROOT, folder)


def made_wheel(target: Target, sdist: Path, folder: Path) -> Path:
    """The wheel for `target`, made from the sdist alone."""
    with TemporaryDirectory() as scratch:
        said = Path(scratch) / "setup.cfg"
        include = headers(Path(scratch))
        said.write_text(f"[bdist_wheel]\nplat_name = {target.tag}\n[build_ext]\ninclude_dirs = {include}\n")
        shutil.unpack_archive(sdist, scratch)
        source = Path(scratch) / sdist.name.removesuffix(".tar.gz")
        return built("--wheel", source, folder, compilers(target) | {"DIST_EXTRA_CONFIG": str(said)})


def built(what: str, source: Path, folder: Path, more: dict[str, str] | None = None) -> Path:
    """What `build` makes of `source`, in `folder`."""
    with TemporaryDirectory() as scratch:
        run([sys.executable, "-m", "build", what, "--no-isolation", "--outdir", scratch, str(source)], more)
        (made,) = Path(scratch).iterdir()
        return Path(shutil.move(made, folder / made.name))


def compilers(target: Target) -> dict[str, str]:
    """What setuptools asks the environment for. Zig links all, so that no glibc of this machine gets in."""
    zig = shlex.join([sys.executable, "-m", "ziglang", "cc", "-target", target.zig])
    linker = {"LDSHARED": f"{zig} -shared -s"}
    own = shlex.split(os.environ.get("CC") or str(sysconfig.get_config_var("CC")))[0]
    return linker if target.here and shutil.which(own) else linker | {"CC": zig}


def headers(scratch: Path) -> Path:
    """Python's headers with the pyconfig.h of this very Python, where that of the target is not to be had.

    `Python.h` takes the pyconfig.h beside it, which Debian has one of for all machines: it includes that of
    the target. Ours is right for all targets: what the limited API's headers take from it are the sizes of
    types (SIZEOF_VOID_P, SIZEOF_SIZE_T, SIZEOF_LONG, SIZEOF_WCHAR_T …), and those are the same on all
    little-endian Linux of 64 bits, with glibc and with musl. `main` refuses others, and tests/test_wheels.py
    compares what the compiler sees with what it sees by the target's own.
    """
    copy = scratch / "include"
    for name in ("platinclude", "include"):
        shutil.copytree(sysconfig.get_path(name), copy, dirs_exist_ok=True)
    own = Path(sysconfig.get_config_h_filename())
    debian = own.parent.parent / str(sysconfig.get_config_var("MULTIARCH")) / own.parent.name / own.name
    shutil.copyfile(debian if debian.exists() else own, copy / "pyconfig.h")
    return copy


def checked(target: Target, wheel: Path) -> str:
    """What the kernel in a wheel asks for; Unfit where that is not what the name of the wheel promises."""
    if not wheel.name.endswith(f"-cp311-abi3-{target.tag}.whl"):
        raise Unfit(f"{wheel.name} is not for {target.tag}, or not for all Pythons from 3.11 on")
    with zipfile.ZipFile(wheel) as opened:
        if KERNEL not in opened.namelist():
            raise Unfit(
                f"{wheel.name} has no {KERNEL}: the compiler failed; CC={compilers(target).get('CC')}"
            )
        elf = ELFFile(BytesIO(opened.read(KERNEL)))
    needed = [tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")]
    if elf["e_machine"] != ELF[target.machine] or not target.needs.issuperset(needed):
        raise Unfit(f"{wheel.name}: the kernel is for {elf['e_machine']} and needs {needed}")
    asked = versions(elf)
    if any(numbers(version) > NEWEST for version in asked):
        raise Unfit(f"{wheel.name}: the kernel needs {', '.join(asked)}")
    return ", ".join((*needed, *asked))


def versions(elf: ELFFile) -> list[str]:
    """The versions of symbols that it asks its libraries for."""
    section = elf.get_section_by_name(".gnu.version_r")
    return sorted({one.name for _, asked in section.iter_versions() for one in asked}) if section else []


def numbers(version: str) -> tuple[int, ...]:
    """`GLIBC_2.2.5` as (2, 2, 5); what is no number, as GLIBC_ABI_DT_RELR, came after all of them."""
    found = re.fullmatch(r"GLIBC_([0-9.]+)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else (sys.maxsize,)


def run(command: list[str], more: dict[str, str] | None = None) -> None:
    """Run it; what it printed is shown where it fails, and what a compiler said where setuptools went on."""
    ran = subprocess.run(  # noqa: S603
        command, env=os.environ | (more or {}), cwd=ROOT, capture_output=True, text=True
    )
    if ran.returncode:
        print(ran.stdout[-8000:], ran.stderr[-8000:], sep="\n", file=sys.stderr)
    for line in (ran.stdout + ran.stderr).splitlines():
        if ran.returncode == 0 and "error:" in line:
            print(line, file=sys.stderr)
    ran.check_returncode()


if __name__ == "__main__":
    sys.exit(main())
